"""Certificate requests: made for any signer, read strictly, possession proven."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import AttributeOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from brski import registry
from brski.errors import (
    KeyNotAllowed,
    LocalError,
    Malformed,
    PeerError,
    SignatureInvalid,
    TooLarge,
    UnknownFormat,
)
from brski.est.attributes import RequestedExtension
from brski.est.csr import CSR_OCTETS, build_csr, parse_csr
from brski.pki import der
from brski.pki.keys import encode_spki
from tests.kit import est, pki

KEY = pki.make_key()
KEY_USAGE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)
CRITICAL_USAGE = RequestedExtension.of(KEY_USAGE, critical=True)
CSR = build_csr(
    pki.KeySigner(KEY),
    est.SUBJECT,
    extensions=[est.SAN, CRITICAL_USAGE],
    challenge_password="dGxzLXVuaXF1ZQ==",
)
SAN_VALUE = est.SAN.public_bytes()
ONE_EXTENSION = est.attribute(
    est.EXTENSION_REQUEST, est.extensions(est.extension(est.SAN_OID, SAN_VALUE))
)


def name_of(*parts: tuple[str, int, bytes]) -> bytes:
    """A Name, DER, of parts (object identifier, tag, content)."""
    return der.encode(
        der.SEQUENCE,
        *(
            der.encode(
                der.SET,
                der.encode(der.SEQUENCE, der.encode_oid(oid), der.encode(tag, content)),
            )
            for oid, tag, content in parts
        ),
    )


# -- what is made -------------------------------------------------------------------------------


@pytest.mark.requirement("ESTS-7")
@pytest.mark.parametrize(
    "kind", ["P-256", "P-384", "Ed25519", "RSA-2048", "ML-DSA-44", "ML-DSA-65", "ML-DSA-87"]
)
def test_what_is_made_reads_back(kind: str) -> None:
    """Every part of a request, for every kind of key that may have one."""
    key = pki.make_key(kind)
    made = build_csr(
        pki.KeySigner(key),
        est.SUBJECT,
        extensions=[est.SAN, CRITICAL_USAGE],
        challenge_password="dGxzLXVuaXF1ZQ==",
    )
    csr = parse_csr(made)
    assert csr.der == made
    assert csr.digest == hashlib.sha256(made).digest()
    assert csr.subject == est.SUBJECT
    assert csr.spki == encode_spki(key.public_key())
    assert csr.public_key == key.public_key()
    assert csr.extensions == (RequestedExtension.of(est.SAN), CRITICAL_USAGE)
    assert csr.subject_alternative_name == est.SAN
    assert csr.challenge_password == "dGxzLXVuaXF1ZQ=="
    assert {a.oid for a in csr.attributes} == {est.EXTENSION_REQUEST, est.CHALLENGE_PASSWORD}


def test_the_library_agrees() -> None:
    """pyca/cryptography reads the same request and verifies it."""
    request = x509.load_der_x509_csr(CSR)
    assert request.is_signature_valid
    assert request.subject == est.SUBJECT
    assert request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value == est.SAN
    assert request.extensions.get_extension_for_class(x509.KeyUsage).critical
    assert request.public_bytes(Encoding.DER) == CSR
    password = request.attributes.get_attribute_for_oid(AttributeOID.CHALLENGE_PASSWORD)
    assert password.value == b"dGxzLXVuaXF1ZQ=="


def test_what_the_library_makes_is_read() -> None:
    """A request of pyca/cryptography's builder, same contents."""
    made = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(est.SUBJECT)
        .add_extension(est.SAN, critical=False)
        .add_extension(KEY_USAGE, critical=True)
        .add_attribute(AttributeOID.CHALLENGE_PASSWORD, b"dGxzLXVuaXF1ZQ==")
        .sign(KEY, hashes.SHA256())
        .public_bytes(Encoding.DER)
    )
    read, ours = parse_csr(made), parse_csr(CSR)
    assert (read.subject, read.extensions, read.challenge_password, read.spki) == (
        ours.subject,
        ours.extensions,
        ours.challenge_password,
        ours.spki,
    )


