"""Peers that behave badly: silent, slow, cut off, or talking too much."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import socket
import ssl
import time

import pytest

from brski.edge.tls_client import open_stream, provisional_context
from tests.integration.tls_site import (
    CLIENTS,
    Served,
    ask,
    big_body,
    both_versions,
    no_tracebacks,
    provisional,
    registrar,
    served,
)
from tests.kit import pki, tls
from tests.kit.tls import both_loops

__all__ = ["registrar"]


@both_loops
def test_silent_peer_is_dropped(
    registrar: pki.Entity, loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    """TCP without a ClientHello, or with half of one, ends at the handshake's deadline."""
    caplog.set_level(logging.DEBUG)

    async def main() -> None:
        async with served(registrar, handshake_timeout_s=0.3) as server:
            for octets in (b"", b"\x16\x03\x01"):
                started = time.monotonic()
                reader, writer = await asyncio.open_connection(server.host, server.port)
                writer.write(octets)
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""
                assert 0.2 < time.monotonic() - started < 3
                writer.close()
            stream = await open_stream(server.host, server.port, provisional_context())
            assert (await ask(stream))["chain"] == []
            stream.abort()

    tls.run_on(loop, main())
    assert no_tracebacks(caplog)


@both_loops
def test_slow_head_is_dropped_at_the_keep_alive_deadline(registrar: pki.Entity, loop: str) -> None:
    """TLS is up and the request line never ends."""

    async def main() -> None:
        async with served(registrar, keepalive_timeout_s=0.5) as server:
            stream = await open_stream(server.host, server.port, provisional_context())
            started = time.monotonic()
            with contextlib.suppress(ConnectionError):
                for octet in b"GET /" + b"x" * 200:
                    stream.writer.write(bytes([octet]))
                    await stream.writer.drain()
                    if stream.reader.at_eof():
                        break
                    await asyncio.sleep(0.05)
            assert time.monotonic() - started < 5
            stream.abort()

    tls.run_on(loop, main())


@both_loops
@both_versions
def test_slow_body_is_408_and_large_body_413(
    registrar: pki.Entity, loop: str, version: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Within their deadlines and limits, and the next client is served."""

    async def main() -> None:
        async with served(registrar) as server:
            for head, status in (
                (b"Content-Length: 100\r\n\r\nx", b" 408 "),
                (b"Content-Length: 70000\r\n\r\n" + bytes(70000), b" 413 "),
                (b"Transfer-Encoding: chunked\r\n\r\n11170\r\n" + bytes(70000), b" 413 "),
                (b"Content-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx", b" 415 "),
                (b"X: " + b"y" * 9000 + b"\r\n\r\n", b" 400 "),
                (b"X: y\r\n" * 100 + b"\r\n", b" 400 "),
            ):
                stream = await open_stream(
                    server.host, server.port, provisional(CLIENTS["self-signed"], version)
                )
                stream.writer.write(b"POST /echo HTTP/1.1\r\nHost: x\r\n" + head)
                assert status in await asyncio.wait_for(stream.reader.readline(), 5)
                stream.abort()

    tls.run_on(loop, main())
    assert no_tracebacks(caplog)


@both_loops
@both_versions
@pytest.mark.parametrize("when", ["handshake", "head", "body", "answer"])
def test_peer_that_leaves_abruptly_is_no_error_of_ours(
    registrar: pki.Entity,
    loop: str,
    version: str,
    when: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """TCP reset at each stage: no traceback, no complaint of the loop, and service goes on."""
    caplog.set_level(logging.DEBUG)
    context = provisional(CLIENTS["self-signed"], version)

    async def leave(server: Served) -> None:
        if when == "handshake":
            _, writer = await asyncio.open_connection(server.host, server.port)
            bio = ssl.MemoryBIO(), ssl.MemoryBIO()
            with contextlib.suppress(ssl.SSLWantReadError):
                context.wrap_bio(*bio).do_handshake()
            writer.write(bio[1].read())
            await asyncio.sleep(0.05)
            reset(writer)
            return
        stream = await open_stream(server.host, server.port, context)
        octets = {
            "head": b"POST /ec",
            "body": b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nx",
            "answer": b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n",
        }[when]
        stream.writer.write(octets)
        await asyncio.sleep(0.05)
        reset(stream.writer)

    async def main() -> None:
        async with served(registrar) as server:
            for _ in range(3):
                await leave(server)
            await asyncio.sleep(0.1)
            stream = await open_stream(server.host, server.port, context)
            assert (await ask(stream))["version"] == f"TLSv{version}"
            stream.abort()

    tls.run_on(loop, main())
    assert no_tracebacks(caplog)


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    writer.transport.abort()


@both_loops
@pytest.mark.parametrize(
    "octets", [b"GET / HTTP/1.1\r\n\r\n", bytes(64), b"\x15\x03\x01\x00\x02\x02\x28"]
)
def test_octets_that_are_no_tls_are_dropped_quietly(
    registrar: pki.Entity, loop: str, octets: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Plain HTTP, zeros, an alert out of nowhere."""
    caplog.set_level(logging.DEBUG)

    async def main() -> None:
        async with served(registrar) as server:
            reader, writer = await asyncio.open_connection(server.host, server.port)
            writer.write(octets)
            with contextlib.suppress(ConnectionError):
                await asyncio.wait_for(reader.read(), 5)
            writer.close()

    tls.run_on(loop, main())
    assert no_tracebacks(caplog)


@both_loops
@pytest.mark.parametrize(
    "head", [b"NONSENSE\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x00" * 40 + b"\r\n\r\n"]
)
def test_octets_that_are_no_http_are_400_without_a_traceback(
    registrar: pki.Entity, loop: str, head: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Inside TLS; one warning in the log."""

    async def main() -> None:
        async with served(registrar) as server:
            stream = await open_stream(server.host, server.port, provisional_context())
            stream.writer.write(head)
            assert b" 400 " in await asyncio.wait_for(stream.reader.readline(), 5)
            stream.abort()

    tls.run_on(loop, main())
    assert no_tracebacks(caplog)


@both_loops
def test_slow_reader_gets_everything(registrar: pki.Entity, loop: str) -> None:
    """The answer waits in bounded memory until the peer reads on."""

    async def main() -> None:
        async with served(registrar) as server:
            stream = await open_stream(server.host, server.port, provisional_context(), limit=4096)
            stream.writer.write(b"GET /big HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            await asyncio.sleep(0.3)
            await stream.reader.readuntil(b"\r\n\r\n")
            received = hashlib.sha256()
            while octets := await stream.reader.read(65536):
                received.update(octets)
            assert received.hexdigest() == hashlib.sha256(big_body()).hexdigest()
            stream.abort()

    tls.run_on(loop, main())
