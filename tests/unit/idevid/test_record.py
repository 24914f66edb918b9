"""A device record agrees with the certificate in it."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from brski.errors import (
    IDevIDIssuerMismatch,
    KeyNotAllowed,
    Malformed,
    SerialNumberMismatch,
)
from brski.idevid.record import DeviceStatus, certified_spki, check_status, check_token
from brski.pki import extensions, keys
from tests.kit import pki

ISSUER = pki.make_pki()
IDEVID = pki.make_idevid(ISSUER, "SN-1")
IDEVID_ISSUER = extensions.idevid_issuer_of(IDEVID.certificate)


def _spki(**others: object) -> bytes:
    arguments = {
        "certificate": IDEVID.der,
        "idevid_issuer": IDEVID_ISSUER,
        "serial_number": "SN-1",
    } | others
    return certified_spki(**arguments)  # type: ignore[arg-type]


def test_the_key_is_cut_from_the_certificate() -> None:
    assert _spki() == keys.spki_of(IDEVID.certificate)


def test_a_certificate_without_issuer_identifier_has_that_of_its_own_key() -> None:
    """RFC 8366bis §6.1: what stands in for a missing AuthorityKeyIdentifier."""
    bare = pki.make_idevid(ISSUER, "SN-1", aki=False)
    identifier = extensions.key_identifier(keys.spki_of(bare.certificate))
    assert _spki(certificate=bare.der, idevid_issuer=identifier)
    with pytest.raises(IDevIDIssuerMismatch):
        _spki(certificate=bare.der)


@pytest.mark.requirement("SEC-9")
def test_another_devices_certificate_is_refused() -> None:
    with pytest.raises(SerialNumberMismatch):
        _spki(serial_number="SN-2")
    with pytest.raises(SerialNumberMismatch):
        _spki(serial_number="sn-1")


@pytest.mark.requirement("SEC-9")
def test_another_issuers_certificate_is_refused() -> None:
    with pytest.raises(IDevIDIssuerMismatch):
        _spki(idevid_issuer=bytes(20))


def test_what_is_no_certificate_is_refused() -> None:
    with pytest.raises(Malformed):
        _spki(certificate=IDEVID.der + b"\x00")


def test_a_compressed_point_is_refused() -> None:
    """One key must not have two SubjectPublicKeyInfos; they are compared as octets."""
    key = pki.make_key()
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    device = pki.make_idevid(ISSUER, "SN-1", key=key)
    plain = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    hybrid = bytes((0x06 | plain[-1] & 1,)) + plain[1:]
    assert plain in device.der
    with pytest.raises(KeyNotAllowed):
        _spki(certificate=device.der.replace(plain, hybrid))


@pytest.mark.parametrize("text", ["a", "hmac-drbg-p256", "x" * 64, "0-1"])
def test_tokens(text: str) -> None:
    assert check_token(text, "profile") == text


@pytest.mark.parametrize(
    "text", ["", "-a", "a-", "a--b", "A", "a_b", "x" * 65, "a\n", "a b", "\u212a", "\u0661"]
)
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        check_token(text, "profile")


def test_reasons_go_with_states_that_have_one() -> None:
    check_status(DeviceStatus.ACTIVE, "")
    check_status(DeviceStatus.REVOKED, "")
    check_status(DeviceStatus.FLAGGED, "clone-suspected")
    with pytest.raises(Malformed):
        check_status(DeviceStatus.ACTIVE, "superseded")
    with pytest.raises(Malformed):
        check_status(DeviceStatus.REVOKED, "Stolen from the truck")
