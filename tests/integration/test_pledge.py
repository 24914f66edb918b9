"""A device against a registrar over real TLS: the whole of device_client, in process."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from brski import registry
from brski.edge.tls_engine import TLS_1_2, TLS_1_3
from brski.errors import SettingsError, StateError, Unavailable
from brski.est.csr import parse_csr
from brski.est.csr_attributes import encode_csr_attributes
from brski.est.requirements import P384, CSRRequirements
from brski.est.transfer import encode_base64
from brski.idevid.record import Presentation
from brski.pki.keys import certificate_der, encode_spki, spki_of
from brski.voucher.cms import CMS
from brski.voucher.yang_json import decode_voucher_request
from device_client import onboard as onboarding
from device_client.keystore.files import FileKeystore
from device_client.onboard import Outcome, Step, onboard
from device_client.pledge.messages import Policy
from device_client.pledge.origin import Origin
from device_client.pledge.states import (
    Answer,
    Enrollment,
    Phase,
    Result,
    StepName,
    StepStatus,
)
from device_client.transport.http import Limits
from tests.kit import pki
from tests.kit.device import World
from tests.kit.stub_registrar import StubRegistrar

WORLD = World.make()
OTHER = World.make()
LIMITS = Limits(progress_s=2, answer_s=5)
REFUSED_404 = Answer(status=404, body=b"not here\n", media_type="text/plain")
NOBODY = Origin("127.0.0.1", 1)
ALL = ["requestvoucher", "voucher_status", "cacerts", "csrattrs", "simpleenroll", "enrollstatus"]


@dataclass
class Desk:
    """One device on a test's desk."""

    directory: Path
    presentation: Presentation = Presentation.ASSERTED
    steps: list[Step] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)
    clock: Any = lambda: pki.NOW
    sleep: Callable[[float], Awaitable[object]] | None = None

    @property
    def keystore(self) -> FileKeystore:
        return FileKeystore(self.directory / "keystore")

    async def _slept(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def onboard(self, *registrars: StubRegistrar | Origin, **settings: Any) -> Outcome:
        origins = [r if isinstance(r, Origin) else r.origin for r in registrars]
        settings.setdefault("limits", LIMITS)
        settings.setdefault("keystore", self.keystore)
        return await onboard(
            WORLD.identity(self.presentation),
            origins,
            world=onboarding.World(
                clock=self.clock, sleep=self.sleep or self._slept, observer=self.steps.append
            ),
            **settings,
        )


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.fixture
def registrar() -> StubRegistrar:
    return StubRegistrar(WORLD)


# -- the whole way


@pytest.mark.requirement("E2E-1", "PL-2", "PL-5", "PL-9", "PL-29", "PL-30", "PL-31", "TLS-1")
@pytest.mark.parametrize("presentation", Presentation)
@pytest.mark.parametrize("maximum", [TLS_1_2, TLS_1_3], ids=["1.2", "1.3"])
async def test_a_device_enrolls(
    desk: Desk, registrar: StubRegistrar, presentation: Presentation, maximum: int
) -> None:
    """One connection under the IDevID to the end of enrollment, another under the LDevID."""
    desk.presentation = presentation
    async with registrar.serving(maximum=maximum):
        outcome = await desk.onboard(registrar)
    assert (outcome.result, outcome.code, outcome.reported) == (Result.ENROLLED, "enrolled", True)
    assert registrar.paths() == ALL
    first, *rest = (heard.connection for heard in registrar.heard)
    assert rest[:-1] == [first] * 4
    assert rest[-1] != first
    identity = WORLD.identity(presentation)
    assert registrar.heard[0].client_chain == identity.client_chain
    artifacts = outcome.artifacts
    assert certificate_der(registrar.heard[-1].client_chain[0]) == artifacts.ldevid_chain[0]
    assert [(s.name, s.status) for s in desk.steps] == [(n, StepStatus.OK) for n in StepName]
    assert all(step.ms >= 0 and step.registrar == registrar.origin for step in desk.steps)


async def test_artifacts_are_what_was_on_the_wire(desk: Desk, registrar: StubRegistrar) -> None:
    """Raw octets, and PEM of the same."""
    async with registrar.serving():
        artifacts = (await desk.onboard(registrar)).artifacts
    assert artifacts.pledge_voucher_request == registrar.heard[0].body
    request = decode_voucher_request(CMS.open(artifacts.pledge_voucher_request).payload)
    assert request.proximity_registrar_cert == artifacts.registrar_chain[0] == WORLD.registrar.der
    assert CMS.open(artifacts.voucher).certificates == (WORLD.masa.certificate,)
    assert artifacts.pinned_domain_cert == WORLD.owner_root.der
    assert base64.b64decode(registrar.heard[4].body) == artifacts.csr
    ldevid = x509.load_pem_x509_certificates(artifacts.ldevid_pem)
    assert tuple(map(certificate_der, ldevid)) == artifacts.ldevid_chain
    assert spki_of(ldevid[0]) == parse_csr(artifacts.csr).spki
    assert ldevid[1] == WORLD.owner.certificate
    assert artifacts.ca_certs == tuple(sorted(map(certificate_der, WORLD.owner.chain)))


@pytest.mark.requirement("TLS-4")
async def test_what_a_voucher_request_says(desk: Desk, registrar: StubRegistrar) -> None:
    """Path, types, and a body that is DER."""
    async with registrar.serving():
        await desk.onboard(registrar)
    heard = registrar.heard[0]
    assert heard.content_type == heard.accept == registry.VOUCHER_CMS_JSON
    assert heard.body.startswith(b"\x30")


async def test_the_idevid_key_signs_no_csr(desk: Desk, registrar: StubRegistrar) -> None:
    """The LDevID key is fresh, and another in another life of the same device."""
    keys = set()
    async with registrar.serving():
        for _ in range(2):
            outcome = await desk.onboard(registrar)
            keys.add(parse_csr(outcome.artifacts.csr).spki)
            desk.keystore.reset()
    assert len(keys) == 2
    assert encode_spki(WORLD.identity().signer().public_key) not in keys


@pytest.mark.requirement("PL-7", "OEM-13")
async def test_every_attempt_has_its_nonce(desk: Desk, registrar: StubRegistrar) -> None:
    """Also after a factory reset of one and the same device."""
    async with registrar.serving():
        for _ in range(3):
            await desk.onboard(registrar)
            desk.keystore.reset()
    bodies = [h.body for h in registrar.heard if h.path == "requestvoucher"]
    nonces = {decode_voucher_request(CMS.open(body).payload).nonce for body in bodies}
    assert len(nonces) == 3


@pytest.mark.requirement("PL-11", "PL-22")
async def test_a_device_without_a_clock_enrolls(desk: Desk, registrar: StubRegistrar) -> None:
    """It says no time, and holds no date against anybody."""
    desk.clock = None
    async with registrar.serving():
        outcome = await desk.onboard(registrar)
    assert outcome.result is Result.ENROLLED
    signed = CMS.open(outcome.artifacts.pledge_voucher_request)
    assert signed.signing_time is None
    assert decode_voucher_request(signed.payload).created_on is None


# -- once, and not again


@pytest.mark.requirement("PL-1")
async def test_an_enrolled_device_stays_silent(desk: Desk, registrar: StubRegistrar) -> None:
    """Started again, nothing leaves the device."""
    async with registrar.serving():
        first = await desk.onboard(registrar)
        registrar.heard.clear()
        again = await desk.onboard(registrar)
        assert registrar.heard == []
    assert (again.result, again.code) == (Result.ENROLLED, "already-enrolled")
    assert again.artifacts.ldevid_chain == first.artifacts.ldevid_chain


class CutOff(BaseException):
    """The power fails."""


class FailingKeystore(FileKeystore):
    """Loses power right after one of its changes, or right before."""

    def __init__(self, directory: Path, at: str, *, before: bool) -> None:
        super().__init__(directory)
        self.at = at
        self.before = before

    def cut(self, name: str, change: Callable[[], Any]) -> Any:
        if name != self.at:
            return change()
        if not self.before:
            change()
        raise CutOff(name)

    def request_for(self, purpose: Any, **makers: Any) -> bytes:
        ask = super().request_for
        csr: bytes = self.cut("request", lambda: ask(purpose, **makers))
        return csr

    def keep_enrollment(self, enrollment: Enrollment) -> None:
        keep = super().keep_enrollment
        self.cut("enrollment", lambda: keep(enrollment))

    def keep_reported(self) -> None:
        self.cut("reported", super().keep_reported)


@pytest.mark.requirement("PL-1")
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("at", ["request", "enrollment", "reported"])
async def test_cut_off_at_each_durable_step_it_ends_enrolled(
    desk: Desk, registrar: StubRegistrar, at: str, before: bool
) -> None:
    """The next start goes on from what is on disk: the same CSR, one LDevID, one report."""
    failing = FailingKeystore(desk.keystore.directory, at, before=before)
    async with registrar.serving():
        with pytest.raises(CutOff):
            await desk.onboard(registrar, keystore=failing)
        registrar_saw = len(registrar.heard)
        outcome = await desk.onboard(registrar)
        assert outcome.result is Result.ENROLLED
        assert desk.keystore.load().phase is Phase.ENROLLED
    csrs = {heard.body for heard in registrar.heard if heard.path == "simpleenroll"}
    assert len(csrs) == 1
    afterwards = registrar.paths()[registrar_saw:]
    match (at, before):
        case ("request", _) | ("enrollment", True):
            assert afterwards == ALL
        case ("enrollment", False) | ("reported", True):
            assert afterwards == ["enrollstatus"]
        case ("reported", False):
            assert afterwards == []


async def test_success_that_could_not_be_told_is_told_at_the_next_start(
    desk: Desk, registrar: StubRegistrar
) -> None:
    """The device is enrolled, and does not bootstrap for that."""
    registrar.script("enrollstatus", Answer(status=503))
    async with registrar.serving():
        outcome = await desk.onboard(registrar)
        assert (outcome.result, outcome.code) == (Result.ENROLLED, "enrolled-unreported")
        assert not outcome.reported
        assert desk.keystore.load().phase is Phase.UNREPORTED
        registrar.heard.clear()
        again = await desk.onboard(NOBODY)  # it goes to the registrar that it knows
    assert again.reported
    assert registrar.paths() == ["enrollstatus"]


@pytest.mark.requirement("PL-30", "ESTC-2")
async def test_success_is_not_told_to_a_stranger(desk: Desk, registrar: StubRegistrar) -> None:
    """Who took the registrar's place gets no status under the LDevID."""
    registrar.script("enrollstatus", Answer(status=503))
    async with registrar.serving():
        await desk.onboard(registrar)
    stranger = StubRegistrar(OTHER, port=registrar.port)
    async with stranger.serving():
        outcome = await desk.onboard(stranger)
    assert stranger.heard == []
    assert outcome.code == "enrolled-unreported"


async def test_another_devices_keystore_is_refused(desk: Desk, registrar: StubRegistrar) -> None:
    """One keystore, one device."""
    async with registrar.serving():
        await desk.onboard(registrar)
    with pytest.raises(StateError, match="another device"):
        await onboard(_Other(WORLD.identity()), [NOBODY], desk.keystore)


class _Other:
    """The same claims under another key."""

    def __init__(self, identity: Any) -> None:
        self._identity = identity
        self._signer = pki.KeySigner(pki.make_key(), identity.client_chain)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._identity, name)

    def signer(self) -> Any:
        return self._signer


