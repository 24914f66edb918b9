"""Who is it: what passes, and the local gates, each with an attacker whom only that gate stops."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography import x509

from brski.errors import (
    DeviceUnknown,
    KeyNotAllowed,
    Malformed,
    NotAuthenticated,
    OnboardingError,
    ProximityMismatch,
    SerialNumberMismatch,
    SettingsError,
    SignatureInvalid,
    TooLarge,
    TooManyRequests,
    Unavailable,
    UnknownFormat,
)
from brski.idevid.record import DeviceStatus, Presentation
from brski.pki.chain import TrustAnchors
from brski.pki.extensions import hardware_module_name, idevid_issuer_of
from brski.pki.keys import certificate_der, spki_of, spki_sha256
from brski.rates import Rate
from brski.voucher.cms import CMS, SignedCMS
from brski.voucher.model import Assertion
from registrar_plugin.identity.budget import PER_ADDRESS, RateBudget
from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.identity.policy import Manufacturer, SerialNumberSource
from registrar_plugin.identity.presented import claimed_serial_number, parse_presented
from registrar_plugin.identity.verify import IDENTITY_REFUSALS, IdentityVerifier
from tests.kit import identity as kit
from tests.kit import pki
from tests.kit.identity import SERIAL, World, off
from tests.kit.voucher import LENIENT


@pytest.fixture
def world() -> World:
    return World()


# -- acceptances -----------------------------------------------------------------------------------


@pytest.mark.requirement("REG-1", "OEM-10")
async def test_asserting_device_is_verified_by_the_fetched_certificate(world: World) -> None:
    """What the rest of the registrar sees is the manufacturer's certificate, not the device's."""
    verified = await world.asserts(idevid_issuer=idevid_issuer_of(world.device.certificate))
    assert verified.device == DeviceKey(idevid_issuer_of(world.device.certificate), SERIAL)
    assert verified.presentation is Presentation.ASSERTED
    assert verified.manufacturer == "A"
    assert verified.idevid == world.device.certificate
    assert verified.idevid_chain == world.device.chain
    assert verified.masa_url == "https://masa.example.com:9443/.well-known/brski"
    assert verified.record == world.lookup.records["A"][0]
    assert verified.request.serial_number == SERIAL
    assert CMS.open(verified.request_octets).payload


@pytest.mark.requirement("REG-1")
async def test_carried_idevid_is_verified_and_compared_with_the_record(world: World) -> None:
    """The same function serves both ways, and the OEM is asked about a carried one too."""
    verified = await world.carries()
    assert verified.presentation is Presentation.CARRIED
    assert verified.idevid_chain == world.device.chain
    assert verified.record == world.lookup.records["A"][0]
    (question,) = world.lookup.asked
    assert question.sources == {"A"}
    assert question.idevid_issuer == idevid_issuer_of(world.device.certificate)
    assert question.spki_sha256 == spki_sha256(world.device.certificate)
    assert not question.fresh


async def test_chain_as_der_and_as_certificates_is_the_same(world: World) -> None:
    """A host registrar hands over what its TLS library has; two arguments are enough."""
    body = world.request(world.device.private_key)
    sent = world.device.chain[:-1]
    as_objects = await world.verifier().verify(sent, body)
    as_der = await world.verifier().verify([certificate_der(c) for c in sent], body)
    assert as_objects == as_der


@pytest.mark.parametrize("kind", ["P-256", "P-384", "Ed25519", "RSA-2048"])
async def test_keys_of_all_accepted_kinds_pass(world: World, kind: str) -> None:
    """The device's key kind is the manufacturer's choice among the accepted."""
    world.device = pki.make_idevid(world.a, SERIAL, kind=kind)
    world.lookup.records["A"] = [kit.record_of(world.device)]
    assert (await world.asserts()).idevid == world.device.certificate
    assert (await world.carries()).idevid == world.device.certificate


async def test_carried_without_a_source_needs_no_record(world: World) -> None:
    """A manufacturer that has no service is an ordinary RFC 8995 manufacturer."""
    by = kit.verifier([world.maker("A", source=None)], None, world.registrar.certificate)
    verified = await world.carries(by=by)
    assert verified.record is None
    assert world.lookup.asked == []


# -- rate budget, CMS gate, TLS key ----------------------------------------------------------------


async def test_over_the_rate_budget_nothing_is_parsed(world: World) -> None:
    """The budget comes first: what comes over it is not even opened."""
    budget = RateBudget(clock=lambda: 0.0, per_address=Rate(per_s=1, burst=1))
    by = world.verifier(budget=budget)
    chain, body = world.device.chain[:-1], world.request(world.device.private_key)
    await by.verify(chain, body, peer_address="192.0.2.1")
    with pytest.raises(TooManyRequests) as refusal:
        await by.verify((), b"", peer_address="192.0.2.1")
    assert refusal.value.retry_after_s >= 1
    await by.verify(chain, body, peer_address="192.0.2.2")


async def test_the_usual_budget_stands_without_being_asked_for(world: World) -> None:
    """A host that gives no budget is not without one."""
    by = world.verifier(budget=None)
    for _ in range(int(PER_ADDRESS.burst)):
        with pytest.raises(Malformed):
            await by.verify((), b"", peer_address="192.0.2.1")
    with pytest.raises(TooManyRequests):
        await by.verify((), b"", peer_address="192.0.2.1")


@pytest.mark.requirement("CMS-2", "CMS-3")
async def test_cms_gate_is_the_serializations(world: World) -> None:
    """id-data is refused, unless the interop switch is on; all else is right."""
    key = world.device.private_key
    right = world.request(key)
    oid = bytes.fromhex("060b2a864886f70d0109100128")
    assert oid in right
    with pytest.raises((Malformed, UnknownFormat)):
        await world.verifier().verify(world.device.chain[:-1], right + b"\0")
    lenient = world.verifier(serialization=LENIENT)
    assert await lenient.verify(world.device.chain[:-1], right)


@pytest.mark.parametrize(
    ("chain", "error"),
    [
        pytest.param(lambda _: (), NotAuthenticated, id="none"),
        pytest.param(lambda w: (w.device.certificate,) * 9, TooLarge, id="nine"),
        pytest.param(lambda _: (b"0",), Malformed, id="no-certificate"),
        pytest.param(lambda w: (w.device.der + b"\0",), Malformed, id="trailing-octet"),
    ],
)
async def test_chain_that_cannot_be_read_is_refused(
    world: World, chain: Callable[[World], Any], error: type[OnboardingError]
) -> None:
    """No, too many, or broken certificates: nothing is asked of anybody."""
    with pytest.raises(error):
        await world.verifier().verify(chain(world), world.request(world.device.private_key))
    assert world.lookup.asked == []


@pytest.mark.parametrize("kind", ["P-521", "RSA-1024"])
async def test_key_of_a_kind_that_is_not_accepted_is_refused(world: World, kind: str) -> None:
    """The handshake takes any key; the application does not."""
    weak = pki.make_idevid(world.a, SERIAL, kind=kind)
    with pytest.raises(KeyNotAllowed):
        await world.verifier().verify(weak.chain[:-1], world.request(pki.make_key()))


@pytest.mark.requirement("CMS-12")
@pytest.mark.parametrize("way", ["asserted", "carried"])
async def test_only_the_signature_stops_a_request_signed_by_another_key(
    world: World, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """The request is verified under the TLS key: connection and request are of one device."""
    chain = world.chain(way)
    body = world.request(pki.make_key())
    with pytest.raises(SignatureInvalid):
        await world.verifier().verify(chain, body)
    assert world.lookup.asked == []
    off(monkeypatch, SignedCMS, "verify")
    assert await world.verifier().verify(chain, body)


async def test_certificates_inside_the_request_are_not_believed(world: World) -> None:
    """A request that brings the victim's certificate is still verified under the TLS key."""
    stranger = pki.make_key()
    signer = pki.KeySigner(stranger, (world.device.certificate,))
    payload = CMS.open(world.request(stranger)).payload
    body = CMS.sign(payload, signer, certificates=world.device.chain)
    with pytest.raises(SignatureInvalid):
        await world.verifier().verify(world.device.chain[:-1], body)


