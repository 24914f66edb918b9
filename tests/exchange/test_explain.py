"""``explain``: which rule, which section, which two values, and what to do (docs/explain.md)."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from brski.errors import (
    AuditLogUnacceptable,
    CSRMismatch,
    KeyMismatch,
    NotKnownToMASA,
    PledgeNotExpected,
    ProximityMismatch,
    SerialNumberMismatch,
    Unavailable,
    UnexpectedResponse,
)
from brski.pki.keys import spki_of
from brski.registry import VOUCHER_CMS_JSON
from brski.telemetry.status import Status
from brski.voucher.cms import CMS
from brski.voucher.yang_json import encode_voucher
from registrar_plugin.admission.judge import AdmissionPolicy
from registrar_plugin.store.sqlite_history import SQLiteHistory
from registrar_plugin.telemetry.explain import Explanation, explain
from tests.kit import pki
from tests.kit.world import Device, World, make_world


async def explained(world: World, device: Device, *, verified: bool = True) -> Explanation:
    history = SQLiteHistory(world.journal.writer)
    events = await history.of_serial_number(device.serial_number, most=1000, claims=100)
    return explain(device.serial_number, device.key if verified else None, events)


async def test_a_device_with_another_key_than_on_record(tmp_path: Path) -> None:
    """Nobody was verified: a claim, with both keys; and no word of a device."""
    async with make_world(tmp_path) as world:
        genuine = world.make_device(asserting=True)
        thief = world.make_device(asserting=True, listed=False)
        with pytest.raises(KeyMismatch):
            await world.voucher(thief)
        found = await explained(world, genuine, verified=False)
        assert found.standing == "no device of this serial number has been verified here"
        assert found.refusal is None
        (claim,) = found.claims
        assert (claim.rule, claim.step) == ("key-mismatch", "identity")
        assert claim.section == "RFC 8995 §5.1"
        spkis = [spki_of(d.entity.certificate) for d in (thief, genuine)]
        digests = [f"key {hashlib.sha256(spki).hexdigest()}" for spki in spkis]
        assert [claim.found, claim.wanted] == digests
        assert "manufacturer" in claim.advice


async def test_somebody_in_between(tmp_path: Path) -> None:
    """Both certificates are named, and the section that says that they must be one."""
    async with make_world(tmp_path) as world:
        device = world.make_device()
        other = pki.make_registrar(world.owner)
        body = device.request(other.certificate)
        with pytest.raises(ProximityMismatch):
            await world.registrar.request_voucher(
                body, VOUCHER_CMS_JSON, world.connection(device.shown)
            )
        (claim,) = (await explained(world, device, verified=False)).claims
        assert (claim.rule, claim.section) == ("proximity-mismatch", "RFC 8995 §5.2")
        assert claim.found == f"cert {hashlib.sha256(other.der).hexdigest()}"
        assert claim.wanted == f"cert {hashlib.sha256(world.registrar_entity.der).hexdigest()}"
        assert claim.section not in claim.reason


async def test_two_serial_numbers(tmp_path: Path) -> None:
    async with make_world(tmp_path) as world:
        device = world.make_device()
        with pytest.raises(SerialNumberMismatch):
            await world.voucher(device, serial_number="SN-2")
        (claim,) = (await explained(world, device, verified=False)).claims
        assert (claim.found, claim.wanted) == ("SN-2", "SN-1")
        assert claim.section == "RFC 8995 §5.5"


async def test_a_device_that_is_not_expected(tmp_path: Path) -> None:
    """The advice ends with what the error itself hints at."""
    async with make_world(tmp_path, admission=AdmissionPolicy()) as world:
        device = world.make_device()
        with pytest.raises(PledgeNotExpected):
            await world.voucher(device)
        found = await explained(world, device)
        assert found.standing == "its last step, admission, was refused"
        assert found.refusal is not None
        assert (found.refusal.rule, found.refusal.section) == (
            "pledge-not-expected",
            "RFC 8995 §5.3",
        )
        assert "admission.any_device" in found.refusal.advice


async def test_a_device_that_waits_for_a_person(tmp_path: Path) -> None:
    async with make_world(tmp_path, admission=AdmissionPolicy(by_hand=True)) as world:
        device = world.make_device()
        await world.ask(device)
        found = await explained(world, device)
        assert "approve or deny" in found.standing
        assert found.refusal is None


async def test_a_voucher_of_the_masas_that_is_not_passed_on(tmp_path: Path) -> None:
    """The values that differ survive the translation into the MASA's fault."""
    async with make_world(tmp_path) as world:
        device, other = world.make_device("SN-1"), world.make_device("SN-2")
        answer = await world.voucher(other)
        world.wire.answer_instead = CMS.sign(
            encode_voucher(CMS.open(answer.body).voucher()), pki.make_masa_signer(None).signer
        )
        with pytest.raises(UnexpectedResponse):
            await world.voucher(device, nonce=bytes(16))
        refusal = (await explained(world, device)).refusal
        assert refusal is not None
        assert refusal.rule == "unexpected-response"
        assert refusal.found != refusal.wanted != ""


