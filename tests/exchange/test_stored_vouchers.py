"""Vouchers without nonce, fetched before their devices come (docs/stored-vouchers.md)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from brski.errors import (
    DeviceRevoked,
    DeviceUnknown,
    DomainNotTrusted,
    OnboardingError,
    Unavailable,
    UnexpectedResponse,
    VoucherRefused,
)
from brski.idevid.record import DeviceStatus
from brski.pki.extensions import encode_idevid_issuer
from brski.voucher.cms import CMS
from brski.voucher.model import Assertion, Voucher, VoucherRequest
from brski.voucher.yang_json import encode_voucher
from device_client.pledge.policy import Policy
from device_client.pledge.states import Result
from masa_stub.issue import IssuePolicy
from registrar_plugin.masa_link.port import MASAAnswer
from registrar_plugin.registrar import VoucherAnswer
from registrar_plugin.settings import StoredVoucherSettings
from registrar_plugin.store.approvals import Decision
from registrar_plugin.store.sqlite import SQLiteJournal
from registrar_plugin.store.sqlite_approvals import SQLiteApprovals
from registrar_plugin.store.sqlite_vouchers import SQLiteStoredVouchers
from registrar_plugin.store.vouchers import Errand, VoucherDrop
from registrar_plugin.stored_vouchers import renewing
from registrar_plugin.stored_vouchers.shelf import Use
from registrar_plugin.telemetry.audit_verdict import AuditPolicy
from registrar_plugin.telemetry.events import Event, EventKind, Outcome
from tests.exchange.test_pledge import Exchange
from tests.kit import pki
from tests.kit.world import Device, World, make_world

AWAY = Unavailable("the MASA does not answer")
LONG = IssuePolicy(life=timedelta(days=30))


async def sold(world: World, serial_number: str = "SN-1") -> Device:
    """A device that the MASA knows to be this owner's."""
    device = world.make_device(serial_number)
    await world.sell(device, world.owner.root)
    return device


def request_in(octets: bytes) -> VoucherRequest:
    return CMS.open(octets).voucher_request()


def voucher_in(octets: bytes) -> Voucher:
    return CMS.open(octets).voucher()


async def lines(world: World, kind: EventKind = EventKind.STORED_VOUCHER) -> tuple[Event, ...]:
    return await world.journal.events(kind=kind)


# -- fetching


@pytest.mark.requirement("REG-32", "VR-9", "REG-30")
async def test_what_the_masa_is_asked(tmp_path: Path) -> None:
    """Neither nonce nor the device's request nor an assertion; who it is comes from its record."""
    async with make_world(tmp_path, issue=LONG) as world:
        device = await sold(world)
        await world.fetch(device)
        (sent,) = world.wire.sent
        assert request_in(sent) == VoucherRequest(
            serial_number="SN-1",
            created_on=world.clock(),
            idevid_issuer=encode_idevid_issuer(device.issuer),
        )
        enclosed = CMS.open(sent).certificates
        assert set(enclosed) == set(world.registrar_entity.chain)
        CMS.open(sent).verify(world.registrar_entity.certificate.public_key())  # type: ignore[arg-type]  # an EC key


async def test_the_voucher_is_durable_with_all_that_led_to_it(tmp_path: Path) -> None:
    """Intent, signed request and voucher, each before the next step."""
    async with make_world(tmp_path, issue=LONG) as world:
        device = await sold(world)
        errand = await world.fetch(device)
        assert errand == await world.stored.current(device.key)
        assert errand.request == world.wire.sent[0]
        assert errand.voucher == world.wire.answers[0]
        assert errand.expires_on == world.clock() + timedelta(days=30)
        assert errand.assertion == Assertion.VERIFIED
        steps = [line.details["step"] for line in await lines(world)]
        assert steps == ["intent", "request", "voucher"]