# -- serial number and proximity -------------------------------------------------------------------


@pytest.mark.requirement("REG-4")
@pytest.mark.parametrize("way", ["asserted", "carried"])
async def test_request_for_another_serial_number_is_refused(world: World, way: str) -> None:
    """The serial number comes from who presents itself, never from the request."""
    other = pki.make_idevid(world.a, "SN-0002")
    world.lookup.records["A"].append(kit.record_of(other))
    chain = world.chain(way)
    with pytest.raises(SerialNumberMismatch):
        await world.verifier().verify(chain, world.request(world.device.private_key, "SN-0002"))
    assert world.lookup.asked == []


@pytest.mark.requirement("REG-3")
@pytest.mark.parametrize("way", ["asserted", "carried"])
async def test_request_made_for_another_registrar_is_refused(world: World, way: str) -> None:
    """A man in the middle cannot pass on a request that names the certificate it showed itself."""
    chain = world.chain(way)
    middle = pki.make_registrar(pki.make_root("Middle")).certificate
    body = kit.pledge_request(world.device.private_key, SERIAL, middle)
    with pytest.raises(ProximityMismatch):
        await world.verifier().verify(chain, body)
    assert world.lookup.asked == []
    assert await world.verifier().verify(chain, body, registrar_certificate=middle)


@pytest.mark.requirement("REG-3")
async def test_request_without_proximity_is_refused(world: World) -> None:
    """An assertion other than proximity is none."""
    body = world.request(world.device.private_key, assertion=Assertion.LOGGED)
    with pytest.raises(ProximityMismatch):
        await world.verifier().verify(world.device.chain[:-1], body)


async def test_without_a_registrar_certificate_nothing_is_verified(world: World) -> None:
    """A host that forgot it learns so; there is no default that means "any"."""
    by = kit.verifier([world.maker("A")], world.lookup, None)
    with pytest.raises(SettingsError):
        await by.verify(world.device.chain[:-1], world.request(world.device.private_key))