def test_the_signer_port_is_enough() -> None:
    """A key that only signs, such as one in a token, makes the same request."""

    class Token:
        public_key = KEY.public_key()
        chain: tuple[x509.Certificate, ...] = ()

        def sign(self, data: bytes) -> bytes:
            return pki.KeySigner(KEY).sign(data)

    made = build_csr(
        Token(),
        est.SUBJECT,
        extensions=[est.SAN, CRITICAL_USAGE],
        challenge_password="dGxzLXVuaXF1ZQ==",
    )
    assert made == CSR


def test_a_bare_request_has_neither_attributes_nor_subject() -> None:
    """Nothing asked is nothing written: an empty Name and an empty attribute set."""
    csr = parse_csr(build_csr(pki.KeySigner(KEY), x509.Name([])))
    assert (list(csr.subject), csr.attributes, csr.extensions) == ([], (), ())
    assert (csr.subject_alternative_name, csr.challenge_password) == (None, None)
    assert csr.extension(est.SAN_OID) is None


@given(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=64),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=255),
)
def test_any_text_survives(organization: str, password: str) -> None:
    """Subject and challenge password come back as the characters that they were."""
    subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization)])
    csr = parse_csr(build_csr(pki.KeySigner(KEY), subject, challenge_password=password))
    assert csr.subject == subject
    assert csr.challenge_password == password


@pytest.mark.parametrize(("text", "tag"), [("ab+/= 9", der.PRINTABLE_STRING), ("a_b", 0x0C)])
def test_a_challenge_password_is_printable_where_it_can_be(text: str, tag: int) -> None:
    """RFC 2985 §5.4.1 prefers PrintableString; base64 fits into it."""
    csr = parse_csr(build_csr(pki.KeySigner(KEY), est.SUBJECT, challenge_password=text))
    assert csr.attributes[0].values == (der.encode(tag, text.encode()),)


@pytest.mark.parametrize("password", ["", "x" * 256])
def test_a_challenge_password_out_of_bounds_is_not_sent(password: str) -> None:
    """1 to 255 characters."""
    for good in ("x", "x" * 255):
        assert build_csr(pki.KeySigner(KEY), est.SUBJECT, challenge_password=good)
    with pytest.raises(LocalError):
        build_csr(pki.KeySigner(KEY), est.SUBJECT, challenge_password=password)


def test_an_extension_is_not_asked_for_twice() -> None:
    """Two different ones are, two of one kind are our mistake."""
    assert build_csr(pki.KeySigner(KEY), est.SUBJECT, extensions=[est.SAN, KEY_USAGE])
    with pytest.raises(LocalError, match="once"):
        build_csr(pki.KeySigner(KEY), est.SUBJECT, extensions=[est.SAN, est.SAN])


def test_no_request_is_made_for_a_key_that_nobody_takes() -> None:
    """P-521 has no place in this domain."""
    with pytest.raises(KeyNotAllowed):
        build_csr(pki.KeySigner(pki.make_key("P-521")), est.SUBJECT)


# -- possession ---------------------------------------------------------------------------------


@pytest.mark.requirement("ESTS-7")
@pytest.mark.parametrize(
    "kind", ["P-256", "P-384", "Ed25519", "RSA-2048", "ML-DSA-44", "ML-DSA-65", "ML-DSA-87"]
)
def test_a_request_for_a_stranger_s_key_is_refused(kind: str) -> None:
    """The same request, its key replaced by another of the same kind."""
    key, other = pki.make_key(kind), pki.make_key(kind)
    if kind.startswith("RSA"):
        other = pki.make_key("RSA-3072")
    assert parse_csr(est.raw_csr(key))
    with pytest.raises(SignatureInvalid):
        parse_csr(est.raw_csr(key, spki=encode_spki(other.public_key())))


