"""The pledge's machine against the real registrar and MASA, in memory: no socket, no thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature

from brski.errors import OnboardingError
from brski.est.csr import build_csr
from brski.est.transfer import decode_base64, encode_base64
from brski.pki.keys import certificate_der, spki_of
from brski.registry import CSR_ATTRIBUTES, PKCS7_MIME
from brski.telemetry.status import decode_status
from brski.voucher.cms import CMS
from brski.voucher.yang_json import (
    decode_voucher,
    decode_voucher_request,
    encode_voucher,
    encode_voucher_request,
)
from device_client.pledge.attempt import Onboarding
from device_client.pledge.machine import advance
from device_client.pledge.origin import Origin
from device_client.pledge.policy import Pledge, Policy
from device_client.pledge.states import (
    Answer,
    Answered,
    Connect,
    Connected,
    Credential,
    EnrollmentKept,
    Event,
    Finish,
    KeepEnrollment,
    KeepRequest,
    Phase,
    Request,
    RequestKept,
    Result,
    Send,
    Started,
    State,
    Verdict,
    Wait,
    Waited,
)
from masa_stub.issue import IssuePolicy
from registrar_plugin.ca_backend.port import Pending
from registrar_plugin.connection import PledgeConnection
from registrar_plugin.pledge_facing.error_responses import BRSKI_STATUS, EST_STATUS
from registrar_plugin.registrar import VoucherAnswer
from tests.kit import pki
from tests.kit.world import Device, World, make_world

HERE = Origin("192.0.2.7", 8443)

Altering = Callable[[str, bytes], bytes]


def as_it_is(_: str, octets: bytes) -> bytes:
    return octets


def status_of(error: OnboardingError, table: Mapping[type[OnboardingError], int]) -> int:
    """As the web front has it: the nearest class counts."""
    return next(table[kind] for kind in type(error).__mro__ if kind in table)


@dataclass
class Exchange:
    """One device and the world; ``up`` and ``down`` may alter what passes, by path."""

    world: World
    device: Device
    up: Altering = as_it_is
    down: Altering = as_it_is
    key: pki.KeySigner = field(default_factory=lambda: pki.KeySigner(pki.make_key()))
    sent: list[Request] = field(default_factory=list)
    received: list[Answer] = field(default_factory=list)
    nonces: int = 0
    shown: tuple[x509.Certificate, ...] = ()
    presented: tuple[x509.Certificate, ...] = ()
    policy: Policy = field(default_factory=Policy)

    def pledge(self) -> Pledge:
        device = self.device
        return Pledge(
            serial_number=device.serial_number,
            idevid_issuer=device.issuer,
            signer=pki.KeySigner(device.entity.private_key, device.shown),
            idevid_chain=device.shown if device.carried else (),
            voucher_anchors=(*self.world.wire.masa.anchors,),
            serialization=CMS,
            policy=self.policy,
        )

    async def run(self) -> Verdict:
        """From the factory state to the end; whatever waits is over at once."""
        at = Onboarding(pledge=self.pledge(), origin=HERE)
        event: Event | None = Started(phase=Phase.FACTORY)
        while event is not None:
            at, effects = advance(at, event)
            event = None
            for effect in effects:
                match effect:
                    case Connect(credential=credential):
                        event = self.connected(at, credential)
                    case Send(request=request):
                        event = Answered(answer=await self.ask(request), now=pki.NOW)
                    case Wait():
                        event = Waited()
                    case KeepRequest(contents=contents):
                        event = RequestKept(csr=build_csr(self.key, contents.subject))
                    case KeepEnrollment():
                        event = EnrollmentKept()
                    case Finish(verdict=verdict):
                        assert at.state is State.DONE
        return verdict

    def connected(self, at: Onboarding, credential: Credential) -> Connected:
        if credential is Credential.LDEVID:
            assert at.enrollment is not None
            self.shown = at.enrollment.ldevid_chain
        else:
            self.shown = self.device.shown
        self.nonces += 1
        registrar = self.presented or self.world.registrar_entity.chain[:-1]
        return Connected(
            registrar_chain=registrar, nonce=self.nonces.to_bytes(16, "big"), now=pki.NOW
        )

    async def ask(self, request: Request) -> Answer:
        path = request.path.rpartition("/")[2]
        body = self.up(path, request.body)
        self.sent.append(replace(request, body=body))
        table = BRSKI_STATUS if "/brski/" in request.path else EST_STATUS
        connection = self.world.connection(self.shown)
        try:
            answer = await self.answer(path, body, request.content_type, connection)
        except OnboardingError as error:
            answer = Answer(status=status_of(error, table))
        answer = replace(answer, body=self.down(path, answer.body))
        self.received.append(answer)
        return answer

    async def answer(
        self, path: str, body: bytes, media_type: str, connection: PledgeConnection
    ) -> Answer:
        registrar, enrolling = self.world.registrar, self.world.enrolling
        match path:
            case "requestvoucher":
                voucher = await registrar.request_voucher(body, media_type, connection)
                assert isinstance(voucher, VoucherAnswer)
                return Answer(status=200, body=voucher.body, media_type=voucher.media_type)
            case "voucher_status":
                await registrar.voucher_status(decode_status(body), connection)
            case "cacerts":
                certificates = encode_base64(enrolling.ca_certificates())
                return Answer(status=200, body=certificates, media_type=PKCS7_MIME)
            case "csrattrs":
                attributes = encode_base64(enrolling.csr_attributes() or b"")
                return Answer(status=200, body=attributes, media_type=CSR_ATTRIBUTES)
            case "simpleenroll":
                issued = await enrolling.enroll(decode_base64(body), connection)
                if isinstance(issued, Pending):
                    return Answer(status=202, retry_after_s=issued.retry_after_s)
                return Answer(status=200, body=encode_base64(issued), media_type=PKCS7_MIME)
            case "enrollstatus":
                await self.world.reports.enroll_status(decode_status(body), connection)
        return Answer(status=200)

    async def kinds(self) -> list[str]:
        events = await self.world.journal.events(device=self.device.key)
        return [event.kind.value for event in events]


@pytest.mark.requirement("E2E-1")
@pytest.mark.parametrize("asserting", [False, True])
async def test_both_kinds_of_device_enroll(tmp_path: Path, asserting: bool) -> None:
    """Every message of one side is read by the other as it was meant."""
    async with make_world(tmp_path) as world:
        exchange = Exchange(world, world.make_device(asserting=asserting))
        verdict = await exchange.run()
        assert (verdict.result, verdict.reported) == (Result.ENROLLED, True)
        active = await world.journal.active_certificate(exchange.device.key)
        assert active is not None
        assert (await exchange.kinds())[-1] == "enroll-status"


@pytest.mark.requirement("E2E-2")
async def test_somebody_in_between_gets_nothing(tmp_path: Path) -> None:
    """He shows the pledge a certificate of his own, and passes everything on."""
    async with make_world(tmp_path) as world:
        exchange = Exchange(world, world.make_device())
        exchange.presented = pki.make_registrar(pki.make_root("In between")).chain[:1]
        verdict = await exchange.run()
        assert verdict.code == "voucher-refused"
        assert exchange.received[0].status == 401
        assert not world.wire.sent


@pytest.mark.requirement("E2E-4", "PL-28")
async def test_a_voucher_of_another_manufacturer_ends_it(tmp_path: Path) -> None:
    """The registrar believes its MASA; the pledge believes its own."""
    async with make_world(tmp_path) as world:
        exchange = Exchange(world, world.make_device())
        impostor = pki.make_masa_signer(pki.make_root("Another MASA"))

        def forge(path: str, octets: bytes) -> bytes:
            if path != "requestvoucher":
                return octets
            payload = CMS.open(octets).payload
            return CMS.sign(payload, impostor.signer, certificates=impostor.chain)

        exchange.down = forge
        verdict = await exchange.run()
        assert (verdict.result, verdict.code) == (Result.REFUSED, "chain-invalid")
        assert [r.path.rpartition("/")[2] for r in exchange.sent][-1] == "voucher_status"
        assert await world.journal.active_certificate(exchange.device.key) is None


@pytest.mark.requirement("PL-18", "SEC-3")
async def test_an_earlier_voucher_does_not_serve_again(tmp_path: Path) -> None:
    """Replayed to the next attempt of the same device at the same registrar."""
    async with make_world(tmp_path) as world:
        first = Exchange(world, world.make_device())
        assert (await first.run()).result is Result.ENROLLED
        old = first.received[0].body
        again = Exchange(world, first.device, nonces=1)
        again.down = lambda path, octets: old if path == "requestvoucher" else octets
        assert (await again.run()).code == "nonce-mismatch"


@pytest.mark.requirement("PL-17")
async def test_anothers_voucher_does_not_serve(tmp_path: Path) -> None:
    """Fresh, of the right MASA, for the right registrar, with the same nonce even."""
    async with make_world(tmp_path) as world:
        other = Exchange(world, world.make_device("SN-2"))
        assert (await other.run()).result is Result.ENROLLED
        theirs = other.received[0].body
        exchange = Exchange(world, world.make_device("SN-1"))
        exchange.down = lambda path, octets: theirs if path == "requestvoucher" else octets
        assert (await exchange.run()).code == "serial-number-mismatch"


@dataclass
class Losing(Exchange):
    """Loses the first voucher on its way."""

    lost: list[bytes] = field(default_factory=list)

    async def answer(
        self, path: str, body: bytes, media_type: str, connection: PledgeConnection
    ) -> Answer:
        answer = await super().answer(path, body, media_type, connection)
        if path == "requestvoucher" and not self.lost:
            self.lost.append(answer.body)
            return Answer(status=202, retry_after_s=1)
        return answer


@pytest.mark.requirement("PL-12", "E2E-3")
async def test_the_same_octets_again_bring_the_same_voucher(tmp_path: Path) -> None:
    """The answer was lost on its way; the registrar does not ask the MASA twice for it."""
    async with make_world(tmp_path) as world:
        exchange = Losing(world, world.make_device())
        assert (await exchange.run()).result is Result.ENROLLED
        assert exchange.sent[0] == exchange.sent[1]
        assert [exchange.received[1].body] == exchange.lost


LEAVES: dict[str, Any] = {
    "serial_number": "SN-2",
    "nonce": "//79/Pv6+fj39vX08/Lx8A==",
    "proximity_registrar_cert": pki.make_registrar(pki.make_root()).der,
}


@pytest.mark.parametrize("leaf", LEAVES)
@pytest.mark.parametrize("asserting", [False, True])
async def test_each_leaf_of_the_request_is_held_to_the_signature(
    tmp_path: Path, asserting: bool, leaf: str
) -> None:
    """Altered on the way, and signed by whoever altered it: no voucher."""
    async with make_world(tmp_path) as world:
        world.make_device("SN-2")
        exchange = Exchange(world, world.make_device(asserting=asserting))
        forger = pki.KeySigner(pki.make_key(), exchange.device.shown)

        def alter(path: str, octets: bytes) -> bytes:
            if path != "requestvoucher":
                return octets
            leaves = replace(
                decode_voucher_request(CMS.open(octets).payload), **{leaf: LEAVES[leaf]}
            )
            return CMS.sign(
                encode_voucher_request(leaves),
                forger,
                certificates=exchange.device.shown if exchange.device.carried else (),
                name_by_key_identifier=not exchange.device.carried,
            )

        exchange.up = alter
        assert (await exchange.run()).code == "voucher-refused"
        assert not world.wire.sent


VOUCHER_LEAVES: dict[str, Any] = {
    "serial_number": ("SN-2", "serial-number-mismatch"),
    "nonce": ("//79/Pv6+fj39vX08/Lx8A==", "nonce-mismatch"),
    "pinned_domain_cert": (pki.make_root("Another").der, "pin-mismatch"),
}


@pytest.mark.parametrize("leaf", VOUCHER_LEAVES)
async def test_each_leaf_of_the_voucher_is_looked_at(tmp_path: Path, leaf: str) -> None:
    """Altered by the MASA itself: the pledge refuses, and the registrar issues nothing."""
    async with make_world(tmp_path) as world:
        exchange = Exchange(world, world.make_device())
        value, code = VOUCHER_LEAVES[leaf]
        signer = world.wire.masa._signers.usual

        def alter(path: str, octets: bytes) -> bytes:
            if path != "requestvoucher":
                return octets
            voucher = replace(decode_voucher(CMS.open(octets).payload), **{leaf: value})
            return CMS.sign(encode_voucher(voucher), signer, certificates=signer.chain)

        exchange.down = alter
        assert (await exchange.run()).code == code
        assert await world.journal.active_certificate(exchange.device.key) is None


def _is_spare(octets: bytes, at: int, anchor: x509.Certificate) -> bool:
    der = certificate_der(anchor)
    start = octets.find(der)
    return start >= 0 and start + 4 <= at < start + len(der)


@pytest.mark.parametrize("path", ["requestvoucher", "simpleenroll"])
@pytest.mark.parametrize("part", range(8))
async def test_an_octet_altered_on_the_way_enrolls_nobody(
    tmp_path: Path, path: str, part: int
) -> None:
    """In each eighth of each answer: refused, and never with another kind of error.

    Save where it hits a certificate that is enclosed with the voucher and not needed: the pledge
    has the anchor itself.
    """
    async with make_world(tmp_path) as world:
        exchange = Exchange(world, world.make_device(asserting=True))
        spare: list[bool] = []

        def alter(where: str, octets: bytes) -> bytes:
            if where != path or not octets:
                return octets
            at = (2 * part + 1) * len(octets) // 16
            spare.append(_is_spare(octets, at, world.wire.masa.anchors[0]))
            return octets[:at] + bytes([octets[at] ^ 0x15]) + octets[at + 1 :]

        exchange.down = alter
        verdict = await exchange.run()
        assert verdict.result is not Result.ENROLLED or any(spare)


@pytest.mark.parametrize("part", range(12))
async def test_altered_ca_certificates_make_no_stranger_an_anchor(
    tmp_path: Path, part: int
) -> None:
    """Enrolled or not: what the LDevID leads to is a certificate of the domain as it was sent."""
    async with make_world(tmp_path) as world:
        exchange = Exchange(world, world.make_device(asserting=True))

        def alter(path: str, octets: bytes) -> bytes:
            at = (2 * part + 1) * len(octets) // 24
            if path != "cacerts":
                return octets
            return octets[:at] + bytes([octets[at] ^ 1]) + octets[at + 1 :]

        exchange.down = alter
        verdict = await exchange.run()
        if verdict.result is Result.ENROLLED:
            top = exchange.shown[-1]
            honest = {spki_of(certificate) for certificate in world.owner.chain}
            assert len(exchange.shown) == 1 or spki_of(top) in honest
            assert any(_issued(top, certificate) for certificate in world.owner.chain)


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


@pytest.mark.requirement("MASA-8")
async def test_a_masa_that_refuses_is_heard(tmp_path: Path) -> None:
    """Its 403 reaches the pledge as a refusal."""
    async with make_world(tmp_path, issue=IssuePolicy(refused=frozenset({"SN-1"}))) as world:
        exchange = Exchange(world, world.make_device("SN-1", asserting=True))
        verdict = await exchange.run()
        assert (verdict.result, verdict.code) == (Result.REFUSED, "voucher-refused")


async def test_an_impostor_with_the_serial_number_is_refused(tmp_path: Path) -> None:
    """He asserts what is another's, with a key of his own."""
    async with make_world(tmp_path) as world:
        victim = world.make_device(asserting=True)
        thief = world.make_device(asserting=True, listed=False)
        assert spki_of(thief.entity.certificate) != spki_of(victim.entity.certificate)
        exchange = Exchange(world, thief)
        assert (await exchange.run()).code == "voucher-refused"
        assert exchange.received[0].status == 404
        assert not world.wire.sent


async def test_after_a_crash_the_same_csr_brings_the_same_certificate(tmp_path: Path) -> None:
    """The whole way again, with the key and CSR that were kept: one certificate."""
    async with make_world(tmp_path) as world:
        first = Exchange(world, world.make_device(asserting=True))
        await first.run()
        again = Exchange(world, first.device, key=first.key, nonces=1)
        await again.run()
        posts = [
            (sent.body, got.body)
            for exchange in (first, again)
            for sent, got in zip(exchange.sent, exchange.received, strict=True)
            if sent.path.endswith("simpleenroll")
        ]
        assert posts[0] == posts[1]
