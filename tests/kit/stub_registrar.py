"""A registrar over real TLS that says what a test tells it to; honest where it tells nothing."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from cryptography import x509

from brski import registry
from brski.edge.tls_engine import TLS_1_3
from brski.edge.tls_server import connection_of, peer_chain, server_context
from brski.voucher.cms import CMS
from brski.voucher.yang_json import decode_voucher_request
from device_client.pledge.origin import Origin
from device_client.pledge.states import Answer
from tests.kit import pki
from tests.kit.device import World

Script = Callable[[bytes], Answer | Awaitable[Answer]]


@dataclass(frozen=True, kw_only=True)
class Heard:
    """One request as it came."""

    path: str  # its last part
    method: str
    content_type: str
    accept: str
    authorization: str
    body: bytes
    client_chain: tuple[x509.Certificate, ...]
    connection: int  # the same number, the same connection
    binding: bytes


@dataclass
class StubRegistrar:
    """Keeps what it heard; ``scripts`` are used up one by one before the honest answer is given."""

    world: World
    scripts: dict[str, list[Script]] = field(default_factory=dict)
    heard: list[Heard] = field(default_factory=list)
    numbers: dict[object, int] = field(default_factory=dict)  # by transport, kept alive
    port: int = 0
    certificate: pki.Entity | None = None  # another than the world's registrar

    @property
    def origin(self) -> Origin:
        return Origin("127.0.0.1", self.port)

    def paths(self) -> list[str]:
        return [heard.path for heard in self.heard]

    def script(self, path: str, *answers: Answer | Script) -> None:
        """The next answers to *path*."""
        queue = self.scripts.setdefault(path, [])
        for answer in answers:
            queue.append(_always(answer) if isinstance(answer, Answer) else answer)

    def honest(self, path: str, body: bytes) -> Answer:
        match path:
            case "requestvoucher":
                request = decode_voucher_request(CMS.open(body).payload)
                return self.world.voucher_answer(request)
            case "cacerts":
                return self.world.ca_certs_answer()
            case "csrattrs":
                return Answer(status=204)
            case "simpleenroll" | "simplereenroll":
                return self.world.ldevid_answer(base64.b64decode(body))
        return Answer(status=200)

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        path = request.path.rpartition("/")[2]
        self.heard.append(
            Heard(
                path=path,
                method=request.method,
                content_type=request.headers.get("Content-Type", ""),
                accept=request.headers.get("Accept", ""),
                authorization=request.headers.get("Authorization", ""),
                body=body,
                client_chain=peer_chain(request.transport),
                connection=self.numbers.setdefault(request.transport, len(self.numbers)),
                binding=connection_of(request.transport).channel_binding(),
            )
        )
        queue = self.scripts.get(path)
        said = queue.pop(0)(body) if queue else self.honest(path, body)
        answer = said if isinstance(said, Answer) else await said
        headers = {}
        if answer.media_type:
            headers["Content-Type"] = answer.media_type
        if answer.retry_after_s is not None:
            headers["Retry-After"] = str(answer.retry_after_s)
        if answer.location is not None:
            headers["Location"] = answer.location
        if answer.status == 401:
            headers["WWW-Authenticate"] = 'Basic realm="who are you", Digest nonce="x"'
        return web.Response(status=answer.status, body=answer.body, headers=headers)

    @asynccontextmanager
    async def serving(
        self, *, keepalive_s: float = 15, maximum: int = TLS_1_3
    ) -> AsyncIterator[None]:
        """Listen on a free port of loopback while the block runs."""
        app = web.Application()
        for root in (registry.BRSKI_ROOT, registry.EST_ROOT, "/elsewhere"):
            app.router.add_route("*", root + "/{name}", self.answer)
        shown = self.certificate or self.world.registrar
        sent = shown.chain[:-1] if shown.issuers else shown.chain
        context = server_context(sent, shown.private_key, maximum=maximum)
        runner = web.AppRunner(
            app, keepalive_timeout=keepalive_s, access_log=None, shutdown_timeout=0.5
        )
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port, ssl_context=context)
        await site.start()
        self.port = runner.addresses[0][1]
        try:
            yield
        finally:
            await runner.cleanup()


def _always(answer: Answer) -> Script:
    return lambda _: answer
