"""A device whose private keys only sign, elsewhere: TLS by tlslite-ng against OpenSSL's servers."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from brski import registry
from brski.edge.tls_engine import TLS_1_2, TLS_1_3
from brski.errors import HandshakeFailed, KeyUnusable, OnboardingError, TooLarge, Unavailable
from brski.est.csr import parse_csr
from brski.est.csr_attributes import encode_csr_attributes
from brski.est.requirements import P384, CSRRequirements
from brski.est.transfer import encode_base64
from brski.idevid.record import Presentation
from brski.pki.keys import certificate_der
from brski.pki.signer import Signer
from device_client.keystore.files import FileKeystore
from device_client.onboard import onboard
from device_client.outcome import Outcome
from device_client.pledge.origin import Origin
from device_client.pledge.states import Answer, Request, Result
from device_client.transport import tlslite_client
from device_client.transport.http import Limits
from device_client.transport.provisional_tls import open_link
from device_client.transport.signing_channel import open_signing_channel
from tests.kit import pki, tls
from tests.kit.device import World
from tests.kit.elsewhere import Elsewhere, IdentityElsewhere, KeysElsewhere
from tests.kit.programs import require_program
from tests.kit.stub_registrar import StubRegistrar

WORLD = World.make()
LIMITS = Limits(progress_s=30, answer_s=60)
GET = Request(method="GET", path=f"{registry.EST_ROOT}/cacerts", accept="*/*")

both_versions = pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3], ids=["1.2", "1.3"])


@pytest.fixture
def registrar() -> StubRegistrar:
    return StubRegistrar(WORLD)


async def join(
    identity: IdentityElsewhere, registrar: StubRegistrar, keystore: FileKeystore
) -> Outcome:
    return await onboard(identity, [registrar.origin], keystore, limits=LIMITS)


# -- the whole way


@pytest.mark.requirement("E2E-1", "TLS-1")
@pytest.mark.parametrize("presentation", Presentation)
@both_versions
async def test_a_device_enrolls(
    tmp_path: Path, registrar: StubRegistrar, presentation: Presentation, version: int
) -> None:
    """IDevID and LDevID key never leave their place; the registrar sees nothing unusual."""
    identity, keys = IdentityElsewhere(WORLD.identity(presentation)), KeysElsewhere()
    keystore = FileKeystore(tmp_path / "keystore", keys)
    async with registrar.serving(maximum=version):
        outcome = await join(identity, registrar, keystore)
    assert (outcome.result, outcome.reported) == (Result.ENROLLED, True)
    assert registrar.heard[0].client_chain == identity.client_chain
    shown = registrar.heard[-1].client_chain
    assert tuple(map(certificate_der, shown)) == outcome.artifacts.ldevid_chain
    assert sum(len(signer.signed) for signer in keys.signers) == 2  # the CSR and one handshake
    kept = (tmp_path / "keystore" / "current" / "ldevid-key.pem").read_text()
    assert kept == "-----BEGIN KEY ELSEWHERE-----\n0\n"


def test_a_device_enrolls_on_another_event_loop(tmp_path: Path, registrar: StubRegistrar) -> None:
    """uvloop, on which the lab runs: its transports are asyncio's by form alone."""

    async def enroll() -> Outcome:
        identity = IdentityElsewhere(WORLD.identity())
        async with asyncio.timeout(60), registrar.serving():
            return await join(identity, registrar, FileKeystore(tmp_path / "keystore"))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(enroll()).result is Result.ENROLLED


@pytest.mark.requirement("ESTS-20")
@both_versions
async def test_both_ends_have_one_channel_binding(
    tmp_path: Path, registrar: StubRegistrar, version: int
) -> None:
    """tls-unique or the exporter, as OpenSSL has it; a CSR is bound by it."""
    wanted = CSRRequirements(keys=(P384,), challenge_password=True)
    body = encode_base64(encode_csr_attributes(wanted))
    registrar.script("csrattrs", Answer(status=200, body=body, media_type=registry.CSR_ATTRIBUTES))
    identity = IdentityElsewhere(WORLD.identity())
    keystore = FileKeystore(tmp_path / "keystore", KeysElsewhere())
    async with registrar.serving(maximum=version):
        outcome = await join(identity, registrar, keystore)
    assert outcome.result is Result.ENROLLED
    csr = parse_csr(base64.b64decode(registrar.heard[4].body))
    binding = registrar.heard[4].binding
    assert len(binding) == (12 if version == TLS_1_2 else 32)
    assert csr.challenge_password == base64.b64encode(binding).decode()