async def test_a_keystore_in_use_is_refused(desk: Desk) -> None:
    """A device that is being configured does not start another bootstrap."""
    with desk.keystore.exclusive(), pytest.raises(StateError, match="another process"):
        await desk.onboard(NOBODY)


async def test_without_registrars_there_is_nothing_to_do(desk: Desk) -> None:
    """It is the settings' fault."""
    with pytest.raises(SettingsError):
        await desk.onboard()


# -- patience


@pytest.mark.requirement("PL-12", "PL-13", "E2E-3")
async def test_202_is_waited_out_with_the_same_octets(desk: Desk, registrar: StubRegistrar) -> None:
    """On the same connection, the wait capped at a minute."""
    registrar.script(
        "requestvoucher",
        Answer(status=202, retry_after_s=2),
        Answer(status=202, retry_after_s=3600),
    )
    async with registrar.serving():
        outcome = await desk.onboard(registrar)
    assert outcome.result is Result.ENROLLED
    assert desk.slept == [2, 60]
    assert len({heard.body for heard in registrar.heard[:3]}) == 1
    assert len({heard.connection for heard in registrar.heard[:3]}) == 1


async def _really(_: float) -> None:
    await asyncio.sleep(0.3)


@pytest.mark.requirement("PL-12", "PL-31")
@pytest.mark.parametrize("path", ["requestvoucher", "simpleenroll"])
async def test_a_connection_closed_meanwhile_is_opened_again(
    desk: Desk, registrar: StubRegistrar, path: str
) -> None:
    """The server's keep-alive ran out: the same certificate there, the same octets again."""
    registrar.script(path, Answer(status=202, retry_after_s=1))
    desk.sleep = _really
    async with registrar.serving(keepalive_s=0.1):
        outcome = await desk.onboard(registrar)
    assert outcome.result is Result.ENROLLED
    first, second = (heard for heard in registrar.heard if heard.path == path)
    assert first.body == second.body
    assert first.connection != second.connection
    assert first.client_chain == second.client_chain


