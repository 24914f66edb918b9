"""For every gate, somebody who has passed all others: only that gate keeps the LDevID from them.

Each test bends one thing of an onboarding that would else succeed, and sees which refusal stops it,
that no certificate exists, and that the journal says why.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from brski.errors import (
    AuditLogUnacceptable,
    CertificateMismatch,
    ChainInvalid,
    CSRMismatch,
    DeviceRevoked,
    DeviceUnknown,
    DomainNotTrusted,
    KeyMismatch,
    NotAuthenticated,
    OnboardingError,
    PledgeNotExpected,
    PriorRequestRefused,
    ProximityMismatch,
    SerialNumberMismatch,
    SignatureInvalid,
    Unavailable,
    UnexpectedResponse,
    UnknownFormat,
    VoucherRejected,
    WrongOrder,
)
from brski.est.csr import build_csr
from brski.idevid.assertion import assertion_certificate
from brski.idevid.record import DeviceStatus, Presentation
from brski.pki.extensions import encode_idevid_issuer
from brski.pki.names import ldevid_subject
from brski.registry import VOUCHER_CMS_JSON, VOUCHER_JWS_JSON
from brski.telemetry.audit_log import AuditEvent, AuditLog, encode_audit_log
from brski.telemetry.status import Status
from brski.voucher.cms import CMS
from brski.voucher.model import Assertion
from brski.voucher.yang_json import decode_voucher, encode_voucher
from masa_stub.issue import IssuePolicy
from registrar_plugin.admission.judge import AdmissionPolicy
from registrar_plugin.telemetry.events import EventKind, Outcome
from tests.kit import pki
from tests.kit.world import Device, World, make_world, record_of


async def assert_stopped(
    world: World, device: Device, error: type[OnboardingError], *, known: bool = True
) -> None:
    """No certificate of *device* exists, and the journal has the refusal."""
    assert await world.journal.active_certificate(device.key) is None
    refusals = [e for e in await world.journal.events() if e.outcome is Outcome.REFUSED]
    assert refusals[-1].code == error("").code
    assert refusals[-1].reason
    if known:
        assert refusals[-1].device == device.key


# -- who is it


@pytest.mark.requirement("REG-1")
async def test_a_client_without_certificate(tmp_path: Path) -> None:
    async with make_world(tmp_path) as world:
        device = world.make_device()
        body = device.request(world.registrar_entity.certificate)
        with pytest.raises(NotAuthenticated):
            await world.registrar.request_voucher(body, VOUCHER_CMS_JSON, world.connection([]))
        await assert_stopped(world, device, NotAuthenticated, known=False)


async def test_a_request_that_another_key_signed(tmp_path: Path) -> None:
    """A stolen request does not work over the thief's own connection."""
    async with make_world(tmp_path) as world:
        device, thief = world.make_device("SN-1"), world.make_device("SN-2")
        body = device.request(world.registrar_entity.certificate)
        with pytest.raises(SignatureInvalid):
            await world.registrar.request_voucher(
                body, VOUCHER_CMS_JSON, world.connection(thief.shown)
            )
        await assert_stopped(world, device, SignatureInvalid, known=False)


@pytest.mark.requirement("REG-4")
@pytest.mark.parametrize("asserting", [False, True])
async def test_a_request_for_another_serial_number(tmp_path: Path, asserting: bool) -> None:
    """A device asks for itself, whatever it writes into its request."""
    async with make_world(tmp_path) as world:
        world.make_device("SN-2", asserting=asserting)
        device = world.make_device("SN-1", asserting=asserting)
        with pytest.raises(SerialNumberMismatch):
            await world.voucher(device, serial_number="SN-2")
        assert not world.wire.sent
        await assert_stopped(world, device, SerialNumberMismatch, known=False)


