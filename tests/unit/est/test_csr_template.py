"""The template of RFC 9908 §3.4, built here from its published dump."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from brski import registry
from brski.errors import CSRMismatch, Malformed, PeerError, UnknownFormat
from brski.est.attributes import ExtensionTemplate, RequestedExtension
from brski.est.csr import build_csr, parse_csr
from brski.est.csr_attributes import (
    Announcement,
    CSRAttributes,
    decode_csr_attributes,
    encode_csr_attributes,
)
from brski.est.csr_template import CSRTemplate, encode_csr_template, parse_csr_template
from brski.est.requirements import (
    ED25519,
    P256,
    CSRRequirements,
    KeyRequirement,
    SubjectRequirement,
)
from brski.pki import der
from tests.kit import est, pki

CN, UNIT = "2.5.4.3", "2.5.4.11"
USAGE_VALUE = bytes.fromhex("03020388")  # digitalSignature, keyAgreement
EXTENDED_USAGE = "2.5.29.37"
NAMES = der.encode(der.SEQUENCE, der.encode(0x82, b"www.myServer.com"), b"\x87\x00")
CRITICAL = b"\x01\x01\xff"
EC = der.encode(
    der.SEQUENCE, der.encode_oid(registry.ID_EC_PUBLIC_KEY), der.encode_oid(registry.SECP256R1)
)


def part(oid: str, *value: bytes) -> bytes:
    return der.encode(der.SET, der.encode(der.SEQUENCE, der.encode_oid(oid), *value))


VERSION = b"\x02\x01\x00"
SUBJECT = der.encode(
    der.SEQUENCE,
    part(CN),
    part(UNIT, der.encode(0x0C, b"myDept")),
    part(UNIT, der.encode(0x0C, b"myGroup")),
)
KEY = der.encode(0xA0, EC)
EXTENSIONS = est.attribute(
    registry.ID_EXTENSION_TEMPLATE,
    est.extensions(
        est.extension(est.SAN_OID, NAMES),
        est.extension(est.KEY_USAGE_OID, USAGE_VALUE, critical=CRITICAL),
        der.encode(der.SEQUENCE, der.encode_oid(EXTENDED_USAGE)),
    ),
)
ATTRIBUTES = der.encode(0xA1, EXTENSIONS)


def wrapped(*members: bytes, beside: bytes = b"") -> bytes:
    """CsrAttrs of one template made of *members*, with more items *beside* it."""
    template = est.attribute(registry.ID_CSR_TEMPLATE, der.encode(der.SEQUENCE, *members))
    return der.encode(der.SEQUENCE, beside, template)


def template(*members: bytes) -> CSRTemplate:
    found = decode_csr_attributes(wrapped(*members)).template
    assert found is not None
    return found


@pytest.mark.requirement("ESTS-16")
def test_the_published_template_says_what_its_text_says() -> None:
    """Subject with a blank, a key, a name to fill in, a critical usage, a usage of any value."""
    found = template(VERSION, SUBJECT, KEY, ATTRIBUTES)
    assert found.subject == (
        SubjectRequirement(oid=CN),
        SubjectRequirement(oid=UNIT, value="myDept"),
        SubjectRequirement(oid=UNIT, value="myGroup"),
    )
    assert found.key == P256
    assert found.extensions == (
        ExtensionTemplate(oid=est.SAN_OID, value=NAMES),
        ExtensionTemplate(oid=est.KEY_USAGE_OID, value=USAGE_VALUE, critical=True),
        ExtensionTemplate(oid=EXTENDED_USAGE, value=None),
    )
    assert found.requirements() == CSRRequirements(
        keys=(P256,),
        subject=found.subject,
        extensions=(RequestedExtension(oid=est.KEY_USAGE_OID, value=USAGE_VALUE, critical=True),),
        extension_oids=(est.SAN_OID, EXTENDED_USAGE),
    )


@pytest.mark.requirement("ESTS-16", "ESTC-7")
def test_a_request_that_fills_in_the_blanks_is_accepted() -> None:
    """And one that leaves out a given part is not."""
    wanted = template(VERSION, SUBJECT, KEY, ATTRIBUTES).requirements()
    parts = [
        x509.NameAttribute(NameOID.COMMON_NAME, "device"),
        x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "myDept"),
        x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "myGroup"),
    ]
    extensions: list[x509.ExtensionType | RequestedExtension] = [
        est.SAN,
        RequestedExtension(oid=est.KEY_USAGE_OID, value=USAGE_VALUE, critical=True),
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]),
    ]
    signer = pki.KeySigner(pki.make_key())
    wanted.check(parse_csr(build_csr(signer, x509.Name(parts), extensions=extensions)))
    with pytest.raises(CSRMismatch):
        wanted.check(parse_csr(build_csr(signer, x509.Name(parts[:2]), extensions=extensions)))
    with pytest.raises(CSRMismatch):
        wanted.check(parse_csr(build_csr(signer, x509.Name(parts), extensions=extensions[:2])))


@pytest.mark.requirement("ESTS-16")
def test_a_client_that_knows_the_template_uses_it_alone() -> None:
    """What stands beside it is for older clients (RFC 9908 §4)."""
    beside = der.encode_oid(est.CHALLENGE_PASSWORD) + est.attribute(
        registry.RSA_ENCRYPTION, b"\x02\x02\x10\x00"
    )
    found = decode_csr_attributes(wrapped(VERSION, KEY, b"\xa1\x00", beside=beside))
    assert found == CSRAttributes(
        requirements=CSRRequirements(keys=(P256,)), template=CSRTemplate(key=P256)
    )


def test_an_empty_template_asks_for_nothing() -> None:
    """Version and attributes are all that must be there."""
    assert template(VERSION, b"\xa1\x00") == CSRTemplate()
    assert CSRTemplate().requirements() == CSRRequirements()


@pytest.mark.parametrize(
    ("algorithm", "key", "wanted"),
    [
        (der.encode(der.SEQUENCE, der.encode_oid(registry.ID_ED25519)), b"", ED25519),
        (
            der.encode(der.SEQUENCE, der.encode_oid(registry.RSA_ENCRYPTION), b"\x05\x00"),
            der.encode(
                der.BIT_STRING,
                b"\x00",
                der.encode(der.SEQUENCE, der.encode_integer(1 << 3071), der.encode_integer(65537)),
            ),
            KeyRequirement(algorithm=registry.RSA_ENCRYPTION, rsa_bits=3072),
        ),
        (
            der.encode(der.SEQUENCE, der.encode_oid(registry.RSA_ENCRYPTION), b"\x05\x00"),
            b"",
            KeyRequirement(algorithm=registry.RSA_ENCRYPTION),
        ),
        (
            der.encode(der.SEQUENCE, der.encode_oid("1.2.3.4")),
            b"",
            KeyRequirement(algorithm="1.2.3.4"),
        ),
    ],
)
def test_keys_of_other_kinds(algorithm: bytes, key: bytes, wanted: KeyRequirement) -> None:
    """An RSA key stands for its length; a kind that we cannot make is still a demand."""
    found = template(VERSION, der.encode(0xA0, algorithm, key), b"\xa1\x00").requirements()
    assert found.keys == (wanted,)


def test_a_challenge_password_can_be_asked_for() -> None:
    """As an attribute of the request to be."""
    member = est.attribute(est.CHALLENGE_PASSWORD, der.encode(0x13, b"x"))
    found = template(VERSION, der.encode(0xA1, member))
    assert found.requirements() == CSRRequirements(challenge_password=True)


def test_full_extensions_come_under_their_usual_name() -> None:
    """id-ExtensionReq with whole extensions; without a value it is refused."""
    usual = est.attribute(
        est.EXTENSION_REQUEST, est.extensions(est.extension(est.SAN_OID, est.SAN.public_bytes()))
    )
    found = template(VERSION, der.encode(0xA1, usual)).requirements()
    assert found.extensions == (RequestedExtension.of(est.SAN),)
    blank = est.attribute(
        est.EXTENSION_REQUEST,
        est.extensions(der.encode(der.SEQUENCE, der.encode_oid(est.SAN_OID))),
    )
    with pytest.raises(Malformed):
        template(VERSION, der.encode(0xA1, blank))


@pytest.mark.parametrize("names", [b"\x30\x02\x87\x00", b"\x30\x04\xa4\x02\x30\x00"])
def test_a_name_to_fill_in_is_the_clients(names: bytes) -> None:
    """An address of no octets, a directory name of no parts."""
    member = est.attribute(est.EXTENSION_REQUEST, est.extensions(est.extension(est.SAN_OID, names)))
    found = template(VERSION, der.encode(0xA1, member)).requirements()
    assert (found.extensions, found.extension_oids) == ((), (est.SAN_OID,))


ONE_EXTENSION = est.attribute(
    est.EXTENSION_REQUEST, est.extensions(est.extension(est.SAN_OID, NAMES))
)


@pytest.mark.parametrize(
    "members",
    [
        (),
        (b"\x02\x01\x01", b"\xa1\x00"),
        (VERSION,),
        (VERSION, SUBJECT),
        (VERSION, b"\xa0\x00", b"\xa1\x00"),
        (VERSION, KEY, SUBJECT, ATTRIBUTES),
        (VERSION, SUBJECT, KEY, ATTRIBUTES, b"\x05\x00"),
        (VERSION, SUBJECT, SUBJECT, ATTRIBUTES),
        (VERSION, b"\x30\x02\x31\x00", b"\xa1\x00"),
        (VERSION, b"\x30\x02\x30\x00", b"\xa1\x00"),
        (VERSION, b"\x30\x04\x31\x02\x30\x00", b"\xa1\x00"),
        (VERSION, b"\x30\x04\x31\x02\x05\x00", b"\xa1\x00"),
        (VERSION, der.encode(der.SEQUENCE, part(CN, b"\x0c\x01a", b"\x0c\x01b")), b"\xa1\x00"),
        (VERSION, der.encode(der.SEQUENCE, part(CN, b"\x0c\x01\xff")), b"\xa1\x00"),
        (VERSION, der.encode(0xA0, EC, der.encode(der.BIT_STRING, b"\x00\x04")), b"\xa1\x00"),
        (VERSION, der.encode(0xA0, b"\x30\x00"), b"\xa1\x00"),
        (VERSION, der.encode(0xA0, b"\x05\x00"), b"\xa1\x00"),
        (VERSION, der.encode(0xA0, EC, EC), b"\xa1\x00"),
        (VERSION, der.encode(0xA1, EXTENSIONS, EXTENSIONS)),
        (VERSION, der.encode(0xA1, EXTENSIONS, ONE_EXTENSION)),
        (VERSION, der.encode(0xA1, est.attribute(registry.ID_EXTENSION_TEMPLATE, b"\x05\x00"))),
    ],
)
def test_a_template_of_another_form_is_refused(members: tuple[bytes, ...]) -> None:
    """Parts missing, in another order, twice, or of another type."""
    assert template(VERSION, SUBJECT, KEY, ATTRIBUTES)
    with pytest.raises(Malformed):
        template(*members)


@pytest.mark.parametrize(
    "bits",
    [
        b"\x00",
        b"\x00\x30\x00",
        b"\x00\x30\x03\x02\x01\x05",
        b"\x00\x30\x06\x02\x01\x05\x02\x01\x03\x00",
        b"\x00\x02\x01\x05",
    ],
)
def test_an_rsa_key_that_cannot_be_read_is_refused(bits: bytes) -> None:
    """Its modulus is what counts, and it must be there."""
    algorithm = der.encode(der.SEQUENCE, der.encode_oid(registry.RSA_ENCRYPTION), b"\x05\x00")
    key = der.encode(0xA0, algorithm, der.encode(der.BIT_STRING, bits))
    with pytest.raises(Malformed):
        template(VERSION, key, b"\xa1\x00")


def test_a_subject_value_that_is_no_text_is_refused() -> None:
    """UTF-16 is text to some, and not to us."""
    for tag in (0x0C, 0x13, 0x16):
        assert template(
            VERSION, der.encode(der.SEQUENCE, part(CN, der.encode(tag, b"ab"))), b"\xa1\x00"
        ).subject == (SubjectRequirement(oid=CN, value="ab"),)
    with pytest.raises(UnknownFormat):
        template(VERSION, der.encode(der.SEQUENCE, part(CN, b"\x1e\x02\x00a")), b"\xa1\x00")


def test_two_templates_are_refused() -> None:
    """Two values, or the attribute twice."""
    one = der.encode(der.SEQUENCE, VERSION, b"\xa1\x00")
    twice = est.attribute(registry.ID_CSR_TEMPLATE, one)
    for octets in (
        der.encode(der.SEQUENCE, twice, twice),
        der.encode(der.SEQUENCE, est.attribute(registry.ID_CSR_TEMPLATE, one, one)),
    ):
        with pytest.raises(Malformed):
            decode_csr_attributes(octets)


FULL = wrapped(VERSION, SUBJECT, KEY, ATTRIBUTES)


@given(st.integers(0, len(FULL) - 1), st.binary(max_size=8), st.integers(0, 8))
def test_whatever_comes_is_read_or_a_peers_fault(start: int, junk: bytes, length: int) -> None:
    """Altered octets never end in another exception."""
    with contextlib.suppress(PeerError):
        decode_csr_attributes(FULL[:start] + junk + FULL[start + length :])


@pytest.mark.requirement("ESTS-16")
def test_the_published_template_is_written_as_it_is_read() -> None:
    """Its one key, its parts with and without value, and the extensions with blanks, to the octet;
    a list that is sorted is a SET OF (X.690 §11.6).
    """
    published = der.encode(der.SEQUENCE, VERSION, SUBJECT, KEY, ATTRIBUTES)
    assert encode_csr_template(parse_csr_template(published)) == published


@pytest.mark.requirement("ESTS-16")
@pytest.mark.parametrize(
    "requirements",
    [
        CSRRequirements(),
        CSRRequirements(keys=(P256,)),
        CSRRequirements(keys=(ED25519,)),
        CSRRequirements(keys=(KeyRequirement(algorithm=registry.RSA_ENCRYPTION, rsa_bits=3072),)),
        CSRRequirements(keys=(KeyRequirement(algorithm=registry.RSA_ENCRYPTION),)),
        CSRRequirements(
            subject=(
                SubjectRequirement(oid=registry.ID_AT_SERIAL_NUMBER),
                SubjectRequirement(oid=registry.ID_AT_DN_QUALIFIER, value="0123"),
                SubjectRequirement(oid=CN, value="Zähler"),
            )
        ),
        CSRRequirements(extensions=(RequestedExtension.of(est.SAN),)),
        CSRRequirements(extension_oids=(registry.ID_CE_SUBJECT_ALT_NAME, EXTENDED_USAGE)),
        CSRRequirements(
            extensions=(
                RequestedExtension(oid=registry.ID_CE_KEY_USAGE, value=USAGE_VALUE, critical=True),
            ),
            extension_oids=(EXTENDED_USAGE,),
            challenge_password=True,
        ),
    ],
    ids=repr,
)
def test_what_is_announced_is_what_is_read(requirements: CSRRequirements) -> None:
    """Requirements become a template and come back, alone and beside the older form."""
    for form in (Announcement.TEMPLATE, Announcement.BOTH):
        unvalued = replace(
            requirements, subject=tuple(replace(p, value=None) for p in requirements.subject)
        )
        told = requirements if form is Announcement.TEMPLATE else unvalued
        found = decode_csr_attributes(encode_csr_attributes(told, form))
        assert found.template is not None
        assert found.requirements == told
        assert found.ignored == ()
