"""What a device without a certificate presents, and how strictly it is read."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.name import _ASN1Type
from hypothesis import given
from hypothesis import strategies as st

from brski.errors import KeyNotAllowed, Malformed, OnboardingError
from brski.idevid.assertion import (
    AssertedIdentity,
    assertion_certificate,
    is_asserted,
    read_assertion,
)
from brski.pki import der, extensions, keys, names
from tests.kit import pki

DETERMINISTIC = ("P-256", "P-384", "Ed25519")
KINDS = (*DETERMINISTIC, "ML-DSA-44", "ML-DSA-65", "ML-DSA-87")
KEY = pki.make_key()
SIGNER = pki.KeySigner(KEY)
SKI = x509.SubjectKeyIdentifier.from_public_key(KEY.public_key())
ISSUER = bytes(range(20))
FULL = assertion_certificate(SIGNER, "SN-1", idevid_issuer=ISSUER, masa_url=pki.MASA_URL)
BARE = assertion_certificate(SIGNER, "SN-1")
SERIAL_NUMBERS = st.from_regex(r"[A-Za-z0-9.:-]{1,64}", fullmatch=True)
OPTIONAL_ISSUERS = st.none() | st.binary(min_size=20, max_size=20)
OPTIONAL_URLS = st.none() | st.sampled_from(["masa.example.com", "https://192.0.2.1:9443/x"])


@given(SERIAL_NUMBERS, OPTIONAL_ISSUERS, OPTIONAL_URLS, st.sampled_from(KINDS))
def test_what_is_asserted_is_read(
    serial_number: str, idevid_issuer: bytes | None, masa_url: str | None, kind: str
) -> None:
    signer = pki.KeySigner(pki.make_key(kind))
    presented = assertion_certificate(
        signer, serial_number, idevid_issuer=idevid_issuer, masa_url=masa_url
    )
    assert is_asserted([presented])
    assert read_assertion(presented) == AssertedIdentity(
        serial_number=serial_number,
        idevid_issuer=idevid_issuer,
        masa_url=masa_url,
        public_key=signer.public_key,
        spki=keys.encode_spki(signer.public_key),
    )


@pytest.mark.parametrize("kind", DETERMINISTIC)
def test_every_boot_comes_to_the_same_octets(kind: str) -> None:
    signer = pki.KeySigner(pki.make_key(kind))
    boots = [assertion_certificate(signer, "SN-1", masa_url=pki.MASA_URL) for _ in range(2)]
    assert boots[0].public_bytes(Encoding.DER) == boots[1].public_bytes(Encoding.DER)


def test_it_is_laid_out_as_the_page_says() -> None:
    """docs/idevid-certificate.md §2, field by field."""
    tbs = FULL.tbs_certificate_bytes
    fields = [der.octets_of(tbs, f) for f in der.children(tbs, der.read_element(tbs))]
    name = names.idevid_subject("SN-1").public_bytes()
    masa = b"\x16\x15" + pki.MASA_URL.encode()
    assert fields == [
        bytes.fromhex("a003020102"),
        bytes.fromhex("020101"),
        bytes.fromhex("300a06082a8648ce3d040302"),
        name,
        b"\x30\x20\x17\x0d000101000000Z\x18\x0f99991231235959Z",
        name,
        keys.encode_spki(KEY.public_key()),
        der.encode(
            0xA3,
            der.encode(
                0x30,
                bytes.fromhex("301d0603551d0e04160414") + SKI.digest,
                bytes.fromhex("301f0603551d23041830168014") + ISSUER,
                bytes.fromhex("302306082b060105050701200417") + masa,
            ),
        ),
    ]


def test_without_claims_only_the_key_identifier_is_there() -> None:
    assert [extension.value for extension in BARE.extensions] == [SKI]


@pytest.mark.parametrize(
    "claims",
    [
        {"serial_number": "SN_1"},
        {"serial_number": ""},
        {"idevid_issuer": bytes(19)},
        {"idevid_issuer": b""},
        {"masa_url": "ftp://masa.example.com"},
        {"masa_url": ""},
    ],
)
def test_claims_that_no_reader_would_take_are_not_made(claims: dict[str, object]) -> None:
    arguments = {"serial_number": "SN-1"} | claims
    with pytest.raises(Malformed):
        assertion_certificate(SIGNER, **arguments)  # type: ignore[arg-type]


def test_a_device_key_of_another_kind_is_refused() -> None:
    with pytest.raises(KeyNotAllowed):
        assertion_certificate(pki.KeySigner(pki.make_key("P-521")), "SN-1")


# -- asserted or carried ---------------------------------------------------------------------------


def test_no_certificate_is_not_asserted() -> None:
    assert not is_asserted([])


def test_two_certificates_are_carried() -> None:
    """Even if both are the same assertion certificate."""
    assert not is_asserted([FULL, FULL])


def test_an_idevid_alone_is_carried() -> None:
    """A chain that was cut short is not taken for an assertion."""
    issuer = pki.make_pki()
    assert not is_asserted([pki.make_idevid(issuer, "SN-1").certificate])


def test_a_broken_own_signature_makes_it_carried() -> None:
    """And as a carried one it leads to no anchor, so it is refused there."""
    octets = bytearray(FULL.public_bytes(Encoding.DER))
    octets[-1] ^= 1
    assert not is_asserted([keys.parse_certificate(bytes(octets))])


def test_self_issued_with_anothers_signature_is_carried() -> None:
    """Same name above and below, but the key above is another."""
    name = names.idevid_subject("SN-1")
    other = pki.certify(name)
    forged = pki.certify(name, issuer=other)
    assert forged.certificate.issuer == forged.certificate.subject
    assert not is_asserted([forged.certificate])
    assert is_asserted([other.certificate])


def test_a_self_signed_certificate_with_a_key_of_another_kind_is_carried() -> None:
    key = ec.generate_private_key(ec.SECP521R1())
    name = names.idevid_subject("SN-1")
    odd = pki.certify(name, key=key, digest=hashes.SHA512())
    assert odd.certificate.issuer == odd.certificate.subject
    assert not is_asserted([odd.certificate])


# -- read strictly ---------------------------------------------------------------------------------


def _build(
    *,
    subject: x509.Name | None = None,
    issuer: x509.Name | None = None,
    number: int = 1,
    not_before: datetime = datetime(2000, 1, 1, tzinfo=UTC),
    not_after: datetime = pki.NEVER,
    present: tuple[tuple[x509.ExtensionType, bool], ...] = ((SKI, False),),
    digest: hashes.SHA384 | None = None,
) -> x509.Certificate:
    name = subject or names.idevid_subject("SN-1")
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer or name)
        .public_key(KEY.public_key())
        .serial_number(number)
        .not_valid_before(not_before)
        .not_valid_after(not_after)
    )
    for value, critical in present:
        builder = builder.add_extension(value, critical)
    return builder.sign(KEY, digest or hashes.SHA256(), ecdsa_deterministic=True)


def _aki(identifier: bytes | None = ISSUER) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier(identifier, None, None)


def _url(octets: bytes) -> x509.UnrecognizedExtension:
    return x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.5.5.7.1.32"), octets)


def test_the_librarys_builder_comes_to_the_same_octets() -> None:
    """A second writer, so that the odd ones below differ in one thing each."""
    assert _build() == BARE
    masa_url = extensions.masa_url_extension(pki.MASA_URL)
    assert _build(present=((SKI, False), (_aki(), False), (masa_url, False))) == FULL


def test_extensions_in_another_order_are_read() -> None:
    """Their order means nothing (RFC 5280 §4.2), so another device's writer may choose it."""
    masa_url = extensions.masa_url_extension(pki.MASA_URL)
    presented = _build(present=((masa_url, False), (_aki(), False), (SKI, False)))
    assert read_assertion(presented) == read_assertion(FULL)


