"""The registrar as its settings build it, on loopback TLS, between a manufacturer's two servers.

The MASA and the OEM's records are those of :mod:`tests.kit.world`; before each of the two stands a
:class:`~brski_lab.fault_proxy.FaultProxy`, so that a test can take it away and give it back.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from aiohttp import ClientSession, web
from aiohttp.typedefs import Handler, Middleware
from cryptography import x509

from brski.edge.serve import Listener, serving
from brski.edge.settings import load_settings
from brski.edge.signers.file import write_chain, write_private_key
from brski.edge.tls_server import server_context
from brski.est.certs_only import decode_certs_only
from brski.idevid.record_json import encode_records
from brski.registry import JSON, PKCS10, VOUCHER_CMS_JSON
from brski_lab.fault_proxy import FaultProxy
from masa_stub.passwords import Passwords
from masa_stub.web.registrar_facing import registrar_facing_app
from registrar_plugin.composition import MountableRegistrar, open_registrar
from registrar_plugin.server import listeners_of
from registrar_plugin.settings import RegistrarSettings
from registrar_plugin.store.sqlite import SQLiteJournal
from registrar_plugin.telemetry.events import Event
from tests.kit import pki, talk
from tests.kit.masa_site import misbehaviour
from tests.kit.programs import require_program
from tests.kit.talk import Reply, Talk
from tests.kit.world import Device, Records, World, make_world

REQUEST_VOUCHER: Final = "/.well-known/brski/requestvoucher"
VOUCHER_STATUS: Final = "/.well-known/brski/voucher_status"
ENROLL_STATUS: Final = "/.well-known/brski/enrollstatus"
SIMPLE_ENROLL: Final = "/.well-known/est/simpleenroll"
SIMPLE_REENROLL: Final = "/.well-known/est/simplereenroll"
_ENTRY: Final = "import sys; from registrar_plugin.cli import main; sys.exit(main())"
TIMEOUT_S: Final = 1.0  # of the registrar's own requests


@dataclass(kw_only=True)
class Wired:
    """Everybody on the wire."""

    world: World
    masa: FaultProxy
    oem: FaultProxy
    settings: Path
    registrar: MountableRegistrar | None = None  # while it serves
    pledges: tuple[str, int] = ("", 0)
    management: str = ""
    journal: Path
    app: web.Application = field(default_factory=web.Application)  # for pledges, while it serves
    instead: list[web.Response] = field(default_factory=list)  # what the MASA says, once each
    asked: list[str] = field(default_factory=list)  # the MASA's paths

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[MountableRegistrar]:
        """The registrar runs while the block does; again after it, it is a restart."""
        settings = load_settings(self.settings, RegistrarSettings)
        registrar = open_registrar(settings, source=self.settings, clock=self.world.clock)
        self.registrar = registrar
        listeners = listeners_of(registrar, settings.listen)
        self.app = listeners[0].app
        async with serving(listeners) as addresses:
            host, _, port = addresses["pledges"].rpartition(":")
            self.pledges = host, int(port)
            self.management = addresses["management"]
            yield registrar

    @asynccontextmanager
    async def serving_apart(
        self, *, descriptors: int | None = None
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        """The registrar as a program of its own, for what is measured of it.

        Args:
            descriptors: the hard limit of them that it starts with; None: this process's.
        """
        limit = (
            ()
            if descriptors is None
            else (require_program("prlimit", "util-linux"), f"--nofile={descriptors}")
        )
        process = await asyncio.create_subprocess_exec(
            *(*limit, sys.executable, "-c", _ENTRY, "serve", "-s", str(self.settings)),
            "--announce",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            assert process.stdout is not None
            said = json.loads(await asyncio.wait_for(process.stdout.readline(), 60))
            host, _, port = said["listeners"]["pledges"].rpartition(":")
            self.pledges = host, int(port)
            self.management = said["listeners"]["management"]
            yield process
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()

    async def connect(self, device: Device) -> Talk:
        return await talk.connect(*self.pledges, device.shown, device.entity.private_key)

    async def ask(self, octets: bytes, device: Device) -> Reply:
        """Send *octets* as *device*, over a connection of their own."""
        reply = await talk.ask(*self.pledges, octets, device.shown, device.entity.private_key)
        assert reply is not None
        return reply

    async def voucher(self, device: Device, **changes: Any) -> Reply:
        body = device.request(self.world.registrar_entity.certificate, **changes)
        return await self.ask(talk.request(REQUEST_VOUCHER, body, VOUCHER_CMS_JSON), device)

    async def report(self, device: Device, path: str, **said: Any) -> Reply:
        body = json.dumps({"version": 1, "status": True, "reason": "", **said}).encode()
        return await self.ask(talk.request(path, body, JSON), device)

    async def enroll(self, device: Device, csr: bytes) -> Reply:
        return await self.ask(talk.request(SIMPLE_ENROLL, base64.b64encode(csr), PKCS10), device)

    async def accepted(self, device: Device) -> None:
        """As far as the voucher that the device accepts, which is to succeed."""
        assert (await self.voucher(device)).status == 200
        assert (await self.report(device, VOUCHER_STATUS)).status == 200

    async def onboard(self, device: Device) -> pki.Entity:
        """The whole way, which is to succeed; the LDevID and its key."""
        await self.accepted(device)
        key = pki.make_key()
        reply = await self.enroll(device, self.world.csr(device, pki.KeySigner(key)))
        assert reply.status == 200
        return pki.Entity(certificate=issued_in(reply), private_key=key)

    async def renew(self, shown: pki.Entity, csr: bytes) -> Reply:
        """simplereenroll over the certificate *shown*."""
        octets = talk.request(SIMPLE_REENROLL, base64.b64encode(csr), PKCS10)
        reply = await talk.ask(*self.pledges, octets, (shown.certificate,), shown.private_key)
        assert reply is not None
        return reply

    async def events(self) -> tuple[Event, ...]:
        """What the journal has, oldest first."""
        journal = SQLiteJournal(self.journal)
        try:
            return await journal.events()
        finally:
            await journal.close()

    async def until_ready(self) -> None:
        """Ask until it is; asking alone has to be enough, since no pledge is sent meanwhile."""
        async with asyncio.timeout(30):
            while (await self.health())[0] != 200:
                await asyncio.sleep(0.1)

    async def red_checks(self) -> set[str]:
        """What is not ready; the process is alive whatever that is."""
        assert await self.health("/healthz") == (200, "ok\n")
        status, said = await self.health()
        red = {name for name, check in said["checks"].items() if not check["ready"]}
        assert (status, said["ready"]) == ((503, False) if red else (200, True))
        return red

    async def health(self, path: str = "/readyz") -> tuple[int, Any]:
        """Status and document of the management listener."""
        async with (
            ClientSession() as session,
            session.get(f"http://{self.management}{path}") as answer,
        ):
            return answer.status, await (answer.json() if path != "/healthz" else answer.text())


def issued_in(reply: Reply) -> x509.Certificate:
    """The certificate of a certs-only answer."""
    return decode_certs_only(base64.b64decode(reply.body))[0]


@asynccontextmanager
async def wired(
    folder: Path, *, journal: Path | None = None, timeout_s: float = TIMEOUT_S, **knobs: Any
) -> AsyncIterator[Wired]:
    """Open everybody but the registrar, whose settings are written.

    Args:
        journal: the registrar's, elsewhere than in *folder*.
        timeout_s: of the registrar's own requests.
        knobs: of :func:`tests.kit.world.make_world`.
    """
    (folder / "world").mkdir()
    async with make_world(folder / "world", **knobs) as world, AsyncExitStack() as stack:
        root = pki.make_root("Manufacturer's Servers")
        shown = pki.make_server(root, name="localhost")
        instead: list[web.Response] = []
        asked: list[str] = []
        masa_app = registrar_facing_app(
            world.wire.masa, Passwords({}), misbehaviour(world.wire.masa, None)
        )
        masa_app.middlewares.append(_instead(instead, asked))
        masa = await _behind_a_proxy(stack, masa_app, shown)
        oem = await _behind_a_proxy(stack, _records_app(world.records), shown)
        journal = journal or folder / "registrar.db"
        settings = folder / "registrar.toml"
        _write_keys(folder, world, root)
        settings.write_text(
            _SETTINGS.format(
                journal=journal,
                masa=f"localhost:{masa.address[1]}",
                oem=f"localhost:{oem.address[1]}",
                timeout_s=timeout_s,
            )
        )
        yield Wired(
            world=world,
            masa=masa,
            oem=oem,
            settings=settings,
            journal=journal,
            instead=instead,
            asked=asked,
        )


_SETTINGS: Final = """
journal = "{journal}"
[listen]
pledges = "127.0.0.1:0"
management = "127.0.0.1:0"
[registrar]
key = "registrar.key"
chain = "registrar.pem"
[ca]
kind = "embedded"
key = "owner.key"
chain = "owner.pem"
[admission]
any_device = true
[[manufacturer]]
name = "acme"
anchors = "oem-root.pem"
serial_pattern = "SN-.*"
[manufacturer.source]
kind = "http"
url = "https://{oem}"
anchors = "service-root.pem"
client_key = "registrar.key"
client_chain = "registrar.pem"
timeout_s = {timeout_s}
[manufacturer.masa]
url = "https://{masa}"
hosts = ["{masa}"]
anchors = "masa-tls-root.pem"
timeout_s = {timeout_s}
"""


def _write_keys(folder: Path, world: World, servers: pki.Entity) -> None:
    for name, entity in (("registrar", world.registrar_entity), ("owner", world.owner)):
        write_private_key(folder / f"{name}.key", entity.private_key)
        write_chain(folder / f"{name}.pem", entity.chain)
    write_chain(folder / "oem-root.pem", [world.oem.root])
    for name in ("service-root", "masa-tls-root"):
        write_chain(folder / f"{name}.pem", [servers.certificate])


async def _behind_a_proxy(
    stack: AsyncExitStack, app: web.Application, shown: pki.Entity
) -> FaultProxy:
    listener = Listener(
        name="server",
        app=app,
        listen="127.0.0.1:0",
        ssl_context=server_context(shown.chain, shown.private_key),
    )
    addresses = await stack.enter_async_context(serving([listener]))
    host, _, port = addresses["server"].rpartition(":")
    proxy = FaultProxy(host, int(port))
    await stack.enter_async_context(proxy.serving())
    return proxy


def _instead(answers: list[web.Response], asked: list[str]) -> Middleware:
    @web.middleware
    async def say(request: web.Request, handler: Handler) -> web.StreamResponse:
        asked.append(request.path)
        if not answers:
            return await handler(request)
        await request.read()
        return answers.pop(0)

    return say


def _records_app(records: Records) -> web.Application:
    """An OEM's service, as far as a registrar sees it."""

    async def devices(request: web.Request) -> web.Response:
        found = records.of(request.match_info["serial"], None)
        if not found:
            return web.Response(status=404)
        return web.Response(body=encode_records(found), content_type=JSON)

    app = web.Application()
    app.router.add_get("/v1/devices/{serial}", devices)
    return app
