"""What becomes of a device with its history (docs/audit-log.md)."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509

from brski.errors import (
    AuditLogUnacceptable,
    CredentialsRefused,
    NotAuthenticated,
    NotKnownToMASA,
    OnboardingError,
    Unavailable,
    UnexpectedResponse,
    VoucherRefused,
    WrongOrder,
)
from brski.pki.keys import certificate_der
from brski.telemetry.audit_log import AuditEvent, AuditLog, encode_audit_log
from brski.telemetry.status import Status
from brski.voucher.model import Assertion
from registrar_plugin.pledge_facing.error_responses import EST_STATUS
from registrar_plugin.telemetry.audit_verdict import AuditPolicy
from registrar_plugin.telemetry.events import Event, EventKind, Outcome
from tests.kit import pki
from tests.kit.crl import Lists
from tests.kit.world import Device, World, make_world


async def history(world: World, *others: AuditEvent) -> bytes:
    """The MASA's log as it is, and *others* in it."""
    own = (await world.masa_store.last(1))[0].event()
    return encode_audit_log(AuditLog(events=(own, *others)))


FOREIGN = AuditEvent(
    date=pki.NOW, domain_id=b"foreign!" * 4, nonce=None, assertion=Assertion.LOGGED
)


async def accepted(world: World) -> Device:
    device = world.make_device()
    await world.voucher(device)
    await world.accept(device)
    return device


async def events_of(world: World, device: Device, kind: EventKind) -> tuple[Event, ...]:
    return await world.journal.events(device=device.key, kind=kind)


@pytest.mark.requirement("E2E-5", "REG-22")
async def test_a_foreign_nonceless_voucher_shuts_est_and_rings_an_alarm(tmp_path: Path) -> None:
    """4xx at every attempt, one alarm, and the MASA is not asked again."""
    async with make_world(tmp_path) as world:
        device = world.make_device()
        await world.voucher(device)
        world.wire.audit_log_instead = await history(world, FOREIGN)
        await world.accept(device)
        for _ in range(2):
            with pytest.raises(AuditLogUnacceptable, match="nonceless voucher"):
                await world.enroll(device)
        assert EST_STATUS[AuditLogUnacceptable] == 403
        (alarm,) = await events_of(world, device, EventKind.ALARM)
        assert alarm.code == "audit-log-unacceptable"
        assert FOREIGN.domain_id.hex()[:16] in alarm.reason
        (verdict,) = await events_of(world, device, EventKind.AUDIT_LOG)
        assert (verdict.outcome, verdict.code) == (Outcome.REFUSED, alarm.code)
        assert len(world.wire.audit_log_asked) == 1


@pytest.mark.requirement("REG-21")
async def test_the_log_is_asked_for_with_the_same_octets(tmp_path: Path) -> None:
    """The registrar voucher-request as it was signed; once."""
    async with make_world(tmp_path) as world:
        device = await accepted(world)
        await world.enroll(device)
        assert world.wire.audit_log_asked == world.wire.sent


@pytest.mark.requirement("REG-21")
async def test_the_log_is_judged_when_no_report_comes(tmp_path: Path) -> None:
    """A pledge that says nothing may have accepted its voucher; a person should know."""
    async with make_world(tmp_path, silent_s=0.0) as world:
        device = world.make_device()
        world.wire.audit_log_instead = encode_audit_log(AuditLog(events=(FOREIGN,)))
        await world.voucher(device)
        standing = await world.journal.onboarding(device.key)
        async with asyncio.timeout(10):
            while standing is None or standing.audit_verdict is None:
                await asyncio.sleep(0)
                standing = await world.journal.onboarding(device.key)
        assert (standing.audit_verdict, standing.voucher_status) == (False, None)
        assert len(await events_of(world, device, EventKind.ALARM)) == 1
        with pytest.raises(WrongOrder):
            await world.enroll(device)


async def test_a_report_that_comes_while_the_log_is_judged_counts(tmp_path: Path) -> None:
    """The judging began when the pledge was silent; what it has said since is not forgotten."""
    async with make_world(tmp_path) as world:
        device = world.make_device()
        await world.voucher(device)
        standing = await world.journal.onboarding(device.key)
        assert standing is not None
        world.watch.start(standing)
        await world.accept(device)
        assert isinstance(await world.enroll(device), x509.Certificate)
        assert len(await events_of(world, device, EventKind.AUDIT_LOG)) == 1


async def test_a_report_makes_the_waiting_for_it_end(tmp_path: Path) -> None:
    """One verdict, however the log came to be asked for."""
    async with make_world(tmp_path, silent_s=0.0) as world:
        device = await accepted(world)
        await world.enroll(device)
        assert len(await events_of(world, device, EventKind.AUDIT_LOG)) == 1
        assert len(world.wire.audit_log_asked) == 1