@pytest.mark.requirement("PL-31")
async def test_another_certificate_on_the_second_connection_gets_nothing(
    desk: Desk, registrar: StubRegistrar
) -> None:
    """Whoever answers it is not whom the voucher-request names."""
    registrar.script("requestvoucher", Answer(status=202, retry_after_s=1))
    stranger = StubRegistrar(WORLD, certificate=pki.make_registrar(WORLD.owner))
    taken_over = asyncio.Event()
    asleep = asyncio.Event()

    async def nap(_: float) -> None:
        asleep.set()
        await taken_over.wait()

    desk.sleep = nap
    async with registrar.serving():
        running = asyncio.create_task(desk.onboard(registrar))
        await asleep.wait()
    stranger.port = registrar.port
    async with stranger.serving():
        taken_over.set()
        outcome = await running
    assert (outcome.result, outcome.code) == (Result.REFUSED, "chain-invalid")
    assert stranger.heard == []


# -- what the registrar wants of the CSR


@pytest.mark.requirement("ESTS-13", "ESTC-10")
@pytest.mark.parametrize("maximum", [TLS_1_2, TLS_1_3], ids=["1.2", "1.3"])
async def test_the_csr_follows_the_attributes(
    desk: Desk, registrar: StubRegistrar, maximum: int
) -> None:
    """A P-384 key, bound to this connection by the challengePassword."""
    wanted = CSRRequirements(keys=(P384,), challenge_password=True)
    body = encode_base64(encode_csr_attributes(wanted))
    registrar.script("csrattrs", Answer(status=200, body=body, media_type=registry.CSR_ATTRIBUTES))
    async with registrar.serving(maximum=maximum):
        outcome = await desk.onboard(registrar)
    assert outcome.result is Result.ENROLLED
    csr = parse_csr(outcome.artifacts.csr)
    wanted.check(csr)
    assert csr.challenge_password == base64.b64encode(registrar.heard[4].binding).decode()