@pytest.mark.requirement("REG-3")
async def test_a_request_made_for_another_registrar(tmp_path: Path) -> None:
    """Somebody between pledge and registrar has shown the pledge another certificate."""
    async with make_world(tmp_path) as world:
        device = world.make_device()
        other = pki.make_registrar(world.owner)
        body = device.request(other.certificate)
        with pytest.raises(ProximityMismatch):
            await world.registrar.request_voucher(
                body, VOUCHER_CMS_JSON, world.connection(device.shown)
            )
        assert not world.wire.sent
        await assert_stopped(world, device, ProximityMismatch, known=False)


@pytest.mark.requirement("REG-3")
async def test_a_request_that_does_not_say_proximity(tmp_path: Path) -> None:
    async with make_world(tmp_path) as world:
        device = world.make_device()
        with pytest.raises(ProximityMismatch):
            await world.voucher(device, assertion=Assertion.LOGGED)
        await assert_stopped(world, device, ProximityMismatch, known=False)


@pytest.mark.requirement("REG-1")
async def test_a_certificate_of_an_unknown_manufacturer(tmp_path: Path) -> None:
    """The same names, another root."""
    async with make_world(tmp_path) as world:
        genuine = world.make_device()
        stranger = world.make_device(listed=False, issuer=pki.make_pki("Example OEM"))
        with pytest.raises(ChainInvalid):
            await world.voucher(stranger)
        await assert_stopped(world, genuine, ChainInvalid, known=False)


async def test_an_impostor_that_asserts_a_serial_number_with_its_own_key(tmp_path: Path) -> None:
    """The one check that nothing may skip: the proven key is the key on record."""
    async with make_world(tmp_path) as world:
        genuine = world.make_device(asserting=True)
        impostor = replace(
            genuine, entity=pki.make_idevid(world.oem, genuine.serial_number)
        )  # its own key, and even a certificate that names the right issuer
        with pytest.raises(KeyMismatch):
            await world.voucher(impostor)
        assert not world.wire.sent
        await assert_stopped(world, genuine, KeyMismatch, known=False)


@pytest.mark.parametrize("asserting", [False, True])
async def test_a_serial_number_that_the_oem_does_not_know(tmp_path: Path, asserting: bool) -> None:
    """Asserted, there is nothing to believe; carried, the certificate is not on record."""
    async with make_world(tmp_path) as world:
        device = world.make_device(asserting=asserting, listed=False)
        with pytest.raises(DeviceUnknown):
            await world.voucher(device)
        await assert_stopped(world, device, DeviceUnknown, known=False)


@pytest.mark.parametrize("status", [DeviceStatus.REVOKED, DeviceStatus.FLAGGED])
@pytest.mark.parametrize("asserting", [False, True])
async def test_a_device_that_the_oem_has_marked(
    tmp_path: Path, asserting: bool, status: DeviceStatus
) -> None:
    async with make_world(tmp_path) as world:
        device = world.make_device(asserting=asserting)
        world.records.change("SN-1", status=status)
        with pytest.raises(DeviceRevoked):
            await world.voucher(device)
        await assert_stopped(world, device, DeviceRevoked, known=False)


@pytest.mark.parametrize("asserting", [False, True])
async def test_a_device_marked_between_voucher_and_certificate(
    tmp_path: Path, asserting: bool
) -> None:
    """The record is fetched again right before the LDevID is signed."""
    async with make_world(tmp_path) as world:
        device = world.make_device(asserting=asserting)
        await world.voucher(device)
        await world.accept(device)
        world.records.change("SN-1", status=DeviceStatus.REVOKED)
        with pytest.raises(DeviceRevoked):
            await world.enroll(device)
        await assert_stopped(world, device, DeviceRevoked)


async def test_an_oem_that_does_not_answer(tmp_path: Path) -> None:
    """Silence is not "unknown", and not "good enough" either."""
    async with make_world(tmp_path) as world:
        device = world.make_device(asserting=True)
        world.records.silent = Unavailable("the OEM's service does not answer")
        with pytest.raises(Unavailable):
            await world.voucher(device)
        await assert_stopped(world, device, Unavailable, known=False)


