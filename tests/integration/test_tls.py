"""TLS and HTTP over loopback, on asyncio and on uvloop, with curl and openssl at the other end.

What the engine does in memory is in ``tests/unit/edge/test_tls_engine.py``; here are sockets, event
loops, time-outs, and peers that behave badly.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import ClientConnectorCertificateError, ClientSession, TCPConnector, web
from cryptography.hazmat.primitives.serialization import Encoding

from brski.edge.serve import Listener, serving
from brski.edge.tls_client import Stream, https_client_context, open_stream, provisional_context
from brski.edge.tls_engine import TLS_1_2, TLS_1_3
from brski.edge.tls_server import connection_of, server_context
from brski.edge.web_errors import TRANSPORT_FAULTS, error_middleware, read_body
from brski.errors import HandshakeFailed, SettingsError, Unavailable
from tests.kit import pki, tls
from tests.kit.programs import require_program
from tests.kit.tls import both_loops

VERSIONS: Final = {"1.2": TLS_1_2, "1.3": TLS_1_3}
both_versions = pytest.mark.parametrize("version", list(VERSIONS))
CLIENTS: Final = tls.client_entities()
BIG: Final = 20 * 1024 * 1024
LOG: Final = logging.getLogger("tests.tls")

routes = web.RouteTableDef()


@routes.get("/who")
async def who(request: web.Request) -> web.Response:
    """What the application can know of its peer."""
    connection = connection_of(request.transport)
    return web.json_response(
        {
            "chain": [thumbprint(der) for der in connection.peer_chain_der()],
            "version": connection.version(),
            "binding": connection.channel_binding().hex(),
        }
    )


@routes.post("/echo")
async def echo(request: web.Request) -> web.Response:
    return web.Response(body=await read_body(request, limit=64 * 1024, deadline_s=0.5))


@routes.post("/digest")
async def digest(request: web.Request) -> web.Response:
    body = await read_body(request, limit=2 * BIG, deadline_s=30)
    return web.Response(text=hashlib.sha256(body).hexdigest())


@routes.get("/big")
async def big(_request: web.Request) -> web.Response:
    return web.Response(body=big_body())


def big_body() -> bytes:
    block = hashlib.sha256(b"block").digest() * 2048
    return block * (BIG // len(block))


def thumbprint(der: bytes) -> str:
    return hashlib.sha256(der).hexdigest()


def thumbprints(entity: pki.Entity | None) -> list[str]:
    chain = entity.chain if entity else ()
    return [thumbprint(certificate.public_bytes(Encoding.DER)) for certificate in chain]


@pytest.fixture(scope="module")
def registrar() -> pki.Entity:
    return pki.make_registrar(pki.make_pki("Example Owner"))


@dataclass(frozen=True)
class Served:
    host: str
    port: int

    @property
    def url(self) -> str:
        return f"https://{self.host}:{self.port}"


@asynccontextmanager
async def served(registrar: pki.Entity, **more: Any) -> AsyncIterator[Served]:
    app = web.Application(middlewares=[error_middleware(TRANSPORT_FAULTS, LOG)])
    app.add_routes(routes)
    listener = Listener(
        name="test",
        app=app,
        listen="127.0.0.1:0",
        ssl_context=server_context(registrar.chain, registrar.private_key),
        **more,
    )
    async with serving([listener]) as addresses:
        host, port = addresses["test"].split(":")
        yield Served(host, int(port))


async def run_program(*command: str, stdin: bytes = b"", timeout_s: float = 30) -> tuple[int, str]:
    """Exit code, and stdout with stderr."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(stdin), timeout_s)
    except TimeoutError:
        process.kill()
        out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(errors="replace")


def no_tracebacks(caplog: pytest.LogCaptureFixture) -> bool:
    return all(r.exc_info is None and r.levelno < logging.ERROR for r in caplog.records)


# -- independent clients


@pytest.mark.requirement("TLS-1", "REG-1")
@both_loops
@both_versions
@pytest.mark.parametrize("name", [*CLIENTS, "none"])
def test_curl_reaches_the_application_with_any_certificate(
    registrar: pki.Entity, tmp_path: Path, loop: str, version: str, name: str
) -> None:
    """Self-signed, chain, expired, unknown critical extension, serverAuth only, none."""
    curl = require_program("curl", "curl")
    entity = CLIENTS.get(name)
    command = [curl, "-sk", f"--tlsv{version}", "--tls-max", version]
    if entity is not None:
        chain, key = tls.write_entity(tmp_path, "client", entity)
        command += ["--cert", str(chain), "--key", str(key)]

    async def main() -> None:
        async with served(registrar) as server:
            code, out = await run_program(*command, f"{server.url}/who")
            assert code == 0, out
            answer = json.loads(out)
            assert answer["chain"] == thumbprints(entity)
            assert answer["version"] == f"TLSv{version}"

    tls.run_on(loop, main())