@pytest.mark.requirement("ESTS-7")
def test_no_altered_bit_passes() -> None:
    """Whatever bit is flipped, the request is refused; nothing but a refusal comes out."""
    for position in range(len(CSR)):
        altered = bytearray(CSR)
        altered[position] ^= 1 << position % 8
        with pytest.raises(PeerError):
            parse_csr(bytes(altered))


def test_every_truncation_is_refused() -> None:
    """Cut at any octet, or with one octet more."""
    for end in range(len(CSR)):
        with pytest.raises(Malformed):
            parse_csr(CSR[:end])
    with pytest.raises(Malformed):
        parse_csr(CSR + b"\x00")


@pytest.mark.parametrize(
    ("kind", "oid", "digest"),
    [
        ("P-256", registry.ECDSA_WITH_SHA256, hashes.SHA256()),
        ("P-256", registry.ECDSA_WITH_SHA512, hashes.SHA512()),
        ("P-384", registry.ECDSA_WITH_SHA256, hashes.SHA256()),
        ("P-384", registry.ECDSA_WITH_SHA384, hashes.SHA384()),
        ("RSA-2048", registry.SHA256_WITH_RSA, hashes.SHA256()),
        ("RSA-2048", registry.SHA384_WITH_RSA, hashes.SHA384()),
        ("RSA-2048", registry.SHA512_WITH_RSA, hashes.SHA512()),
    ],
)
def test_foreign_clients_choose_among_strong_hashes(
    kind: str, oid: str, digest: hashes.HashAlgorithm
) -> None:
    """openssl req signs with SHA-256 whatever the curve; a hash that was not used is refused."""
    parameters = der.encode(der.NULL) if kind.startswith("RSA") else b""
    algorithm = der.encode(der.SEQUENCE, der.encode_oid(oid), parameters)
    key = pki.make_key(kind)
    assert (
        parse_csr(est.raw_csr(key, algorithm=algorithm, digest=digest)).signature_algorithm == oid
    )
    wrong = hashes.SHA384() if digest.name != "sha384" else hashes.SHA512()
    with pytest.raises(SignatureInvalid):
        parse_csr(est.raw_csr(key, algorithm=algorithm, digest=wrong))


@pytest.mark.parametrize(
    ("kind", "oid", "parameters"),
    [
        ("P-256", "1.2.840.10045.4.1", b""),  # ecdsa-with-SHA1
        ("RSA-2048", "1.2.840.113549.1.1.5", b"\x05\x00"),  # sha1WithRSAEncryption
        ("RSA-2048", "1.2.840.113549.1.1.10", b"\x30\x00"),  # RSASSA-PSS
        ("RSA-2048", registry.SHA256_WITH_RSA, b"\x30\x00"),
        ("RSA-2048", registry.SHA256_WITH_RSA, b"\x05\x00\x05\x00"),
        ("P-256", registry.ECDSA_WITH_SHA256, b"\x05\x00"),
        ("Ed25519", registry.ID_ED25519, b"\x05\x00"),
        ("Ed25519", registry.ECDSA_WITH_SHA256, b""),
        ("P-256", registry.SHA256_WITH_RSA, b"\x05\x00"),
        ("RSA-2048", registry.ECDSA_WITH_SHA256, b""),
        ("P-256", registry.ID_ED25519, b""),
    ],
)
def test_a_signature_algorithm_that_is_weak_or_not_the_keys_is_refused(
    kind: str, oid: str, parameters: bytes
) -> None:
    """SHA-1, PSS, parameters where none belong, and another key's algorithm."""
    key = pki.make_key(kind)
    assert parse_csr(est.raw_csr(key))
    algorithm = der.encode(der.SEQUENCE, der.encode_oid(oid), parameters)
    with pytest.raises(UnknownFormat, match="signature algorithm"):
        parse_csr(est.raw_csr(key, algorithm=algorithm))