async def test_a_voucher_type_that_is_not_spoken(tmp_path: Path) -> None:
    """A sound request of a type that is not known passes no gate by being unknown."""
    async with make_world(tmp_path) as world:
        device = world.make_device()
        with pytest.raises(UnknownFormat):
            await world.registrar.request_voucher(
                device.request(world.registrar_entity.certificate),
                VOUCHER_JWS_JSON,
                world.connection(device.shown),
            )
        await assert_stopped(world, device, UnknownFormat, known=False)


# -- may it


@pytest.mark.requirement("REG-27", "SEC-8")
async def test_a_device_that_nobody_expects(tmp_path: Path) -> None:
    """By default a trusted manufacturer is not enough."""
    async with make_world(tmp_path, admission=AdmissionPolicy()) as world:
        device = world.make_device()
        with pytest.raises(PledgeNotExpected):
            await world.voucher(device)
        assert not world.wire.sent
        await assert_stopped(world, device, PledgeNotExpected)


async def test_a_device_that_is_expected_and_denied(tmp_path: Path) -> None:
    policy = AdmissionPolicy(expected=frozenset(["SN-1"]), denied=frozenset(["SN-1"]))
    async with make_world(tmp_path, admission=policy) as world:
        device = world.make_device()
        with pytest.raises(PledgeNotExpected):
            await world.voucher(device)
        await assert_stopped(world, device, PledgeNotExpected)


async def test_a_namesake_of_an_expected_device(tmp_path: Path) -> None:
    """Expected with its issuer, a device of another issuer with the same serial number is not."""
    policy = AdmissionPolicy(expected=frozenset([f"SN-1@{bytes(20).hex()}"]))
    async with make_world(tmp_path, admission=policy) as world:
        device = world.make_device()
        with pytest.raises(PledgeNotExpected):
            await world.voucher(device)
        await assert_stopped(world, device, PledgeNotExpected)


# -- the manufacturer's word


async def test_a_masa_that_refuses(tmp_path: Path) -> None:
    policy = IssuePolicy(refused=frozenset(["SN-1"]))
    async with make_world(tmp_path, issue=policy) as world:
        device = world.make_device()
        with pytest.raises(DomainNotTrusted):
            await world.voucher(device)
        await assert_stopped(world, device, DomainNotTrusted)


@pytest.mark.requirement("SEC-4", "MASA-6")
async def test_a_key_that_the_masas_own_record_does_not_have(tmp_path: Path) -> None:
    """Registrar deceived by its OEM source: the MASA still verifies under its own record."""
    async with make_world(tmp_path) as world:
        device = world.make_device(asserting=True)
        masas = world.make_device("SN-1", asserting=True, listed=False)
        world.wire.masa._records = _Only(masas)  # type: ignore[assignment]  # the MASA's copy differs
        with pytest.raises(PriorRequestRefused):
            await world.voucher(device)
        await assert_stopped(world, device, PriorRequestRefused)


class _Only:
    def __init__(self, device: Device) -> None:
        self._device = device

    async def find(self, idevid_issuer: bytes | None, serial_number: str) -> tuple[object, ...]:
        return (record_of(self._device),)