@both_loops
@both_versions
def test_openssl_gets_no_session_that_it_could_resume(
    registrar: pki.Entity, tmp_path: Path, loop: str, version: str
) -> None:
    """Two handshakes with a saved session, two full handshakes."""
    openssl = require_program("openssl", "openssl")
    session = tmp_path / "session.pem"
    flag = "-tls1_2" if version == "1.2" else "-tls1_3"
    request = b"GET /who HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

    async def main() -> None:
        async with served(registrar) as server:
            command = [
                openssl,
                "s_client",
                flag,
                "-connect",
                f"{server.host}:{server.port}",
                "-ign_eof",
            ]
            _, first = await run_program(*command, "-sess_out", str(session), stdin=request)
            assert "New, TLSv" in first
            assert "200 OK" in first
            if session.exists():
                _, second = await run_program(*command, "-sess_in", str(session), stdin=request)
                assert "New, TLSv" in second
                assert "Reused, TLSv" not in second

    tls.run_on(loop, main())


@both_loops
def test_openssl_cannot_renegotiate(registrar: pki.Entity, loop: str) -> None:
    """The connection may end; it may not get new keys."""
    openssl = require_program("openssl", "openssl")

    async def main() -> None:
        async with served(registrar) as server:
            _, out = await run_program(
                openssl, "s_client", "-tls1_2", "-connect", f"{server.host}:{server.port}",
                stdin=b"R\n", timeout_s=10,
            )  # fmt: skip
            assert "RENEGOTIATING" in out
            assert re.search(r"no renegotiation|handshake failure", out)

    tls.run_on(loop, main())


@pytest.mark.requirement("ESTS-19")
@both_loops
def test_openssl_with_tls_1_1_is_refused(registrar: pki.Entity, loop: str) -> None:
    """By an alert, and the next client is served."""
    openssl = require_program("openssl", "openssl")

    async def main() -> None:
        async with served(registrar) as server:
            place = f"{server.host}:{server.port}"
            _, out = await run_program(
                openssl, "s_client", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0", "-connect", place
            )
            assert re.search(r"protocol version|Cipher is \(NONE\)", out)
            _, out = await run_program(openssl, "s_client", "-tls1_2", "-connect", place)
            assert "Cipher is ECDHE" in out

    tls.run_on(loop, main())