def test_rsa_without_null_is_taken() -> None:
    """RFC 4055 §5 wants both forms accepted."""
    algorithm = der.encode(der.SEQUENCE, der.encode_oid(registry.SHA256_WITH_RSA))
    assert parse_csr(est.raw_csr(pki.make_key("RSA-2048"), algorithm=algorithm))


@pytest.mark.parametrize("kind", ["P-521", "RSA-1024"])
def test_a_key_that_is_not_accepted_is_refused(kind: str) -> None:
    """Its own signature is right; P-256 and RSA-2048 beside it are read above."""
    made = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(est.SUBJECT)
        .sign(pki.make_key(kind), hashes.SHA512())
    )
    with pytest.raises(KeyNotAllowed):
        parse_csr(made.public_bytes(Encoding.DER))


def test_a_compressed_point_is_refused() -> None:
    """One key has one encoding here, uncompressed."""
    assert isinstance(KEY, ec.EllipticCurvePrivateKey)
    point = KEY.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    spki = der.encode(
        der.SEQUENCE,
        bytes.fromhex("301306072a8648ce3d020106082a8648ce3d030107"),
        der.encode(der.BIT_STRING, b"\x00", point),
    )
    with pytest.raises(KeyNotAllowed):
        parse_csr(est.raw_csr(KEY, spki=spki))


# -- form ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"version": b"\x02\x01\x01"},
        {"version": b"\x02\x02\x00\x80"},
        {"version": b""},
        {"version": b"\x0a\x01\x00"},
        {"attribute_set": b""},
        {"attribute_set": b"\x31\x00"},
        {"attribute_set": b"\xa1\x00"},
        {"attribute_set": b"\xa0\x00\xa0\x00"},
        {"attribute_set": b"\x80\x00"},
        {"subject": b"\x31\x00"},
        {"subject": b""},
        {"algorithm": b"\x30\x00"},
        {"algorithm": b"\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02"},
        {"algorithm": b"\x30\x02\x05\x00"},
        {"unused_bits": b""},
        {"after": b"\x05\x00"},
    ],
)
def test_a_part_that_is_wrong_or_missing_is_refused(wrong: dict[str, Any]) -> None:
    """Each part of a request that is right otherwise, and signed as it stands."""
    assert parse_csr(est.raw_csr(KEY))
    with pytest.raises(PeerError):
        parse_csr(est.raw_csr(KEY, **wrong))


def test_a_signature_of_odd_bits_is_refused() -> None:
    """The first octet of its BIT STRING is 0."""
    made = est.raw_csr(KEY, attributes=[ONE_EXTENSION])
    while made[-1] & 1:  # the last bit must be zero to be left unused
        made = est.raw_csr(KEY, attributes=[ONE_EXTENSION])
    signature = der.children(made, der.read_element(made))[2]
    odd = made[: signature.content] + b"\x01" + made[signature.content + 1 :]
    with pytest.raises(Malformed, match="octets"):
        parse_csr(odd)


@pytest.mark.parametrize(
    "request_", [b"", b"0", b"\x30\x00", b"\x30\x80\x00\x00", b"\x05\x00", SAN_VALUE]
)
def test_what_is_no_request_is_refused(request_: bytes) -> None:
    """Nothing, an empty SEQUENCE, BER, NULL, another type."""
    with pytest.raises(Malformed):
        parse_csr(request_)


def test_a_request_over_the_limit_is_refused() -> None:
    """16 KiB are read; a request of one name more is not."""

    def padded(octets: int) -> bytes:
        return est.raw_csr(
            KEY, attributes=[est.attribute("1.2.3.4", der.encode(der.OCTET_STRING, bytes(octets)))]
        )

    spare = CSR_OCTETS - len(padded(16_000)) - 2  # the signature's length varies by some octets
    assert parse_csr(padded(16_000 + spare - 8))
    with pytest.raises(TooLarge):
        parse_csr(padded(16_000 + spare + 16))


