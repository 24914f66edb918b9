"""Accepting TCP connections with a bound for each peer address and in all, before TLS begins.

An event loop's own server has begun TLS before anybody could look at who came: each connection of
one greedy address would cost a handshake and hold memory until its deadline. And it takes
connections until no descriptor is left for the program's own files and questions.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from brski.edge.descriptors import room_for_peers

log = logging.getLogger(__name__)

_AT_ONCE: Final = 32  # accepted before others of the loop have their turn
_PAUSE_S: Final = 1.0  # ours: when descriptors have run out
_TOLD_EVERY_S: Final = 1.0
_SWEEP_EVERY_S: Final = 0.25  # ours: a look at every connection, when there is no room
_SLACK: Final = 16  # ours: for so many open connections one closed one may be remembered


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressCap:
    """How many connections one peer address may hold open."""

    connections: int
    group: Callable[[str], str] = str  # addresses that count as one have one group
    in_all: int | None = None  # None: as many as there are descriptors, but for a reserve


class CappedServer:
    """Accepts on listening sockets until it is closed.

    A connection over its address's bound is closed at once; one line in a second at most tells of
    it. Over the bound in all, the oldest handshake that is not done makes room, since honest ones
    take little time; where there is none, the newcomer is closed.

    Args:
        sockets: bound and listening; taken over.
        factory: makes the protocol of a connection.
        connect: further arguments for ``loop.connect_accepted_socket``, such as ``ssl``.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        factory: Callable[[], asyncio.BaseProtocol],
        cap: AddressCap,
        **connect: Any,
    ) -> None:
        self.sockets = tuple(sockets)
        self._factory = factory
        self._cap = cap
        self._connect = connect
        self._loop = asyncio.get_running_loop()
        self._held: dict[str, list[asyncio.Task[asyncio.BaseTransport | None]]] = {}
        self._shaking: dict[asyncio.Task[asyncio.BaseTransport | None], str] = {}  # oldest first
        self._new: set[socket.socket] = set()  # that no transport has taken over yet
        self._most = room_for_peers() if cap.in_all is None else cap.in_all
        self._size = 0
        self._sweep_at = 0
        self._swept_at = -_SWEEP_EVERY_S
        self._refused = 0
        self._told_at = -_TOLD_EVERY_S
        for listening in self.sockets:
            listening.setblocking(False)
            self._resume(listening)

    def close(self) -> None:
        """Accept no more and break off handshakes; connections stay. May be called twice."""
        for listening in self.sockets:
            if listening.fileno() >= 0:
                self._loop.remove_reader(listening.fileno())
                listening.close()
        for held in self._held.values():
            for task in held:
                task.cancel()

    def _resume(self, listening: socket.socket) -> None:
        if listening.fileno() >= 0:
            self._loop.add_reader(listening.fileno(), self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            try:
                connection, address = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as err:  # no descriptors, no memory: waiting helps, spinning does not
                log.error("cannot accept", extra={"reason": err.strerror or str(err)})  # noqa: TRY400
                self._loop.remove_reader(listening.fileno())
                self._loop.call_later(_PAUSE_S, self._resume, listening)
                return
            self._admit(connection, str(address[0]))

    def _admit(self, connection: socket.socket, address: str) -> None:
        group = self._cap.group(address)
        held = self._held.setdefault(group, [])
        if len(held) >= self._cap.connections:
            self._forget_closed(group)
            held = self._held.setdefault(group, [])
        if len(held) >= self._cap.connections:
            connection.close()
            self._tell(address)
            return
        if self._size >= self._most and not self._make_room():
            connection.close()
            self._tell(address)
            if not held:
                self._held.pop(group, None)
            return
        held = self._held.setdefault(group, held)
        connection.setblocking(False)
        task = self._loop.create_task(self._begin(connection))
        self._shaking[task] = group
        self._new.add(connection)
        task.add_done_callback(partial(self._shaken, connection))
        held.append(task)
        self._size += 1
        if self._size > self._sweep_at:
            self._sweep()

    def _make_room(self) -> bool:
        """For one connection more than there may be; False where nobody can go."""
        if self._loop.time() - self._swept_at >= _SWEEP_EVERY_S:
            self._sweep()
            if self._size < self._most:
                return True
        oldest = next(iter(self._shaking), None)
        if oldest is None:
            return False
        group = self._shaking.pop(oldest)
        self._held[group].remove(oldest)
        if not self._held[group]:
            del self._held[group]
        self._size -= 1
        oldest.cancel()
        return True

    def _shaken(
        self, connection: socket.socket, done: asyncio.Task[asyncio.BaseTransport | None]
    ) -> None:
        self._shaking.pop(done, None)
        if connection in self._new:  # cancelled before it began
            self._new.discard(connection)
            connection.close()

    def _sweep(self) -> None:
        """Forget the closed ones, soon: what a closed connection held is memory that is still in
        the processor's caches, and the next one shall have it.
        """
        self._swept_at = self._loop.time()
        for each in list(self._held):
            self._forget_closed(each)
        self._sweep_at = min(self._size + self._size // _SLACK, self._most)

    async def _begin(self, connection: socket.socket) -> asyncio.BaseTransport | None:
        """Shake hands; what goes wrong there is the peer's affair, and no line in a log."""
        self._new.discard(connection)
        try:
            transport, _ = await self._loop.connect_accepted_socket(
                self._factory, connection, **self._connect
            )
        except (OSError, TimeoutError):
            connection.close()
            return None
        return transport

    def _forget_closed(self, group: str) -> None:
        held = self._held[group]
        left = [task for task in held if _is_open(task)]
        self._size -= len(held) - len(left)
        if left:
            self._held[group] = left
        else:
            del self._held[group]

    def _tell(self, address: str) -> None:
        self._refused += 1
        now = self._loop.time()
        if now - self._told_at >= _TOLD_EVERY_S:
            log.warning(
                "too many connections of one address",
                extra={"peer_address": address, "refused": self._refused},
            )
            self._told_at, self._refused = now, 0


def _is_open(task: asyncio.Task[asyncio.BaseTransport | None]) -> bool:
    if not task.done():
        return True
    if task.cancelled() or task.exception() is not None:
        return False
    transport = task.result()
    return transport is not None and not transport.is_closing()


async def open_listening(host: str, port: int, *, backlog: int) -> list[socket.socket]:
    """A listening socket for each address of *host*, as an event loop's own server opens them.

    Raises:
        OSError: an address is not known or is taken.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    opened: list[socket.socket] = []
    try:
        for family, _, _, _, address in dict.fromkeys(found):
            opened.append(socket.socket(family, socket.SOCK_STREAM))
            opened[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                opened[-1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            opened[-1].bind(address)
            opened[-1].listen(backlog)
    except OSError:
        for listening in opened:
            listening.close()
        raise
    return opened
