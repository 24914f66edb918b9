"""Who is it: what a record must be, each gate with an attacker whom only that gate stops."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from brski.errors import (
    CertificateMismatch,
    ChainInvalid,
    DeviceAmbiguous,
    DeviceRevoked,
    DeviceUnknown,
    KeyMismatch,
    Malformed,
    SerialNumberMismatch,
)
from brski.idevid.certificate import encode_certificate
from brski.idevid.record import DeviceStatus
from brski.pki.chain import TrustAnchors
from brski.pki.extensions import idevid_issuer_of, key_identifier
from brski.pki.keys import spki_of
from brski.pki.signatures import signature_algorithm
from registrar_plugin.identity import judge, verify
from registrar_plugin.identity.model import VerifiedIDevID
from registrar_plugin.identity.presented import claimed_serial_number
from tests.kit import identity as kit
from tests.kit import pki
from tests.kit.identity import SERIAL, World, off


@pytest.fixture
def world() -> World:
    return World()


# -- key equality ----------------------------------------------------------------------------------


@pytest.mark.parametrize("hint", [False, True], ids=["bare", "issuer-named"])
async def test_only_key_equality_stops_an_impostor(
    world: World, monkeypatch: pytest.MonkeyPatch, hint: bool
) -> None:
    """The victim's serial number with the attacker's key: everything else about it is in order."""
    claims: dict[str, Any] = (
        {"idevid_issuer": idevid_issuer_of(world.device.certificate)} if hint else {}
    )
    with pytest.raises(KeyMismatch) as refusal:
        await world.asserts(pki.make_key(), **claims)
    assert not isinstance(refusal.value, CertificateMismatch)
    off(monkeypatch, judge, "check_key")
    assert await world.asserts(pki.make_key(), **claims)


async def test_record_whose_spki_field_lies_is_refused(world: World) -> None:
    """The certificate's own octets count, and the record must agree with them."""
    stranger = pki.make_key()
    spki = stranger.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    world.lookup.records["A"] = [kit.record_of(world.device, spki=spki)]
    with pytest.raises(KeyMismatch):
        await world.asserts(stranger)
    with pytest.raises(KeyMismatch):
        await world.asserts()


KEYS = [pki.make_key(kind) for kind in ("P-256", "P-256", "P-384", "Ed25519")]
PROPERTY_WORLD = World()
PROPERTY_IDEVIDS = [pki.make_idevid(PROPERTY_WORLD.a, SERIAL, key=key) for key in KEYS]


@settings(max_examples=120)
@given(
    tls=st.sampled_from(range(len(KEYS))),
    on_record=st.sampled_from(range(len(KEYS))),
    in_field=st.sampled_from(range(len(KEYS))),
    hint=st.booleans(),
    decoys=st.lists(st.sampled_from(range(len(KEYS))), max_size=2),
)
def test_key_equality_is_never_skipped(
    tls: int, on_record: int, in_field: int, hint: bool, decoys: list[int]
) -> None:
    """Whatever the keys, whoever passes holds the one of the one record that holds it."""
    world = PROPERTY_WORLD
    lookup = kit.FakeLookup()
    records = [
        kit.record_of(
            PROPERTY_IDEVIDS[on_record], spki=spki_of(PROPERTY_IDEVIDS[in_field].certificate)
        ),
        *(kit.record_of(PROPERTY_IDEVIDS[decoy]) for decoy in decoys),
    ]
    lookup.records["A"] = records
    by = kit.verifier([world.maker("A")], lookup, world.registrar.certificate)
    claims: dict[str, Any] = (
        {"idevid_issuer": key_identifier(spki_of(world.a.certificate))} if hint else {}
    )
    attempt = world.asserts(KEYS[tls], by=by, **claims)
    holding = [tls == on_record == in_field, *(tls == decoy for decoy in decoys)]
    if sum(holding) == 1:
        verified = asyncio.run(_finished(attempt))
        assert spki_of(verified.idevid) == spki_of(PROPERTY_IDEVIDS[tls].certificate)
    else:
        expected = DeviceAmbiguous if any(holding) else KeyMismatch
        with pytest.raises(expected):
            asyncio.run(_finished(attempt))


async def _finished(attempt: Awaitable[VerifiedIDevID]) -> VerifiedIDevID:
    return await attempt


