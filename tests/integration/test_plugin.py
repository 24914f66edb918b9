"""What a mounted plugin answers to strangers, over real TLS, as curl sees it."""

from __future__ import annotations

import asyncio
import base64
import logging
import secrets
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from aiohttp import web
from cryptography import x509

from brski.edge.serve import Listener, serving
from brski.edge.settings import load_settings
from brski.edge.signers.file import load_chain, write_chain, write_private_key
from brski.idevid.record import Presentation
from brski.registry import BODY_LIMIT, JSON, VOUCHER_CMS_JSON
from brski.seed.secret import Seed
from brski.voucher.cms import CMS
from brski_lab.building import Ordered
from brski_lab.children import Children
from brski_lab.stage import Stage, set_stage
from device_client.identity.from_seed import Fuse, SeedIdentity, load_fuse
from device_client.pledge.messages import build_voucher_request
from device_client.pledge.policy import Pledge
from registrar_plugin.composition import open_registrar
from registrar_plugin.plugin import setup
from registrar_plugin.settings import RegistrarSettings
from tests.kit.programs import require_program

GENUINE, REVOKED, UNKNOWN = "SN-0001", "SN-0002", "SN-0BAD"
REQUEST_VOUCHER = "/.well-known/brski/requestvoucher"
VOUCHER_STATUS = "/.well-known/brski/voucher_status"
CA_CERTS = "/.well-known/est/cacerts"
CSR_ATTRS = "/.well-known/est/csrattrs"
SIMPLE_ENROLL = "/.well-known/est/simpleenroll"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    status: int
    head: str
    body: bytes


class Curl:
    """curl in one folder, as a device or as nobody."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def __call__(self, url: str, *arguments: str, shown: SeedIdentity | None = None) -> Reply:
        process = await asyncio.create_subprocess_exec(
            *(require_program("curl", "curl"), "-sk", "-i", "-H", "Expect:"),
            *("--max-time", "20", *self._credentials(shown), *arguments, url),
            cwd=self._folder,
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate()
        head, _, body = out.partition(b"\r\n\r\n")
        return Reply(status=int(head.split()[1]), head=head.decode().lower(), body=body)

    def _credentials(self, shown: SeedIdentity | None) -> tuple[str, ...]:
        if shown is None:
            return ()
        name = secrets.token_hex(8)
        write_private_key(self._folder / f"{name}.key", shown.signer().private_key)
        write_chain(self._folder / f"{name}.pem", shown.client_chain)
        return "--cert", f"{name}.pem", "--key", f"{name}.key"

    async def post(
        self,
        url: str,
        body: bytes,
        *arguments: str,
        media_type: str = VOUCHER_CMS_JSON,
        shown: SeedIdentity | None = None,
    ) -> Reply:
        (self._folder / "body").write_bytes(body)
        sent = ("-H", f"Content-Type: {media_type}", "--data-binary", "@body")
        return await self(url, *sent, *arguments, shown=shown)


@asynccontextmanager
async def staged(folder: Path) -> AsyncIterator[tuple[Stage, Children]]:
    """Everybody of the lab but its registrar, whose place the test's application takes."""
    ordered = [
        Ordered(serial_number=GENUINE, presentation=Presentation.ASSERTED),
        Ordered(serial_number=REVOKED, presentation=Presentation.CARRIED),
    ]
    async with Children(folder / "logs") as children:
        stage = await set_stage(folder, children, ordered, expected=[UNKNOWN])
        await children.end("brski-registrar")
        yield stage, children


@asynccontextmanager
async def mounted(stage: Stage, *, brski: bool = True, est: bool = True) -> AsyncIterator[Listener]:
    """A host's listener with the plugin on it."""
    settings = load_settings(stage.registrar_settings, RegistrarSettings)
    registrar = open_registrar(settings, source=stage.registrar_settings)
    app = web.Application()
    setup(app, registrar, brski=brski, est=est)
    yield Listener(name="host", app=app, listen="127.0.0.1:0", ssl_context=registrar.ssl_context())


