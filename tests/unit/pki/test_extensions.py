"""Reading and writing the extensions that BRSKI stands on."""

from __future__ import annotations

import base64
import contextlib
import hashlib
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from brski import registry
from brski.errors import Malformed, TooLarge
from brski.pki import der, extensions
from brski.pki.keys import parse_certificate, parse_pem_certificates, spki_of
from tests.kit import pki

ISSUER = pki.make_pki()
IDEVID = pki.make_idevid(ISSUER)


def _appendix_c(vectors: Path, name: str) -> x509.Certificate:
    return parse_pem_certificates((vectors / "rfc8995-appC" / name).read_bytes())[0]


# -- key identifiers
@pytest.mark.parametrize("kind", ["P-256", "P-384", "Ed25519", "RSA-2048"])
def test_key_identifier_is_method_1_of_rfc_5280(kind: str) -> None:
    """The same octets as the library's, for every kind of key."""
    entity = pki.certify(pki.common_name("x"), key=pki.make_key(kind))
    expected = x509.SubjectKeyIdentifier.from_public_key(entity.certificate.public_key()).digest
    assert extensions.key_identifier(spki_of(entity.certificate)) == expected


@pytest.mark.parametrize("octets", ["0500", "3000", "3002 0500", "3004 3000 0500", "04020000"])
def test_key_identifier_of_something_else_is_refused(octets: str) -> None:
    with pytest.raises(Malformed):
        extensions.key_identifier(bytes.fromhex(octets))


def test_identifiers_are_read_from_their_extensions() -> None:
    issuer = ISSUER.certificate
    assert extensions.authority_key_identifier(
        IDEVID.certificate
    ) == extensions.subject_key_identifier(issuer)
    bare = pki.certify(pki.common_name("x"), ski=False, aki=False).certificate
    assert extensions.authority_key_identifier(bare) is None
    assert extensions.subject_key_identifier(bare) is None


# -- idevid-issuer
@pytest.mark.requirement("VR-9", "VR-10")
def test_idevid_issuer_is_the_whole_extension_value_on_the_wire() -> None:
    """26 octets, the OCTET STRING header included: as the certificate itself has it."""
    identifier = extensions.idevid_issuer_of(IDEVID.certificate)
    wire = extensions.encode_idevid_issuer(identifier)
    assert wire[:6] == bytes.fromhex("041830168014")
    assert len(wire) == 26
    assert wire in IDEVID.der


@pytest.mark.requirement("VR-10")
def test_idevid_issuer_of_the_published_registrar_request(vectors: Path) -> None:
    """The constrained-voucher draft's pledge certificate and the leaf in its request agree."""
    folder = vectors / "cbrski-cose"
    pledge = parse_certificate((folder / "pledge.der").read_bytes())
    wire = extensions.encode_idevid_issuer(extensions.idevid_issuer_of(pledge))
    assert wire in bytes.fromhex((folder / "rvr.hex").read_text().strip())


@pytest.mark.requirement("VR-11")
@given(st.binary(min_size=20, max_size=20))
def test_all_three_forms_of_idevid_issuer_are_one(identifier: bytes) -> None:
    wire = extensions.encode_idevid_issuer(identifier)
    for octets in (wire, wire[2:], wire[6:]):
        assert extensions.decode_idevid_issuer(octets) == identifier


@pytest.mark.requirement("VR-11")
def test_idevid_issuer_with_issuer_and_number_is_read() -> None:
    """The longer AuthorityKeyIdentifier of older CAs still has its keyIdentifier."""
    value = x509.AuthorityKeyIdentifier(
        bytes(range(20)), [x509.DirectoryName(pki.common_name("CA"))], 7
    ).public_bytes()
    for octets in (value, der.encode(der.OCTET_STRING, value)):
        assert extensions.decode_idevid_issuer(octets) == bytes(range(20))


ISSUER_26 = extensions.encode_idevid_issuer(bytes(range(20)))


@pytest.mark.requirement("VR-11")
@pytest.mark.parametrize(
    "octets",
    [
        b"",
        ISSUER_26[:-1],
        ISSUER_26 + b"\0",
        ISSUER_26[6:-1],
        ISSUER_26[6:] + b"\0",
        ISSUER_26[4:],  # the [0] element alone
        der.encode(der.OCTET_STRING, ISSUER_26),
        der.encode(der.SEQUENCE, der.encode(0x80, bytes(19))),
        der.encode(der.SEQUENCE, der.encode(0x81, bytes(20))),
        der.encode(der.SEQUENCE, der.encode(0x80, bytes(20)), der.encode(0x80, bytes(20))),
        der.encode(der.SEQUENCE, der.encode(0x80, bytes(20)), der.encode(0x82, b"\1")),
        der.encode(der.SET, der.encode(0x80, bytes(20))),
        der.encode(der.SEQUENCE),
        der.encode(der.OCTET_STRING),
        bytes.fromhex("0481 18 30168014") + bytes(20),
    ],
)
def test_idevid_issuer_in_any_other_form_is_refused(octets: bytes) -> None:
    with pytest.raises(Malformed):
        extensions.decode_idevid_issuer(octets)


