"""simplereenroll: the next LDevID of a device that shows its current one (RFC 7030 §4.2.2)."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from brski.errors import (
    CertificateMismatch,
    CSRMismatch,
    DeviceRevoked,
    NotAuthenticated,
    PledgeNotExpected,
    SignatureInvalid,
    Unavailable,
    WrongOrder,
)
from brski.est.change_subject_name import ChangeSubjectName, encode_change_subject_name
from brski.est.csr import build_csr
from brski.idevid.record import DeviceStatus
from brski.pki.keys import certificate_der, spki_of
from brski.pki.names import ldevid_subject
from brski.registry import ID_CMC_CHANGE_SUBJECT_NAME
from brski.telemetry.status import Status
from registrar_plugin.admission.judge import AdmissionPolicy
from registrar_plugin.ca_backend.embedded import EmbeddedCA
from registrar_plugin.ca_backend.port import LDevIDRequest, Pending
from registrar_plugin.enrollment.profile import EnrollmentProfile
from registrar_plugin.second_use import Signal
from registrar_plugin.telemetry.events import EventKind, Outcome
from tests.kit import est, pki
from tests.kit.world import Device, World, make_world


async def renewed(
    world: World, device: Device, ldevid: x509.Certificate, csr: bytes | None = None
) -> x509.Certificate:
    """The next LDevID."""
    issued = await world.reenroll(device, ldevid, csr)
    assert isinstance(issued, x509.Certificate)
    return issued


async def first_with(world: World, device: Device, key: pki.KeySigner) -> x509.Certificate:
    """Onboard *device* with an LDevID key that the test keeps."""
    await world.voucher(device)
    await world.accept(device)
    issued = await world.enroll(device, key)
    assert isinstance(issued, x509.Certificate)
    return issued


async def refused(world: World, device: Device, error: type[Exception], **how: object) -> None:
    """See that a renewal is refused with *error*, and that the journal says why."""
    before = await world.journal.active_certificate(device.key)
    with pytest.raises(error):
        await world.reenroll(device, **how)  # type: ignore[arg-type]  # its own
    assert await world.journal.active_certificate(device.key) == before
    lines = [e for e in await world.journal.events() if e.kind is EventKind.REENROLL]
    assert lines[-1].outcome is Outcome.REFUSED
    assert lines[-1].reason


async def alarms(world: World) -> list[str]:
    found = await world.journal.events(kind=EventKind.ALARM)
    return [event.details.get("signal", event.code) for event in found]


@pytest.mark.requirement("ESTS-8", "E2E-10", "ESTC-8")
@pytest.mark.parametrize("asserting", [False, True])
async def test_the_same_key_is_renewed(tmp_path: Path, asserting: bool) -> None:
    """Same key, same name, a new certificate; the former is superseded, and no alarm rings."""
    async with make_world(tmp_path) as world:
        device, key = world.make_device(asserting=asserting), pki.KeySigner(pki.make_key())
        first = await first_with(world, device, key)
        world.clock.forward(days=200)
        second = await renewed(world, device, first, world.csr(device, key))
        assert spki_of(second) == spki_of(first)
        assert second.subject == first.subject
        assert second.not_valid_after_utc == first.not_valid_after_utc + timedelta(days=200)
        former = await world.journal.certificate_by_digest(
            hashlib.sha256(certificate_der(first)).digest()
        )
        assert former is not None
        assert former.state == "superseded"
        assert await alarms(world) == []
        await world.reports.enroll_status(Status(status=True), world.connection([second]))


@pytest.mark.requirement("ESTS-8", "E2E-10")
async def test_another_key_is_taken(tmp_path: Path) -> None:
    """A re-key over the current LDevID rings no alarm: it is no onboarding."""
    async with make_world(tmp_path) as world:
        device = world.make_device()
        first = await world.onboard(device)
        second = await renewed(world, device, first)
        assert spki_of(second) != spki_of(first)
        third = await renewed(world, device, second)
        assert third.subject == first.subject
        assert await alarms(world) == []


@pytest.mark.requirement("ESTS-8", "E2E-10")
async def test_another_subject_is_refused(tmp_path: Path) -> None:
    """Even one that this device could have been given at its enrollment is another than it has."""
    async with make_world(tmp_path) as world:
        device = world.make_device()
        other = world.make_device("SN-2")
        ldevid = await world.onboard(device)
        await refused(world, device, CSRMismatch, ldevid=ldevid, csr=world.csr(other))
        key = pki.KeySigner(pki.make_key())
        longer = x509.Name([*ldevid.subject, x509.NameAttribute(NameOID.COMMON_NAME, "controller")])
        await refused(world, device, CSRMismatch, ldevid=ldevid, csr=build_csr(key, longer))


@pytest.mark.requirement("ESTS-8", "E2E-10")
async def test_an_alternative_name_that_it_has_not_is_refused(tmp_path: Path) -> None:
    """A renewal is no way to a name that the enrollment did not give."""
    async with make_world(tmp_path) as world:
        device = world.make_device()
        ldevid = await world.onboard(device)
        csr = build_csr(pki.KeySigner(pki.make_key()), ldevid.subject, extensions=[est.SAN])
        await refused(world, device, CSRMismatch, ldevid=ldevid, csr=csr)


async def test_a_superseded_ldevid_does_not_renew(tmp_path: Path) -> None:
    """Who still shows it is worth an alarm."""
    async with make_world(tmp_path) as world:
        device = world.make_device()
        first = await world.onboard(device)
        await renewed(world, device, first)
        await refused(world, device, NotAuthenticated, ldevid=first)
        assert await alarms(world) == [Signal.LDEVID_SUPERSEDED]


async def test_a_revoked_ldevid_does_not_renew(tmp_path: Path) -> None:
    """Nor does it get again what it was given before."""
    async with make_world(tmp_path) as world:
        device = world.make_device()
        ldevid = await world.onboard(device)
        await world.journal.writer.change(
            lambda db: db.execute("UPDATE certificates SET state = 'revoked'")
        )
        with pytest.raises(NotAuthenticated, match="revoked"):
            await world.reenroll(device, ldevid)


async def test_an_expired_ldevid_does_not_renew(tmp_path: Path) -> None:
    """On its last second it does."""
    async with make_world(tmp_path) as world:
        device = world.make_device()
        first = await world.onboard(device)
        world.clock.now = first.not_valid_after_utc
        second = await renewed(world, device, first)
        world.clock.now = second.not_valid_after_utc + timedelta(seconds=1)
        await refused(world, device, NotAuthenticated, ldevid=second)


@pytest.mark.parametrize("asserting", [False, True])
async def test_the_idevid_does_not_renew(tmp_path: Path, asserting: bool) -> None:
    """It enrolls; what it shows is no LDevID."""
    async with make_world(tmp_path) as world:
        device = world.make_device(asserting=asserting)
        await world.onboard(device)
        await refused(world, device, NotAuthenticated, ldevid=device.shown[0])


def self_signed_like(ldevid: x509.Certificate) -> x509.Certificate:
    """Same issuer, subject, certificate serial number and extensions; somebody else's key."""
    key = pki.make_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(ldevid.subject)
        .issuer_name(ldevid.issuer)
        .serial_number(ldevid.serial_number)
        .not_valid_before(ldevid.not_valid_before_utc)
        .not_valid_after(ldevid.not_valid_after_utc)
        .public_key(key.public_key())
    )
    for extension in ldevid.extensions:
        builder = builder.add_extension(extension.value, critical=extension.critical)
    return builder.sign(key, hashes.SHA256())


