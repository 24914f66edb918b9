"""What the settings say of a manufacturer."""

from __future__ import annotations

import re
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from brski.errors import Malformed, SettingsError
from brski.pki.chain import TrustAnchors
from brski.pki.extensions import hardware_module_name, key_identifier
from brski.pki.keys import spki_of
from registrar_plugin.identity.policy import Manufacturer, SerialNumberSource
from tests.kit import pki

ISSUING = pki.make_pki("A", levels=3)
SUDI = re.compile(r"PID:[A-Z0-9-]+ SN:([A-Z0-9]+)")


def maker(**changes: Any) -> Manufacturer:
    values: dict[str, Any] = {"name": "A", "anchors": TrustAnchors([ISSUING.root])}
    return Manufacturer(**values | changes)


def idevid(**changes: Any) -> x509.Certificate:
    return pki.make_idevid(ISSUING, **changes).certificate


def with_names(*names: x509.GeneralName) -> x509.Certificate:
    return idevid(extra=[(x509.SubjectAlternativeName(names), False)])


def subject(*serial_numbers: str) -> x509.Name:
    return x509.Name(
        [
            x509.RelativeDistinguishedName([x509.NameAttribute(NameOID.SERIAL_NUMBER, number)])
            for number in serial_numbers
        ]
    )


HARDWARE = SerialNumberSource.HARDWARE_MODULE_NAME
HW_TYPE = "1.3.6.1.4.1.32473.1"
HW_OID = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.4")


@pytest.mark.requirement("REG-5")
def test_serial_number_is_the_subjects_unless_the_settings_say_otherwise() -> None:
    """Never the hardware module's by itself, never the X.509 serial number."""
    certificate = with_names(hardware_module_name(HW_TYPE, b"HW-1"))
    assert maker().serial_number_of(certificate) == pki.SERIAL_NUMBER
    assert maker(serial_number_source=HARDWARE).serial_number_of(certificate) == "HW-1"


@pytest.mark.requirement("REG-5")
def test_part_of_the_subjects_text(vectors: Any) -> None:
    """Cisco's SUDI has the product before the serial number."""
    certificate = x509.load_der_x509_certificate(
        (vectors / "idevid-samples" / "idevid1-example.der").read_bytes()
    )
    assert maker(serial_number_part=SUDI).serial_number_of(certificate) == "FDO27361XTF"
    with pytest.raises(Malformed):
        maker().serial_number_of(certificate)


@pytest.mark.parametrize(
    "certificate",
    [
        pytest.param(idevid(subject=subject("PID:X SN:")), id="no-number"),
        pytest.param(idevid(subject=subject("PID:X SN:AB1 ")), id="more-behind"),
        pytest.param(idevid(subject=subject("PID:X SN:AB1", "PID:X SN:AB2")), id="twice"),
        pytest.param(idevid(subject=pki.common_name("PID:X SN:AB1")), id="elsewhere"),
    ],
)
def test_text_that_does_not_hold_one_serial_number_is_refused(
    certificate: x509.Certificate,
) -> None:
    """The pattern covers the whole text, and there is one text."""
    assert (
        maker(serial_number_part=SUDI).serial_number_of(idevid(subject=subject("PID:X SN:AB1")))
        == "AB1"
    )
    with pytest.raises(Malformed):
        maker(serial_number_part=SUDI).serial_number_of(certificate)


def test_part_is_checked_like_a_whole_serial_number() -> None:
    """A pattern that lets everything through is not the allow-list."""
    loose = maker(serial_number_part=re.compile("PID:X(.*)"))
    with pytest.raises(Malformed):
        loose.serial_number_of(idevid(subject=subject("PID:X SN:AB1")))


def test_part_that_takes_no_part_is_refused() -> None:
    """An optional group that did not match is no serial number."""
    optional = maker(serial_number_part=re.compile("PID:X( SN)?"))
    with pytest.raises(Malformed):
        optional.serial_number_of(idevid(subject=subject("PID:X")))


@pytest.mark.parametrize(
    "certificate",
    [
        pytest.param(idevid(), id="no-san"),
        pytest.param(with_names(x509.DNSName("device.example.com")), id="another-name"),
        pytest.param(with_names(*[hardware_module_name(HW_TYPE, b"HW-1")] * 2), id="twice"),
        pytest.param(with_names(x509.OtherName(HW_OID, b"\x04\x01a")), id="no-sequence"),
        pytest.param(with_names(x509.OtherName(HW_OID, b"\x30\x03\x04\x01a")), id="no-type"),
        pytest.param(with_names(hardware_module_name(HW_TYPE, b"\xff\x00")), id="binary"),
        pytest.param(with_names(hardware_module_name(HW_TYPE, b"HW 1")), id="space"),
        pytest.param(with_names(hardware_module_name(HW_TYPE, b"H" * 1000)), id="long"),
    ],
)
def test_hardware_module_name_that_holds_no_serial_number_is_refused(
    certificate: x509.Certificate,
) -> None:
    """One name, of an OID and of octets that are a serial number as text."""
    with pytest.raises(Malformed):
        maker(serial_number_source=HARDWARE).serial_number_of(certificate)


@pytest.mark.parametrize(
    ("pattern", "serial_number", "issuer_named", "asked"),
    [
        (None, "SN-1", False, False),
        (None, "SN-1", True, True),
        ("SN-.", "SN-1", False, True),
        ("SN-.", "SN-1", True, True),
        ("SN-.", "SN-12", True, False),
        ("N-1", "SN-1", True, False),
        ("SN-.", "sn-1", False, False),
    ],
)
def test_who_may_have_numbered_a_device(
    pattern: str | None, serial_number: str, issuer_named: bool, asked: bool
) -> None:
    """The whole number must fit; without a pattern an issuer must be named."""
    chosen = maker(serial_pattern=pattern and re.compile(pattern))
    assert chosen.may_have_numbered(serial_number, issuer_named=issuer_named) is asked


def test_known_issuers_are_the_listed_and_the_anchors_keys() -> None:
    """By the key, not by what an anchor's certificate says of it."""
    own = key_identifier(spki_of(ISSUING.root))
    assert maker().known_issuers() == {own}
    assert maker(issuers=frozenset({bytes(20)})).known_issuers() == {own, bytes(20)}


@pytest.mark.requirement("REG-10", "REG-11")
def test_masa_url_is_the_certificates_unless_the_settings_have_one() -> None:
    """Always https, always with its path."""
    certificate = idevid()
    assert maker().masa_url_of(certificate) == "https://masa.example.com:9443/.well-known/brski"
    override = maker(masa_url="https://masa.example.net/brski")
    assert override.masa_url_of(certificate) == "https://masa.example.net/brski"
    assert maker().masa_url_of(idevid(masa_url=None)) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""},
        {"issuers": frozenset({bytes(19)})},
        {"masa_url": "https://user@masa.example.com/"},
        {"serial_number_part": re.compile("SN")},
        {"serial_number_part": re.compile("(S)(N)")},
    ],
    ids=str,
)
def test_setting_that_cannot_be_meant_is_refused(changes: dict[str, Any]) -> None:
    """At start, and as a fault of the settings."""
    with pytest.raises(SettingsError):
        maker(**changes)
