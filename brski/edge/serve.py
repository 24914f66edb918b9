"""Serving aiohttp applications: sockets, TLS, deadlines, signals.

The limits are against peers that are slow, silent or greedy; each was measured (docs/tls.md).
Nothing that a peer does writes a traceback into the log.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import ssl
from asyncio import sslproto
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    nullcontext,
)
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from brski.edge.accept import AddressCap, CappedServer, open_listening
from brski.edge.cli import print_json_line
from brski.edge.collector import rare_collections
from brski.edge.descriptors import raise_limit
from brski.edge.listen import parse_listen
from brski.errors import SettingsError

try:
    from uvloop import new_event_loop
except ImportError:  # not on this platform; everything works, slower and with more memory
    from asyncio import new_event_loop  # type: ignore[assignment]  # a loop, by another name

T = TypeVar("T")

log = logging.getLogger(__name__)

KEEPALIVE_S: Final = 15.0  # ours: also what slow headers are given
HANDSHAKE_S: Final = 10.0
CLOSE_NOTIFY_S: Final = 5.0
LINGER_S: Final = 3.0  # ours: how long an unread body is thrown away, so that the answer arrives
SHUTDOWN_S: Final = 10.0  # ours: what requests under way are given at the end
BACKLOG: Final = 512
HEAD_OCTETS: Final = 8190  # of the request line, and of one header field
HEAD_FIELDS: Final = 64
_LEAN_BUFFER: Final = 16 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """One socket, and what is served there."""

    name: str  # for log, announcement and tests
    app: web.Application  # the same one may stand behind several listeners
    listen: str  # "host:port" or "fd:N", see brski.edge.listen
    ssl_context: ssl.SSLContext | None  # None: plain HTTP, for loopback and what is public
    handshake_timeout_s: float = HANDSHAKE_S
    keepalive_timeout_s: float = KEEPALIVE_S
    cap: AddressCap | None = None  # of connections that one peer address may hold; None: no bound


Beside: TypeAlias = Callable[[Mapping[str, str]], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def serving(listeners: Sequence[Listener]) -> AsyncIterator[dict[str, str]]:
    """Serve while the block runs; inside a running loop, without signals.

    Yields:
        Each listener's name and ``"host:port"``, with the port that was really taken.

    Raises:
        SettingsError: an address cannot be listened on.
        Exception: what an application's start-up raised.

    At the end no new connection is taken, idle ones are closed, and requests under way have
    ``SHUTDOWN_S`` to finish.
    """
    async with AsyncExitStack() as stack:
        runners: dict[int, web.AppRunner] = {}
        addresses: dict[str, str] = {}
        servers: list[asyncio.Server | CappedServer] = []
        for listener in listeners:
            runner = runners.get(id(listener.app))
            if runner is None:
                runner = runners[id(listener.app)] = _runner(listener)
                stack.push_async_callback(runner.cleanup)
                await runner.setup()
            server = await _listen(listener, runner)
            servers.append(server)
            stack.callback(server.close)
            addresses[listener.name] = _address(server)
        try:
            yield addresses
        finally:
            for server in servers:  # all of them, before the first application is cleaned up
                server.close()


async def serve(
    listeners: Sequence[Listener],
    *,
    announce: bool = False,
    stop: asyncio.Event | None = None,
    beside: Beside | None = None,
) -> None:
    """Serve until SIGTERM, SIGINT or *stop*; then end gracefully. A second signal ends at once.

    Args:
        listeners: at least one.
        announce: print ``{"event": "listening", "listeners": {name: "host:port"}}`` as one line
            on stdout once all are open, for the program that started this one.
        stop: ends the serving when set.
        beside: what is to be done as long as all are open; given each one's ``"host:port"``.

    Raises:
        SettingsError: an address cannot be listened on; or as *beside* raises.
    """
    raise_limit()
    stop = stop or asyncio.Event()
    loop = asyncio.get_running_loop()
    async with serving(listeners) as addresses, _beside(beside, addresses):
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, _stop, loop, stop)
        log.info("listening", extra=addresses)
        if announce:
            print_json_line({"event": "listening", "listeners": addresses})
        with rare_collections():
            await stop.wait()
        log.info("stopping")
    log.info("stopped")


def _beside(beside: Beside | None, addresses: dict[str, str]) -> AbstractAsyncContextManager[None]:
    return nullcontext() if beside is None else beside(addresses)


def run_loop(main: Coroutine[Any, Any, T]) -> T:
    """Run a program's coroutine to its end, on uvloop where that is installed."""
    _make_asyncio_lean()
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(main)