@given(st.binary(max_size=64))
def test_noise_as_idevid_issuer_never_breaks(octets: bytes) -> None:
    with contextlib.suppress(Malformed, TooLarge):
        assert len(extensions.decode_idevid_issuer(octets)) == 20


@pytest.mark.parametrize("size", [0, 19, 21, 32])
def test_idevid_issuer_of_another_length_is_not_written(size: int) -> None:
    with pytest.raises(Malformed):
        extensions.encode_idevid_issuer(bytes(size))


@pytest.mark.requirement("VR-12")
def test_idevid_issuer_without_authority_key_identifier_is_the_own_key(vectors: Path) -> None:
    """The IDevID of RFC 8995 Appendix C has none; its SubjectKeyIdentifier is the same hash."""
    idevid = _appendix_c(vectors, "idevid_00-D0-E5-F2-00-02.crt")
    assert extensions.authority_key_identifier(idevid) is None
    identifier = extensions.idevid_issuer_of(idevid)
    assert identifier == extensions.subject_key_identifier(idevid)
    assert identifier == bytes.fromhex("4588cc9696006437b0ba2365646454 08066c56ad")


def test_authority_key_identifier_of_another_length_names_no_issuer() -> None:
    value = x509.AuthorityKeyIdentifier(bytes(32), None, None)
    odd = pki.make_idevid(ISSUER, aki=False, extra=[(value, False)])
    assert extensions.authority_key_identifier(odd.certificate) == bytes(32)
    with pytest.raises(Malformed):
        extensions.idevid_issuer_of(odd.certificate)


# -- MASA URL
def test_masa_url_goes_into_a_certificate_and_comes_out() -> None:
    assert extensions.masa_url(IDEVID.certificate) == pki.MASA_URL
    extension = IDEVID.certificate.extensions.get_extension_for_oid(
        x509.ObjectIdentifier(registry.ID_PE_MASA_URL)
    )
    assert not extension.critical
    assert extensions.masa_url(ISSUER.certificate) is None


@pytest.mark.requirement("REG-10")
def test_masa_url_of_the_published_idevids(vectors: Path) -> None:
    idevid = _appendix_c(vectors, "idevid_00-D0-E5-F2-00-02.crt")
    assert extensions.masa_url(idevid) == "highway-test.example.com:9443"
    pledge = parse_certificate((vectors / "cbrski-cose" / "pledge.der").read_bytes())
    assert extensions.masa_url(pledge) == "masa.stok.nl"


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\x16",
        der.encode(der.UTF8_STRING, b"masa.example.com"),
        der.encode(der.OCTET_STRING, b"masa.example.com"),
        der.encode(der.IA5_STRING, b"masa\xe9.example.com"),
        der.encode(der.IA5_STRING, b"masa.example.com") + b"\0",
        der.encode(der.IA5_STRING, b"a" * 600),
    ],
)
def test_masa_url_extension_that_is_no_ia5_string_is_refused(value: bytes) -> None:
    extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(registry.ID_PE_MASA_URL), value)
    entity = pki.make_idevid(ISSUER, masa_url=None, extra=[(extension, False)])
    with pytest.raises((Malformed, TooLarge)):
        extensions.masa_url(entity.certificate)


@pytest.mark.requirement("REG-10")
@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("masa.example.com", "https://masa.example.com/.well-known/brski"),
        ("masa.example.com:9443", "https://masa.example.com:9443/.well-known/brski"),
        ("MASA.Example.COM", "https://masa.example.com/.well-known/brski"),
        ("https://masa.example.com", "https://masa.example.com/.well-known/brski"),
        ("https://masa.example.com/", "https://masa.example.com/.well-known/brski"),
        ("http://masa.example.com", "https://masa.example.com/.well-known/brski"),
        ("HTTP://masa.example.com:80/x", "https://masa.example.com:80/x"),
        ("https://masa.example.com/a/b", "https://masa.example.com/a/b"),
        ("masa.example.com/a/b/", "https://masa.example.com/a/b"),
        ("masa.example.com/.well-known/brski", "https://masa.example.com/.well-known/brski"),
        ("192.0.2.7:8443", "https://192.0.2.7:8443/.well-known/brski"),
        ("[2001:DB8::0:7]:8443", "https://[2001:db8::7]:8443/.well-known/brski"),
        ("localhost:9443", "https://localhost:9443/.well-known/brski"),
        ("xn--bcher-kva.example", "https://xn--bcher-kva.example/.well-known/brski"),
    ],
)
def test_masa_base_url(value: str, url: str) -> None:
    """RFC 8995 §2.3.2: an authority alone stands for the well-known path; always https."""
    assert extensions.masa_base_url(value) == url