@pytest.mark.requirement("ESTC-10")
async def test_a_bound_csr_is_not_carried_to_another_connection(
    desk: Desk, registrar: StubRegistrar
) -> None:
    """It proves the connection that it was made on; the next attempt makes another."""
    body = encode_base64(encode_csr_attributes(CSRRequirements(challenge_password=True)))
    attributes = Answer(status=200, body=body, media_type=registry.CSR_ATTRIBUTES)
    registrar.script("csrattrs", attributes, attributes)
    registrar.script("simpleenroll", Answer(status=202, retry_after_s=1))
    desk.sleep = _really
    async with registrar.serving(keepalive_s=0.1):
        outcome = await desk.onboard(registrar, rounds=2, first_delay_s=0.1)
    assert outcome.result is Result.ENROLLED
    posts = [heard for heard in registrar.heard if heard.path == "simpleenroll"]
    assert len(posts) == 2
    assert posts[0].body != posts[1].body


# -- refusals


@pytest.mark.requirement("PL-27", "PL-28", "E2E-4")
async def test_a_refused_voucher_leaves_nothing_behind(
    desk: Desk, registrar: StubRegistrar
) -> None:
    """It is told without detail, and no certificate is asked for."""

    def forged(body: bytes) -> Answer:
        request = decode_voucher_request(CMS.open(body).payload)
        voucher = WORLD.signed(WORLD.voucher_for(request), OTHER.masa)
        return Answer(status=200, body=voucher, media_type=registry.VOUCHER_CMS_JSON)

    registrar.script("requestvoucher", forged)
    async with registrar.serving():
        outcome = await desk.onboard(registrar)
    assert (outcome.result, outcome.code) == (Result.REFUSED, "chain-invalid")
    assert registrar.paths() == ["requestvoucher", "voucher_status"]
    assert b'"status":false' in registrar.heard[1].body
    assert b"voucher not accepted" in registrar.heard[1].body
    assert desk.keystore.load().phase is Phase.FACTORY
    assert outcome.artifacts.voucher
    assert not outcome.artifacts.ldevid_chain