@pytest.mark.parametrize(
    "said",
    [NotKnownToMASA("the MASA answered 404"), VoucherRefused("the MASA answered 403")],
)
async def test_no_log_is_no_certificate(tmp_path: Path, said: OnboardingError) -> None:
    """Unless the operator does without."""
    async with make_world(tmp_path) as world:
        device = world.make_device()
        await world.voucher(device)
        world.wire.audit_log_broken = said
        await world.accept(device)
        with pytest.raises(AuditLogUnacceptable, match="gives no log: the MASA answered"):
            await world.enroll(device)
    (tmp_path / "2").mkdir()
    tolerant = AuditPolicy(accept_no_log=True)
    async with make_world(tmp_path / "2", audit=tolerant) as world:
        world.wire.audit_log_broken = said
        device = await accepted(world)
        assert isinstance(await world.enroll(device), x509.Certificate)
        (verdict,) = await events_of(world, device, EventKind.AUDIT_LOG)
        assert verdict.reason.startswith("accepted by the settings")


@pytest.mark.parametrize(
    "fault", [CredentialsRefused("the MASA answered 401"), Unavailable("the MASA is silent")]
)
async def test_a_log_that_cannot_be_had_now_is_no_verdict(
    tmp_path: Path, fault: OnboardingError
) -> None:
    """Our credentials, or its silence: nothing is known of the device; later it may be."""
    async with make_world(tmp_path, audit=AuditPolicy(accept_no_log=True)) as world:
        world.wire.audit_log_broken = fault
        device = await accepted(world)
        with pytest.raises(type(fault)):
            await world.enroll(device)
        assert EST_STATUS[type(fault)] == 503
        world.wire.audit_log_broken = None
        assert isinstance(await world.enroll(device), x509.Certificate)


@pytest.mark.requirement("OEM-17")
async def test_silence_may_be_accepted_by_the_operator(tmp_path: Path) -> None:
    """As where a site has to come up without the manufacturer; the event says so."""
    async with make_world(tmp_path, audit=AuditPolicy(accept_silence=True)) as world:
        world.wire.audit_log_broken = Unavailable("the MASA is silent")
        device = await accepted(world)
        assert isinstance(await world.enroll(device), x509.Certificate)
        (verdict,) = await events_of(world, device, EventKind.AUDIT_LOG)
        assert "the MASA is silent" in verdict.reason


@pytest.mark.parametrize("log", [b"<html>", b"{}", b'{"version":1,"events":[]}'])
async def test_what_is_no_audit_log_is_the_masas_fault(tmp_path: Path, log: bytes) -> None:
    """503 to the device, which can do nothing about it; no verdict."""
    async with make_world(tmp_path) as world:
        world.wire.audit_log_instead = log
        device = await accepted(world)
        with pytest.raises(UnexpectedResponse, match="cannot be read"):
            await world.enroll(device)
        assert await events_of(world, device, EventKind.AUDIT_LOG) == ()


async def test_an_exempt_device_is_not_judged(tmp_path: Path) -> None:
    """By the pair; its namesake of another manufacturer is."""
    async with make_world(tmp_path) as first:
        issuer = first.make_device().issuer
    (tmp_path / "2").mkdir()
    policy = AuditPolicy(exempt=frozenset([f"SN-1@{issuer.hex()}"]))
    async with make_world(tmp_path / "2", audit=policy, oem=first.oem) as world:
        world.wire.audit_log_instead = encode_audit_log(AuditLog(events=(FOREIGN,)))
        assert isinstance(await world.enroll(await accepted(world)), x509.Certificate)
        twin = world.make_device(issuer=world.other_oem)
        await world.voucher(twin)
        await world.accept(twin)
        with pytest.raises(AuditLogUnacceptable):
            await world.enroll(twin)


async def test_members_that_are_not_understood_are_named(tmp_path: Path) -> None:
    """They change nothing; an operator can read of them."""
    async with make_world(tmp_path) as world:
        device = world.make_device()
        await world.voucher(device)
        text = (await history(world)).decode()
        world.wire.audit_log_instead = text.replace("{", '{"location":"shelf",', 1).encode()
        await world.accept(device)
        assert isinstance(await world.enroll(device), x509.Certificate)
        (verdict,) = await events_of(world, device, EventKind.AUDIT_LOG)
        assert verdict.details == {"unknown_members": "location"}


@pytest.mark.requirement("REG-22")
async def test_a_former_owner_that_is_known_is_accepted(tmp_path: Path) -> None:
    """The nearest acceptance to the refusals above: a nonced entry of a listed domain."""
    policy = AuditPolicy(known_domain_ids=frozenset([FOREIGN.domain_id]))
    async with make_world(tmp_path, audit=policy) as world:
        device = world.make_device()
        await world.voucher(device)
        nonced = replace(FOREIGN, nonce="AAAAAAAAAAAAAAAAAAAAAA==")
        world.wire.audit_log_instead = await history(world, nonced)
        await world.accept(device)
        assert isinstance(await world.enroll(device), x509.Certificate)


# -- what an earlier onboarding has left


REVOKING = AuditPolicy(revoke_on_bad_verdict=True)


