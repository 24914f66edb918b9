"""HTTPS to few servers, often: connections are kept, everything is bounded (docs/tls.md).

For a registrar's questions to MASAs and OEM's services. No redirects, cookies, proxies, challenges
or compression; what a server may be connected at is the caller's to say. A server that does not
answer is given up for a while (docs/health.md).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from socket import SOCK_STREAM
from typing import Final, TypeAlias

from brski.edge.http.answer import Answer
from brski.edge.http.circuits import Circuits
from brski.edge.http.connection import Connection, Unanswered
from brski.errors import OnboardingError, Refused, Unavailable

IDLE_S: Final = (
    10.0  # ours: less than the 15 s of our servers, so that few requests meet a closed one
)
_CLOSE_S: Final = 2.0

_Server: TypeAlias = tuple[str, int]
Addresses: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""From host and port to the IP addresses that may be connected to, the best first.

Raises:
    OnboardingError: none may.
    OSError: the name is not known.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request to one server."""

    host: str  # name or address; its certificate must hold it
    port: int
    octets: bytes  # of brski.edge.http.request
    body_octets: int  # of the answer, at most
    repeatable: (
        bool  # may be sent again if a kept connection turns out to be closed (RFC 9110 §9.2.2)
    )


class HTTPSClient:
    """One TLS context's connections; each is used by one request at a time, the latest first.

    Args:
        context: a client context that verifies the server's chain and name.
        timeout_s: for a whole answer: waiting for a connection, name, TCP and TLS included.
        connections: open at once at most, to all servers together.
        addresses: where a server may be connected to; the connection goes to no other address.
        watched: servers, host and port, that :meth:`check` looks at also while nobody asks them.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        *,
        timeout_s: float,
        connections: int,
        addresses: Addresses,
        watched: Collection[tuple[str, int]] = (),
        idle_s: float = IDLE_S,
    ) -> None:
        self._context = context
        self._timeout_s = timeout_s
        self._addresses = addresses
        self._idle_s = idle_s
        self._places = asyncio.Semaphore(connections)
        self._limit = connections
        self._kept: dict[_Server, list[Connection]] = {}
        self._open: set[Connection] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False
        self._circuits = Circuits(watched)
        self._trials: set[asyncio.Task[None]] = set()

    async def send(self, call: Call) -> Answer:
        """Send a request and read its answer, whole.

        A request that met a kept connection which the server had closed meanwhile, and of whose
        answer no octet came, is sent once more over a new one if it is repeatable.

        Raises:
            Unavailable: no connection, no answer in time, or a server that has been given up.
            UnexpectedResponse, TooLarge: what came is no answer, or over a limit.
            OnboardingError: what ``addresses`` raises.
        """
        with self._circuits.request(call.host, call.port) as circuit:
            answer = await self._send_in_time(call)
            circuit.answered()
        return answer

    def check(self) -> None:
        """Raise if a server has been given up. Beside, look at those for which it is time: given
        up before, or watched and idle; by a connection, TLS included, that sends no request.

        Raises:
            Unavailable: one has; the reason names it.
        """
        for server in [] if self._closed else self._circuits.wanting_trial():
            trial = asyncio.create_task(self._reach(*server))
            self._trials.add(trial)
            trial.add_done_callback(self._trials.discard)
        for circuit in self._circuits.given_up():
            raise Unavailable(circuit.reason)

    async def _reach(self, host: str, port: int) -> None:
        with (
            suppress(OnboardingError),
            self._circuits.request(host, port, is_probe=True) as circuit,
        ):
            connection = await self._connected_in_time((host, port))
            circuit.reached()
            if not self._closed:
                self._keep(connection, (host, port))

    async def _connected_in_time(self, server: _Server) -> Connection:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._connect(server)
        except TimeoutError as err:
            raise Unavailable(f"no connection within {self._timeout_s:g} s") from err
        except Refused as err:  # an address that it may not have: nobody else gets there either
            raise Unavailable(err.reason) from err

    async def _send_in_time(self, call: Call) -> Answer:
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        try:
            if self._places.locked():
                async with asyncio.timeout_at(deadline):
                    await self._places.acquire()
            else:
                await self._places.acquire()  # at once
            try:
                return await self._send(call, deadline)
            finally:
                self._places.release()
        except TimeoutError as err:
            raise Unavailable(f"no answer within {self._timeout_s:g} s") from err

    async def close(self) -> None:
        """Close all connections; requests under way end as :class:`Unavailable`."""
        self._closed = True
        for trial in self._trials:
            trial.cancel()
        if self._sweep is not None:
            self._sweep.cancel()
        for connection in self._open:
            if connection.usable:
                connection.close()
            else:
                connection.abort()
        lost = [connection.lost for connection in self._open]
        if lost:
            await asyncio.wait(lost, timeout=_CLOSE_S)
        for connection in self._open:
            connection.abort()

    async def _send(self, call: Call, deadline: float) -> Answer:
        server = call.host, call.port
        kept = self._take(server)
        if kept is not None:
            try:
                return await self._carry(kept, server, call, deadline)
            except Unanswered:
                if not call.repeatable:
                    raise
        async with asyncio.timeout_at(deadline):
            connection = await self._connect(server)
        return await self._carry(connection, server, call, deadline)

    async def _carry(
        self, connection: Connection, server: _Server, call: Call, deadline: float
    ) -> Answer:
        answer = await connection.exchange(
            call.octets, body_octets=call.body_octets, deadline=deadline
        )
        if connection.usable and not self._closed:
            self._keep(connection, server)
        return answer

    # -- connections that wait for a request

    def _take(self, server: _Server) -> Connection | None:
        kept = self._kept.get(server, ())
        oldest = asyncio.get_running_loop().time() - self._idle_s
        while kept:
            connection = kept.pop()
            if connection.usable and connection.since > oldest:
                return connection
            connection.close()
        return None

    def _keep(self, connection: Connection, server: _Server) -> None:
        loop = asyncio.get_running_loop()
        connection.since = loop.time()
        self._kept.setdefault(server, []).append(connection)
        if self._sweep is None:
            self._sweep = loop.call_later(self._idle_s, self._close_idle)

    def _close_idle(self) -> None:
        loop = asyncio.get_running_loop()
        oldest = loop.time() - self._idle_s
        for server, kept in list(self._kept.items()):
            for connection in kept:
                if connection.since <= oldest:
                    connection.close()
            self._kept[server] = [c for c in kept if c.since > oldest and c.usable]
            if not self._kept[server]:
                del self._kept[server]
        again = loop.call_later(self._idle_s, self._close_idle) if self._kept else None
        self._sweep = again

    # -- new ones

    async def _connect(self, server: _Server) -> Connection:
        if self._closed:
            raise Unavailable("this client has been closed")
        host, port = server
        self._make_room()
        try:
            addresses = await self._addresses(host, port)
        except OSError as err:
            raise Unavailable(f"{host} has no address: {_told(err)}") from err
        failure: Exception | None = None
        for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            try:
                return await self._connect_to(address, server, share=1 / left)
            except (OSError, TimeoutError) as err:
                failure = err
        raise Unavailable(f"{host}:{port}: {_told(failure)}") from failure

    def _make_room(self) -> None:
        """Close a kept connection to another server if there were more than the limit otherwise."""
        if len(self._open) < self._limit:
            return
        for kept in self._kept.values():
            if kept:
                kept.pop(0).close()
                return

    async def _connect_to(self, address: str, server: _Server, *, share: float) -> Connection:
        host, port = server
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._timeout_s * share):
            _, connection = await loop.create_connection(
                Connection,
                address,
                port,
                ssl=self._context,
                server_hostname=host,
                ssl_shutdown_timeout=_CLOSE_S,
            )
        self._open.add(connection)
        connection.lost.add_done_callback(lambda _: self._open.discard(connection))
        return connection


async def any_address(host: str, port: int) -> list[str]:
    """Every address of *host*, as the system's resolver orders them."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


def _told(error: Exception | None) -> str:
    if isinstance(error, ssl.SSLError):
        return str(getattr(error, "verify_message", "") or error.reason or error)
    return str(getattr(error, "strerror", None) or error or type(error).__name__)