@pytest.mark.parametrize(
    ("leaf", "value", "said"),
    [
        ("serial_number", "SN-2", "for SN-2, not for SN-1"),
        ("nonce", "AAAAAAAAAAAAAAAAAAAAAA==", "answers another request"),
        ("pinned_domain_cert", None, "not ours"),
        ("idevid_issuer", encode_idevid_issuer(bytes(20)), "device of issuer 00"),
        ("expires_on", pki.NOW, "expired"),
    ],
)
async def test_a_masas_answer_that_is_not_for_this_exchange(
    tmp_path: Path, leaf: str, value: object, said: str
) -> None:
    """A voucher for another device, another request or another domain is not passed on; that is
    the MASA's fault (503), none of the pledge's.
    """
    async with make_world(tmp_path) as first:
        sample = first.make_device()
        good = await first.voucher(sample)
        voucher = decode_voucher(CMS.open(good.body).payload)
    if leaf == "pinned_domain_cert":
        value = pki.make_root("Somebody Else").der
    forged = CMS.sign(
        encode_voucher(
            replace(voucher, **({"nonce": None} if leaf == "expires_on" else {}) | {leaf: value})  # type: ignore[arg-type]  # its leaves
        ),
        pki.make_masa_signer(None).signer,
    )
    (tmp_path / "2").mkdir()
    async with make_world(tmp_path / "2") as world:
        device = world.make_device()
        world.wire.answer_instead = forged
        with pytest.raises(UnexpectedResponse, match=said):
            await world.voucher(device)
        assert await world.journal.active_certificate(device.key) is None
        with pytest.raises(WrongOrder):
            await world.accept(device)


# -- the pledge's word, and the log's


@pytest.mark.requirement("REG-29")
async def test_a_certificate_request_before_the_voucher(tmp_path: Path) -> None:
    async with make_world(tmp_path) as world:
        device = world.make_device()
        with pytest.raises(NotAuthenticated):
            await world.enroll(device)
        await assert_stopped(world, device, NotAuthenticated, known=False)


@pytest.mark.requirement("REG-29")
async def test_a_certificate_request_after_a_voucher_that_did_not_come(tmp_path: Path) -> None:
    """The onboarding has begun, the MASA was away: no voucher, no certificate."""
    async with make_world(tmp_path) as world:
        device = world.make_device()
        world.wire.broken = Unavailable("the MASA does not answer")
        with pytest.raises(Unavailable):
            await world.voucher(device)
        with pytest.raises(WrongOrder):
            await world.enroll(device)
        await assert_stopped(world, device, WrongOrder)


@pytest.mark.requirement("REG-29")
async def test_a_certificate_request_before_the_voucher_status(tmp_path: Path) -> None:
    async with make_world(tmp_path) as world:
        device = world.make_device()
        await world.voucher(device)
        with pytest.raises(WrongOrder):
            await world.enroll(device)
        await assert_stopped(world, device, WrongOrder)


async def test_a_pledge_that_rejected_its_voucher(tmp_path: Path) -> None:
    async with make_world(tmp_path) as world:
        device = world.make_device()
        await world.voucher(device)
        await world.registrar.voucher_status(
            Status(status=False, reason="no"), world.connection(device.shown)
        )
        with pytest.raises(VoucherRejected):
            await world.enroll(device)
        await assert_stopped(world, device, VoucherRejected)


@pytest.mark.requirement("REG-22", "REG-29")
async def test_an_audit_log_that_breaks_the_policy(tmp_path: Path) -> None:
    """Another domain holds a nonceless voucher for the device."""
    async with make_world(tmp_path) as world:
        device = world.make_device()
        await world.voucher(device)
        entries = await world.masa_store.last(1)
        world.wire.audit_log_instead = encode_audit_log(
            AuditLog(
                events=(
                    entries[0].event(),
                    AuditEvent(
                        date=pki.NOW,
                        domain_id=b"foreign" * 4,
                        nonce=None,
                        assertion=Assertion.LOGGED,
                    ),
                )
            )
        )
        await world.accept(device)
        with pytest.raises(AuditLogUnacceptable):
            await world.enroll(device)
        await assert_stopped(world, device, AuditLogUnacceptable)


async def test_an_audit_log_that_cannot_be_had(tmp_path: Path) -> None:
    """No log, no verdict; no verdict, no certificate. Later it may succeed."""
    async with make_world(tmp_path) as world:
        device = world.make_device()
        await world.voucher(device)
        world.wire.broken = Unavailable("the MASA does not answer")
        await world.accept(device)
        with pytest.raises(Unavailable):
            await world.enroll(device)
        await assert_stopped(world, device, Unavailable)
        world.wire.broken = None
        assert isinstance(await world.enroll(device), x509.Certificate)