async def test_a_silent_masa_gets_the_same_octets_again(tmp_path: Path) -> None:
    """It may have logged a voucher already, and need not log another."""
    async with make_world(tmp_path, issue=LONG) as world:
        device = await sold(world)
        world.wire.broken = AWAY
        with pytest.raises(Unavailable):
            await world.fetch(device)
        world.wire.broken = None
        world.clock.forward(hours=1)
        await world.fetch(device)
        first, second = world.wire.sent
        assert first == second
        steps = [(line.details["step"], line.outcome) for line in await lines(world)]
        assert steps[2] == ("answer", Outcome.REFUSED)


async def test_what_was_to_be_signed_is_what_is_signed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fails between intent and signature: nothing goes out, and later the same octets."""
    async with make_world(tmp_path, issue=LONG) as world:
        device = await sold(world)
        with monkeypatch.context() as failing:

            async def fails(*_: object) -> None:
                raise Unavailable("the disk is full")

            failing.setattr(SQLiteStoredVouchers, "change", fails)
            with pytest.raises(Unavailable, match="disk"):
                await world.fetch(device)
        intended = await world.stored.latest(device.key)
        assert intended is not None
        assert (intended.request, world.wire.sent) == (None, [])
        began = world.clock()
        world.clock.forward(hours=1)
        await world.fetch(device)
        assert request_in(world.wire.sent[0]).created_on == began
        assert [line.details["step"] for line in await lines(world)].count("intent") == 1


@pytest.mark.requirement("REG-27")
async def test_a_masa_that_refuses_is_asked_anew_later(tmp_path: Path) -> None:
    """No voucher for a device that is not ours; the next request is a fresh one."""
    async with make_world(tmp_path, issue=LONG) as world:
        device = world.make_device()
        with pytest.raises(DomainNotTrusted):
            await world.fetch(device)
        assert await world.stored.current(device.key) is None
        await world.sell(device, world.owner.root)
        world.clock.forward(hours=1)
        await world.fetch(device)
        first, second = world.wire.sent
        assert first != second


@pytest.mark.parametrize(
    ("leaves", "said"),
    [
        ({"nonce": "AAAAAAAAAAAAAAAAAAAAAA=="}, "nonce"),
        ({"serial_number": "SN-2"}, "for SN-2, not for SN-1"),
        ({"expires_on": pki.NOW}, "expired"),
        ({"idevid_issuer": encode_idevid_issuer(bytes(20))}, "issuer 00"),
        ({"pinned_domain_cert": pki.make_root("Somebody Else").der}, "not ours"),
    ],
)
async def test_what_is_no_voucher_for_this_is_not_kept(
    tmp_path: Path, leaves: dict[str, object], said: str
) -> None:
    """It would be handed out at a time when nobody can ask for another."""
    async with make_world(tmp_path, issue=LONG) as world:
        device = await sold(world)
        good = voucher_in((await world.fetch(device)).voucher or b"")
        bent = replace(good, **({"expires_on": None} if "nonce" in leaves else {}) | leaves)  # type: ignore[arg-type]  # its leaves
        signer = pki.make_masa_signer(None).signer
        world.wire.answer_instead = CMS.sign(encode_voucher(bent), signer)
        with pytest.raises(UnexpectedResponse, match=said):
            await world.fetch(device)
        standing = await world.stored.current(device.key)
        assert standing is not None
        assert standing.voucher == world.wire.answers[0]


async def test_only_a_device_on_record_gets_one(tmp_path: Path) -> None:
    """Unknown, revoked: not even a request; two of one serial number: both are told."""
    async with make_world(tmp_path) as world:
        with pytest.raises(DeviceUnknown):
            await world.identity.announced("acme", "SN-1")
        device = await sold(world)
        world.records.change("SN-1", status=DeviceStatus.REVOKED)
        with pytest.raises(DeviceRevoked):
            await world.identity.announced("acme", "SN-1")
        world.records.change("SN-1", status=DeviceStatus.ACTIVE)
        with pytest.raises(DeviceUnknown):
            await world.identity.announced("bolt", "SN-1")
        (found,) = await world.identity.announced("acme", "SN-1")
        assert (found.device, found.manufacturer) == (device.key, "acme")


# -- using


@pytest.mark.requirement("E2E-6", "OEM-17")
@pytest.mark.parametrize("use", [Use.MASA_SILENT, Use.FIRST])
async def test_a_device_enrolls_while_the_masa_is_away(tmp_path: Path, use: Use) -> None:
    """From the real pledge's first message to its certificate; the pledge's policy allows it."""
    audit = AuditPolicy(accept_silence=True)
    async with make_world(tmp_path, issue=LONG, use=use, audit=audit) as world:
        device = await sold(world)
        errand = await world.fetch(device)
        world.wire.broken = AWAY
        exchange = Exchange(world, device, policy=Policy(allow_nonceless=True))
        verdict = await exchange.run()
        assert verdict.result is Result.ENROLLED
        assert exchange.received[0].body == errand.voucher
        (passed,) = await lines(world, EventKind.VOUCHER)
        assert passed.details == {"assertion": "verified", "source": "stored"}


@pytest.mark.requirement("E2E-6", "PL-19")
async def test_a_pledge_that_wants_its_nonce_answered_stays_out(tmp_path: Path) -> None:
    """The registrar's policy does not replace the pledge's."""
    async with make_world(tmp_path, issue=LONG, use=Use.MASA_SILENT) as world:
        device = await sold(world)
        await world.fetch(device)
        world.wire.broken = AWAY
        verdict = await Exchange(world, device).run()
        assert verdict.result is not Result.ENROLLED
        assert await world.journal.active_certificate(device.key) is None


@pytest.mark.requirement("REG-27")
async def test_by_default_it_is_not_used(tmp_path: Path) -> None:
    """503, as without it."""
    assert Use(StoredVoucherSettings().use) is Use.NEVER
    async with make_world(tmp_path, issue=LONG) as world:
        device = await sold(world)
        await world.fetch(device)
        world.wire.broken = AWAY
        with pytest.raises(Unavailable):
            await world.voucher(device)


async def test_while_the_masa_answers_its_word_counts(tmp_path: Path) -> None:
    """A voucher with the pledge's nonce when there is one to be had; a refusal is final."""
    async with make_world(tmp_path, issue=LONG, use=Use.MASA_SILENT) as world:
        device = await sold(world)
        await world.fetch(device)
        answer = await world.voucher(device)
        assert isinstance(answer, VoucherAnswer)
        assert voucher_in(answer.body).nonce is not None
        world.wire.broken = VoucherRefused("the MASA answered 403")
        with pytest.raises(VoucherRefused):
            await world.voucher(device, nonce=bytes(16))