def _stop(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(number)
    stop.set()


def _make_asyncio_lean() -> None:
    # asyncio's own TLS keeps 256 KiB for reading on each connection; uvloop does not. The
    # attribute is undocumented, in 3.11 to 3.13: without it nothing is lost but memory.
    if hasattr(sslproto.SSLProtocol, "max_size"):
        sslproto.SSLProtocol.max_size = _LEAN_BUFFER


def _runner(listener: Listener) -> web.AppRunner:
    return web.AppRunner(
        listener.app,
        access_log=None,  # each role logs the steps of an onboarding, not requests
        logger=_server_log(),
        auto_decompress=False,
        keepalive_timeout=listener.keepalive_timeout_s,
        lingering_time=LINGER_S,
        max_line_size=HEAD_OCTETS,
        max_field_size=HEAD_OCTETS,
        max_headers=HEAD_FIELDS,
        shutdown_timeout=SHUTDOWN_S,
    )


async def _listen(listener: Listener, runner: web.AppRunner) -> asyncio.Server | CappedServer:
    assert runner.server is not None  # noqa: S101 - for the type: setup() has made it
    tls: dict[str, Any] = {}
    if listener.ssl_context is not None:
        tls = {
            "ssl": listener.ssl_context,
            "ssl_handshake_timeout": listener.handshake_timeout_s,
            "ssl_shutdown_timeout": CLOSE_NOTIFY_S,
        }
    loop = asyncio.get_running_loop()
    try:
        place = parse_listen(listener.listen)
        inherited = None if place.descriptor is None else _inherited(place.descriptor)
        if listener.cap is not None:
            sockets = (
                [inherited]
                if inherited
                else await open_listening(place.host, place.port, backlog=BACKLOG)
            )
            return CappedServer(sockets, runner.server, listener.cap, **tls)
        if inherited is not None:
            return await loop.create_server(runner.server, sock=inherited, backlog=BACKLOG, **tls)
        return await loop.create_server(
            runner.server, place.host, place.port, backlog=BACKLOG, **tls
        )
    except (OSError, ValueError) as err:
        reason = getattr(err, "strerror", None) or str(err)
        said = f"{listener.name}: cannot listen on {listener.listen}: {reason}"
        raise SettingsError(said, hint="port 0 takes any free one") from err


def _inherited(descriptor: int) -> socket.socket:
    sock = socket.socket(fileno=descriptor)
    internet = sock.family in (socket.AF_INET, socket.AF_INET6)
    if not internet or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        sock.detach()
        raise ValueError(f"descriptor {descriptor} is not a listening TCP socket")
    return sock


def _address(server: asyncio.Server | CappedServer) -> str:
    host, port = server.sockets[0].getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _server_log() -> logging.Logger:
    server_log = logging.getLogger("brski.edge.http")
    if not any(isinstance(known, _PeerFaults) for known in server_log.filters):
        server_log.addFilter(_PeerFaults())
    return server_log


class _PeerFaults(logging.Filter):
    """Takes traceback and alarm from what aiohttp logs of a peer that does not speak HTTP."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError | ConnectionError | ssl.SSLError):
            record.levelno, record.levelname = logging.WARNING, "WARNING"
            record.exc_info, record.exc_text = None, None
            record.reason = type(error).__name__
        return True