@both_loops
@both_versions
def test_openssl_that_signs_with_another_key_is_refused(
    registrar: pki.Entity, tmp_path: Path, loop: str, version: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A certificate of somebody else's device is worth nothing without its key."""
    openssl = require_program("openssl", "openssl")
    entity = CLIENTS["oem-chain"]
    chain, key = tls.write_entity(tmp_path, "client", entity)
    public_key: Any = entity.certificate.public_key()
    flag = "-tls1_2" if version == "1.2" else "-tls1_3"
    request = b"GET /who HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

    async def main() -> None:
        async with served(registrar) as server:
            command = [
                openssl, "s_client", flag, "-connect", f"{server.host}:{server.port}",
                "-cert", str(chain), "-key", str(key), "-ign_eof",
            ]  # fmt: skip
            _, out = await run_program(*command, stdin=request)
            assert "200 OK" in out
            key.write_bytes(tls.forged_key_pem(public_key))
            _, out = await run_program(*command, stdin=request)
            assert "200 OK" not in out

    tls.run_on(loop, main())
    assert no_tracebacks(caplog)


@both_loops
@both_versions
def test_curl_moves_twenty_megabytes_each_way(
    registrar: pki.Entity, tmp_path: Path, loop: str, version: str
) -> None:
    """Nothing stalls, nothing is lost: flow control of loop and engine agree."""
    curl = require_program("curl", "curl")
    body = tmp_path / "body"
    body.write_bytes(big_body())
    expected = hashlib.sha256(big_body()).hexdigest()
    received = tmp_path / "received"

    async def main() -> None:
        async with served(registrar) as server:
            command = [curl, "-sk", f"--tlsv{version}", "--tls-max", version, "--max-time", "30"]
            code, out = await run_program(
                *command, "--data-binary", f"@{body}", f"{server.url}/digest"
            )
            assert (code, out) == (0, expected)
            code, out = await run_program(*command, "-o", str(received), f"{server.url}/big")
            assert code == 0, out
            assert hashlib.sha256(received.read_bytes()).hexdigest() == expected

    tls.run_on(loop, main())


# -- our client


async def ask(stream: Stream, path: str = "/who") -> dict[str, Any]:
    """GET on an open stream; the answer's JSON."""
    stream.writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head = await stream.reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    assert length is not None
    answer: dict[str, Any] = json.loads(await stream.reader.readexactly(int(length[1])))
    return answer


def provisional(entity: pki.Entity, version: str) -> Any:
    fixed = VERSIONS[version]
    return provisional_context(entity.chain, entity.private_key, minimum=fixed, maximum=fixed)


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


# -- peers that behave badly


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


# -- serving


@both_loops
def test_requests_under_way_are_finished_at_the_end(registrar: pki.Entity, loop: str) -> None:
    """Graceful: the answer arrives after the server was told to stop; new ones are not taken."""

    async def main() -> None:
        entered, leave = asyncio.Event(), asyncio.Event()

        async def slow(_request: web.Request) -> web.Response:
            entered.set()
            await leave.wait()
            return web.json_response({"done": True})

        app = web.Application()
        app.router.add_get("/slow", slow)
        context = server_context(registrar.chain, registrar.private_key)
        listener = Listener(name="a", app=app, listen="127.0.0.1:0", ssl_context=context)
        serving_ = serving([listener])
        host, port = (await serving_.__aenter__())["a"].split(":")
        stream = await open_stream(host, int(port), provisional_context())
        asking = asyncio.create_task(ask(stream, "/slow"))
        await entered.wait()
        ending = asyncio.create_task(serving_.__aexit__(None, None, None))
        await asyncio.sleep(0.05)
        with pytest.raises(Unavailable):
            await open_stream(host, int(port), provisional_context())
        leave.set()
        assert await asking == {"done": True}
        await ending
        stream.abort()

    tls.run_on(loop, main())


@both_loops
def test_one_application_behind_two_listeners(registrar: pki.Entity, loop: str) -> None:
    """Started and cleaned up once."""

    async def main() -> None:
        started: list[str] = []

        async def context(_app: web.Application) -> AsyncIterator[None]:
            started.append("up")
            yield
            started.append("down")

        app = web.Application(middlewares=[error_middleware(TRANSPORT_FAULTS, LOG)])
        app.add_routes(routes)
        app.cleanup_ctx.append(context)
        tls_context = server_context(registrar.chain, registrar.private_key)
        listeners = [
            Listener(name="tls", app=app, listen="127.0.0.1:0", ssl_context=tls_context),
            Listener(name="plain", app=app, listen="127.0.0.1:0", ssl_context=None),
        ]
        async with serving(listeners) as addresses:
            assert set(addresses) == {"tls", "plain"}
            assert addresses["tls"] != addresses["plain"]
            url = f"http://{addresses['plain']}/who"
            async with ClientSession() as session, session.get(url) as response:
                assert response.status == 503  # WrongContext
        assert started == ["up", "down"]

    tls.run_on(loop, main())


@both_loops
def test_address_that_cannot_be_taken_is_a_setting_to_mend(
    registrar: pki.Entity, loop: str
) -> None:
    """In use, or not of this host; what was started before is cleaned up."""

    async def main() -> None:
        ended: list[str] = []

        async def context(_app: web.Application) -> AsyncIterator[None]:
            yield
            ended.append("down")

        with socket.socket() as taken, socket.socket() as deaf, Path(os.devnull).open() as file:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            used = f"127.0.0.1:{taken.getsockname()[1]}"
            descriptors = (deaf.fileno(), file.fileno(), 999)
            for listen in (used, "192.0.2.1:0", *(f"fd:{number}" for number in descriptors)):
                app = web.Application()
                app.cleanup_ctx.append(context)
                listener = Listener(name="x", app=app, listen=listen, ssl_context=None)
                with pytest.raises(SettingsError, match=f"x: cannot listen on {listen}"):
                    await enter(serving([listener]))
        assert ended == ["down"] * 5

    tls.run_on(loop, main())


async def enter(manager: Any) -> None:
    async with manager:
        pass


PROGRAM: Final = """
import asyncio, sys
from aiohttp import web
from brski.edge.serve import Listener, run_loop, serve
async def hello(request):
    return web.Response(text=type(asyncio.get_running_loop()).__module__)
app = web.Application()
app.router.add_get("/", hello)
listener = Listener(name="only", app=app, listen=sys.argv[1], ssl_context=None)
run_loop(serve([listener], announce=True))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_program_announces_itself_and_ends_at_a_signal(number: signal.Signals) -> None:
    """One JSON line on stdout, exit 0, nothing on stderr; on an inherited socket, under uvloop."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        descriptor = sock.fileno()
        with subprocess.Popen(
            [sys.executable, "-c", PROGRAM, f"fd:{descriptor}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[descriptor],
            text=True,
        ) as child:
            assert child.stdout is not None
            address = f"127.0.0.1:{sock.getsockname()[1]}"
            assert json.loads(child.stdout.readline()) == {
                "event": "listening",
                "listeners": {"only": address},
            }
            asyncio.run(check_hello(address))
            os.kill(child.pid, number)
            out, err = child.communicate(timeout=20)
            assert (child.returncode, out, err) == (0, "", "")


async def check_hello(address: str) -> None:
    async with ClientSession() as session, session.get(f"http://{address}/") as response:
        assert (await response.text()).startswith("uvloop")


STUBBORN: Final = PROGRAM.replace(
    "    return web.Response(text=type(asyncio.get_running_loop()).__module__)\n",
    "    print('entered', flush=True)\n    await asyncio.sleep(60)\n",
)


def test_second_signal_does_not_wait() -> None:
    """The first one waits for the request under way; a person who insists is obeyed at once."""
    with subprocess.Popen(
        [sys.executable, "-c", STUBBORN, "127.0.0.1:0"], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        host, port = json.loads(child.stdout.readline())["listeners"]["only"].split(":")
        with socket.create_connection((host, int(port))) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert child.stdout.readline() == "entered\n"
            child.terminate()
            with pytest.raises(subprocess.TimeoutExpired):
                child.wait(0.5)
            child.terminate()
            assert child.wait(5) == -signal.SIGTERM