@pytest.mark.requirement("REG-15")
async def test_a_voucher_with_a_nonce_is_never_kept_for_another(tmp_path: Path) -> None:
    """What one request got is no help to the next, whatever the policy says."""
    async with make_world(tmp_path, use=Use.FIRST) as world:
        device = await sold(world)
        await world.voucher(device)
        world.wire.broken = AWAY
        with pytest.raises(Unavailable):
            await world.voucher(device, nonce=bytes(16))


async def test_an_expired_one_is_of_no_use(tmp_path: Path) -> None:
    async with make_world(tmp_path, issue=LONG, use=Use.MASA_SILENT) as world:
        device = await sold(world)
        await world.fetch(device)
        world.wire.broken = AWAY
        world.clock.forward(days=30)
        with pytest.raises(Unavailable):
            await world.voucher(device)


@pytest.mark.requirement("SEC-9")
async def test_a_namesakes_voucher_is_of_no_use(tmp_path: Path) -> None:
    """Another manufacturer's device of the same serial number."""
    async with make_world(tmp_path, issue=LONG, use=Use.FIRST) as world:
        device = await sold(world)
        await world.fetch(device)
        world.wire.broken = AWAY
        with pytest.raises(Unavailable):
            await world.voucher(world.make_device(issuer=world.other_oem))


# -- renewing