@both_versions
async def test_what_is_signed_can_be_read(registrar: StubRegistrar, version: int) -> None:
    """The signer is given data, not a digest: the handshake, or RFC 8446's context and its hash."""
    key = Elsewhere(WORLD.identity().signer())
    async with registrar.serving(maximum=version):
        link = await open_link(registrar.origin, key, LIMITS)
        await link.close()
    (signed,) = key.signed
    if version == TLS_1_2:
        assert signed[0] == 1  # ClientHello
        assert len(signed) > 1000
    else:
        assert signed[:98] == b" " * 64 + b"TLS 1.3, client CertificateVerify\x00"
        assert len(signed) in (98 + 32, 98 + 48)


@pytest.mark.parametrize("kind", ["P-256", "P-384"])
@both_versions
async def test_many_requests_go_over_one_connection(
    registrar: StubRegistrar, kind: str, version: int
) -> None:
    """And a large one either way, in many records."""
    key = Elsewhere(pki.certify(pki.common_name("SN-1"), key=pki.make_key(kind)).signer)
    body = bytes(60_000)
    registrar.script("cacerts", *[Answer(status=200, body=body)] * 2)
    async with registrar.serving(maximum=version):
        link = await open_link(registrar.origin, key, LIMITS)
        for _ in range(2):
            answer = await link.exchange(GET)
            assert (answer.status, answer.body) == (200, body)
        post = Request(method="POST", path=f"{registry.EST_ROOT}/x", body=body, content_type="a/b")
        await link.exchange(post)
        assert await link.is_usable()
        await link.close()
    assert registrar.heard[-1].body == body
    assert {heard.connection for heard in registrar.heard} == {0}


@both_versions
async def test_a_connection_that_the_registrar_closed_is_spent(
    registrar: StubRegistrar, version: int
) -> None:
    """The device learns of it while nothing is under way, and sends nothing over it."""
    async with registrar.serving(maximum=version):
        link = await open_link(registrar.origin, Elsewhere(WORLD.identity().signer()), LIMITS)
        await link.exchange(GET)
        assert await link.is_usable()
        for transport in registrar.numbers:
            transport.close()  # type: ignore[attr-defined]
        while await link.is_usable():
            await asyncio.sleep(0.01)
        with pytest.raises(Unavailable):
            await link.exchange(GET)
        await link.close()


# -- the server's proof


@both_versions
async def test_a_server_that_lies_about_its_key_is_refused(
    registrar: StubRegistrar, tmp_path: Path, version: int
) -> None:
    """It shows the registrar's certificate and signs with another key. The control has the key."""
    key = Elsewhere(WORLD.identity().signer())
    async with registrar.serving(maximum=version):
        await (await open_link(registrar.origin, key, LIMITS)).close()
    shown = WORLD.registrar
    public_key = shown.private_key.public_key()
    assert isinstance(public_key, ec.EllipticCurvePublicKey)
    (tmp_path / "chain.pem").write_bytes(shown.chain_pem)
    (tmp_path / "forged.key").write_bytes(tls.forged_key_pem(public_key))
    name = "tls1_2" if version == TLS_1_2 else "tls1_3"
    files = (tmp_path / "chain.pem", tmp_path / "forged.key")
    async with s_server(*files, f"-{name}") as origin:
        with pytest.raises(HandshakeFailed):
            await open_link(origin, key, LIMITS)


async def test_more_certificates_than_eight_are_refused(registrar: StubRegistrar) -> None:
    """Each of them is an attacker's word."""
    issuer = pki.make_root("R")
    for number in range(8):
        issuer = pki.make_ca(f"CA {number}", issuer)
    registrar.certificate = pki.make_registrar(issuer)
    async with registrar.serving():
        with pytest.raises(TooLarge):
            await open_link(registrar.origin, Elsewhere(WORLD.identity().signer()), LIMITS)


# -- OpenSSL's own server