# -- a fetched certificate gets no easier way than a carried one -----------------------------------


async def test_only_the_chain_stops_a_source_that_sends_a_certificate_of_its_own_making(
    world: World,
) -> None:
    """An OEM's service that was taken over cannot make devices: it has no CA key."""
    rogue_ca = pki.make_pki("A", levels=3)
    rogue = pki.make_idevid(rogue_ca, SERIAL)
    world.lookup.records["A"] = [kit.record_of(rogue)]
    with pytest.raises(DeviceUnknown, match="can be believed"):
        await world.asserts(rogue.private_key)
    both = world.maker("A", anchors=TrustAnchors([world.a.root, rogue_ca.root]))
    assert await world.asserts(rogue.private_key, by=world.verifier(both))


async def test_chain_of_one_manufacturer_does_not_serve_anothers_record(world: World) -> None:
    """A record counts only under the anchors of the manufacturer whose source it came from."""
    world.lookup.records["B"] = world.lookup.records.pop("A")
    with pytest.raises(DeviceUnknown):
        await world.asserts()


async def test_record_without_its_intermediate_is_refused(world: World) -> None:
    """The path is built from the record; nothing fills it in."""
    world.lookup.records["A"] = [kit.record_of(world.device, intermediates=())]
    with pytest.raises(DeviceUnknown):
        await world.asserts()


async def test_record_that_cannot_be_read_is_refused(world: World) -> None:
    """Garbage on record is no record."""
    world.lookup.records["A"] = [kit.record_of(world.device, certificate=b"garbage")]
    with pytest.raises(DeviceUnknown):
        await world.asserts()


