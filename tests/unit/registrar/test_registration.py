"""What a registration authority may ask for, and the last look before it is signed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from brski.errors import CSRMismatch, NotAuthenticated
from brski.pki.names import ldevid_subject
from registrar_plugin.enrollment.client_names import DeviceNames
from registrar_plugin.enrollment.name_pattern import parse_pattern
from registrar_plugin.enrollment.profile import GrantedNames
from registrar_plugin.enrollment.registration import (
    RegistrationAuthority,
    check_granted,
    client_of,
    ra_of,
)
from registrar_plugin.identity.clients import CERTIFICATE, RA, client_key
from tests.kit import pki

EAST = RegistrationAuthority(
    name="east",
    client=client_key(CERTIFICATE, "previous:east-ra"),
    labels=frozenset({"lab"}),
    common_names=(parse_pattern("gw-*"),),
    dns_names=(parse_pattern("*.east.example.com"),),
)
BROAD = replace(EAST, common_names=(parse_pattern("SN-*"), parse_pattern("gw-*")))
SHOWN = bytes(32)
DEVICES = DeviceNames(domains=frozenset({"east.example.com"}))
DEVICE = ldevid_subject("SN-1", bytes(20))


def san(*names: x509.GeneralName | str) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName(
        [x509.DNSName(name) if isinstance(name, str) else name for name in names]
    )


def test_a_client_is_its_ra_and_its_common_name() -> None:
    """It gets what was asked for, and the journal tells by whom."""
    names = san("a.east.example.com", "b.east.example.com")
    found = client_of(EAST, pki.common_name("gw-7"), names, SHOWN, DeviceNames())
    assert found.device == client_key(RA, "east:gw-7")
    assert found.alternative_names == ("a.east.example.com", "b.east.example.com")
    assert found.asked_by is not None
    assert (found.asked_by.name, found.ra_certificate) == ("east", SHOWN)
    assert not found.asked_by.foreign_binding
    assert ra_of(found.device) == "east"


@pytest.mark.parametrize(
    ("subject", "names"),
    [
        (DEVICE, None),
        (x509.Name([*pki.common_name("gw-7"), *DEVICE]), None),
        (x509.Name([*pki.common_name("gw-7"), *pki.common_name("gw-7")]), None),
        (x509.Name([]), None),
        (pki.common_name("gw-" + "a" * 57), None),
        (pki.common_name("gw-7"), san("a.west.example.com")),
        (pki.common_name("gw-7"), san("-.east.example.com")),
        (pki.common_name("gw-7"), san("a-.east.example.com")),
        (pki.common_name("gw-7"), san("a_b.east.example.com")),
        (pki.common_name("gw-7"), san("a" * 64 + ".east.example.com")),
        (pki.common_name("gw-7"), san("a.east.example.com", x509.RFC822Name("a@example.com"))),
        (pki.common_name("gw-7"), san(x509.OtherName(NameOID.COMMON_NAME, b"\x05\x00"))),
    ],
    ids=str,
)
def test_a_name_out_of_bounds_is_refused(
    subject: x509.Name, names: x509.SubjectAlternativeName | None
) -> None:
    """At the door and, if a door were open, right before the signature."""
    for ra in (EAST, BROAD):
        with pytest.raises(CSRMismatch):
            client_of(ra, subject, names, SHOWN, DeviceNames())
        granted = GrantedNames(subject=subject, alternative_name=names)
        with pytest.raises(CSRMismatch):
            check_granted(ra, client_key(RA, "east:gw-7"), granted)


def test_a_denied_client_gets_nothing_more() -> None:
    """At the door, and right before the signature."""
    ra, subject = replace(EAST, denied=frozenset({"east:gw-7"})), pki.common_name("gw-7")
    with pytest.raises(NotAuthenticated, match="denied"):
        client_of(ra, subject, None, SHOWN, DeviceNames())
    granted = GrantedNames(subject=subject, alternative_name=None)
    with pytest.raises(NotAuthenticated, match="denied"):
        check_granted(ra, client_key(RA, "east:gw-7"), granted)
    assert client_of(ra, pki.common_name("gw-8"), None, SHOWN, DeviceNames())


def test_the_longest_name_is_taken() -> None:
    """64 characters in the journal, the RA's name and the colon included."""
    text = "gw-" + "a" * 56
    found = client_of(EAST, pki.common_name(text), None, SHOWN, DeviceNames())
    assert len(found.device.serial_number) == 64


def test_a_devices_domain_is_nobody_elses() -> None:
    """Whatever the bounds say."""
    names = san("a.east.example.com")
    with pytest.raises(CSRMismatch, match="device's"):
        client_of(EAST, pki.common_name("gw-7"), names, SHOWN, DEVICES)


def test_the_last_look_is_at_the_client_too() -> None:
    """A name within the bounds, but another client's, or another RA's client."""
    granted = GrantedNames(subject=pki.common_name("gw-7"), alternative_name=None)
    check_granted(EAST, client_key(RA, "east:gw-7"), granted)
    for other in ("east:gw-8", "west:gw-7"):
        with pytest.raises(CSRMismatch):
            check_granted(EAST, client_key(RA, other), granted)
