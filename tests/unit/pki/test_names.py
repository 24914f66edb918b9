"""Serial numbers and the subjects that carry them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from brski.errors import Malformed
from brski.pki import names
from brski.pki.keys import parse_pem_certificates
from tests.kit import pki


@pytest.mark.parametrize("text", ["0", "SN-0001", "00-D0-E5-F2-00-02", "a.b_c:d-e", "A" * 64])
def test_serial_number_of_allowed_characters_is_returned_unchanged(text: str) -> None:
    assert names.check_serial_number(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A" * 65,
        "SN 1",
        "SN-1\n",
        "SN-1\0",
        "../SN-1",
        "SN/1",
        "' OR 1=1--",
        "SN%31",
        "\u017fn",  # the long s, which upper-cases to S
        "\u212a1",  # the Kelvin sign, which lower-cases to k
        "é",
        "\u202eSN",
        "\r\nSet-Cookie: a",
        "%s",
        "A" * 10_000,
    ],
)
def test_serial_number_with_anything_else_is_refused(text: str) -> None:
    """Abuse case 17: such a text never reaches a query, a log line or a file name."""
    with pytest.raises(Malformed):
        names.check_serial_number(text)


@pytest.mark.requirement("PL-10", "REG-4")
def test_device_serial_number_is_the_subject_attribute() -> None:
    """The X.509 serialNumber of the certificate is another thing."""
    idevid = pki.make_idevid(pki.make_pki(), "SN-0042")
    assert names.device_serial_number(idevid.certificate) == "SN-0042"


def _with_subject(*values: tuple[x509.ObjectIdentifier, str]) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(oid, value) for oid, value in values])
    return pki.certify(subject).certificate


@pytest.mark.parametrize(
    "values",
    [
        [],
        [(NameOID.COMMON_NAME, "SN-1")],
        [(NameOID.SERIAL_NUMBER, "SN-1"), (NameOID.SERIAL_NUMBER, "SN-1")],
        [(NameOID.SERIAL_NUMBER, "SN-1"), (NameOID.SERIAL_NUMBER, "SN-2")],
        [(NameOID.SERIAL_NUMBER, "PID:X SN:Y")],
    ],
)
def test_subject_without_exactly_one_sound_serial_number_is_refused(
    values: list[tuple[x509.ObjectIdentifier, str]],
) -> None:
    with pytest.raises(Malformed):
        names.device_serial_number(_with_subject(*values))


def test_two_serial_numbers_in_one_relative_name_are_refused() -> None:
    """A multi-valued RDN hides a second serial number from a reader that takes the first."""
    rdn = x509.RelativeDistinguishedName(
        [x509.NameAttribute(NameOID.SERIAL_NUMBER, text) for text in ("SN-1", "SN-2")]
    )
    certificate = pki.certify(x509.Name([rdn])).certificate
    with pytest.raises(Malformed):
        names.device_serial_number(certificate)


def test_idevid_subject_is_the_serial_number_as_printable_string() -> None:
    """RFC 5280 App. A: X520SerialNumber ::= PrintableString."""
    subject = names.idevid_subject("SN-1")
    assert subject.public_bytes() == bytes.fromhex("300f310d300b0603550405130453") + b"N-1"


def test_subject_that_printable_string_cannot_hold_is_refused() -> None:
    with pytest.raises(Malformed):
        names.idevid_subject("SN_1")


def test_ldevid_subject_names_the_device_and_who_numbered_it() -> None:
    """Subject serialNumber and dnQualifier, 16 hex digits of SHA-256 of the keyIdentifier."""
    issuer = bytes(range(20))
    subject = names.ldevid_subject("SN-1", issuer)
    attributes = {attribute.oid: attribute.value for attribute in subject}
    assert attributes == {
        NameOID.SERIAL_NUMBER: "SN-1",
        NameOID.DN_QUALIFIER: hashlib.sha256(issuer).hexdigest()[:16],
    }
    assert names.ldevid_subject("SN-1", bytes(20)) != subject


@pytest.mark.requirement("REG-5")
def test_published_idevids_are_read_or_refused(vectors: Path) -> None:
    """RFC 8995 Appendix C is read; Cisco's "PID:… SN:…" needs a rule of its own."""
    pem = (vectors / "rfc8995-appC" / "idevid_00-D0-E5-F2-00-02.crt").read_bytes()
    assert names.device_serial_number(parse_pem_certificates(pem)[0]) == "00-D0-E5-F2-00-02"
    sudi = parse_pem_certificates((vectors / "idevid-samples" / "idevid1-example.pem").read_bytes())
    with pytest.raises(Malformed):
        names.device_serial_number(sudi[0])