def request_of(identity: SeedIdentity, registrar: x509.Certificate) -> bytes:
    """The device's voucher-request for the registrar that shows *registrar*; CMS, DER."""
    pledge = Pledge(
        serial_number=identity.serial_number,
        idevid_issuer=identity.idevid_issuer,
        signer=identity.signer(),
        idevid_chain=identity.client_chain if identity.carried else (),
        voucher_anchors=identity.voucher_anchors,
        serialization=CMS,
    )
    _, octets = build_voucher_request(
        pledge, registrar_certificate=registrar, nonce=secrets.token_bytes(16), created_on=None
    )
    return octets


def with_own_seed(fuse: Fuse, serial_number: str) -> SeedIdentity:
    """Asserts *serial_number* with a key that no manufacturer knows."""
    seed = Seed(secrets.token_bytes(len(fuse.seed.octets)))
    return SeedIdentity(replace(fuse, seed=seed, serial_number=serial_number, certificates=()))


@pytest.mark.requirement("REG-3", "ESTS-5")
async def test_strangers_get_their_status(tmp_path: Path) -> None:
    """Nobody without a certificate, for another registrar, in another type, too much, elsewhere."""
    async with (
        staged(tmp_path) as (stage, _),
        mounted(stage) as listener,
        serving([listener]) as addresses,
    ):
        curl, root = Curl(tmp_path), f"https://{addresses['host']}"
        fuse = load_fuse(stage.fuse_path(GENUINE))
        device = SeedIdentity(fuse)
        ours = load_chain(tmp_path / "keys" / "registrar-chain.pem")[0]
        url = root + REQUEST_VOUCHER

        foreign = load_chain(tmp_path / "keys" / "masa-tls-chain.pem")[0]
        reply = await curl.post(url, request_of(device, foreign), shown=device)
        assert reply.status == 401
        assert "\r\nconnection: close" in reply.head
        assert (await curl.post(url, request_of(device, ours))).status == 401

        good = request_of(device, ours)
        reply = await curl.post(url, good, media_type="application/voucher-cose", shown=device)
        assert reply.status == 415
        reply = await curl.post(url, good, "-H", "Accept: text/plain", shown=device)
        assert reply.status == 406
        assert (await curl.post(url, bytes(BODY_LIMIT + 1), shown=device)).status == 413
        assert (await curl.post(url, b"nothing", shown=device)).status == 400
        reply = await curl.post(root + VOUCHER_STATUS, b"x", media_type="text/plain", shown=device)
        assert reply.status == 415
        reply = await curl.post(root + SIMPLE_ENROLL, b"x", media_type=JSON, shown=device)
        assert reply.status == 415

        for path in ("/.well-known/brski/other", "/.well-known/est/other", "/elsewhere"):
            assert (await curl(root + path)).status == 404
        for path in (REQUEST_VOUCHER, SIMPLE_ENROLL):
            reply = await curl(root + path)
            assert (reply.status, "\r\nallow: post" in reply.head) == (405, True)
        assert (await curl.post(root + CA_CERTS, b"")).status == 405

        cas = await curl(root + CA_CERTS)
        assert cas.status == 200
        await openssl(tmp_path, base64.b64decode(cas.body), "pkcs7", "-inform", "DER", "-noout")
        attributes = await curl(root + CSR_ATTRS)
        assert attributes.status == 200
        await openssl(tmp_path, base64.b64decode(attributes.body), "asn1parse", "-inform", "DER")

        assert (await curl.post(url, good, shown=device)).status == 200  # nothing else was wrong


async def openssl(folder: Path, data: bytes, command: str, *arguments: str) -> None:
    (folder / "openssl.der").write_bytes(data)
    process = await asyncio.create_subprocess_exec(
        *(require_program("openssl", "openssl"), command, "-in", "openssl.der", *arguments),
        cwd=folder,
        stdout=asyncio.subprocess.DEVNULL,
    )
    assert await process.wait() == 0