def test_an_object_identifier_without_end_is_refused() -> None:
    """63 octets of arcs are read, more are not turned into a number."""
    for octets, outcome in ((63, None), (64, TooLarge)):
        oid = der.encode(der.OBJECT_IDENTIFIER, b"\x2a" + b"\x01" * (octets - 1))
        member = der.encode(der.SEQUENCE, oid, der.encode(der.SET, b"\x05\x00"))
        made = est.raw_csr(KEY, attributes=[member])
        if outcome is None:
            assert parse_csr(made)
        else:
            with pytest.raises(outcome):
                parse_csr(made)


# -- subject ------------------------------------------------------------------------------------

CN, COUNTRY, ORGANIZATION = "2.5.4.3", "2.5.4.6", "2.5.4.10"


@pytest.mark.parametrize(
    "parts",
    [
        [(CN, 0x0C, "Gerät".encode())],
        [(CN, 0x13, b"x" * 64)],
        [(COUNTRY, 0x13, b"DE"), (ORGANIZATION, 0x0C, b"x" * 256)],
        [("0.9.2342.19200300.100.1.25", 0x16, b"example")],
    ],
)
def test_subjects_of_text_are_read(parts: list[tuple[str, int, bytes]]) -> None:
    """UTF8String, PrintableString and IA5String up to their bounds."""
    csr = parse_csr(est.raw_csr(KEY, subject=name_of(*parts)))
    assert [part.oid.dotted_string for part in csr.subject] == [oid for oid, _, _ in parts]


@pytest.mark.parametrize(
    "subject",
    [
        name_of((CN, 0x0C, b"")),
        name_of((CN, 0x0C, b"x" * 65)),
        name_of((COUNTRY, 0x13, b"DEU")),
        name_of((ORGANIZATION, 0x0C, b"x" * 257)),
        name_of((CN, 0x0C, b"\xff")),
        name_of((CN, 0x03, b"\x00x")),
        name_of((CN, 0x04, b"x")),
        name_of((CN, 0x1E, b"\x00x")),
        b"\x30\x02\x31\x00",
        b"\x30\x04\x31\x02\x30\x00",
        b"\x30\x02\x30\x00",
        b"\x30\x02\x05\x00",
        b"\x30\x09\x31\x07\x31\x05\x06\x03\x55\x04\x03",
    ],
)
def test_a_subject_that_is_not_text_within_bounds_is_refused(subject: bytes) -> None:
    """Empty, too long, no UTF-8, bits, octets, UTF-16, empty sets, other types."""
    with pytest.raises(Malformed):
        parse_csr(est.raw_csr(KEY, subject=subject))


# -- attributes ---------------------------------------------------------------------------------


@pytest.mark.requirement("ESTS-14")
@pytest.mark.parametrize(
    "attributes",
    [
        [ONE_EXTENSION, ONE_EXTENSION],
        [est.attribute(est.EXTENSION_REQUEST)],
        [
            est.attribute(
                est.EXTENSION_REQUEST,
                est.extensions(est.extension(est.SAN_OID, SAN_VALUE)),
                est.extensions(est.extension(est.KEY_USAGE_OID, KEY_USAGE.public_bytes())),
            )
        ],
        [
            est.attribute(
                est.EXTENSION_REQUEST,
                est.extensions(
                    est.extension(est.SAN_OID, SAN_VALUE), est.extension(est.SAN_OID, SAN_VALUE)
                ),
            )
        ],
        [est.attribute(est.EXTENSION_REQUEST, est.extensions())],
        [est.attribute(est.EXTENSION_REQUEST, der.encode_oid(est.SAN_OID))],
        [
            est.attribute(
                est.EXTENSION_REQUEST, der.encode(der.SET, est.extension(est.SAN_OID, SAN_VALUE))
            )
        ],
        [
            est.attribute(
                est.EXTENSION_REQUEST,
                est.extensions(der.encode(der.SEQUENCE, der.encode_oid(est.SAN_OID))),
            )
        ],
        [est.attribute(est.EXTENSION_REQUEST, est.extensions(b"\x30\x00"))],
        [est.attribute(est.EXTENSION_REQUEST, est.extensions(b"\x05\x00"))],
    ],
)
def test_extensions_come_in_one_attribute_of_one_extensions(attributes: list[bytes]) -> None:
    """The attribute twice, two lists in it, one extension twice, none, or no Extensions at all."""
    csr = parse_csr(est.raw_csr(KEY, attributes=[ONE_EXTENSION]))
    assert csr.extension(est.SAN_OID) == RequestedExtension(oid=est.SAN_OID, value=SAN_VALUE)
    with pytest.raises(Malformed):
        parse_csr(est.raw_csr(KEY, attributes=attributes))


