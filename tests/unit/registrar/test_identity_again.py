"""Who is it, asked again: right before a signature, and on another connection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from brski.errors import (
    CertificateMismatch,
    ChainInvalid,
    DeviceRevoked,
    DeviceUnknown,
    IDevIDIssuerMismatch,
    KeyMismatch,
    OnboardingError,
    SerialNumberMismatch,
    Unavailable,
)
from brski.idevid.record import DeviceRecord, DeviceStatus
from tests.kit import identity as kit
from tests.kit import pki
from tests.kit.identity import SERIAL, World


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize("way", ["asserted", "carried"])
async def test_recheck_asks_past_the_cache(world: World, way: str) -> None:
    """The record that is about to be signed upon is the one of now."""
    verified = await world.shows_up(way)
    assert await world.verifier().recheck(verified) == verified.record
    question = world.lookup.asked[-1]
    assert question.fresh
    assert question.idevid_issuer == verified.device.idevid_issuer


@pytest.mark.parametrize("way", ["asserted", "carried"])
@pytest.mark.parametrize(
    ("change", "error"),
    [
        pytest.param(
            lambda w: kit.record_of(w.device, status=DeviceStatus.REVOKED),
            DeviceRevoked,
            id="revoked",
        ),
        pytest.param(
            lambda w: kit.record_of(pki.make_idevid(w.a, SERIAL)),
            CertificateMismatch,
            id="replaced",
        ),
        pytest.param(lambda _: None, DeviceUnknown, id="gone"),
    ],
)
async def test_recheck_refuses_what_changed_in_between(
    world: World,
    way: str,
    change: Callable[[World], DeviceRecord | None],
    error: type[OnboardingError],
) -> None:
    """Nothing is signed on a record that does not stand any more."""
    verified = await world.shows_up(way)
    record = change(world)
    world.lookup.records["A"] = [] if record is None else [record]
    with pytest.raises(error):
        await world.verifier().recheck(verified)


async def test_recheck_of_a_silent_source_is_unavailable(world: World) -> None:
    """Neither yes nor no."""
    verified = await world.asserts()
    world.lookup.silent.add("A")
    with pytest.raises(Unavailable):
        await world.verifier().recheck(verified)


async def test_recheck_without_a_record_to_compare(world: World) -> None:
    """None where there was none; a record that has appeared since is compared."""
    by = world.verifier(world.maker("A", require_record=False))
    (record,) = world.lookup.records.pop("A")
    verified = await world.carries(by=by)
    assert await by.recheck(verified) is None
    world.lookup.records["A"] = [record]
    assert await by.recheck(verified) == record
    world.lookup.records["A"] = [replace(record, status=DeviceStatus.REVOKED)]
    with pytest.raises(DeviceRevoked):
        await by.recheck(verified)
    without = kit.verifier([world.maker("A", source=None)], None, world.registrar.certificate)
    assert await without.recheck(verified) is None


async def test_recheck_after_the_path_has_ended_is_refused(world: World) -> None:
    """A request that waited for a person's approval may outlive its certificate."""
    world.device = pki.make_idevid(world.a, SERIAL, not_after=pki.NOT_AFTER)
    world.lookup.records["A"] = [kit.record_of(world.device)]
    verified = await world.carries()
    assert await world.verifier().recheck(verified, now=pki.NOT_AFTER)
    with pytest.raises(ChainInvalid):
        await world.verifier().recheck(verified, now=pki.AFTER)
    lenient = world.verifier(world.maker("A", ignore_idevid_expiry=True))
    assert await lenient.recheck(verified, now=pki.AFTER)


async def test_recheck_of_a_manufacturer_that_was_taken_out_of_the_settings(world: World) -> None:
    """No longer trusted is no longer known."""
    verified = await world.asserts()
    with pytest.raises(DeviceUnknown):
        await world.verifier(world.maker("B")).recheck(verified)


@pytest.mark.requirement("PL-31")
@pytest.mark.parametrize("way", ["asserted", "carried"])
async def test_confirm_takes_the_same_device_on_another_connection(world: World, way: str) -> None:
    """EST may come over a new connection: it is judged anew, with the record of now."""
    verified = await world.shows_up(way)
    by = world.verifier()
    record = await by.confirm(world.chain(way), verified.device, verified.manufacturer)
    assert record == verified.record
    assert world.lookup.asked[-1].fresh
    assert world.lookup.asked[-1].sources == {"A"}


async def test_confirm_refuses_another_key(world: World) -> None:
    """The serial number of an onboarding is not the device."""
    verified = await world.asserts()
    with pytest.raises(KeyMismatch):
        await world.verifier().confirm(
            world.chain("asserted", pki.make_key()), verified.device, "A"
        )


@pytest.mark.parametrize("way", ["asserted", "carried"])
async def test_confirm_refuses_another_sound_device(world: World, way: str) -> None:
    """A device of the same manufacturer does not go on with a neighbour's onboarding."""
    verified = await world.asserts()
    other = pki.make_idevid(world.a, "SN-0002")
    world.lookup.records["A"].append(kit.record_of(other))
    chain = (
        other.chain[:-1] if way == "carried" else kit.asserted_chain(other.private_key, "SN-0002")
    )
    with pytest.raises(SerialNumberMismatch):
        await world.verifier().confirm(chain, verified.device, "A")


async def test_confirm_refuses_the_namesake_of_another_manufacturer(world: World) -> None:
    """Same serial number, another issuer."""
    verified = await world.asserts()
    twin = pki.make_idevid(world.b, SERIAL)
    world.lookup.records["B"] = [kit.record_of(twin)]
    with pytest.raises(IDevIDIssuerMismatch):
        await world.verifier().confirm(twin.chain[:-1], verified.device, "A")
    with pytest.raises(DeviceUnknown):
        await world.verifier().confirm(
            kit.asserted_chain(twin.private_key, SERIAL), verified.device, "B"
        )


async def test_confirm_refuses_a_device_revoked_since(world: World) -> None:
    """The voucher was good; the device is not any more."""
    verified = await world.asserts()
    world.lookup.records["A"] = [kit.record_of(world.device, status=DeviceStatus.REVOKED)]
    with pytest.raises(DeviceRevoked):
        await world.verifier().confirm(world.chain("asserted"), verified.device, "A")
