"""Who is it: a device that carries its IDevID, and what only looks like one."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from brski.errors import (
    CertificateMismatch,
    ChainInvalid,
    DeviceAmbiguous,
    DeviceUnknown,
)
from brski.pki.keys import certificate_der, spki_of
from registrar_plugin.identity import judge
from tests.kit import identity as kit
from tests.kit import pki
from tests.kit.identity import SERIAL, World, off


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.requirement("REG-1")
async def test_idevid_of_an_unknown_manufacturer_is_refused(world: World) -> None:
    """Its chain leads nowhere; nobody is asked."""
    stranger = pki.make_idevid(pki.make_pki("C"), SERIAL)
    with pytest.raises(ChainInvalid):
        await world.carries(stranger)
    assert world.lookup.asked == []


async def test_chain_under_a_namesake_of_an_anchor_is_refused(world: World) -> None:
    """The name of an anchor is not the anchor."""
    with pytest.raises(ChainInvalid):
        await world.carries(pki.make_idevid(pki.make_pki("A", levels=3), SERIAL))


@pytest.mark.requirement("REG-1")
@pytest.mark.parametrize("broken", ["key-exchanged", "subject-altered"])
async def test_altered_idevid_gets_through_the_handshake_and_no_further(
    world: World, broken: str
) -> None:
    """The OEM's signature does not cover what was altered, and TLS does not look at it."""
    stranger = pki.make_key()
    spki = stranger.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if broken == "key-exchanged":
        altered = world.device.der.replace(spki_of(world.device.certificate), spki)
        key = stranger
    else:
        altered = world.device.der.replace(b"SN-0001", b"SN-0002")
        world.lookup.records["A"].append(kit.record_of(pki.make_idevid(world.a, "SN-0002")))
        key = world.device.private_key
    assert altered != world.device.der
    serial = SERIAL if broken == "key-exchanged" else "SN-0002"
    with pytest.raises(ChainInvalid):
        await world.verifier().verify(
            [altered, *(certificate_der(c) for c in world.device.intermediates)],
            world.request(key, serial),
        )


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda der: [der[:-1] + bytes([der[-1] ^ 1])], id="own-signature-broken"),
        pytest.param(lambda der: [der, der], id="two-certificates"),
    ],
)
async def test_what_is_not_quite_asserted_is_carried_and_refused(
    world: World, spoil: Callable[[bytes], list[bytes]]
) -> None:
    """Never retried the other way: the same device, properly asserting, is on record."""
    (assertion,) = kit.asserted_chain(world.device.private_key, SERIAL)
    with pytest.raises(ChainInvalid):
        await world.verifier().verify(
            spoil(certificate_der(assertion)), world.request(world.device.private_key)
        )
    assert world.lookup.asked == []
    assert await world.asserts()


async def test_carried_chain_that_fails_is_not_retried_as_asserted(world: World) -> None:
    """A leaf whose intermediate is missing names a serial number on record and holds its key."""
    with pytest.raises(ChainInvalid):
        await world.verifier().verify(
            (world.device.certificate,), world.request(world.device.private_key)
        )
    assert world.lookup.asked == []


async def test_carried_idevid_that_is_not_on_record_is_refused_unless_policy_lets_it(
    world: World,
) -> None:
    """No record, no device; the switch is the operator's."""
    world.lookup.records.clear()
    with pytest.raises(DeviceUnknown):
        await world.carries()
    by = world.verifier(world.maker("A", require_record=False))
    assert (await world.carries(by=by)).record is None


@pytest.mark.parametrize("key", ["another", "the same"])
async def test_only_the_record_stops_a_second_certificate_of_the_manufacturers_own_ca(
    world: World, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """Clone and rogue detection: sound chain, same serial number, not the certificate on record."""
    second = pki.make_idevid(
        world.a,
        SERIAL,
        masa_url="masa.attacker.example",
        key=world.device.private_key if key == "the same" else None,
    )
    by = world.verifier(world.maker("A", require_record=False))
    with pytest.raises(CertificateMismatch) as refusal:
        await world.carries(second, by=by)
    assert refusal.value.alarm
    off(monkeypatch, judge, "check_certificate")
    assert await world.carries(second, by=by)


async def test_chain_to_anchors_of_two_manufacturers_is_ambiguous(world: World) -> None:
    """One root under two names in the settings: the serial patterns may tell them apart."""
    twice = (world.maker("A"), replace(world.maker("A"), name="A2"))
    with pytest.raises(DeviceAmbiguous):
        await world.carries(by=world.verifier(*twice))
    told_apart = (twice[0], replace(twice[1], serial_pattern=re.compile("X.*")))
    assert (await world.carries(by=world.verifier(*told_apart))).manufacturer == "A"


async def test_carried_serial_number_must_be_one_of_its_manufacturers(world: World) -> None:
    """A serial pattern that does not fit refuses a carried IDevID too."""
    by = world.verifier(world.maker("A", serial_pattern=re.compile("X.*")))
    with pytest.raises(DeviceUnknown, match="no serial number of A's"):
        await world.carries(by=by)


async def test_answer_about_a_namesake_of_another_issuer_is_not_the_record(world: World) -> None:
    """A blind source's record of the same serial number under another issuer does not count."""
    world.lookup.blind.add("A")
    world.lookup.records["A"] = [kit.record_of(pki.make_idevid(world.b, SERIAL))]
    with pytest.raises(DeviceUnknown):
        await world.carries()