@pytest.mark.requirement("VR-21", "MASA-15")
async def test_a_renewal_carries_the_former_voucher(tmp_path: Path) -> None:
    """A new request with it as prior-signed-voucher-request; the new voucher takes its place."""
    async with make_world(tmp_path, issue=LONG) as world:
        device = await sold(world)
        former = await world.fetch(device)
        await world.renewer.renew_due()
        assert len(world.wire.sent) == 1
        world.clock.forward(days=24)
        await world.renewer.renew_due()
        renewal = request_in(world.wire.sent[1])
        assert renewal.prior_signed_voucher_request == former.voucher
        assert (renewal.nonce, renewal.created_on) == (None, world.clock())
        current = await world.stored.current(device.key)
        assert current is not None
        assert current.expires_on == world.clock() + timedelta(days=30)
        await world.renewer.renew_due()
        assert len(world.wire.sent) == 2


async def test_a_short_life_is_renewed_at_its_half(tmp_path: Path) -> None:
    """Twenty minutes, as MASAs give by default."""
    async with make_world(tmp_path) as world:
        await world.fetch(await sold(world))
        world.clock.forward(minutes=9)
        await world.renewer.renew_due()
        assert len(world.wire.sent) == 1
        world.clock.forward(minutes=2)
        await world.renewer.renew_due()
        assert len(world.wire.sent) == 2


async def test_a_refused_renewal_rings_an_alarm_and_rests_for_a_day(tmp_path: Path) -> None:
    """The former voucher stays; silence is no refusal and is tried again at once."""
    async with make_world(tmp_path, issue=LONG) as world:
        device = await sold(world)
        former = await world.fetch(device)
        world.clock.forward(days=24)
        told: list[str] = []

        def note(_: object, fault: OnboardingError | None) -> None:
            told.append("" if fault is None else fault.code)

        world.wire.broken = AWAY
        await world.renewer.renew_due(note)
        assert await lines(world, EventKind.ALARM) == ()
        world.wire.broken = VoucherRefused("the MASA answered 403: sold")
        await world.renewer.renew_due(note)
        await world.renewer.renew_due(note)
        assert told == ["unavailable", "voucher-refused"]
        (alarm,) = await lines(world, EventKind.ALARM)
        assert alarm.device == device.key
        assert "not renewed: the MASA answered 403: sold" in alarm.reason
        assert await world.stored.current(device.key) == former
        world.clock.forward(days=1, seconds=1)
        world.wire.broken = None
        await world.renewer.renew_due(note)
        assert told[-1] == ""


async def test_a_voucher_past_its_last_renewal_date_is_let_go(tmp_path: Path) -> None:
    """The MASA has said that there will be no other (RFC 8366 §5.3)."""
    async with make_world(tmp_path, issue=LONG) as world:
        device = await sold(world)
        good = voucher_in((await world.fetch(device)).voucher or b"")
        last = replace(good, last_renewal_date=world.clock() + timedelta(days=1))
        signer = pki.make_masa_signer(None).signer
        world.wire.answer_instead = CMS.sign(encode_voucher(last), signer)
        await world.fetch(device)
        world.clock.forward(days=24)
        await world.renewer.renew_due()
        assert len(world.wire.sent) == 2


@dataclass
class RefusesAllBut:
    """A MASA by whose books every other device was sold on."""

    serial_number: str
    world: World

    async def request_voucher(
        self, manufacturer: str, masa_url: str, body: bytes, media_type: str
    ) -> MASAAnswer:
        if request_in(body).serial_number != self.serial_number:
            raise VoucherRefused("the MASA answered 403: sold")
        answer = await self.world.wire.masa.request_voucher(body, media_type)
        return MASAAnswer(body=answer.body, media_type=answer.media_type)

    async def request_audit_log(
        self, manufacturer: str, masa_url: str, body: bytes, media_type: str
    ) -> MASAAnswer:
        raise AWAY

    async def close(self) -> None:
        pass


