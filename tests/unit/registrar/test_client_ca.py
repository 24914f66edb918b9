"""Clients with certificates of other CAs: what they are called, and what is judged of a path."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID

from brski.errors import ChainInvalid, CSRMismatch, NotAuthenticated, Unavailable
from brski.pki.chain import TrustAnchors
from brski.pki.names import SERIAL_NUMBER, ldevid_subject
from registrar_plugin.enrollment.client_ca import (
    ClientCA,
    ca_of,
    client_name,
    enrollee_of,
    find_path,
)
from registrar_plugin.enrollment.client_lists import check_lists, check_revocation
from registrar_plugin.enrollment.client_names import DeviceNames
from registrar_plugin.enrollment.name_pattern import parse_pattern
from tests.kit import pki
from tests.kit.est_clients import make_client, subject_of

ROOT = pki.make_root("Previous Root")
ISSUING = pki.make_ca("Previous CA", ROOT)
CLIENT = make_client(ISSUING, "gw-7", "gw-7.example.com")
CA = ClientCA(name="previous", anchors=TrustAnchors([ROOT.certificate]), labels=frozenset({""}))
NO_DEVICES = DeviceNames()


def lists(*octets: bytes) -> list[x509.CertificateRevocationList]:
    return list(map(x509.load_der_x509_crl, octets))


def name(*pairs: tuple[x509.ObjectIdentifier, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in pairs])


CN, O_ = NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME
DIGEST_OF_TWO = client_name("previous", name((O_, "x"), (CN, "gw-7")))


@pytest.mark.parametrize(
    ("subject", "wanted"),
    [
        (name((CN, "gw-7")), "previous:gw-7"),
        (name((CN, "Gw_7.example.com")), "previous:Gw_7.example.com"),
        (name((CN, "a" * 55)), "previous:" + "a" * 55),
    ],
)
def test_a_plain_common_name_is_the_name(subject: x509.Name, wanted: str) -> None:
    """So that a person can type it."""
    assert client_name("previous", subject) == wanted
    assert ca_of(wanted) == "previous"


@pytest.mark.parametrize(
    "subject",
    [
        name((CN, "gateway seven")),
        name((CN, "a:b")),
        name((CN, DIGEST_OF_TWO.partition("::")[2]), (O_, "x")),
        name((CN, ":" + DIGEST_OF_TWO.partition("::")[2])),
        name((CN, "a" * 56)),
        name((O_, "gw-7")),
        name((O_, "x"), (CN, "gw-7")),
        name((CN, "gw-7"), (O_, "x")),
        x509.Name([]),
    ],
    ids=str,
)
def test_any_other_subject_is_named_by_its_digest(subject: x509.Name) -> None:
    """Never as long as to be cut, and never what a plain name can be."""
    found = client_name("previous", subject)
    ca, empty, digest = found.split(":")
    assert (ca, empty, len(digest)) == ("previous", "", 32)
    assert SERIAL_NUMBER.match(found)
    assert found == DIGEST_OF_TWO or subject != name((O_, "x"), (CN, "gw-7"))


def test_no_two_clients_have_one_name() -> None:
    """Of one CA or two; the encoding of a string makes no other client."""
    a, b = name((CN, "gw-7")), name((CN, "gw-8"))
    assert len({client_name(ca, subject) for ca in ("one", "two") for subject in (a, b)}) == 4
    printable = x509.Name([x509.NameAttribute(CN, "gw-7", _ASN1Type.PrintableString)])
    assert client_name("one", printable) == client_name("one", a)


def test_a_path_is_judged_whole() -> None:
    """Leaf first, anchor last; without the CA between there is none."""
    chain = (CLIENT.certificate, *CLIENT.intermediates)
    assert find_path(CA, chain, at=pki.NOW) == CLIENT.chain
    with pytest.raises(ChainInvalid):
        find_path(CA, chain[:1], at=pki.NOW)
    with pytest.raises(ChainInvalid):
        find_path(CA, chain, at=pki.AFTER)


def test_who_is_entitled_to_what() -> None:
    """Subject and DNS names; denied, or with a device's name, to nothing."""
    enrollee = enrollee_of(CA, CLIENT.certificate, NO_DEVICES)
    assert enrollee.subject == CLIENT.certificate.subject
    assert enrollee.alternative_names == ("gw-7.example.com",)
    assert enrollee.device.serial_number == "previous:gw-7"
    denying = ClientCA(
        name=CA.name, anchors=CA.anchors, labels=CA.labels, denied=frozenset({"previous:gw-7"})
    )
    with pytest.raises(NotAuthenticated):
        enrollee_of(denying, CLIENT.certificate, NO_DEVICES)
    with pytest.raises(CSRMismatch):
        enrollee_of(CA, CLIENT.certificate, DeviceNames(domains=frozenset({"example.com"})))
    device = make_client(ISSUING, subject=ldevid_subject("SN-1", bytes(20)))
    with pytest.raises(CSRMismatch):
        enrollee_of(CA, device.certificate, NO_DEVICES)
    numbered = make_client(ISSUING, subject=name((NameOID.SERIAL_NUMBER, "SN-1")))
    assert enrollee_of(CA, numbered.certificate, NO_DEVICES)  # a serial number alone is no LDevID


