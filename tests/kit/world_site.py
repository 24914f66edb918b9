"""The EST server of a world in memory, behind real TLS on loopback, and curl as its client."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from aiohttp import web
from cryptography import x509

from brski.edge.serve import Listener, serving
from brski.edge.signers.file import write_chain, write_private_key
from brski.pki.signatures import PrivateKey
from brski.registry import EST_ROOT, PKCS10
from registrar_plugin import plugin
from registrar_plugin.composition import MountableRegistrar
from registrar_plugin.pledge_facing.error_responses import EST_STATUS
from registrar_plugin.tls_front.in_process import InProcessFront
from tests.kit.programs import require_program
from tests.kit.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What curl saw."""

    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes

    @property
    def der(self) -> bytes:
        """The body out of its base64."""
        return base64.b64decode(self.body)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The server, and a folder for curl."""

    address: str
    folder: Path

    @property
    def est(self) -> str:
        """The root of all operations."""
        return f"https://{self.address}/.well-known/est"

    def credentials(self, chain: Sequence[x509.Certificate], key: PrivateKey) -> tuple[str, ...]:
        """What tells curl to show *chain*."""
        name = chain[0].serial_number
        write_chain(self.folder / f"{name}.pem", chain)
        if not (self.folder / f"{name}.key").exists():
            write_private_key(self.folder / f"{name}.key", key)
        return "--cert", f"{name}.pem", "--key", f"{name}.key"

    async def curl(self, path: str, *arguments: str) -> Reply:
        """One request; *path* below the root of EST."""
        process = await asyncio.create_subprocess_exec(
            *(require_program("curl", "curl"), "-sk", "-i", "-H", "Expect:", "--max-time", "20"),
            *(*arguments, self.est + path),
            cwd=self.folder,
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate()
        head, _, body = out.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        fields = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in fields}
        return Reply(status=int(first.split()[1]), headers=headers, body=body)

    async def post(
        self, path: str, body: bytes, *arguments: str, media_type: str = PKCS10
    ) -> Reply:
        """POST *body* as it is."""
        (self.folder / "body").write_bytes(body)
        sent = ("-H", f"Content-Type: {media_type}", "--data-binary", "@body")
        return await self.curl(path, *sent, *arguments)


@asynccontextmanager
async def est_site(world: World, folder: Path) -> AsyncIterator[Site]:
    """Serve *world*'s registrar, EST alone, while the block runs."""
    entity = world.registrar_entity
    app = web.Application()
    front = InProcessFront(entity.chain, entity.private_key)
    parts = SimpleNamespace(flow=world.registrar, est=world.est, reports=world.reports, front=front)
    registrar = cast("MountableRegistrar", parts)  # what a protocol's application needs of it
    app.add_subapp(EST_ROOT, plugin._protocol(registrar, plugin._EST_ROUTES, EST_STATUS))
    listener = Listener(name="est", app=app, listen="127.0.0.1:0", ssl_context=front.ssl_context())
    async with serving([listener]) as addresses:
        yield Site(address=addresses["est"], folder=folder)
