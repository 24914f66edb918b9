"""A person decides of a sound device that nobody announced (docs/approval.md)."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509

from brski.errors import KeyMismatch, PledgeNotExpected, TooManyRequests
from brski.registry import VOUCHER_CMS_JSON
from registrar_plugin.admission.judge import AdmissionPolicy
from registrar_plugin.approval import WaitingRoom
from registrar_plugin.ca_backend.port import Pending
from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.registrar import VoucherAnswer
from registrar_plugin.store.approvals import Decision
from registrar_plugin.store.sqlite_approvals import SQLiteApprovals
from registrar_plugin.telemetry.events import Event, EventKind, Outcome
from tests.kit.world import Device, World, make_world

BY_HAND = AdmissionPolicy(by_hand=True)


async def decide(world: World, device: DeviceKey, decision: Decision) -> None:
    """As ``brski-registrar approve`` and ``deny`` do."""
    event = Event(at=world.clock(), kind=EventKind.APPROVAL, device=device)
    await SQLiteApprovals(world.journal.writer).decide(
        device, decision, by="ann (uid 7)", note="", event=event
    )


async def ask(world: World, device: Device, body: bytes) -> VoucherAnswer | Pending:
    return await world.registrar.request_voucher(
        body, VOUCHER_CMS_JSON, world.connection(device.shown)
    )


@pytest.mark.requirement("E2E-3", "REG-17")
@pytest.mark.parametrize("asserting", [False, True])
async def test_the_same_request_waits_and_then_gets_its_voucher(
    tmp_path: Path, asserting: bool
) -> None:
    """Twice 202 for the very same octets, then 200; the MASA hears of it only then."""
    async with make_world(tmp_path, admission=BY_HAND) as world:
        device = world.make_device(asserting=asserting)
        body = device.request(world.registrar_entity.certificate)
        for _ in range(2):
            answer = await ask(world, device, body)
            assert isinstance(answer, Pending)
            assert answer.retry_after_s == WaitingRoom().retry_after_s
        assert not world.wire.sent
        await decide(world, device.key, Decision.APPROVED)
        assert isinstance(await ask(world, device, body), VoucherAnswer)
        await world.accept(device)
        await world.enroll(device)
        assert await world.journal.active_certificate(device.key) is not None


async def test_waiting_is_written_down_once(tmp_path: Path) -> None:
    """A pledge asks every half minute for days; the journal does not grow of it."""
    async with make_world(tmp_path, admission=BY_HAND) as world:
        device = world.make_device()
        for _ in range(3):
            await world.ask(device)
        (event,) = await world.journal.events()
        assert (event.kind, event.outcome) == (EventKind.APPROVAL, Outcome.DONE)
        assert event.device == device.key
        (waiting,) = await SQLiteApprovals(world.journal.writer).waiting()
        assert (waiting.device, waiting.manufacturer) == (device.key, "acme")
        assert waiting.peer_address == "192.0.2.7"


@pytest.mark.requirement("REG-6")
async def test_a_denied_device_is_refused_as_any_other(tmp_path: Path) -> None:
    """The pledge cannot tell a person's no from a device that is not expected."""
    async with make_world(tmp_path, admission=BY_HAND) as world:
        device = world.make_device()
        await world.ask(device)
        await decide(world, device.key, Decision.DENIED)
        with pytest.raises(PledgeNotExpected):
            await world.ask(device)
        assert not world.wire.sent


async def test_approving_a_device_lets_its_namesake_wait(tmp_path: Path) -> None:
    """A serial number is unique under one issuer only."""
    async with make_world(tmp_path, admission=BY_HAND) as world:
        device, twin = world.make_device(), world.make_device(issuer=world.other_oem)
        await decide(world, device.key, Decision.APPROVED)
        assert isinstance(await world.ask(device), VoucherAnswer)
        assert isinstance(await world.ask(twin), Pending)


@pytest.mark.requirement("REG-27")
async def test_without_manual_approval_nobody_waits(tmp_path: Path) -> None:
    """The default; and an approval from a time when it was manual does not outlive that."""
    async with make_world(tmp_path, admission=AdmissionPolicy()) as world:
        device = world.make_device()
        for _ in range(2):
            with pytest.raises(PledgeNotExpected):
                await world.ask(device)
            await decide(world, device.key, Decision.APPROVED)


async def test_a_denial_holds_whatever_the_settings_say(tmp_path: Path) -> None:
    """Every device of the manufacturer may come, but for this one."""
    async with make_world(tmp_path) as world:
        device = world.make_device()
        await decide(world, device.key, Decision.DENIED)
        with pytest.raises(PledgeNotExpected):
            await world.ask(device)
        await world.ask(world.make_device("SN-2"))


@pytest.mark.requirement("REG-29")
async def test_a_denial_ends_what_has_begun(tmp_path: Path) -> None:
    """A device that has its voucher and is denied then gets no certificate."""
    async with make_world(tmp_path) as world:
        device = world.make_device()
        await world.ask(device)
        await world.accept(device)
        await decide(world, device.key, Decision.DENIED)
        with pytest.raises(PledgeNotExpected):
            await world.enroll(device)
        await decide(world, device.key, Decision.APPROVED)
        issued = await world.enroll(device)
        assert isinstance(issued, x509.Certificate)
        await decide(world, device.key, Decision.DENIED)
        with pytest.raises(PledgeNotExpected):
            await world.reenroll(device, issued)


async def test_one_manufacturer_by_hand_and_the_other_not(tmp_path: Path) -> None:
    """What is said under a manufacturer counts instead of what is said for all."""
    policy = AdmissionPolicy(by_hand=True, by_hand_of={"bolt": False})
    async with make_world(tmp_path, admission=policy) as world:
        assert isinstance(await world.ask(world.make_device()), Pending)
        with pytest.raises(PledgeNotExpected):
            await world.ask(world.make_device(issuer=world.other_oem))


async def test_nobody_waits_for_ever(tmp_path: Path) -> None:
    """After its time a device is refused once; then it may begin anew."""
    async with make_world(tmp_path, admission=BY_HAND) as world:
        device = world.make_device()
        await world.ask(device)
        world.clock.forward(days=4, seconds=-1)
        assert isinstance(await world.ask(device), Pending)
        world.clock.forward(seconds=2)
        with pytest.raises(PledgeNotExpected, match="nobody has decided"):
            await world.ask(device)
        assert isinstance(await world.ask(device), Pending)


async def test_a_full_waiting_room_sends_away_for_now(tmp_path: Path) -> None:
    """503 with Retry-After, and the journal says why."""
    room = WaitingRoom(most=1)
    async with make_world(tmp_path, admission=BY_HAND, room=room) as world:
        await world.ask(world.make_device("SN-1"))
        with pytest.raises(TooManyRequests):
            await world.ask(world.make_device("SN-2"))
        assert (await world.journal.events())[-1].code == "too-many-requests"


async def test_a_stranger_does_not_get_into_the_waiting_room(tmp_path: Path) -> None:
    """Only who holds a device's key learns that it would be waited for."""
    async with make_world(tmp_path, admission=BY_HAND) as world:
        world.make_device(asserting=True)
        thief = world.make_device(asserting=True, listed=False)
        with pytest.raises(KeyMismatch):
            await world.ask(thief)
        assert await SQLiteApprovals(world.journal.writer).waiting() == ()
