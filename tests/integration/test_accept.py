"""One address may hold so many connections and no more; the next is closed before TLS begins."""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from brski.edge import descriptors
from brski.edge.accept import AddressCap, CappedServer, open_listening
from brski.edge.serve import Listener, serving
from brski.edge.tls_client import open_stream, provisional_context
from brski.edge.tls_server import server_context
from brski.errors import HandshakeFailed, SettingsError, Unavailable
from tests.kit import pki
from tests.kit.tls import both_loops, run_on

REGISTRAR = pki.make_registrar(pki.make_pki("Example Owner"))
CONTEXT = provisional_context()


@asynccontextmanager
async def served_with(cap: AddressCap) -> AsyncIterator[tuple[str, int]]:
    app = web.Application()
    app.router.add_get("/", hello)
    context = server_context(REGISTRAR.chain, REGISTRAR.private_key)
    listener = Listener(name="test", app=app, listen="127.0.0.1:0", ssl_context=context, cap=cap)
    async with serving([listener]) as addresses:
        host, _, port = addresses["test"].rpartition(":")
        yield host, int(port)


@asynccontextmanager
async def served(connections: int = 2, **more: Any) -> AsyncIterator[tuple[str, int]]:
    app = web.Application()
    app.router.add_get("/", hello)
    listener = Listener(
        name="test",
        app=app,
        listen=more.pop("listen", "127.0.0.1:0"),
        ssl_context=server_context(REGISTRAR.chain, REGISTRAR.private_key),
        cap=AddressCap(connections=connections, group=more.pop("group", str)),
        **more,
    )
    async with serving([listener]) as addresses:
        host, _, port = addresses["test"].rpartition(":")
        yield host, int(port)


async def hello(_: web.Request) -> web.Response:
    return web.Response(text="hello")


async def answered(host: str, port: int) -> Any:
    """A connection over which a request has been answered; still open."""
    stream = await open_stream(host, port, CONTEXT)
    stream.writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (await stream.reader.readuntil(b"hello")).startswith(b"HTTP/1.1 200 ")
    return stream


async def is_refused(host: str, port: int) -> bool:
    """Whether TCP is closed on the client that has said nothing yet."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        async with asyncio.timeout(0.3):
            return await reader.read(1) == b""
    except TimeoutError:
        return False
    finally:
        writer.close()


@both_loops
def test_connection_over_the_cap_is_closed_before_tls(loop: str) -> None:
    """And the ones under it go on; when one ends there is room again."""

    async def run() -> None:
        async with served() as (host, port):
            first, second = await answered(host, port), await answered(host, port)
            with pytest.raises((HandshakeFailed, Unavailable)):
                await open_stream(host, port, CONTEXT)
            assert await is_refused(host, port)
            first.writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await first.reader.readuntil(b"hello")
            second.writer.close()
            await second.writer.wait_closed()
            third = await answered(host, port)
            assert await is_refused(host, port)
            for stream in (first, third):
                stream.abort()

    run_on(loop, run())


@both_loops
def test_handshakes_that_never_end_count_too(loop: str) -> None:
    """Else silence would be the way around; their deadline frees the place."""

    async def run() -> None:
        async with served(handshake_timeout_s=0.5) as (host, port):
            silent = [await asyncio.open_connection(host, port) for _ in range(2)]
            await asyncio.sleep(0.05)
            assert await is_refused(host, port)
            for reader, writer in silent:
                await reader.read()
                writer.close()
            (await answered(host, port)).abort()

    run_on(loop, run())


async def test_each_address_has_its_own() -> None:
    """One greedy peer costs the others nothing; what counts as one address is the caller's."""
    async with served(connections=1) as (host, port):
        held = await answered(host, port)
        assert await is_refused(host, port)
        other = socket.create_connection((host, port), source_address=("127.0.0.2", 0))
        reader, writer = await asyncio.open_connection(sock=other)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await reader.read(1)  # it waits for our ClientHello
        writer.close()
        held.abort()
    async with served(connections=1, group=lambda _: "all") as (host, port):
        held = await answered(host, port)
        other = socket.create_connection((host, port), source_address=("127.0.0.2", 0))
        reader, writer = await asyncio.open_connection(sock=other)
        assert await reader.read(1) == b""
        writer.close()
        held.abort()


async def test_one_line_a_second_tells_of_it(caplog: pytest.LogCaptureFixture) -> None:
    """A flood of connections is no flood of log lines."""
    with caplog.at_level(logging.WARNING):
        async with served(connections=1) as (host, port):
            held = await answered(host, port)
            for _ in range(20):
                assert await is_refused(host, port)
            held.abort()
    lines = [record for record in caplog.records if record.name == "brski.edge.accept"]
    assert len(lines) == 1
    assert lines[0].__dict__["peer_address"] == "127.0.0.1"