@asynccontextmanager
async def s_server(chain: Path, key: Path, *options: str) -> AsyncIterator[Origin]:
    """``openssl s_server -Verify`` with *options*; says what it saw of the client at ``GET /``."""
    openssl = require_program("openssl", "openssl")
    process = await asyncio.create_subprocess_exec(
        openssl, "s_server", "-accept", "127.0.0.1:0", "-cert", str(chain), "-key", str(key),
        "-Verify", "3", "-verify_quiet", "-www", *options, stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            while not (line := (await process.stdout.readline()).decode()).startswith("ACCEPT"):
                assert line
        yield Origin("127.0.0.1", int(line.rpartition(":")[2]))
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


@pytest.mark.parametrize("client", ["P-256", "P-384"])
@pytest.mark.parametrize("server", ["P-256", "P-384", "Ed25519", "RSA-2048"])
@pytest.mark.parametrize("option", ["-tls1_2", "-tls1_3"])
async def test_openssl_s_server_sees_the_client(
    tmp_path: Path, client: str, server: str, option: str
) -> None:
    """With ``-Verify`` it wants a certificate and checks the signature under its key."""
    shown = pki.certify(pki.common_name("server"), key=pki.make_key(server))
    files = tls.write_entity(tmp_path, "server", shown)
    key = Elsewhere(pki.certify(pki.common_name("SN-0815"), key=pki.make_key(client)).signer)
    async with s_server(*files, option) as origin:
        link = await open_link(origin, key, LIMITS)
        answer = await link.exchange(Request(method="GET", path="/", accept="*/*"))
        await link.close()
    assert link.registrar_chain == (shown.certificate,)
    assert key.chain[0].public_bytes(Encoding.PEM) in answer.body


@pytest.mark.parametrize(
    ("options", "works"),
    [
        (("-tls1_3", "-groups", "P-256"), True),  # HelloRetryRequest
        (("-tls1_3", "-groups", "P-521"), False),
        (("-tls1_2", "-client_sigalgs", "ECDSA+SHA256"), True),
        (("-tls1_3", "-client_sigalgs", "ECDSA+SHA256"), True),
        (("-tls1_2", "-client_sigalgs", "ECDSA+SHA384"), False),  # the key signs with SHA-256 only
        (("-tls1_3", "-client_sigalgs", "RSA+SHA256"), False),
        (("-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"), True),
        (("-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"), True),
        (("-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384"), True),
        (("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256"), False),  # CBC
        (("-tls1_2", "-cipher", "AES128-GCM-SHA256"), False),  # no forward secrecy
        (("-tls1_1", "-cipher", "ALL:@SECLEVEL=0"), False),
    ],
)  # fmt: skip
async def test_what_is_agreed_upon(tmp_path: Path, options: Sequence[str], works: bool) -> None:
    """Good suites, curves and signature algorithms; and nothing else, whatever the server wants."""
    files = tls.write_entity(tmp_path, "server", pki.certify(pki.common_name("server")))
    key = Elsewhere(pki.certify(pki.common_name("SN-1")).signer)
    async with s_server(*files, *options) as origin:
        if not works:
            with pytest.raises(HandshakeFailed):
                await open_link(origin, key, LIMITS)
            return
        link = await open_link(origin, key, LIMITS)
        assert (await link.exchange(Request(method="GET", path="/", accept="*/*"))).status == 200
        await link.close()


@both_versions
async def test_a_floor_and_a_ceiling(registrar: StubRegistrar, version: int) -> None:
    """A server below the floor is refused."""
    key = Elsewhere(WORLD.identity().signer())
    low, high = tlslite_client.TLS_1_2, tlslite_client.TLS_1_3
    async with registrar.serving(maximum=version):
        for minimum, maximum in ((low, high), (low, low), (high, high)):
            opening = open_signing_channel(
                "127.0.0.1", registrar.port, key, connect_s=5, handshake_s=5,
                minimum=minimum, maximum=maximum,
            )  # fmt: skip
            if version == TLS_1_2 and minimum == high:
                with pytest.raises(HandshakeFailed):
                    await opening
            else:
                await (await opening).close()


# -- the signer fails


@both_versions
async def test_a_signer_that_is_gone_is_told_and_tried_again(
    tmp_path: Path, registrar: StubRegistrar, version: int
) -> None:
    """In the middle of the handshake. The device may come back; nothing is half done."""
    identity = IdentityElsewhere(WORLD.identity())
    keystore = FileKeystore(tmp_path / "keystore")

    def gone(_: bytes) -> None:
        raise Unavailable("the signer does not answer")

    async with registrar.serving(maximum=version):
        identity.key.before = gone
        outcome = await join(identity, registrar, keystore)
        assert (outcome.result, outcome.code) == (Result.RETRY, "unavailable")
        assert "the signer does not answer" in outcome.reason
        identity.key.before = lambda _: None
        assert (await join(identity, registrar, keystore)).result is Result.ENROLLED


async def test_a_signer_that_is_gone_after_the_handshake(
    tmp_path: Path, registrar: StubRegistrar
) -> None:
    """The voucher-request cannot be signed: told, and tried again."""
    identity = IdentityElsewhere(WORLD.identity())

    def gone(data: bytes) -> None:
        if not data.startswith(b" "):
            raise Unavailable("the signer does not answer")

    identity.key.before = gone
    async with registrar.serving():
        outcome = await join(identity, registrar, FileKeystore(tmp_path / "keystore"))
    assert (outcome.result, outcome.code) == (Result.RETRY, "unavailable")
    assert registrar.heard == []


async def test_a_signer_that_hangs_does_not_hold_the_device(registrar: StubRegistrar) -> None:
    """The loop goes on, and the handshake's time is all that is lost."""
    key, released = Elsewhere(WORLD.identity().signer()), threading.Event()

    def hang(_: bytes) -> None:
        released.wait(30)

    key.before = hang
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    try:
        async with registrar.serving():
            with pytest.raises(HandshakeFailed, match=r"not done in 0\.5 s"):
                await open_link(registrar.origin, key, Limits(progress_s=0.5))
    finally:
        released.set()
        ticking.cancel()
    assert ticks > 5


async def test_a_signer_that_refuses_is_the_device_s_own_fault(
    tmp_path: Path, registrar: StubRegistrar
) -> None:
    """No use in trying again."""
    identity = IdentityElsewhere(WORLD.identity())

    def refuse(_: bytes) -> None:
        raise KeyUnusable("not signed here")

    identity.key.before = refuse
    async with registrar.serving():
        with pytest.raises(KeyUnusable, match="not signed here"):
            await join(identity, registrar, FileKeystore(tmp_path / "keystore"))


async def test_a_signature_of_another_key_never_leaves(registrar: StubRegistrar) -> None:
    """The device notices before the registrar does."""
    right = WORLD.identity().signer()
    wrong = Elsewhere(right)
    wrong.real = _Mixed(right, pki.KeySigner(pki.make_key()))
    async with registrar.serving():
        with pytest.raises(KeyUnusable, match="does not sign for its public half"):
            await open_link(registrar.origin, wrong, LIMITS)
        await (await open_link(registrar.origin, Elsewhere(right), LIMITS)).close()


class _Mixed:
    def __init__(self, shown: Signer, signing: Signer) -> None:
        self.public_key, self.chain, self.sign = shown.public_key, shown.chain, signing.sign


@pytest.mark.parametrize("kind", ["Ed25519", "RSA-2048"])
async def test_a_key_of_another_kind_is_refused(kind: str) -> None:
    """Elsewhere, only P-256 and P-384; in this process all."""
    key = Elsewhere(pki.certify(pki.common_name("SN-1"), key=pki.make_key(kind)).signer)
    with pytest.raises(KeyUnusable, match="P-256 or P-384"):
        await open_link(Origin("127.0.0.1", 1), key, LIMITS)


# -- who answers badly

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def _garbage(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 10)


async def _silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def _gone(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    return


async def _cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(5)
    writer.transport.abort()


async def _endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    record = b"\x16\x03\x03\x40\x00" + b"\x02\xff\xff\xff" + bytes(0x4000 - 4)
    for _number in range(1000):
        writer.write(record)
        await writer.drain()


@pytest.mark.parametrize("handler", [_garbage, _silent, _gone, _cut, _endless])
async def test_a_bad_server_costs_little(handler: Handler) -> None:
    """Time and octets are bounded, and the error says whose it was."""

    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await handler(reader, writer)
        await _close(writer)
        ended.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        origin = Origin("127.0.0.1", server.sockets[0].getsockname()[1])
        limits = Limits(progress_s=0.5)
        with pytest.raises(HandshakeFailed, match="TLS with"):
            await open_link(origin, Elsewhere(WORLD.identity().signer()), limits)
        await ended.wait()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def test_nobody_listens() -> None:
    """It may be tried again."""
    with pytest.raises(Unavailable, match="cannot be reached"):
        await open_link(Origin("127.0.0.1", 1), Elsewhere(WORLD.identity().signer()), LIMITS)


@both_versions
async def test_octets_from_the_middle_break_the_connection(
    registrar: StubRegistrar, version: int
) -> None:
    """A record that nobody sealed ends it; the device does not take it for an answer."""
    key = Elsewhere(WORLD.identity().signer())
    async with registrar.serving(maximum=version), _Middle(registrar.port) as middle:
        link = await open_link(Origin("127.0.0.1", middle.port), key, LIMITS)
        assert (await link.exchange(GET)).status == 200
        middle.spoil = True
        with pytest.raises(OnboardingError):
            await link.exchange(GET)
        assert not await link.is_usable()
        await link.close()


class _Middle:
    """Carries octets between device and registrar, and may change the registrar's."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._ended = asyncio.Event()
        self.port = 0
        self.spoil = False

    async def __aenter__(self) -> _Middle:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._ended.wait()
        self._server.close()
        await self._server.wait_closed()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._to)
        await asyncio.gather(
            self._pump(reader, inner_writer, may_spoil=False),
            self._pump(inner_reader, writer, may_spoil=True),
        )
        self._ended.set()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, may_spoil: bool
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                if may_spoil and self.spoil:
                    data = data[:-1] + bytes([data[-1] ^ 1])
                writer.write(data)
        await _close(writer)
