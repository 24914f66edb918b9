"""Who is it, among several manufacturers that are trusted and may not trust one another."""

from __future__ import annotations

import re

import pytest
from cryptography import x509

from brski.errors import (
    DeviceAmbiguous,
    DeviceRevoked,
    DeviceUnknown,
    IDevIDIssuerMismatch,
    Unavailable,
)
from brski.idevid.record import DeviceStatus
from brski.pki.chain import TrustAnchors
from brski.pki.extensions import idevid_issuer_of, key_identifier
from brski.pki.keys import spki_of
from registrar_plugin.identity import judge, verify
from registrar_plugin.identity.model import DeviceKey, VerifiedIDevID
from tests.kit import identity as kit
from tests.kit import pki
from tests.kit.identity import SERIAL, World, off


@pytest.fixture
def world() -> World:
    return World()


# -- several manufacturers -------------------------------------------------------------------------


@pytest.mark.requirement("SEC-9")
async def test_two_manufacturers_may_use_one_serial_number(world: World) -> None:
    """Each device is the one whose key it holds, and the two are not one device."""
    twin = pki.make_idevid(world.b, SERIAL)
    world.lookup.records["B"] = [kit.record_of(twin)]
    first, second = await world.asserts(), await world.asserts(twin.private_key)
    assert (first.manufacturer, second.manufacturer) == ("A", "B")
    assert first.device.serial_number == second.device.serial_number
    assert first.device != second.device
    assert (await world.carries(twin)).device == second.device


async def test_only_ambiguity_stops_a_key_certified_by_a_second_manufacturer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Public keys are public: B certifies the key of A's device and has a sound record of it."""
    stolen = pki.make_idevid(world.b, SERIAL, key=world.device.private_key)
    world.lookup.records["B"] = [kit.record_of(stolen)]
    with pytest.raises(DeviceAmbiguous, match=r"A .*B ") as refusal:
        await world.asserts()
    assert refusal.value.alarm
    monkeypatch.setattr(verify, "select", lambda found: found[-1])
    assert (await world.asserts()).manufacturer == "B"


async def test_device_that_names_its_issuer_is_not_ambiguous(world: World) -> None:
    """The hint is under the TLS signature: who certified the key behind its back is not asked."""
    stolen = pki.make_idevid(world.b, SERIAL, key=world.device.private_key)
    world.lookup.records["B"] = [kit.record_of(stolen)]
    by = world.verifier(
        world.maker("A", issuers=frozenset({key_identifier(spki_of(world.a.certificate))})),
        world.maker("B"),
    )
    issuer = idevid_issuer_of(world.device.certificate)
    assert (await world.asserts(by=by, idevid_issuer=issuer)).manufacturer == "A"
    assert world.lookup.asked[-1].sources == {"A"}


async def test_revoked_at_one_and_good_at_the_other_is_ambiguous(world: World) -> None:
    """A revoked device does not come back by a second manufacturer's certificate."""
    stolen = pki.make_idevid(world.b, SERIAL, key=world.device.private_key)
    world.lookup.records["A"] = [kit.record_of(world.device, status=DeviceStatus.REVOKED)]
    world.lookup.records["B"] = [kit.record_of(stolen)]
    with pytest.raises(DeviceAmbiguous):
        await world.asserts()


async def test_reissued_under_another_ca_is_its_active_record(world: World) -> None:
    """The manufacturer revoked the old certificate, whose key is the same, by its re-issue."""
    root = pki.make_root("A root")
    old, new = (
        pki.make_idevid(pki.make_ca(name, root), SERIAL, key=world.device.private_key)
        for name in ("Old", "New")
    )
    by = world.verifier(world.maker("A", anchors=TrustAnchors([root.certificate])))
    revoked = kit.record_of(old, status=DeviceStatus.REVOKED)
    for records in ([revoked, kit.record_of(new)], [kit.record_of(new), revoked]):
        world.lookup.records["A"] = records
        verified = await world.asserts(by=by)
        assert verified.idevid == new.certificate
        assert await by.recheck(verified)
    world.lookup.records["A"] = [kit.record_of(old), kit.record_of(new)]
    with pytest.raises(DeviceAmbiguous):
        await world.asserts(by=by)
    world.lookup.records["A"] = [revoked, kit.record_of(new, status=DeviceStatus.REVOKED)]
    with pytest.raises(DeviceRevoked):
        await world.asserts(by=by)


async def test_two_records_of_one_manufacturer_with_one_key_are_ambiguous(world: World) -> None:
    """A key names one device, under one issuer."""
    world.lookup.records["A"] *= 2
    with pytest.raises(DeviceAmbiguous):
        await world.asserts()
    with pytest.raises(DeviceAmbiguous):
        await world.carries()


@pytest.mark.parametrize("has_match", [True, False])
async def test_silent_candidate_makes_the_answer_unavailable(world: World, has_match: bool) -> None:
    """Never "the other one matched": the silent one might have made it ambiguous."""
    if not has_match:
        world.lookup.records.clear()
    world.lookup.silent.add("B")
    with pytest.raises(Unavailable):
        await world.asserts()
    world.lookup.silent = {"A"}
    with pytest.raises(Unavailable):
        await world.carries()