@pytest.mark.parametrize(
    ("critical", "meaning"),
    [
        (b"", False),
        (b"\x01\x01\xff", True),
        (b"\x01\x01\x00", None),
        (b"\x01\x01\x01", None),
        (b"\x02\x01\x01", None),
        (b"\x01\x01\xff\x01\x01\xff", None),
    ],
)
def test_criticality_has_one_encoding(critical: bytes, meaning: bool | None) -> None:
    """Absent or FF; FALSE written out is not DER, and other values are no BOOLEAN."""
    request = est.attribute(
        est.EXTENSION_REQUEST,
        est.extensions(est.extension(est.SAN_OID, SAN_VALUE, critical=critical)),
    )
    made = est.raw_csr(KEY, attributes=[request])
    if meaning is None:
        with pytest.raises(Malformed):
            parse_csr(made)
    else:
        assert parse_csr(made).extensions[0].critical is meaning


@pytest.mark.parametrize(
    ("oid", "value"),
    [
        (est.SAN_OID, b""),
        (est.SAN_OID, b"\x30\x00"),
        (est.SAN_OID, SAN_VALUE + b"\x00"),
        (est.SAN_OID, SAN_VALUE[:-1]),
        (est.SAN_OID, b"\x30\x80" + SAN_VALUE[2:] + b"\x00\x00"),
        (est.SAN_OID, bytes.fromhex("3005a303020100")),
        (est.KEY_USAGE_OID, SAN_VALUE),
        ("1.2.3.4", b""),
        ("1.2.3.4", b"\x04\x05ab"),
    ],
)
def test_an_extension_value_that_cannot_be_read_is_refused(oid: str, value: bytes) -> None:
    """Empty, cut, followed by an octet, BER, a name of a kind nobody reads, another type."""
    request = est.attribute(est.EXTENSION_REQUEST, est.extensions(est.extension(oid, value)))
    with pytest.raises(Malformed):
        parse_csr(est.raw_csr(KEY, attributes=[request]))


def test_an_extension_of_an_unknown_kind_is_read_and_not_judged() -> None:
    """Its value is DER; what it means is for the requirements."""
    request = est.attribute(
        est.EXTENSION_REQUEST, est.extensions(est.extension("1.2.3.4", b"\x04\x02ab"))
    )
    csr = parse_csr(est.raw_csr(KEY, attributes=[request]))
    assert csr.extensions == (RequestedExtension(oid="1.2.3.4", value=b"\x04\x02ab"),)
    assert csr.subject_alternative_name is None


def test_microsofts_attribute_for_extensions_is_refused() -> None:
    """A second list of extensions would pass by the requirements; other attributes are kept."""
    other = est.attribute("1.3.6.1.1.1.1.22", der.encode(0x16, b"00:00:5E:00:53:01"))
    csr = parse_csr(est.raw_csr(KEY, attributes=[other]))
    assert [a.oid for a in csr.attributes] == ["1.3.6.1.1.1.1.22"]
    values = est.extensions(est.extension(est.SAN_OID, SAN_VALUE))
    with pytest.raises(UnknownFormat, match="Microsoft"):
        parse_csr(est.raw_csr(KEY, attributes=[est.attribute("1.3.6.1.4.1.311.2.1.14", values)]))