async def test_a_refused_request_says_so(desk: Desk, registrar: StubRegistrar) -> None:
    """With the registrar's own words."""
    registrar.script("requestvoucher", REFUSED_404)
    async with registrar.serving():
        outcome = await desk.onboard(registrar)
    assert (outcome.result, outcome.code) == (Result.REFUSED, "voucher-refused")
    assert "not here" in outcome.reason
    assert [(s.name.value, s.status.value) for s in desk.steps] == [
        ("connect", "ok"),
        ("voucher-request", "refused"),
    ]


@pytest.mark.requirement("PL-30")
async def test_a_failed_enrollment_is_told_where_it_failed(
    desk: Desk, registrar: StubRegistrar
) -> None:
    """On the very connection of the attempt, with the reason."""
    registrar.script("simpleenroll", Answer(status=403))
    async with registrar.serving():
        outcome = await desk.onboard(registrar)
    assert outcome.result is Result.REFUSED
    assert registrar.paths() == ALL
    assert registrar.heard[-1].connection == registrar.heard[0].connection
    assert b'"status":false' in registrar.heard[-1].body
    assert b"403" in registrar.heard[-1].body


@pytest.mark.requirement("PL-3")
async def test_a_chain_that_does_not_hang_together_is_refused(desk: Desk) -> None:
    """Before a word is said."""
    broken = replace(WORLD.registrar, issuers=OTHER.owner.chain)
    registrar = StubRegistrar(WORLD, certificate=broken)
    async with registrar.serving():
        outcome = await desk.onboard(registrar)
    assert outcome.code == "chain-invalid"
    assert registrar.heard == []


@pytest.mark.requirement("PL-3", "PL-26")
async def test_a_self_signed_registrar_may_be_vouched_for(desk: Desk) -> None:
    """The voucher pins the very certificate."""
    alone = pki.make_registrar(None)
    registrar = StubRegistrar(WORLD, certificate=alone)

    def pinning(body: bytes) -> Answer:
        request = decode_voucher_request(CMS.open(body).payload)
        return WORLD.voucher_answer(request, pinned_domain_cert=alone.der)

    registrar.script("requestvoucher", pinning)
    async with registrar.serving():
        outcome = await desk.onboard(registrar)
    assert outcome.result is Result.ENROLLED
    assert outcome.reported


@pytest.mark.requirement("PL-15")
async def test_a_redirection_leads_to_another_registrar(
    desk: Desk, registrar: StubRegistrar
) -> None:
    """Once; the second registrar sees a request that names its own certificate."""
    second = StubRegistrar(WORLD, certificate=pki.make_registrar(WORLD.owner))
    third = StubRegistrar(WORLD)
    async with registrar.serving(), second.serving(), third.serving():
        registrar.script(
            "requestvoucher",
            Answer(status=307, location=f"{second.origin}/elsewhere/requestvoucher"),
        )
        outcome = await desk.onboard(registrar)
        assert outcome.result is Result.ENROLLED
        assert outcome.registrar == second.origin
        desk.keystore.reset()
        for one, other in ((registrar, second), (second, third)):
            location = f"{other.origin}/elsewhere/requestvoucher"
            one.script("requestvoucher", Answer(status=307, location=location))
        outcome = await desk.onboard(registrar)
    assert outcome.code == "unexpected-response"
    assert third.heard == []


# -- several registrars


@pytest.mark.requirement("PL-27", "PL-33", "DIS-8")
async def test_the_next_registrar_is_tried(desk: Desk, registrar: StubRegistrar) -> None:
    """One is silent, one refuses, the third enrolls; a few seconds pass between."""
    refusing = StubRegistrar(OTHER)
    refusing.script("requestvoucher", REFUSED_404)
    async with registrar.serving(), refusing.serving():
        outcome = await desk.onboard(NOBODY, refusing, registrar)
    assert outcome.result is Result.ENROLLED
    assert outcome.registrar == registrar.origin
    assert len(desk.slept) == 2
    assert all(3 <= pause <= 5 for pause in desk.slept)


async def test_silence_weighs_more_than_a_refusal(desk: Desk) -> None:
    """Trying again may help: the silent registrar may be the right one."""
    refusing = StubRegistrar(WORLD)
    for order in (True, False):
        refusing.script("requestvoucher", REFUSED_404)
        async with refusing.serving():
            pair: list[StubRegistrar | Origin] = [refusing, NOBODY]
            outcome = await desk.onboard(*(pair if order else reversed(pair)))
        assert (outcome.result, outcome.code) == (Result.RETRY, "unavailable")