# -- the one answer --------------------------------------------------------------------------------


async def test_what_a_pledge_must_not_tell_apart_is_in_one_tuple(world: World) -> None:
    """Unknown, wrong key, revoked, flagged, ambiguous, rogue."""
    cases: list[Callable[[World], Awaitable[Any]]] = [
        lambda w: w.asserts(serial_number="SN-9999"),
        lambda w: w.asserts(pki.make_key()),
        lambda w: w.carries(pki.make_idevid(w.a, SERIAL)),
    ]
    for case in cases:
        with pytest.raises(IDENTITY_REFUSALS):
            await case(world)
    world.lookup.records["A"] = [kit.record_of(world.device, status=DeviceStatus.FLAGGED)]
    with pytest.raises(IDENTITY_REFUSALS):
        await world.asserts()
    world.lookup.records["A"] *= 2
    with pytest.raises(IDENTITY_REFUSALS):
        await world.asserts()
    assert not issubclass(Unavailable, IDENTITY_REFUSALS)
    assert not issubclass(ProximityMismatch, IDENTITY_REFUSALS)


# -- what the parts promise ------------------------------------------------------------------------


def test_claimed_serial_number_never_raises(world: World) -> None:
    """It is for a journal line about someone who was refused."""
    assert claimed_serial_number(world.device.chain) == SERIAL
    assert claimed_serial_number([world.device.der]) == SERIAL
    assert claimed_serial_number([]) == ""
    assert claimed_serial_number([b"garbage"]) == ""


def test_presented_key_is_cut_from_the_certificate(world: World) -> None:
    """The octets that are compared later are the leaf's own."""
    presented = parse_presented(world.device.chain[:-1])
    assert presented.spki == spki_of(world.device.certificate)
    assert hashlib.sha256(presented.spki).digest() == spki_sha256(world.device.certificate)


def test_settings_that_contradict_one_another_are_refused(world: World) -> None:
    """At start, not at the first pledge."""
    lists = frozenset({bytes(20)})
    with pytest.raises(SettingsError, match="one name"):
        world.verifier(world.maker("A"), world.maker("A"))
    with pytest.raises(SettingsError, match="one issuer"):
        world.verifier(world.maker("A", issuers=lists), world.maker("B", issuers=lists))
    with pytest.raises(SettingsError, match="no lookup"):
        kit.verifier([world.maker("A")], None, world.registrar.certificate)


async def test_close_closes_the_lookup(world: World) -> None:
    """And there may be none to close."""
    await world.verifier().close()
    assert world.lookup.closed
    await kit.verifier([], None, None).close()


@pytest.mark.requirement("REG-5")
@pytest.mark.parametrize("way", ["asserted", "carried"])
async def test_manufacturer_that_writes_its_serial_number_elsewhere(world: World, way: str) -> None:
    """hwSerialNum is where this one's IDevIDs have it; both ways read it there."""
    name = hardware_module_name("1.3.6.1.4.1.32473.1", b"SN-0001")
    san = x509.SubjectAlternativeName([name])
    world.device = pki.make_idevid(world.a, subject=pki.common_name("device"), extra=[(san, False)])
    world.lookup.records["A"] = [kit.record_of(pki.make_idevid(world.a, SERIAL))]
    record = replace(
        world.lookup.records["A"][0],
        certificate=world.device.der,
        spki=spki_of(world.device.certificate),
    )
    world.lookup.records["A"] = [record]
    by = world.verifier(
        world.maker("A", serial_number_source=SerialNumberSource.HARDWARE_MODULE_NAME)
    )
    chain = world.chain(way)
    body = world.request(world.device.private_key)
    assert (await by.verify(chain, body)).device.serial_number == SERIAL
    with pytest.raises((Malformed, DeviceUnknown)):
        await world.verifier(world.maker("A")).verify(chain, body)


@pytest.mark.requirement("CMS-3")
async def test_rfc8995_appendix_c_pledge_is_verified_at_its_own_date(vectors: Any) -> None:
    """The IDevID and voucher-request printed in the RFC, with the switch that they need."""
    folder = vectors / "rfc8995-appC"
    read = x509.load_pem_x509_certificate
    vendor = read((folder / "vendor.crt").read_bytes())
    idevid = read((folder / "idevid_00-D0-E5-F2-00-02.crt").read_bytes())
    jrc = read((folder / "jrc_prime256v1.crt").read_bytes())
    maker = Manufacturer(name="highway", anchors=TrustAnchors([vendor]))
    by = IdentityVerifier(
        [maker],
        clock=lambda: pki.NOW.replace(
            year=2021, month=4, day=28
        ),  # the IDevID is younger than its request
        registrar_certificate=jrc,
        serialization=LENIENT,
    )
    body = base64.b64decode((folder / "vr_00-D0-E5-F2-00-02.b64").read_bytes())
    verified = await by.verify([certificate_der(idevid)], body)
    assert verified.device.serial_number == "00-D0-E5-F2-00-02"
    assert verified.masa_url == "https://highway-test.example.com:9443/.well-known/brski"
    assert verified.record is None