@pytest.mark.parametrize(
    "member",
    [
        b"\x30\x00",
        b"\x05\x00",
        der.encode_oid("1.2.3.4"),
        der.encode(der.SEQUENCE, der.encode_oid("1.2.3.4")),
        der.encode(der.SEQUENCE, der.encode_oid("1.2.3.4"), b"\x30\x02\x05\x00"),
        der.encode(der.SET, der.encode_oid("1.2.3.4"), b"\x31\x02\x05\x00"),
        der.encode(der.SEQUENCE, der.encode_oid("1.2.3.4"), b"\x31\x02\x05\x00", b"\x05\x00"),
        est.attribute("1.2.3.4"),
    ],
)
def test_an_attribute_of_another_form_is_refused(member: bytes) -> None:
    """An identifier and a SET of at least one value, in a SEQUENCE, and nothing more."""
    assert parse_csr(est.raw_csr(KEY, attributes=[est.attribute("1.2.3.4", b"\x05\x00")]))
    with pytest.raises(Malformed):
        parse_csr(est.raw_csr(KEY, attributes=[member]))


@pytest.mark.parametrize("oid", ["1.2.3.4", est.CHALLENGE_PASSWORD])
def test_an_attribute_twice_is_refused(oid: str) -> None:
    """Known or not: two of one kind would let two readers see two requests."""
    one = est.attribute(oid, der.encode(0x13, b"a"))
    two = est.attribute(oid, der.encode(0x13, b"b"))
    assert parse_csr(est.raw_csr(KEY, attributes=[one]))
    with pytest.raises(Malformed, match="twice"):
        parse_csr(est.raw_csr(KEY, attributes=[one, two]))


@pytest.mark.parametrize(
    "values",
    [
        [der.encode(0x13, b"a"), der.encode(0x13, b"b")],
        [der.encode(0x13, b"")],
        [der.encode(0x13, b"x" * 256)],
        [der.encode(0x13, b"a_b")],
        [der.encode(0x13, b"\xff")],
        [der.encode(0x0C, b"\xff")],
        [der.encode(0x04, b"a")],
        [der.encode(0x1E, b"\x00a")],
    ],
)
def test_a_challenge_password_that_is_no_text_is_refused(values: list[bytes]) -> None:
    """Two values, none, too long, not printable, no UTF-8, octets, UTF-16."""
    good = est.attribute(est.CHALLENGE_PASSWORD, der.encode(0x13, b"a"))
    assert parse_csr(est.raw_csr(KEY, attributes=[good])).challenge_password == "a"
    with pytest.raises(Malformed):
        parse_csr(est.raw_csr(KEY, attributes=[est.attribute(est.CHALLENGE_PASSWORD, *values)]))


@given(st.binary(max_size=200), st.integers(0, len(CSR) - 1), st.integers(0, 40))
def test_whatever_comes_the_answer_is_a_csr_or_a_peers_fault(
    junk: bytes, start: int, length: int
) -> None:
    """Octets replaced by anything end in a refusal, never in another exception."""
    for data in (junk, CSR[:start] + junk + CSR[start + length :]):
        if data == CSR:
            continue
        with pytest.raises(PeerError):
            parse_csr(data)


def test_an_extension_that_the_library_stumbles_over_is_refused() -> None:
    """A TLS feature of an unknown number: a refusal, not an error of another kind."""
    feature = RequestedExtension(oid="1.3.6.1.5.5.7.1.24", value=bytes.fromhex("3003020163"))
    signer = pki.KeySigner(pki.make_key())
    with pytest.raises(Malformed):
        parse_csr(build_csr(signer, x509.Name([]), extensions=[feature]))
    known = RequestedExtension(oid="1.3.6.1.5.5.7.1.24", value=bytes.fromhex("3003020105"))
    assert parse_csr(build_csr(signer, x509.Name([]), extensions=[known])).extensions