async def test_those_that_are_refused_hold_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sold devices end first for ever; the one that ends after them is renewed all the same."""
    monkeypatch.setattr(renewing, "_AT_ONCE", 2)
    async with make_world(tmp_path, issue=LONG) as world:
        gone = [await sold(world, f"SN-{number}") for number in range(5)]
        for device in gone:
            await world.fetch(device)
        world.clock.forward(seconds=1)
        kept = await sold(world, "SN-KEPT")
        await world.fetch(kept)
        world.clock.forward(days=24)
        world.wire.link = RefusesAllBut("SN-KEPT", world)
        codes = []

        def note(errand: Errand, fault: OnboardingError | None) -> None:
            codes.append((errand.device.serial_number, fault is None))

        await world.renewer.renew_due(note)
        assert sorted(codes) == [*((f"SN-{n}", False) for n in range(5)), ("SN-KEPT", True)]
        await world.renewer.renew_due(note)
        assert len(codes) == 6  # those that were refused rest


async def test_a_running_registrar_renews_by_itself(tmp_path: Path) -> None:
    """Once started; and stops when it is closed."""
    async with make_world(tmp_path, issue=LONG) as world:
        device = await sold(world)
        await world.fetch(device)
        world.clock.forward(days=24)
        world.renewer.start()
        async with asyncio.timeout(10):
            while len(world.wire.answers) < 2:
                await asyncio.sleep(0)
        await world.renewer.close()
        current = await world.stored.current(device.key)
        assert current is not None
        assert current.expires_on is not None


# -- dropping


async def drop(world: World, device: Device) -> None:
    """As the command does it: another process, another connection to the same file."""
    other = SQLiteJournal(world.folder / "registrar.db")
    try:
        await SQLiteStoredVouchers(other.writer).drop(
            VoucherDrop(device=device.key, at=world.clock(), by="operator"),
            Event(at=world.clock(), kind=EventKind.STORED_VOUCHER, device=device.key),
        )
    finally:
        await other.close()


@pytest.mark.parametrize("use", [Use.MASA_SILENT, Use.FIRST])
async def test_a_dropped_voucher_admits_nobody(tmp_path: Path, use: Use) -> None:
    """The registrar that runs knows at once; fetched anew, it admits again."""
    async with make_world(tmp_path, issue=LONG, use=use) as world:
        device = await sold(world)
        await world.fetch(device)
        await drop(world, device)
        world.wire.broken = AWAY
        with pytest.raises(Unavailable):
            await world.voucher(device)
        world.wire.broken = None
        anew = await world.fetch(device)
        assert request_in(world.wire.sent[-1]).prior_signed_voucher_request is None
        world.wire.broken = AWAY
        answer = await world.voucher(device)
        assert isinstance(answer, VoucherAnswer)
        assert answer.body == anew.voucher


async def test_a_dropped_voucher_is_not_renewed(tmp_path: Path) -> None:
    """Neither later, nor by a renewal that had been decided on when it was dropped; no alarm."""
    async with make_world(tmp_path, issue=LONG) as world:
        device, kept = await sold(world), await sold(world, "SN-2")
        errand = await world.fetch(device)
        await world.fetch(kept)
        await drop(world, device)
        world.clock.forward(days=24)
        asked = len(world.wire.sent)

        async def ending(*_: object, **__: object) -> tuple[object, ...]:
            return (errand, *(await SQLiteStoredVouchers.all_current(world.stored)))

        with pytest.MonkeyPatch.context() as late:
            late.setattr(world.renewer._vouchers, "ending", ending)
            await world.renewer.renew_due()
        assert len(world.wire.sent) == asked + 1
        assert request_in(world.wire.sent[-1]).serial_number == "SN-2"
        assert await world.stored.current(device.key) is None
        assert await lines(world, EventKind.ALARM) == ()


async def test_a_denied_devices_voucher_is_not_renewed(tmp_path: Path) -> None:
    """It would be of no use here, and the MASA's log would tell of an owner who wants it; approved
    again, it is renewed.
    """
    async with make_world(tmp_path, issue=LONG) as world:
        device = await sold(world)
        await world.fetch(device)
        world.clock.forward(days=24)
        for decision, asked in ((Decision.DENIED, 1), (Decision.APPROVED, 2)):
            await SQLiteApprovals(world.journal.writer).decide(
                device.key,
                decision,
                by="operator",
                note="",
                event=Event(at=world.clock(), kind=EventKind.APPROVAL, device=device.key),
            )
            await world.renewer.renew_due()
            assert len(world.wire.sent) == asked