async def test_what_was_refused_and_then_went_well_is_over(tmp_path: Path) -> None:
    """The MASA was away; the device came again and enrolled."""
    async with make_world(tmp_path) as world:
        device = world.make_device()
        world.wire.broken = Unavailable("the MASA does not answer")
        with pytest.raises(Unavailable):
            await world.voucher(device)
        refusal = (await explained(world, device)).refusal
        assert refusal is not None
        assert (refusal.step, refusal.rule) == ("voucher", "unavailable")
        world.wire.broken = None
        await world.onboard(device)
        found = await explained(world, device)
        assert found.refusal is None
        assert found.standing == "its certificate was issued; it has not reported on it yet"


async def test_a_bad_history_is_a_refusal_and_an_alarm(tmp_path: Path) -> None:
    """And the page that has the switches is named."""
    async with make_world(tmp_path) as world:
        device = world.make_device()
        await world.voucher(device)
        world.wire.audit_log_broken = NotKnownToMASA("the MASA answered 404")
        await world.accept(device)
        with pytest.raises(AuditLogUnacceptable):
            await world.enroll(device)
        found = await explained(world, device)
        assert found.refusal is not None
        assert found.refusal.section == "RFC 8995 §5.8.3"
        assert [alarm.rule for alarm in found.alarms] == ["audit-log-unacceptable"]
        assert "docs/audit-log.md" in found.alarms[0].advice


async def test_a_voucher_that_the_device_rejects(tmp_path: Path) -> None:
    async with make_world(tmp_path) as world:
        device = world.make_device()
        await world.voucher(device)
        report = Status(status=False, reason="voucher not accepted")
        await world.registrar.voucher_status(report, world.connection(device.shown))
        refusal = (await explained(world, device)).refusal
        assert refusal is not None
        assert (refusal.rule, refusal.reason) == ("voucher-rejected", "voucher not accepted")
        assert "anchors" in refusal.advice


async def test_a_strangers_claims_do_not_push_out_what_a_device_did(tmp_path: Path) -> None:
    """Whoever writes its serial number into a certificate fills another list, of ten."""
    async with make_world(tmp_path, admission=AdmissionPolicy()) as world:
        device = world.make_device(asserting=True)
        with pytest.raises(PledgeNotExpected):
            await world.voucher(device)
        thief = world.make_device(asserting=True, listed=False)
        for _ in range(12):
            with pytest.raises(KeyMismatch):
                await world.voucher(thief)
        events = await SQLiteHistory(world.journal.writer).of_serial_number(
            "SN-1", most=1, claims=11
        )
        found = explain("SN-1", device.key, events)
        assert found.refusal is not None
        assert len(events) == 12
        assert len(found.claims) == 10


@pytest.mark.requirement("SEC-9")
async def test_a_namesake_is_another_device(tmp_path: Path) -> None:
    """What one manufacturer's device did says nothing of another's."""
    async with make_world(tmp_path) as world:
        device, twin = world.make_device(), world.make_device(issuer=world.other_oem)
        await world.onboard(device)
        await world.voucher(twin)
        assert "it got its voucher" in (await explained(world, twin)).standing
        assert "issued" in (await explained(world, device)).standing


async def test_a_renewal_that_is_refused_tells_both_names(tmp_path: Path) -> None:
    """Which rule, which section, which two values; and it is over once the device has renewed."""
    async with make_world(tmp_path) as world:
        device = world.make_device()
        ldevid = await world.onboard(device)
        other = world.csr(world.make_device("SN-2"))
        with pytest.raises(CSRMismatch):
            await world.reenroll(device, ldevid, other)
        refusal = (await explained(world, device)).refusal
        assert refusal is not None
        assert (refusal.step, refusal.rule) == ("reenroll", "csr-mismatch")
        assert refusal.section == "RFC 7030 §4.2.2"
        assert "SN-2" in refusal.found
        assert "SN-1" in refusal.wanted
        assert refusal.advice
        await world.reenroll(device, ldevid)
        assert (await explained(world, device)).refusal is None