async def onboarded_again(world: World, *others: AuditEvent) -> tuple[Device, x509.Certificate]:
    """A device that was onboarded once, and comes again with *others* in its log; its LDevID."""
    device = world.make_device()
    ldevid = await world.onboard(device)
    await world.voucher(device, nonce=bytes(range(16, 32)))
    world.wire.audit_log_instead = await history(world, *others)
    await world.accept(device)
    return device, ldevid


async def state_of(world: World, certificate: x509.Certificate) -> str:
    digest = hashlib.sha256(certificate_der(certificate)).digest()
    stored = await world.journal.certificate_by_digest(digest)
    assert stored is not None
    return stored.state


@pytest.mark.requirement("REG-22")
async def test_a_bad_verdict_revokes_what_was_before_where_the_domain_wants_it(
    tmp_path: Path,
) -> None:
    """At every gate, and in the list, with the reason; the journal says by which rule."""
    async with make_world(tmp_path, audit=REVOKING) as world:
        device, ldevid = await onboarded_again(world, FOREIGN)
        with pytest.raises(AuditLogUnacceptable):
            await world.enroll(device)
        assert await state_of(world, ldevid) == "revoked"
        with pytest.raises(NotAuthenticated, match="revoked"):
            await world.reports.enroll_status(Status(status=True), world.connection([ldevid]))
        (line,) = await events_of(world, device, EventKind.REVOCATION)
        assert line.details["section"] == "RFC 8995 §5.8.3"
        (verdict,) = [
            event
            for event in await events_of(world, device, EventKind.AUDIT_LOG)
            if event.outcome is Outcome.REFUSED
        ]
        assert verdict.reason in line.reason
        lists = Lists(world)
        (entry,) = x509.load_der_x509_crl((await lists.keeper().refresh()).octets)
        assert entry.serial_number == ldevid.serial_number
        said = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
        assert said is x509.ReasonFlags.privilege_withdrawn


async def test_by_default_it_stays_what_it_is(tmp_path: Path) -> None:
    """The domain decides (RFC 8995 §5.8.3); the nearest thing that differs is the switch."""
    async with make_world(tmp_path) as world:
        device, ldevid = await onboarded_again(world, FOREIGN)
        with pytest.raises(AuditLogUnacceptable):
            await world.enroll(device)
        assert await state_of(world, ldevid) == "active"
        assert await events_of(world, device, EventKind.REVOCATION) == ()


async def test_a_good_verdict_revokes_nothing(tmp_path: Path) -> None:
    """The former LDevID is superseded by the next, as ever."""
    async with make_world(tmp_path, audit=REVOKING) as world:
        device, ldevid = await onboarded_again(world)
        assert isinstance(await world.enroll(device), x509.Certificate)
        assert await state_of(world, ldevid) == "superseded"
        assert await events_of(world, device, EventKind.REVOCATION) == ()


async def test_who_has_nothing_is_not_revoked(tmp_path: Path) -> None:
    """A first onboarding that is refused leaves no revocation behind, nor does a second verdict."""
    async with make_world(tmp_path, audit=REVOKING) as world:
        device = world.make_device()
        await world.voucher(device)
        world.wire.audit_log_instead = await history(world, FOREIGN)
        await world.accept(device)
        with pytest.raises(AuditLogUnacceptable):
            await world.enroll(device)
        assert await events_of(world, device, EventKind.REVOCATION) == ()


async def test_its_namesake_keeps_its_certificate(tmp_path: Path) -> None:
    """Everything is kept by the pair of issuer and serial number."""
    async with make_world(tmp_path, audit=REVOKING) as world:
        twin = await world.onboard(world.make_device(issuer=world.other_oem))
        device, ldevid = await onboarded_again(world, FOREIGN)
        with pytest.raises(AuditLogUnacceptable):
            await world.enroll(device)
        assert await state_of(world, ldevid) == "revoked"
        assert await state_of(world, twin) == "active"


async def test_a_verdict_that_comes_too_late_revokes_nothing(tmp_path: Path) -> None:
    """The device has begun anew meanwhile: what was judged stands no longer."""
    async with make_world(tmp_path, audit=REVOKING) as world:
        device = world.make_device()
        ldevid = await world.onboard(device)
        await world.voucher(device, nonce=bytes(range(16, 32)))
        overtaken = await world.journal.onboarding(device.key)
        assert overtaken is not None
        await world.voucher(device, nonce=bytes(range(32, 48)))
        world.wire.audit_log_instead = await history(world, FOREIGN)
        with pytest.raises(WrongOrder):
            await world.watch.start(overtaken)
        assert await state_of(world, ldevid) == "active"
        assert await events_of(world, device, EventKind.REVOCATION) == ()


async def test_it_comes_back_by_another_onboarding(tmp_path: Path) -> None:
    """As after any revocation: a good verdict, and a new LDevID."""
    async with make_world(tmp_path, audit=REVOKING) as world:
        device, _ = await onboarded_again(world, FOREIGN)
        with pytest.raises(AuditLogUnacceptable):
            await world.enroll(device)
        world.wire.audit_log_instead = None
        await world.voucher(device, nonce=bytes(range(32, 48)))
        await world.accept(device)
        assert isinstance(await world.enroll(device), x509.Certificate)