@pytest.mark.requirement("REG-21")
async def test_a_new_voucher_request_starts_from_nothing(tmp_path: Path) -> None:
    """Status and verdict of an earlier voucher do not open the gate for a later one."""
    async with make_world(tmp_path) as world:
        device = world.make_device()
        await world.voucher(device)
        await world.accept(device)
        await world.voucher(device, nonce=bytes(16))
        with pytest.raises(WrongOrder):
            await world.enroll(device)
        await assert_stopped(world, device, WrongOrder)


# -- the certificate request


async def admitted(world: World, serial_number: str = "SN-1") -> Device:
    """A device that is entitled to a certificate."""
    device = world.make_device(serial_number)
    await world.voucher(device)
    await world.accept(device)
    return device


@pytest.mark.requirement("ESTS-7")
async def test_a_csr_whose_key_its_sender_does_not_hold(tmp_path: Path) -> None:
    async with make_world(tmp_path) as world:
        device = await admitted(world)
        csr = bytearray(world.csr(device))
        csr[-1] ^= 1
        with pytest.raises(SignatureInvalid):
            await world.enroll(device, csr=bytes(csr))
        await assert_stopped(world, device, SignatureInvalid)


@pytest.mark.requirement("ESTS-22")
@pytest.mark.parametrize("other", ["SN-2", "admin"])
async def test_a_csr_for_another_name(tmp_path: Path, other: str) -> None:
    """Being authenticated does not entitle a device to any name but its own."""
    async with make_world(tmp_path) as world:
        device = await admitted(world)
        csr = build_csr(pki.KeySigner(pki.make_key()), ldevid_subject(other, device.issuer))
        with pytest.raises(CSRMismatch):
            await world.enroll(device, csr=csr)
        await assert_stopped(world, device, CSRMismatch)


async def test_a_csr_for_the_namesake_of_another_issuer(tmp_path: Path) -> None:
    """The pair of issuer and serial number names a device; one half is not enough."""
    async with make_world(tmp_path) as world:
        device = await admitted(world)
        csr = build_csr(pki.KeySigner(pki.make_key()), ldevid_subject("SN-1", bytes(20)))
        with pytest.raises(CSRMismatch):
            await world.enroll(device, csr=csr)
        await assert_stopped(world, device, CSRMismatch)


async def test_a_csr_with_the_idevid_key(tmp_path: Path) -> None:
    """The LDevID key is a fresh one: whoever holds the seed must not hold it too."""
    async with make_world(tmp_path) as world:
        device = await admitted(world)
        with pytest.raises(CSRMismatch):
            await world.enroll(device, key=pki.KeySigner(device.entity.private_key))
        await assert_stopped(world, device, CSRMismatch)


@pytest.mark.requirement("REG-28")
async def test_a_csr_with_a_key_that_was_not_asked_for(tmp_path: Path) -> None:
    async with make_world(tmp_path) as world:
        device = await admitted(world)
        with pytest.raises(CSRMismatch):
            await world.enroll(device, key=pki.KeySigner(pki.make_key("RSA-2048")))
        await assert_stopped(world, device, CSRMismatch)


@pytest.mark.requirement("REG-28")
async def test_a_csr_that_asks_to_be_a_ca(tmp_path: Path) -> None:
    """An extension that nobody offered is not granted."""
    async with make_world(tmp_path) as world:
        device = await admitted(world)
        csr = build_csr(
            pki.KeySigner(pki.make_key()),
            ldevid_subject("SN-1", device.issuer),
            extensions=[x509.BasicConstraints(ca=True, path_length=None)],
        )
        with pytest.raises(CSRMismatch):
            await world.enroll(device, csr=csr)
        await assert_stopped(world, device, CSRMismatch)