@pytest.mark.requirement("PL-33")
async def test_one_registrar_is_tried_again_after_its_back_off(
    desk: Desk, registrar: StubRegistrar
) -> None:
    """Doubling, and never before what it asked for."""
    registrar.script(
        "requestvoucher",
        Answer(status=500),
        Answer(status=503, retry_after_s=30),
        Answer(status=500),
    )
    async with registrar.serving():
        outcome = await desk.onboard(registrar, rounds=4, first_delay_s=10)
    assert outcome.result is Result.ENROLLED
    assert [round(pause) for pause in desk.slept] == [10, 30, 40]


@pytest.mark.requirement("PL-34")
async def test_who_accepts_and_says_nothing_is_left(desk: Desk) -> None:
    """A TCP listener that never begins TLS costs the progress deadline and no more."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        origin = Origin("127.0.0.1", server.sockets[0].getsockname()[1])
        began = asyncio.get_running_loop().time()
        outcome = await desk.onboard(origin, limits=Limits(progress_s=0.3, answer_s=1))
        took = asyncio.get_running_loop().time() - began
    assert outcome.result is Result.RETRY
    assert took < 2
    assert [(s.name.value, s.status.value) for s in desk.steps] == [("connect", "failed")]


# -- the disk, the log


async def test_a_full_disk_is_told_and_raised(
    desk: Desk, registrar: StubRegistrar, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The registrar hears that it failed, not why; the person hears why."""

    class Unwritable(FileKeystore):
        def keep_enrollment(self, enrollment: Enrollment) -> None:
            raise StateError("/var/lib/device: damaged")

    async with registrar.serving():
        with pytest.raises(StateError, match="damaged"):
            await desk.onboard(registrar, keystore=Unwritable(desk.keystore.directory))
    assert registrar.paths()[-1] == "enrollstatus"
    assert b"could not keep" in registrar.heard[-1].body
    assert b"/var" not in registrar.heard[-1].body


async def test_nothing_secret_is_logged(
    desk: Desk, registrar: StubRegistrar, caplog: pytest.LogCaptureFixture
) -> None:
    """Steps and the end are; keys, vouchers and nonces are not."""
    caplog.set_level(logging.DEBUG)
    async with registrar.serving():
        outcome = await desk.onboard(registrar)
    text = "\n".join(f"{r.getMessage()} {vars(r)}" for r in caplog.records)
    assert "onboarding step" in text
    assert "enrolled" in text
    key = (desk.keystore.directory / "current" / "ldevid-key.pem").read_text().splitlines()
    request = decode_voucher_request(CMS.open(outcome.artifacts.pledge_voucher_request).payload)
    assert request.nonce is not None
    secrets = [*key[1:-1], request.nonce, bytes(range(32)).hex(), outcome.artifacts.voucher.hex()]
    assert not [secret for secret in secrets if secret in text]


async def test_policy_reaches_the_decision(desk: Desk, registrar: StubRegistrar) -> None:
    """What the settings say is what is done."""

    def nonceless(body: bytes) -> Answer:
        request = decode_voucher_request(CMS.open(body).payload)
        return WORLD.voucher_answer(request, nonce=None)

    registrar.script("requestvoucher", nonceless, nonceless)
    async with registrar.serving():
        assert (await desk.onboard(registrar)).code == "nonce-mismatch"
        outcome = await desk.onboard(registrar, policy=Policy(allow_nonceless=True))
    assert outcome.result is Result.ENROLLED


async def test_a_report_that_could_not_be_noted_is_made_again(
    desk: Desk, registrar: StubRegistrar
) -> None:
    """The registrar hears it twice, which harms nobody."""

    class Forgetful(FileKeystore):
        def keep_reported(self) -> None:
            raise Unavailable("the disk is full")

    async with registrar.serving():
        outcome = await desk.onboard(registrar, keystore=Forgetful(desk.keystore.directory))
        assert outcome.reported
        assert (await desk.onboard(registrar)).code == "enrolled"
    assert registrar.paths().count("enrollstatus") == 2


@pytest.mark.requirement("PL-4")
async def test_too_long_a_chain_is_refused(desk: Desk) -> None:
    """Before any of it is looked at."""
    long = replace(WORLD.registrar, issuers=(WORLD.owner.certificate,) * 10)
    registrar = StubRegistrar(WORLD, certificate=long)
    async with registrar.serving():
        outcome = await desk.onboard(registrar)
    assert (outcome.result, outcome.code) == (Result.REFUSED, "too-large")
    assert registrar.heard == []
