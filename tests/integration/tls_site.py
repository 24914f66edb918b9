"""A TLS server for the tests of sockets, time-outs and peers that behave badly, on each event loop.

What the engine does in memory is in ``tests/unit/edge/test_tls_*.py``.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.serialization import Encoding

from brski.edge.serve import Listener, serving
from brski.edge.tls_client import Stream, provisional_context
from brski.edge.tls_engine import TLS_1_2, TLS_1_3
from brski.edge.tls_server import connection_of, server_context
from brski.edge.web_errors import TRANSPORT_FAULTS, error_middleware, read_body
from tests.kit import pki, tls

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