@pytest.mark.requirement("ESTS-22")
async def test_a_certificate_with_the_same_names_is_nobody(tmp_path: Path) -> None:
    """Issuer, serial number and subject can be copied by anyone; the octets are compared."""
    async with make_world(tmp_path) as world:
        device = world.make_device()
        ldevid = await world.onboard(device)
        await refused(world, device, NotAuthenticated, ldevid=self_signed_like(ldevid))
        with pytest.raises(NotAuthenticated):
            await world.renewing.reenroll(world.csr(device), world.connection([]))


async def test_the_manufacturers_word_is_asked_for_anew(tmp_path: Path) -> None:
    """A device that was marked since, or whose record is another, keeps what it has and no more."""
    async with make_world(tmp_path) as world:
        device = world.make_device(asserting=True)
        ldevid = await world.onboard(device)
        world.records.silent = Unavailable("no answer")
        await refused(world, device, Unavailable, ldevid=ldevid)
        world.records.silent = None
        world.records.change("SN-1", status=DeviceStatus.REVOKED)
        await refused(world, device, DeviceRevoked, ldevid=ldevid)
        other = world.make_device("SN-1", listed=False)
        world.records.change("SN-1", status=DeviceStatus.ACTIVE, certificate=other.entity.der)
        await refused(world, device, CertificateMismatch, ldevid=ldevid)