async def test_only_the_serial_number_stops_a_record_of_another_device(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A blind source answers with the attacker's own sound record, of another serial number."""
    attacker = pki.make_idevid(world.a, "SN-0666")
    world.lookup.blind.add("A")
    world.lookup.records["A"] = [kit.record_of(attacker)]
    with pytest.raises(DeviceUnknown, match="SN-0666"):
        await world.asserts(attacker.private_key)
    world.lookup.records["A"] = [kit.record_of(attacker, serial_number=SERIAL)]
    with pytest.raises(DeviceUnknown, match="SN-0666"):
        await world.asserts(attacker.private_key)
    off(monkeypatch, judge, "_check_serial_number")
    assert await world.asserts(attacker.private_key)


@pytest.mark.requirement("REG-2")
async def test_expired_idevid_passes_only_where_its_manufacturers_policy_says_so(
    world: World,
) -> None:
    """The switch is each manufacturer's own, and serves both ways."""
    world.device = pki.make_idevid(world.a, SERIAL, not_after=pki.NOT_AFTER)
    world.lookup.records["A"] = [kit.record_of(world.device)]
    strict = world.verifier(now=pki.AFTER)
    with pytest.raises(DeviceUnknown, match="can be believed"):
        await world.asserts(by=strict)
    with pytest.raises(ChainInvalid):
        await world.carries(by=strict)
    lenient = world.verifier(world.maker("A", ignore_idevid_expiry=True), now=pki.AFTER)
    assert await world.asserts(by=lenient)
    assert await world.carries(by=lenient)
    of_another = world.verifier(
        world.maker("A"), world.maker("B", ignore_idevid_expiry=True), now=pki.AFTER
    )
    with pytest.raises(ChainInvalid):
        await world.carries(by=of_another)


async def test_time_is_the_calls_before_the_clocks(world: World) -> None:
    """A given time is the time."""
    with pytest.raises(ChainInvalid):
        await world.verifier().verify(
            world.device.chain[:-1], world.request(world.device.private_key), now=pki.BEFORE
        )


# -- revoked and flagged ---------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["asserted", "carried"])
@pytest.mark.parametrize("status", [DeviceStatus.REVOKED, DeviceStatus.FLAGGED])
async def test_only_the_flag_stops_a_device_that_its_manufacturer_gave_up(
    world: World, monkeypatch: pytest.MonkeyPatch, way: str, status: DeviceStatus
) -> None:
    """Key, chain and serial number are right; the record says no."""
    world.lookup.records["A"] = [kit.record_of(world.device, status=status)]
    with pytest.raises(DeviceRevoked, match="reported stolen"):
        await world.shows_up(way)
    off(monkeypatch, verify, "check_status")
    assert await world.shows_up(way)


async def test_impostor_of_a_revoked_device_is_told_by_its_key(world: World) -> None:
    """Flags come last: the journal says what was wrong with this one."""
    world.lookup.records["A"] = [kit.record_of(world.device, status=DeviceStatus.REVOKED)]
    with pytest.raises(KeyMismatch):
        await world.asserts(pki.make_key())


# -- MASA URL --------------------------------------------------------------------------------------


async def test_masa_url_of_an_assertion_is_not_believed(world: World) -> None:
    """The device does not choose who vouches for it."""
    verified = await world.asserts(masa_url="masa.attacker.example")
    assert verified.masa_url == "https://masa.example.com:9443/.well-known/brski"


@pytest.mark.requirement("REG-11")
async def test_masa_url_of_the_settings_wins(world: World) -> None:
    """For a manufacturer whose MASA has moved."""
    by = world.verifier(world.maker("A", masa_url="masa.example.net"))
    assert (await world.carries(by=by)).masa_url == "https://masa.example.net/.well-known/brski"


async def test_idevid_without_masa_url_gives_none(world: World) -> None:
    """Whether that will do is not identity's to say."""
    world.device = pki.make_idevid(world.a, SERIAL, masa_url=None)
    world.lookup.records["A"] = [kit.record_of(world.device)]
    assert (await world.carries()).masa_url is None


# -- hostile serial numbers (abuse case 17) --------------------------------------------------------

HOSTILE = [
    "",
    "SN 0001",
    "SN-0001\0",
    "SN-0001\r\nX: y",
    "SN-0001\n",
    "\u017fN-0001",  # LATIN SMALL LETTER LONG S, which case-folds to s
    "SN-\u212a001",  # KELVIN SIGN, which lower-cases to k
    "SN-\u00e9",
    "SN-e\u0301",
    "\u202eSN-0001",
    "' OR 1=1--",
    "../SN-0001",
    "%2e%2e%2f",
    "%s%n{0}",
    "S" * 65,
    "S" * 10_000,
]


def hostile_certificate(key: Any, serial_number: str) -> x509.Certificate:
    """Self-issued, with a serialNumber that no library would write."""
    name = x509.Name(
        [
            x509.NameAttribute(
                NameOID.SERIAL_NUMBER, serial_number, _ASN1Type.UTF8String, _validate=False
            )
        ]
        if serial_number
        else []
    )
    return pki.certify(name, key=key, aki=False).certificate


@pytest.mark.parametrize("serial_number", HOSTILE, ids=lambda s: ascii(s[:20]))
async def test_hostile_serial_number_is_refused_before_anyone_is_asked(
    world: World, serial_number: str
) -> None:
    """An allow-list, and a reason that can stand in a log."""
    key = pki.make_key()
    shown = (hostile_certificate(key, serial_number),)
    with pytest.raises((Malformed, SerialNumberMismatch)) as refusal:
        await world.verifier().verify(shown, world.request(key))
    assert world.lookup.asked == []
    assert refusal.value.reason.isprintable()
    assert len(refusal.value.reason) < 400
    assert claimed_serial_number(shown) == ""


async def test_octets_that_no_string_may_hold_are_refused(world: World) -> None:
    """A PrintableString with a NUL, under a sound signature of the device's own."""
    key = pki.make_key()
    (honest,) = kit.asserted_chain(key, SERIAL)
    tbs = honest.tbs_certificate_bytes.replace(b"SN-0001", b"SN-00\0" + b"1")
    signer = pki.KeySigner(key)
    shown = encode_certificate(tbs, signature_algorithm(signer.public_key), signer.sign(tbs))
    with pytest.raises(Malformed):
        await world.verifier().verify([shown], world.request(key))
    assert world.lookup.asked == []


@pytest.mark.parametrize("near", ["sn-0001", "SN-0001 ", "SN-00010", "SN-001"])
async def test_serial_numbers_are_compared_as_octets(world: World, near: str) -> None:
    """A source that folds case or trims cannot make two serial numbers one."""
    world.lookup.blind.add("A")
    world.lookup.records["A"] = [kit.record_of(world.device, serial_number=near)]
    with pytest.raises(DeviceUnknown):
        await world.asserts()