TWO_ATTRIBUTES = x509.Name(
    [
        x509.NameAttribute(x509.NameOID.SERIAL_NUMBER, "SN-1"),
        x509.NameAttribute(x509.NameOID.COMMON_NAME, "SN-1"),
    ]
)
TWO_SERIAL_NUMBERS = x509.Name(
    [
        x509.NameAttribute(x509.NameOID.SERIAL_NUMBER, "SN-1"),
        x509.NameAttribute(x509.NameOID.SERIAL_NUMBER, "SN-2"),
    ]
)
UTF8_NAME = x509.Name(
    [x509.NameAttribute(x509.NameOID.SERIAL_NUMBER, "SN-1", _ASN1Type.UTF8String)]
)
ODD = {
    "a second attribute": _build(subject=TWO_ATTRIBUTES),
    "two serial numbers": _build(subject=TWO_SERIAL_NUMBERS),
    "no serial number": _build(subject=pki.common_name("SN-1")),
    "a serial number in UTF8String": _build(subject=UTF8_NAME),
    "an underscore": _build(
        subject=x509.Name(
            [x509.NameAttribute(x509.NameOID.SERIAL_NUMBER, "SN_1", _ASN1Type.UTF8String)]
        )
    ),
    "another certificate serial number": _build(number=2),
    "another notBefore": _build(not_before=datetime(2000, 1, 1, 0, 0, 1, tzinfo=UTC)),
    "another notAfter": _build(not_after=datetime(9999, 12, 31, 23, 59, 58, tzinfo=UTC)),
    "no extensions": _build(present=()),
    "no key identifier": _build(present=((_aki(), False),)),
    "another key's identifier": _build(present=((x509.SubjectKeyIdentifier(bytes(20)), False),)),
    "a critical key identifier": _build(present=((SKI, True),)),
    "a critical issuer": _build(present=((SKI, False), (_aki(), True))),
    "an issuer of 19 octets": _build(present=((SKI, False), (_aki(bytes(19)), False))),
    "an issuer with its name": _build(
        present=(
            (SKI, False),
            (
                x509.AuthorityKeyIdentifier(
                    ISSUER, [x509.DirectoryName(pki.common_name("OEM"))], 5
                ),
                False,
            ),
        )
    ),
    "an issuer by name only": _build(
        present=(
            (SKI, False),
            (
                x509.AuthorityKeyIdentifier(None, [x509.DirectoryName(pki.common_name("OEM"))], 5),
                False,
            ),
        )
    ),
    "a MASA URL in UTF8String": _build(
        present=((SKI, False), (_url(b"\x0c\x10masa.example.com"), False))
    ),
    "a MASA URL of another scheme": _build(
        present=((SKI, False), (_url(b"\x16\x16ftp://masa.example.com"), False))
    ),
    "a critical MASA URL": _build(
        present=((SKI, False), (extensions.masa_url_extension(pki.MASA_URL), True))
    ),
    "basicConstraints": _build(
        present=((SKI, False), (x509.BasicConstraints(ca=False, path_length=None), False))
    ),
    "a CA": _build(
        present=((SKI, False), (x509.BasicConstraints(ca=True, path_length=None), True))
    ),
    "keyUsage": _build(present=((SKI, False), (pki.LEAF_KEY_USAGE, True))),
    "an alternative name": _build(
        present=((SKI, False), (x509.SubjectAlternativeName([x509.DNSName("a.example")]), False))
    ),
    "an unknown extension": _build(
        present=(
            (SKI, False),
            (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.32473.1"), b""), False),
        )
    ),
    "an algorithm that the key does not dictate": _build(digest=hashes.SHA384()),
}


@pytest.mark.parametrize("why", ODD)
def test_an_odd_assertion_is_refused(why: str) -> None:
    """Each differs from a sound one in one thing; all are signed by their own key."""
    with pytest.raises(Malformed):
        read_assertion(ODD[why])


@pytest.mark.parametrize("why", sorted(ODD.keys() - {"an algorithm that the key does not dictate"}))
def test_an_odd_assertion_is_still_no_carried_identity(why: str) -> None:
    """What is in it does not decide which checks it meets."""
    assert is_asserted([ODD[why]])


def test_issuer_and_subject_of_two_serial_numbers_are_carried_and_no_assertion() -> None:
    presented = _build(issuer=names.idevid_subject("SN-2"))
    assert not is_asserted([presented])
    with pytest.raises(Malformed):
        read_assertion(presented)


def test_inner_and_outer_algorithm_are_the_same() -> None:
    """The outer AlgorithmIdentifier is not signed, so it is compared."""
    octets = BARE.public_bytes(Encoding.DER)
    inner, outer = bytes.fromhex("06082a8648ce3d040302"), bytes.fromhex("06082a8648ce3d040303")
    position = octets.rindex(inner)
    changed = octets[:position] + outer + octets[position + len(inner) :]
    with pytest.raises(Malformed):
        read_assertion(keys.parse_certificate(changed))


def test_another_curve_is_refused() -> None:
    name = names.idevid_subject("SN-1")
    odd = pki.certify(name, key=pki.make_key("P-521"), digest=hashes.SHA512())
    with pytest.raises(KeyNotAllowed):
        read_assertion(odd.certificate)


@given(st.integers(0, len(FULL.public_bytes(Encoding.DER)) - 1), st.integers(1, 255))
def test_no_octet_can_be_altered(position: int, difference: int) -> None:
    """Altered anywhere it does not parse, or is carried, or is refused."""
    octets = bytearray(FULL.public_bytes(Encoding.DER))
    octets[position] ^= difference
    try:
        presented = keys.parse_certificate(bytes(octets))
        if is_asserted([presented]):
            read_assertion(presented)
            pytest.fail("an altered assertion certificate was taken")
    except OnboardingError:
        pass


def test_a_signer_that_draws_nonces_makes_a_sound_one_too() -> None:
    """Only the octets differ then, from boot to boot."""
    presented = assertion_certificate(replace(SIGNER, deterministic=False), "SN-1")
    assert is_asserted([presented])
    assert read_assertion(presented) == read_assertion(BARE)