def test_a_ca_vouches_within_its_bounds() -> None:
    """Where it has some: for subjects of one common name, and DNS names, that fit."""
    bounded = replace(
        CA,
        common_names=(parse_pattern("gw-*"),),
        dns_names=(parse_pattern("*.example.com"),),
    )
    assert enrollee_of(bounded, CLIENT.certificate, NO_DEVICES)
    for other in (
        make_client(ISSUING, "printer-7", "gw-7.example.com"),
        make_client(ISSUING, "gw-7", "gw-7.example.org"),
        make_client(ISSUING, "gw-7", "gw-7.example.com", "*.example.com"),
        make_client(ISSUING, subject=name((CN, "gw-7"), (O_, "x"))),
    ):
        with pytest.raises(CSRMismatch, match="bounds of what 'previous'"):
            enrollee_of(bounded, other.certificate, NO_DEVICES)
        assert enrollee_of(CA, other.certificate, NO_DEVICES)


def test_a_list_that_has_ended_is_told() -> None:
    """The last of each issuer counts; the day before there is a warning."""
    older = pki.make_crl(ISSUING, this_update=pki.BEFORE, next_update=pki.NOT_BEFORE)
    newer = pki.make_crl(ISSUING, next_update=pki.NOW + timedelta(days=3))
    assert check_lists(lists(older, newer, pki.make_crl(ROOT)), at=pki.NOW) is None
    said = check_lists(lists(newer), at=pki.NOW + timedelta(days=2, hours=1))
    assert said is not None
    assert "Previous CA ends" in said
    with pytest.raises(Unavailable, match="Previous CA has ended"):
        check_lists(lists(older, pki.make_crl(ROOT)), at=pki.NOW)


def test_lists_of_the_leafs_issuer_must_be_there() -> None:
    """Those above it count where they are."""
    good = pki.make_crl(ISSUING)
    check_revocation(CLIENT.chain, lists(good), at=pki.NOW)
    check_revocation(CLIENT.chain, lists(good, pki.make_crl(ROOT)), at=pki.NOW)
    for revoked in (
        [pki.make_crl(ISSUING, CLIENT.certificate)],
        [good, pki.make_crl(ROOT, ISSUING.certificate)],
    ):
        with pytest.raises(NotAuthenticated, match="revoked"):
            check_revocation(CLIENT.chain, lists(*revoked), at=pki.NOW)
    for unknown in (
        [],
        [pki.make_crl(ROOT)],
        [pki.make_crl(ISSUING, this_update=pki.BEFORE, next_update=pki.NOT_BEFORE)],
        [pki.make_crl(ISSUING, signed_by=ROOT)],
    ):
        with pytest.raises(Unavailable):
            check_revocation(CLIENT.chain, lists(*unknown), at=pki.NOW)


def with_dns_name(value: str) -> x509.Certificate:
    """A certificate whose DNS name no CA would write, but one did."""
    name = x509.DNSName._init_without_validation(value)
    extra = [(x509.SubjectAlternativeName([name]), False)]
    return pki.certify(subject_of("gw-7"), issuer=ISSUING, extra=extra).certificate


DEVICES = DeviceNames(domains=frozenset({"devices.example.com"}))


@pytest.mark.requirement("ESTS-22")
@pytest.mark.parametrize(
    "value",
    [
        "SN-1.devices.example.com\0.gw-7.example.com",  # ends there for whoever reads it in C
        "gw-7.example.com\0",
        "SN-1.devices.example.com ",
        " gw-7.example.com",
        "gw 7.example.com",
        "gw-7.example.com\n",
        "gw-7.example.com.",
        "SN-1.devices.example.com..",
        ".devices.example.com",
        "SN-1..devices.example.com",
        "",
        "*",
        "*.",
        "gw-*.example.com",
        "a.*.example.com",
        "*.*.example.com",
        "-gw.example.com",
        "gw-.example.com",
        "gw/7.example.com",
        "gw-7.example.com:443",
        "a" * 64 + ".example.com",
        "a." * 126 + "ab",
    ],
)
def test_a_dns_name_that_is_no_hosts_is_not_taken_over(value: str) -> None:
    """Two readers would take it for the names of two."""
    with pytest.raises(CSRMismatch):
        enrollee_of(CA, with_dns_name(value), DEVICES)


@pytest.mark.parametrize(
    "value", ["gw-7.example.com", "GW.example.com", "*.east.example.com", "localhost", "1.example"]
)
def test_its_neighbour_is(value: str) -> None:
    assert enrollee_of(CA, with_dns_name(value), DEVICES).alternative_names == (value,)


@pytest.mark.requirement("ESTS-22")
@pytest.mark.parametrize(
    "common_name",
    ["SN-1.devices.example.com", "sn-1.Devices.example.com.", "*.devices.example.com"],
)
def test_a_common_name_is_no_devices_dns_name(common_name: str) -> None:
    """There are TLS clients that read it where no DNS name is."""
    leaf = make_client(ISSUING, common_name).certificate
    with pytest.raises(CSRMismatch, match="a device's"):
        enrollee_of(CA, leaf, DEVICES)
    assert enrollee_of(CA, leaf, NO_DEVICES).subject == leaf.subject
    beside = make_client(ISSUING, "sn-1.devices.example.org").certificate
    assert enrollee_of(CA, beside, DEVICES).subject == beside.subject