async def test_a_csr_bound_to_another_connection(tmp_path: Path) -> None:
    """A challengePassword that is not this connection's binding was made for somebody else."""
    async with make_world(tmp_path) as world:
        device = await admitted(world)
        csr = build_csr(
            pki.KeySigner(pki.make_key()),
            ldevid_subject("SN-1", device.issuer),
            challenge_password="YW5vdGhlciBjb25uZWN0aW9u",
        )
        with pytest.raises(CSRMismatch):
            await world.enroll(device, csr=csr)
        await assert_stopped(world, device, CSRMismatch)


async def test_an_admitted_device_over_another_key(tmp_path: Path) -> None:
    """Continuity between connections is by key; asserting the same serial number is nothing."""
    async with make_world(tmp_path) as world:
        device = await admitted(world)
        key = ec.generate_private_key(ec.SECP256R1())
        shown = assertion_certificate(pki.KeySigner(key), "SN-1", idevid_issuer=device.issuer)
        with pytest.raises(NotAuthenticated):
            await world.enrolling.enroll(world.csr(device), world.connection([shown]))
        await assert_stopped(world, device, NotAuthenticated, known=False)


async def test_a_device_that_shows_its_key_under_another_certificate(tmp_path: Path) -> None:
    """Every connection is verified anew: the right key, under another serial number."""
    async with make_world(tmp_path) as world:
        world.make_device("SN-2", asserting=True)
        device = await admitted(world)
        shown = assertion_certificate(
            pki.KeySigner(device.entity.private_key), "SN-2", idevid_issuer=device.issuer
        )
        with pytest.raises(OnboardingError):
            await world.enrolling.enroll(world.csr(device), world.connection([shown]))
        assert await world.journal.active_certificate(device.key) is None


async def test_an_ldevid_is_not_an_idevid(tmp_path: Path) -> None:
    """A certificate of our own is no ticket for a new voucher-request (abuse case 19)."""
    async with make_world(tmp_path) as world:
        device = world.make_device()
        key = pki.KeySigner(pki.make_key())
        await world.voucher(device)
        await world.accept(device)
        issued = await world.enroll(device, key)
        assert isinstance(issued, x509.Certificate)
        posing = Device(
            entity=pki.Entity(
                certificate=issued, private_key=key.private_key, issuers=world.owner.chain
            ),
            presentation=Presentation.CARRIED,
            serial_number="SN-1",
        )
        with pytest.raises(ChainInvalid):
            await world.voucher(posing)


async def test_success_is_not_believed_over_the_idevid(tmp_path: Path) -> None:
    """enrollstatus true must come over the certificate that it speaks of; false may not."""
    async with make_world(tmp_path) as world:
        device = world.make_device()
        issued = await world.onboard(device)
        with pytest.raises(WrongOrder):
            await world.reports.enroll_status(Status(status=True), world.connection(device.shown))
        await world.reports.enroll_status(
            Status(status=False, reason="no"), world.connection(device.shown)
        )
        await world.reports.enroll_status(Status(status=True), world.connection([issued]))


async def test_a_superseded_ldevid_is_nobody(tmp_path: Path) -> None:
    """After a second certificate the first is refused at every gate."""
    async with make_world(tmp_path) as world:
        device = world.make_device()
        first = await world.onboard(device)
        second = await world.enroll(device)
        assert isinstance(second, x509.Certificate)
        with pytest.raises(NotAuthenticated):
            await world.reports.enroll_status(Status(status=True), world.connection([first]))
        await world.reports.enroll_status(Status(status=True), world.connection([second]))


async def test_a_rogue_certificate_rings_an_alarm(tmp_path: Path) -> None:
    """A carried IDevID for a listed device that is not the one on record: somebody should look."""
    async with make_world(tmp_path) as world:
        genuine = world.make_device()
        rogue = world.make_device(listed=False)  # the OEM's own CA signed it, with another key
        with pytest.raises(KeyMismatch):
            await world.voucher(rogue)
        kinds = [event.kind for event in await world.journal.events()]
        assert kinds == [EventKind.IDENTITY, EventKind.ALARM]
        await assert_stopped(world, genuine, CertificateMismatch, known=False)
