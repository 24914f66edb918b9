"""A TCP proxy that passes octets on badly, in the way that it is told (docs/fault-proxy.md)."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from random import Random
from typing import Final, TypeAlias

from brski_lab.faults import FAIR, End, Faults, Weather, dice_of

_PIECE: Final = 64 * 1024
_TICK_S: Final = 0.05  # a rate is kept by pieces of so long
_BACKLOG: Final = 1024
_FLUSH_S: Final = 1.0  # for a side that does not take what was passed on before a cut
_BY_RST: Final = struct.pack("ii", 1, 0)  # SO_LINGER: on, for no time

_Side: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(slots=True)
class Counts:
    """What a proxy has seen so far."""

    connections: int = 0
    refused: int = 0  # reset when they were accepted, by the weather or since no server was there
    open_now: int = 0
    up: int = 0  # octets read from clients
    down: int = 0  # octets read from servers


@dataclass(slots=True)
class FaultProxy:
    """Stands before the server at *host*, *port*.

    ``weather`` may be changed while it serves; a connection keeps what it met when it came.
    """

    host: str
    port: int
    seed: int = 0
    weather: Weather = FAIR
    counts: Counts = field(default_factory=Counts)
    address: tuple[str, int] = ("", 0)  # where it listens, once it serves
    _running: set[asyncio.Task[None]] = field(default_factory=set)

    @asynccontextmanager
    async def serving(self, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[None]:
        """Listen while the block runs; at its end every connection is closed.

        Args:
            port: 0 takes a free one; ``address`` tells it.

        Raises:
            OSError: it cannot be listened on.
        """
        server = await asyncio.start_server(self._accept, host, port, backlog=_BACKLOG)
        self.address = server.sockets[0].getsockname()[:2]
        try:
            yield
        finally:
            server.close()
            await self.break_all()

    async def break_all(self) -> None:
        """Close every connection there is, so that the next ones meet the present weather."""
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = self.counts.connections
        self.counts.connections += 1
        task = asyncio.create_task(self._carry(number, (reader, writer)))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        task.add_done_callback(lambda _: writer.transport.abort())  # also if it never began

    async def _carry(self, number: int, client: _Side) -> None:
        faults = self.weather.of_connection(dice_of(self.seed, number))
        server = None if faults is None else await self._connect()
        if faults is None or server is None:
            self.counts.refused += 1
            _reset(client)
            return
        self.counts.open_now += 1
        try:
            await self._both_ways(number, client, server, faults)
        finally:
            self.counts.open_now -= 1
            server[1].transport.abort()

    async def _connect(self) -> _Side | None:
        try:
            return await asyncio.open_connection(self.host, self.port)
        except OSError:
            return None

    async def _both_ways(
        self, number: int, client: _Side, server: _Side, faults: tuple[Faults, Faults]
    ) -> None:
        up, down = (dice_of(self.seed, number, way) for way in ("up", "down"))
        ways = [
            asyncio.create_task(_pass(client, server, faults[0], up, self._count_up)),
            asyncio.create_task(_pass(server, client, faults[1], down, self._count_down)),
        ]
        try:
            await asyncio.gather(*ways)
        except OSError:  # told to, or one side has gone: the other hears of it
            _reset(client)
            _reset(server)
        except _CutError:
            pass
        finally:
            for way in ways:
                way.cancel()
        await asyncio.gather(_flushed(client), _flushed(server))

    def _count_up(self, octets: int) -> None:
        self.counts.up += octets

    def _count_down(self, octets: int) -> None:
        self.counts.down += octets


class _CutError(Exception):
    """This connection ends now."""


async def _pass(
    source: _Side, sink: _Side, faults: Faults, dice: Random, count: Callable[[int], None]
) -> None:
    """Carry one direction until its source has ended, or for ever where it stalls.

    Raises:
        _CutError, ConnectionError: the faults end the connection, or a side has gone.
    """
    (reader, _), (_, writer) = source, sink
    left = faults.after
    while left is None or left > 0:
        piece = await reader.read(_most(faults, left))
        if not piece:
            writer.write_eof()
            return
        count(len(piece))
        await asyncio.sleep(_pause_s(len(piece), faults, dice))
        writer.write(piece)
        await writer.drain()
        if left is not None:
            left -= len(piece)
    match faults.end:
        case End.CUT:
            raise _CutError
        case End.RESET:
            raise ConnectionResetError
        case End.LOSE:
            while piece := await reader.read(_PIECE):
                count(len(piece))
    await asyncio.Event().wait()  # half-open: until the proxy ends, or the other direction does


def _most(faults: Faults, left: int | None) -> int:
    """How many octets may be read at once."""
    most = _PIECE if left is None else min(left, _PIECE)
    if faults.octets_per_s is not None:
        most = min(most, max(1, int(faults.octets_per_s * _TICK_S)))
    return most


def _pause_s(octets: int, faults: Faults, dice: Random) -> float:
    pause = faults.delay_s + faults.jitter_s * dice.random()
    return pause if faults.octets_per_s is None else pause + octets / faults.octets_per_s


def _reset(side: _Side) -> None:
    with suppress(OSError):
        sock = side[1].get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _BY_RST)
    side[1].transport.abort()


async def _flushed(side: _Side) -> None:
    """Close, and give *side* a moment to take what was passed on before."""
    side[1].close()
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(_FLUSH_S):
            await side[1].wait_closed()
