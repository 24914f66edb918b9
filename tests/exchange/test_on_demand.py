"""An unknown device waits, and is admitted once it is known; nobody learns more than before."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from brski.errors import DeviceUnknown, KeyMismatch, OnboardingError
from brski.idevid.record import DeviceStatus
from registrar_plugin.ca_backend.port import Pending
from registrar_plugin.identity.patience import Patience, PatienceSettings
from registrar_plugin.identity.verify import IDENTITY_REFUSALS
from registrar_plugin.registrar import VoucherAnswer
from tests.kit import pki
from tests.kit.world import Device, World, make_world, record_of

WAIT_S = 60


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with make_world(tmp_path) as opened:
        opened.registrar._patience = Patience(PatienceSettings(wait_s=WAIT_S, retry_after_s=7))
        yield opened


async def answer_to(world: World, device: Device) -> Pending | VoucherAnswer | type[Exception]:
    try:
        return await world.ask(device)
    except OnboardingError as err:
        return type(err)


async def test_a_device_completes_once_it_is_on_record(world: World) -> None:
    """The very same octets, again and again; then the voucher, and the rest of the way."""
    device = world.make_device("SN-1", asserting=True, listed=False)
    for _ in range(3):
        assert await answer_to(world, device) == Pending(retry_after_s=7)
        world.clock.forward(seconds=7)
    world.records.records.append(record_of(device))
    assert isinstance(await answer_to(world, device), VoucherAnswer)
    await world.accept(device)
    await world.enroll(device)
    codes = [event.code for event in await world.journal.events()]
    assert codes.count("device-unknown") == 3


@pytest.mark.parametrize("case", ["unknown", "wrong key", "revoked", "flagged", "carried"])
async def test_every_refused_identity_gets_the_same_answers(world: World, case: str) -> None:
    """202 for a bounded time, then the refusal: a 404 tells nobody that a number exists."""
    device = world.make_device(
        "SN-1", asserting=case != "carried", listed=case not in ("unknown", "carried")
    )
    if case in ("revoked", "flagged"):
        world.records.change("SN-1", status=DeviceStatus(case), status_reason="stolen")
    if case == "wrong key":
        stranger = pki.make_idevid(world.other_oem, "SN-1")
        device = Device(
            entity=pki.Entity(
                certificate=device.entity.certificate, private_key=stranger.private_key
            ),
            presentation=device.presentation,
            serial_number="SN-1",
        )
    assert await answer_to(world, device) == Pending(retry_after_s=7)
    world.clock.forward(seconds=WAIT_S - 1)
    assert await answer_to(world, device) == Pending(retry_after_s=7)
    world.clock.forward(seconds=1)
    assert await answer_to(world, device) in IDENTITY_REFUSALS


async def test_a_stranger_does_not_use_up_a_devices_time(world: World) -> None:
    """The time counts for serial number and key."""
    device = world.make_device("SN-1", asserting=True, listed=False)
    stranger = world.make_device("SN-1", asserting=True, listed=False)
    assert await answer_to(world, stranger) == Pending(retry_after_s=7)
    world.clock.forward(seconds=WAIT_S)
    assert await answer_to(world, stranger) is DeviceUnknown
    assert await answer_to(world, device) == Pending(retry_after_s=7)


async def test_other_refusals_do_not_wait(world: World) -> None:
    """A false signature, another registrar's request: refused at once, as before."""
    device = world.make_device("SN-1", asserting=True, listed=False)
    body = device.request(world.owner.certificate)
    with pytest.raises(OnboardingError) as caught:
        await world.registrar.request_voucher(
            body, "application/voucher-cms+json", world.connection(device.shown)
        )
    assert caught.value.code == "proximity-mismatch"


async def test_without_on_demand_it_is_refused_at_once(tmp_path: Path) -> None:
    async with make_world(tmp_path) as world:
        assert await answer_to(world, world.make_device("SN-1", listed=False)) is DeviceUnknown
        assert KeyMismatch in IDENTITY_REFUSALS