async def test_a_device_that_was_denied_since_does_not_renew(tmp_path: Path) -> None:
    """The domain's own word counts at each renewal, too."""
    async with make_world(tmp_path) as world:
        device = world.make_device()
        ldevid = await world.onboard(device)
    denied = AdmissionPolicy(any_device=True, denied=frozenset(["SN-1"]))
    async with make_world(tmp_path, admission=denied) as world:
        with pytest.raises(PledgeNotExpected):
            await world.reenroll(device, ldevid)


async def test_the_idevid_key_is_no_ldevid_key(tmp_path: Path) -> None:
    """Not at the second time either."""
    async with make_world(tmp_path) as world:
        device = world.make_device()
        ldevid = await world.onboard(device)
        csr = world.csr(device, pki.KeySigner(device.entity.private_key))
        await refused(world, device, CSRMismatch, ldevid=ldevid, csr=csr)


@pytest.mark.requirement("ESTS-7")
async def test_possession_is_proven_again(tmp_path: Path) -> None:
    """A request whose signature does not verify asks for somebody else's key."""
    async with make_world(tmp_path) as world:
        device = world.make_device()
        ldevid = await world.onboard(device)
        csr = bytearray(world.csr(device))
        csr[-1] ^= 1
        await refused(world, device, SignatureInvalid, ldevid=ldevid, csr=bytes(csr))


async def test_a_lost_answer_is_given_again(tmp_path: Path) -> None:
    """Same LDevID, same request: same octets, though that LDevID has been superseded by them."""
    async with make_world(tmp_path) as world:
        device = world.make_device()
        first = await world.onboard(device)
        csr = world.csr(device)
        second = await renewed(world, device, first, csr)
        assert await renewed(world, device, first, csr) == second
        await renewed(world, device, second)
        await refused(world, device, WrongOrder, ldevid=first, csr=csr)


async def test_a_lost_answer_is_not_given_to_a_device_that_was_marked(tmp_path: Path) -> None:
    """It would be nothing new, but who asks is looked at as at every other time."""
    async with make_world(tmp_path) as world:
        device = world.make_device()
        first = await world.onboard(device)
        csr = world.csr(device)
        await renewed(world, device, first, csr)
        world.records.change("SN-1", status=DeviceStatus.REVOKED)
        await refused(world, device, DeviceRevoked, ldevid=first, csr=csr)


async def test_the_octets_of_the_first_request_renew_too(tmp_path: Path) -> None:
    """A device that keeps its key and signs deterministically has but one request to post."""
    async with make_world(tmp_path) as world:
        device, key = world.make_device(), pki.KeySigner(pki.make_key())
        await world.voucher(device)
        await world.accept(device)
        csr = world.csr(device, key)
        ldevids = [await world.enroll(device, csr=csr)]
        for _ in range(3):
            current = ldevids[-1]
            assert isinstance(current, x509.Certificate)
            world.clock.forward(days=100)
            ldevids.append(await renewed(world, device, current, csr))
        assert len(set(ldevids)) == 4


async def test_of_two_renewals_at_once_one_wins(tmp_path: Path) -> None:
    """The other finds its LDevID superseded; one certificate is active."""
    async with make_world(tmp_path) as world:
        device = world.make_device()
        ldevid = await world.onboard(device)
        answers = await asyncio.gather(
            *(world.reenroll(device, ldevid) for _ in range(5)), return_exceptions=True
        )
        won = [a for a in answers if isinstance(a, x509.Certificate)]
        assert len(won) == 1
        assert {type(a) for a in answers if a not in won} == {NotAuthenticated}


class HalfACA(EmbeddedCA):
    """Prepares, and falls silent before it signs."""

    silent = True

    async def complete(self, intent: bytes) -> x509.Certificate | Pending:
        if self.silent:
            raise Unavailable("the CA does not answer")
        return await super().complete(intent)