@pytest.mark.requirement("REG-10")
@pytest.mark.parametrize(
    "value",
    [
        "",
        "/",
        "https://",
        "ftp://masa.example.com",
        "coaps://masa.example.com",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "//masa.example.com",
        "user@masa.example.com",
        "https://user:pass@masa.example.com/",
        "masa.example.com?x=1",
        "masa.example.com/a?x=1",
        "masa.example.com/a#b",
        "masa.example.com/../a",
        "masa.example.com/a/./b",
        "masa.example.com//a",
        "masa.example.com/%2e%2e/a",
        "masa.example.com\\@evil.example",
        "masa.example.com:",
        "masa.example.com:0",
        "masa.example.com:080",
        "masa.example.com:65536",
        "masa.example.com:99999999",
        "masa.example.com:1:2",
        "masa.example.com.",
        ".example.com",
        "masa..example.com",
        "-masa.example.com",
        "masa-.example.com",
        "ma_sa.example.com",
        "mäsa.example.com",
        "a" * 64 + ".example.com",
        ".".join(["a" * 60] * 5),
        "masa.example.com/" + "a" * 600,
        "127.1",
        "2130706433",
        "0x7f.0.0.1",
        "127.0.0.0x1",
        "0177.0.0.01",
        "256.0.0.1",
        "1.2.3.4.5",
        "[::1",
        "[]",
        "[::1%eth0]",
        "[1.2.3.4]",
        "[masa.example.com]",
        "::1",
        " masa.example.com",
        "masa.example.com ",
        "masa.example.com\n",
        "masa.example.com\r\nHost: evil",
        "masa.example.com\0",
        "masa.example.com/\u212a",
    ],
)
def test_masa_base_url_refuses_everything_else(value: str) -> None:
    with pytest.raises(Malformed):
        extensions.masa_base_url(value)
    with pytest.raises(Malformed):
        extensions.masa_url_extension(value)


# -- usages, module names, domain names
@pytest.mark.requirement("MASA-2")
def test_extended_key_usage_is_named_or_not() -> None:
    owner = pki.make_root("Owner CA")
    registrar = pki.make_registrar(owner).certificate
    other = pki.make_registrar(owner, ekus=[registry.ID_KP_SERVER_AUTH]).certificate
    nothing = pki.make_registrar(owner, ekus=[]).certificate
    assert extensions.has_extended_key_usage(registrar, registry.ID_KP_CMC_RA)
    assert not extensions.has_extended_key_usage(other, registry.ID_KP_CMC_RA)
    assert not extensions.has_extended_key_usage(nothing, registry.ID_KP_CMC_RA)


@pytest.mark.requirement("MASA-2")
def test_any_extended_key_usage_is_not_cmc_ra() -> None:
    anything = pki.make_registrar(pki.make_root(), ekus=["2.5.29.37.0"]).certificate
    assert not extensions.has_extended_key_usage(anything, registry.ID_KP_CMC_RA)


def test_hardware_module_name_is_the_one_of_rfc_4108() -> None:
    name = extensions.hardware_module_name("1.3.6.1.4.1.32473.1", b"HW-1")
    assert name.type_id.dotted_string == registry.ID_ON_HARDWARE_MODULE_NAME
    assert name.value == der.encode(
        der.SEQUENCE,
        bytes.fromhex("06092b0601040181fd5901"),
        bytes.fromhex("040448572d31"),
    )
    san = x509.SubjectAlternativeName([name])
    certificate = pki.make_idevid(ISSUER, extra=[(san, False)]).certificate
    read = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(read) == [name]


@pytest.mark.requirement("AUD-5")
def test_domain_id_of_the_published_registrar(vectors: Path) -> None:
    """It has no SubjectKeyIdentifier: SHA-256 of its SubjectPublicKeyInfo."""
    registrar = _appendix_c(vectors, "jrc_prime256v1.crt")
    expected = "Oy6w2vS8ar8m/FtEHuzs7sl7LSD3pW9yTCgCecoIL3M="
    assert base64.b64encode(extensions.domain_id(registrar)).decode() == expected


@pytest.mark.requirement("AUD-5")
def test_domain_id_is_the_subject_key_identifier_where_there_is_one() -> None:
    owner = pki.make_root("Owner CA").certificate
    assert extensions.domain_id(owner) == extensions.subject_key_identifier(owner)
    assert extensions.domain_id(owner) != hashlib.sha256(spki_of(owner)).digest()
