"""A TLS server that does what a test says, octet by octet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from brski.edge.tls_server import server_context
from tests.kit import pki

ROOT: Final = pki.make_root("Service Root")
SERVICE: Final = pki.make_server(ROOT, name="localhost")
OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class Wire:
    """One connection, as the server sees it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def request(self) -> bytes:
        """The head of the next request; empty when the client has gone."""
        try:
            return await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""

    def say(self, octets: bytes) -> None:
        self.writer.write(octets)


Script = Callable[["Server", Wire], Awaitable[None]]


@dataclass
class Server:
    """Counts connections and keeps the requests."""

    script: Script
    port: int = 0
    connections: int = 0
    open_now: int = 0
    most_open: int = 0
    requests: list[bytes] = field(default_factory=list)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_now += 1
        self.most_open = max(self.most_open, self.open_now)
        try:
            await self.script(self, Wire(reader, writer))
        finally:
            self.open_now -= 1
            writer.close()


async def answer_all(server: Server, wire: Wire) -> None:
    """The usual: one answer to each request."""
    while request := await wire.request():
        server.requests.append(request)
        wire.say(OK)


@asynccontextmanager
async def scripted(
    script: Script = answer_all, *, certificate: pki.Entity = SERVICE, ask_client: bool = False
) -> AsyncIterator[Server]:
    """Serve *script* at a free port of loopback."""
    server = Server(script)
    context = server_context(
        (certificate.certificate,), certificate.private_key, ask_client=ask_client
    )
    listening = await asyncio.start_server(server.handle, "127.0.0.1", 0, ssl=context)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