async def test_an_unknown_a_false_and_a_revoked_device_learn_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Only the log tells which of the three it was."""
    async with staged(tmp_path) as (stage, children):
        await children.run(
            *("brski-oem", "database", "mark", REVOKED, "--reason", "stolen", "--revoked"),
            *("-s", str(tmp_path / "oem.toml")),
        )
        fuse = load_fuse(stage.fuse_path(GENUINE))
        refused = [
            with_own_seed(fuse, UNKNOWN),
            with_own_seed(fuse, GENUINE),
            SeedIdentity(load_fuse(stage.fuse_path(REVOKED))),
        ]
        ours = load_chain(tmp_path / "keys" / "registrar-chain.pem")[0]
        async with mounted(stage) as listener, serving([listener]) as addresses:
            url = f"https://{addresses['host']}{REQUEST_VOUCHER}"
            curl = Curl(tmp_path)
            with caplog.at_level(logging.WARNING, logger="registrar_plugin"):
                replies = [await curl.post(url, request_of(d, ours), shown=d) for d in refused]
    assert [reply.status for reply in replies] == [404, 404, 404]
    assert len({reply.body for reply in replies}) == 1
    assert len({without_date(reply.head) for reply in replies}) == 1
    refusals = [r for r in caplog.records if r.getMessage() == "request refused"]
    codes = [getattr(record, "code", "") for record in refusals]
    assert codes == ["device-unknown", "key-mismatch", "device-revoked"]


def without_date(head: str) -> str:
    return "\n".join(line for line in head.splitlines() if not line.startswith("date:"))


@pytest.mark.parametrize("what", ["plain", "another-tls"])
async def test_another_context_is_503_and_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    """A certificate that the plugin cannot see is not taken for none: never 401 or 403."""
    async with staged(tmp_path) as (stage, _), mounted(stage) as listener:
        context = None
        if what == "another-tls":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            keys = tmp_path / "keys"
            context.load_cert_chain(keys / "registrar-chain.pem", keys / "registrar.key")
        device = SeedIdentity(load_fuse(stage.fuse_path(GENUINE)))
        ours = load_chain(tmp_path / "keys" / "registrar-chain.pem")[0]
        curl, scheme = Curl(tmp_path), "http" if context is None else "https"
        async with serving([replace(listener, ssl_context=context)]) as addresses:
            for path in (REQUEST_VOUCHER, SIMPLE_ENROLL):
                caplog.clear()
                with caplog.at_level(logging.WARNING):
                    reply = await curl.post(
                        f"{scheme}://{addresses['host']}{path}",
                        request_of(device, ours),
                        shown=device,
                    )
                assert (reply.status, reply.body) == (503, b"")
                assert [getattr(r, "code", "") for r in caplog.records] == ["wrong-context"]


@pytest.mark.parametrize("mounts", [(True, False), (False, True)])
async def test_each_protocol_can_be_left_to_the_host(
    tmp_path: Path, mounts: tuple[bool, bool]
) -> None:
    """What is not mounted is not there; the other works."""
    brski, est = mounts
    async with (
        staged(tmp_path) as (stage, _),
        mounted(stage, brski=brski, est=est) as listener,
        serving([listener]) as addresses,
    ):
        curl, root = Curl(tmp_path), f"https://{addresses['host']}"
        device = SeedIdentity(load_fuse(stage.fuse_path(GENUINE)))
        ours = load_chain(tmp_path / "keys" / "registrar-chain.pem")[0]
        asked = await curl.post(root + REQUEST_VOUCHER, request_of(device, ours), shown=device)
        assert asked.status == (200 if brski else 404)
        assert (await curl(root + CA_CERTS)).status == (200 if est else 404)