# -- whom to ask -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern_a", "pattern_b", "hint", "asked"),
    [
        pytest.param("SN-.*", "SN-.*", None, {"A", "B"}, id="both-fit"),
        pytest.param("SN-.*", "X.*", None, {"A"}, id="one-fits"),
        pytest.param("SN-.*", None, None, {"A"}, id="no-pattern-is-not-asked-for-a-bare-number"),
        pytest.param("N-0001", "SN-000", None, None, id="the-whole-number-must-fit"),
        pytest.param("SN-.*", "SN-.*", "unknown", {"A", "B"}, id="issuer-of-nobody-known"),
        pytest.param("SN-.*", None, "unknown", {"A", "B"}, id="no-pattern-with-an-issuer"),
        pytest.param("SN-.*", "SN-.*", "B-anchor", {"B"}, id="issuer-is-an-anchor-of-B"),
        pytest.param("SN-.*", "X.*", "B-anchor", None, id="narrowed-never-widened"),
    ],
)
async def test_candidates(
    world: World,
    pattern_a: str | None,
    pattern_b: str | None,
    hint: str | None,
    asked: set[str] | None,
) -> None:
    """Serial patterns choose whom to ask; an issuer named narrows the choice."""
    world.lookup.records.clear()
    by = world.verifier(
        world.maker("A", serial_pattern=pattern_a and re.compile(pattern_a)),
        world.maker("B", serial_pattern=pattern_b and re.compile(pattern_b)),
    )
    issuer = {
        None: None,
        "unknown": bytes(20),
        "B-anchor": key_identifier(spki_of(world.b.root)),
    }[hint]
    with pytest.raises(DeviceUnknown):
        await world.asserts(by=by, idevid_issuer=issuer)
    if asked is None:
        assert world.lookup.asked == []
    else:
        (question,) = world.lookup.asked
        assert question.sources == asked
        assert question.idevid_issuer == issuer


async def test_manufacturer_without_a_source_is_not_asked(world: World) -> None:
    """It has no record to give; its devices must carry."""
    by = world.verifier(world.maker("A", source=None))
    with pytest.raises(DeviceUnknown):
        await world.asserts(by=by)
    assert world.lookup.asked == []


async def test_record_of_another_issuer_than_the_one_named_does_not_count(world: World) -> None:
    """A blind source cannot make up for a hint that is wrong."""
    world.lookup.blind.add("A")
    with pytest.raises(DeviceUnknown, match="is of issuer"):
        await world.asserts(idevid_issuer=bytes(20))


async def test_two_manufacturers_at_one_source_are_told_apart_by_their_anchors(
    world: World,
) -> None:
    """A shared service is asked once; each record counts under its own manufacturer's anchors."""
    by = world.verifier(world.maker("A", source="shared"), world.maker("B", source="shared"))
    twin = pki.make_idevid(world.b, SERIAL)
    world.lookup.records["shared"] = [kit.record_of(world.device), kit.record_of(twin)]
    assert (await world.asserts(by=by)).manufacturer == "A"
    assert (await world.asserts(twin.private_key, by=by)).manufacturer == "B"
    assert [q.sources for q in world.lookup.asked] == [{"shared"}] * 2


# -- an issuer's name is worth its key -------------------------------------------------------------


def usurper(world: World) -> pki.Entity:
    """A device of B's, under a CA of B's that calls its key as A calls its own."""
    ca = ca_naming_its_key(world.b, idevid_issuer_of(world.device.certificate))
    return pki.make_idevid(ca, SERIAL)


def ca_naming_its_key(issuer: pki.Entity, identifier: bytes) -> pki.Entity:
    as_it_likes = x509.SubjectKeyIdentifier(identifier)
    return pki.make_ca("Sub", issuer, ski=False, extra=[(as_it_likes, False)])


@pytest.mark.requirement("SEC-2", "SEC-9")
@pytest.mark.parametrize("way", ["asserted", "carried"])
async def test_only_the_issuers_key_stops_a_manufacturer_that_names_anothers_devices(
    world: World, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """All state is keyed by (issuer, serial number): B must not reach A's devices there."""
    fake = usurper(world)
    world.lookup.records = {"B": [kit.record_of(fake)]}

    async def attempt() -> VerifiedIDevID:
        return await (world.asserts(fake.private_key) if way == "asserted" else world.carries(fake))

    with pytest.raises((IDevIDIssuerMismatch, DeviceUnknown), match="not the SHA-1"):
        await attempt()
    off(monkeypatch, judge, "check_issuer")
    usurped = await attempt()
    assert usurped.device == DeviceKey(idevid_issuer_of(world.device.certificate), SERIAL)


async def test_identifier_by_another_method_passes_once_it_is_listed(world: World) -> None:
    """A CA that does not hash its key by RFC 5280's first method is listed by the operator."""
    own = bytes(range(20))
    world.device = pki.make_idevid(ca_naming_its_key(world.b, own), SERIAL)
    world.a = world.b
    world.lookup.records["A"] = [kit.record_of(world.device)]
    with pytest.raises(IDevIDIssuerMismatch):
        await world.carries()
    by = world.verifier(world.maker("A", issuers=frozenset({own})))
    assert (await world.carries(by=by)).device == DeviceKey(own, SERIAL)
    assert (await world.asserts(by=by, idevid_issuer=own)).device == DeviceKey(own, SERIAL)


@pytest.mark.requirement("VR-12")
async def test_idevid_without_authority_key_identifier_is_named_by_its_own_key(
    world: World,
) -> None:
    """As rfc8366bis has it; nothing but the proven key is in that name."""
    world.device = pki.make_idevid(world.a, SERIAL, aki=False)
    world.lookup.records["A"] = [kit.record_of(world.device)]
    own = key_identifier(spki_of(world.device.certificate))
    assert (await world.carries()).device == DeviceKey(own, SERIAL)
    assert (await world.asserts()).device == DeviceKey(own, SERIAL)
