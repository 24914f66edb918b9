"""An owner with a registrar of its own, in files, as its EST clients find it on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from brski.edge.serve import Listener, serving
from brski.edge.settings import load_settings
from registrar_plugin.composition import MountableRegistrar, open_registrar
from registrar_plugin.plugin import setup
from registrar_plugin.settings import RegistrarSettings
from tests.kit import pki


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A program that has ended."""

    code: int
    out: bytes
    err: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Keys, chains and settings in one folder."""

    folder: Path
    owner: pki.Entity  # issuing CA
    registrar: pki.Entity
    settings: Path

    async def run(self, *arguments: str, stdin: bytes | None = None) -> Ran:
        """Run a program in the folder, while the registrar serves in this process."""
        process = await asyncio.create_subprocess_exec(
            *arguments,
            cwd=self.folder,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            out, err = await process.communicate(stdin or b"")
        return Ran(code=process.returncode or 0, out=out, err=err.decode(errors="replace"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The same, served."""

    files: Files
    opened: MountableRegistrar
    addresses: dict[str, str]

    @property
    def url(self) -> str:
        return f"https://{self.addresses['pledges']}"


def write_pem(path: Path, chain: Sequence[x509.Certificate]) -> None:
    path.write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in chain))


def write_key(path: Path, entity: pki.Entity) -> None:
    path.touch(0o600)
    path.write_bytes(entity.key_pem)


def lay_out(folder: Path, *, ca: str = "", more: str = "", levels: int = 2) -> Files:
    """Write what a registrar needs.

    Args:
        ca: further keys of ``[ca]``, TOML.
        more: further tables, TOML.
        levels: of the owner's PKI, leaves included.
    """
    owner = pki.make_pki("Example Owner", levels=levels)
    registrar = pki.make_registrar(owner, name="localhost")
    write_pem(folder / "owner.pem", owner.chain)
    write_pem(folder / "root.pem", [owner.root])
    write_pem(folder / "registrar.pem", registrar.chain)
    write_pem(folder / "oem.pem", [pki.make_root("Example OEM").certificate])
    write_key(folder / "owner.key", owner)
    write_key(folder / "registrar.key", registrar)
    settings = folder / "registrar.toml"
    settings.write_text(
        f"""
[registrar]
key = "registrar.key"
chain = "registrar.pem"
[ca]
kind = "embedded"
key = "owner.key"
chain = "owner.pem"
{ca}
[[manufacturer]]
name = "acme"
anchors = "oem.pem"
{more}
"""
    )
    return Files(folder=folder, owner=owner, registrar=registrar, settings=settings)


@asynccontextmanager
async def served(files: Files, *more: Listener) -> AsyncIterator[Site]:
    """Serve the registrar of *files* in this process, and what else a test wants beside it."""
    opened = open_registrar(load_settings(files.settings, RegistrarSettings), source=files.settings)
    app = web.Application()
    setup(app, opened)
    listener = Listener(
        name="pledges", app=app, listen="127.0.0.1:0", ssl_context=opened.ssl_context()
    )
    async with serving([listener, *more]) as addresses:
        yield Site(files=files, opened=opened, addresses=addresses)
