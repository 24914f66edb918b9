"""Our own TLS clients: provisional towards a registrar, verifying towards a MASA."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientConnectorCertificateError, ClientSession, TCPConnector

from brski.edge.tls_client import https_client_context, open_stream, provisional_context
from brski.errors import HandshakeFailed, Unavailable
from tests.integration.tls_site import (
    CLIENTS,
    Served,
    ask,
    both_versions,
    provisional,
    registrar,
    served,
    thumbprints,
)
from tests.kit import pki, tls
from tests.kit.tls import both_loops

__all__ = ["registrar"]


@pytest.mark.requirement("PL-2", "ESTS-20")
@both_loops
@both_versions
def test_pledge_keeps_chain_and_connection(registrar: pki.Entity, loop: str, version: str) -> None:
    """Several requests on the same connection; both ends know the same binding."""
    entity = CLIENTS["oem-chain"]

    async def main() -> None:
        async with served(registrar) as server:
            stream = await open_stream(server.host, server.port, provisional(entity, version))
            assert stream.tls.peer_chain() == registrar.chain
            for _ in range(3):
                answer = await ask(stream)
                assert answer["chain"] == thumbprints(entity)
                assert answer["binding"] == stream.tls.channel_binding().hex()
            stream.writer.close()
            await stream.writer.wait_closed()

    tls.run_on(loop, main())


@both_loops
@both_versions
def test_octet_by_octet_handshake_and_request(
    registrar: pki.Entity, loop: str, version: str
) -> None:
    """A network that cuts everything into single octets changes nothing."""
    entity = CLIENTS["oem-chain"]

    async def main() -> None:
        async with served(registrar) as server, slow_proxy(server) as proxy:
            stream = await open_stream(proxy.host, proxy.port, provisional(entity, version))
            assert (await ask(stream))["chain"] == thumbprints(entity)
            stream.abort()

    tls.run_on(loop, main())


@asynccontextmanager
async def slow_proxy(target: Served) -> AsyncIterator[Served]:
    """Forwards to *target* one octet a segment, and back in threes."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, size: int) -> None:
        with contextlib.suppress(ConnectionError):
            while octets := await reader.read(size):
                writer.write(octets)
                await writer.drain()
                await asyncio.sleep(0)
        writer.close()

    ended = asyncio.Event()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(target.host, target.port)
        back.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.gather(pump(reader, back, 1), pump(there, writer, 3))
        ended.set()

    server = await asyncio.start_server(forward, "127.0.0.1", 0)
    try:
        host, port = server.sockets[0].getsockname()
        yield Served(host, port)
        await ended.wait()
    finally:
        server.close()


@both_loops
def test_pledge_is_told_who_did_not_answer(registrar: pki.Entity, loop: str) -> None:
    """Nobody there and silence may pass; somebody who speaks no TLS, or breaks off, is a peer's
    fault.
    """

    async def main() -> None:
        context = provisional_context()
        port = unused_port()
        with pytest.raises(Unavailable, match="cannot be reached"):
            await open_stream("127.0.0.1", port, context)
        with pytest.raises(Unavailable, match="cannot be reached"):
            await open_stream("host.invalid", 443, context)
        for behaviour, error in (
            (b"HTTP/1.1 400 Bad Request\r\n\r\n", HandshakeFailed),
            (None, HandshakeFailed),
        ):
            async with stranger(behaviour) as place:
                with pytest.raises(error, match="TLS with"):
                    await open_stream(place.host, place.port, context)
        async with stranger(b"") as place:
            with pytest.raises(Unavailable, match=r"within 0\.2 s"):
                await open_stream(place.host, place.port, context, connect_timeout_s=0.2)

    tls.run_on(loop, main())


@asynccontextmanager
async def stranger(answer: bytes | None) -> AsyncIterator[Served]:
    """Accepts, sends *answer*, then waits; with None it closes at once."""
    connections: list[asyncio.StreamWriter] = []

    async def accept(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        if answer is None:
            writer.transport.abort()
        elif answer:
            writer.write(answer)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        host, port = server.sockets[0].getsockname()
        yield Served(host, port)
    finally:
        for writer in connections:
            writer.transport.abort()
        server.close()


def unused_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@pytest.mark.requirement("REG-12", "TLS-6", "TLS-8")
@both_loops
def test_verifying_client_goes_through_aiohttp(
    registrar: pki.Entity, tmp_path: Path, loop: str
) -> None:
    """Right anchor and address: answered, with our certificate; another anchor: not a word."""
    ours = pki.make_registrar(pki.make_pki("Example Client"))
    chain, key = tls.write_entity(tmp_path, "ours", ours)

    async def main() -> None:
        async with served(registrar) as server:
            good = https_client_context([registrar.root], client_chain=chain, client_key=key)
            assert (await get_who(server, good))["chain"] == thumbprints(ours)
            wrong = https_client_context([ours.root])
            with pytest.raises(ClientConnectorCertificateError):
                await get_who(server, wrong)

    tls.run_on(loop, main())


async def get_who(server: Served, context: ssl.SSLContext) -> dict[str, Any]:
    """GET /who by aiohttp."""
    async with (
        ClientSession(connector=TCPConnector(ssl=context)) as session,
        session.get(f"{server.url}/who") as response,
    ):
        answer: dict[str, Any] = await response.json()
        return answer


@both_loops
def test_our_client_context_serves_aiohttp_too(registrar: pki.Entity, loop: str) -> None:
    """Whoever drives a provisional connection by aiohttp gets the same engine."""
    entity = CLIENTS["self-signed"]

    async def main() -> None:
        async with served(registrar) as server:
            context = provisional_context(entity.chain, entity.private_key)
            assert (await get_who(server, context))["chain"] == thumbprints(entity)

    tls.run_on(loop, main())