async def test_a_restart_completes_a_renewal(tmp_path: Path) -> None:
    """From the octets of the intent; the device that asks again gets that certificate."""
    owner = pki.make_pki("Example Owner", not_after=pki.NOT_AFTER)
    ca = HalfACA(owner.signer)
    oem = pki.make_pki("Example OEM")
    async with make_world(tmp_path, ca=ca, oem=oem) as world:
        ca.silent = False
        device = world.make_device()
        ldevid = await world.onboard(device)
        ca.silent = True
        csr = world.csr(device)
        await refused(world, device, Unavailable, ldevid=ldevid, csr=csr)
        records = world.records
    ca.silent = False
    async with make_world(tmp_path, ca=ca, oem=oem, records=records) as world:
        active = await world.journal.active_certificate(device.key)
        assert active is not None
        assert active.certificate != certificate_der(ldevid)
        answered = await renewed(world, device, ldevid, csr)
        assert certificate_der(answered) == active.certificate


async def test_a_restart_does_not_complete_what_was_overtaken(tmp_path: Path) -> None:
    """The device has a later LDevID; an old intent that woke up would take it away."""
    owner = pki.make_pki("Example Owner", not_after=pki.NOT_AFTER)
    ca = HalfACA(owner.signer)
    async with make_world(tmp_path, ca=ca) as world:
        device = world.make_device()
        await world.voucher(device)
        await world.accept(device)
        with pytest.raises(Unavailable):
            await world.enroll(device)
        ca.silent = False
        later = await world.enroll(device)
        assert isinstance(later, x509.Certificate)
    async with make_world(tmp_path, ca=ca) as world:
        active = await world.journal.active_certificate(device.key)
        assert active is not None
        assert active.certificate == certificate_der(later)


def asking_for(name: x509.Name, current: x509.Name) -> bytes:
    """A renewal's CSR with ChangeSubjectName."""
    change = ChangeSubjectName(subject=name.public_bytes(), alternative_name=None)
    attribute = est.attribute(ID_CMC_CHANGE_SUBJECT_NAME, encode_change_subject_name(change))
    return est.raw_csr(pki.make_key(), subject=current.public_bytes(), attributes=[attribute])


class OldNames(EmbeddedCA):
    """Gives names of an earlier policy of the domain."""

    old = True

    def prepare(self, request: LDevIDRequest, *, now: datetime) -> bytes:
        name = x509.NameAttribute(NameOID.COMMON_NAME, f"old {request.serial_number}")
        subject = x509.Name([name]) if self.old else request.subject
        return super().prepare(replace(request, subject=subject), now=now)


@pytest.mark.requirement("ESTS-8")
async def test_a_change_of_name_is_refused_unless_the_profile_allows_it(tmp_path: Path) -> None:
    """RFC 6402's attribute by itself changes nothing."""
    async with make_world(tmp_path) as world:
        device = world.make_device()
        ldevid = await world.onboard(device)
        csr = asking_for(ldevid.subject, ldevid.subject)
        await refused(world, device, CSRMismatch, ldevid=ldevid, csr=csr)


@pytest.mark.requirement("ESTS-8")
async def test_a_renewal_may_move_to_the_name_it_is_entitled_to(tmp_path: Path) -> None:
    """And to no other; without the attribute it keeps the name that it has."""
    owner = pki.make_pki("Example Owner", not_after=pki.NOT_AFTER)
    ca = OldNames(owner.signer)
    profile = EnrollmentProfile(change_subject_name=True)
    async with make_world(tmp_path, ca=ca, profile=profile) as world:
        device = world.make_device()
        first = await world.onboard(device)
        ca.old = False
        entitled = ldevid_subject(device.serial_number, device.issuer)
        assert first.subject != entitled
        kept = build_csr(pki.KeySigner(pki.make_key()), first.subject)
        second = await renewed(world, device, first, kept)
        assert second.subject == first.subject
        for name in (x509.Name([]), ldevid_subject("SN-2", device.issuer)):
            csr = asking_for(name, second.subject)
            await refused(world, device, CSRMismatch, ldevid=second, csr=csr)
        third = await renewed(world, device, second, asking_for(entitled, second.subject))
        assert third.subject == entitled