@both_loops
def test_what_has_been_closed_is_forgotten(loop: str) -> None:
    """Neither side's close leaves anything behind, however many have come."""

    async def run() -> None:
        listening = await open_listening("127.0.0.1", 0, backlog=16)
        groups = iter(str(number) for number in range(1000))
        cap = AddressCap(connections=1, group=lambda _: next(groups))
        server = CappedServer(listening, asyncio.Protocol, cap)
        host, port = listening[0].getsockname()[:2]
        for _ in range(300):
            _, writer = await asyncio.open_connection(host, port)
            writer.close()
            await writer.wait_closed()
        assert len(server._held) < 40
        server.close()
        server.close()

    run_on(loop, run())


@both_loops
def test_ipv6_and_plain_http(loop: str) -> None:
    """The cap stands before any protocol."""

    async def run() -> None:
        app = web.Application()
        app.router.add_get("/", hello)
        listener = Listener(
            name="a",
            app=app,
            listen="[::1]:0",
            ssl_context=None,
            cap=AddressCap(connections=1),
        )
        async with serving([listener]) as addresses:
            port = int(addresses["a"].rpartition(":")[2])
            reader, writer = await asyncio.open_connection("::1", port)
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await reader.readuntil(b"hello")
            assert await is_refused("::1", port)
            writer.close()

    run_on(loop, run())


async def test_address_that_is_taken_is_a_setting_to_mend() -> None:
    """As without a cap."""
    async with served() as (host, port):
        with pytest.raises(SettingsError, match="cannot listen"):
            async with served(listen=f"{host}:{port}"):
                pass


async def test_without_descriptors_it_waits_and_goes_on(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full table of descriptors is told once a try, and the loop does not spin."""
    monkeypatch.setattr("brski.edge.accept._PAUSE_S", 0.05)
    fails = [True]

    class Full(socket.socket):
        def accept(self) -> Any:
            if fails.pop() if fails else False:
                raise OSError(24, "Too many open files")
            return super().accept()

    (opened,) = await open_listening("127.0.0.1", 0, backlog=16)
    listening = Full(fileno=opened.detach())
    server = CappedServer([listening], asyncio.Protocol, AddressCap(connections=1))
    try:
        _, writer = await asyncio.open_connection(*listening.getsockname())
        async with asyncio.timeout(5):
            while not server._held:
                await asyncio.sleep(0.01)
        writer.close()
    finally:
        server.close()
    assert [record.getMessage() for record in caplog.records] == ["cannot accept"]


def from_address(number: int, place: tuple[str, int]) -> socket.socket:
    """A connection of a peer at 127.0.1.*number*."""
    return socket.create_connection(place, source_address=(f"127.0.1.{number}", 0))


async def is_closed(connection: socket.socket) -> bool:
    """Whether the other side ends it soon, of which nothing has been heard yet."""
    loop = asyncio.get_running_loop()
    connection.setblocking(False)
    try:
        async with asyncio.timeout(0.3):
            return await loop.sock_recv(connection, 1) == b""
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


@both_loops
def test_over_the_bound_in_all_the_oldest_handshake_makes_room(loop: str) -> None:
    """Silent ones of many addresses do not keep an honest one out, and take no more room."""

    async def run() -> None:
        cap = AddressCap(connections=2, in_all=4)
        async with served_with(cap) as place:
            silent = [from_address(number, place) for number in range(1, 9)]
            stream = await answered(*place)
            assert [await is_closed(each) for each in silent] == [True] * 5 + [False] * 3
            stream.writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await stream.reader.readuntil(b"hello")
            for each in silent:
                each.close()
            stream.abort()

    run_on(loop, run())


@both_loops
def test_where_no_handshake_is_under_way_the_newcomer_goes(loop: str) -> None:
    """Those who have shaken hands stay; when one leaves there is room again."""

    async def run() -> None:
        async with served_with(AddressCap(connections=4, in_all=2)) as place:
            first, second = await answered(*place), await answered(*place)
            assert await is_refused(*place)
            first.writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await first.reader.readuntil(b"hello")
            second.writer.close()
            await second.writer.wait_closed()
            await asyncio.sleep(0.3)  # the sweep's pace
            third = await answered(*place)
            for stream in (first, third):
                stream.abort()

    run_on(loop, run())


def test_as_many_as_there_are_descriptors_but_for_a_reserve(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Enough is left for the journal and for questions to others; no limit is no bound of ours."""
    for soft, room in ((1024, 896), (200, 100), (resource.RLIM_INFINITY, 16_384)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, soft=soft: (soft, soft))
        assert descriptors.room_for_peers() == room


def test_the_soft_limit_is_raised_as_far_as_it_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to the hard one, never down, and a system that refuses is no reason to stop."""
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits))
    for limits, raised in (
        ((1024, 4096), [(4096, 4096)]),
        ((1024, 1 << 20), [(16_384, 1 << 20)]),
        ((1024, resource.RLIM_INFINITY), [(16_384, resource.RLIM_INFINITY)]),
        ((65_536, 1 << 20), []),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), []),
    ):
        asked.clear()
        monkeypatch.setattr(resource, "getrlimit", lambda _, limits=limits: limits)
        descriptors.raise_limit()
        assert asked == raised

    def refuse(_kind: int, _limits: tuple[int, int]) -> None:
        raise ValueError

    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    descriptors.raise_limit()
