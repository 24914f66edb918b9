"""Which keys are accepted, and how keys and certificates come out of their octets."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from brski.errors import KeyNotAllowed, Malformed, OnboardingError, TooLarge
from brski.pki import der, extensions, keys, names
from tests.kit import pki

ISSUER = pki.make_pki()
IDEVID = pki.make_idevid(ISSUER)
ALLOWED = ("P-256", "P-384", "Ed25519", "RSA-2048", "ML-DSA-44", "ML-DSA-65", "ML-DSA-87")


def _spki(private_key: Any) -> bytes:
    spki: bytes = private_key.public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
    return spki


P256 = _spki(pki.make_key())


@pytest.mark.parametrize("kind", ALLOWED)
def test_accepted_kinds_of_keys(kind: str) -> None:
    private_key = pki.make_key(kind)
    spki = _spki(private_key)
    assert keys.load_spki(spki) == private_key.public_key()
    assert keys.check_public_key(private_key.public_key()) == private_key.public_key()
    assert keys.check_public_key(spki) == private_key.public_key()
    assert keys.encode_spki(keys.load_spki(spki)) == spki


REFUSED: dict[str, Any] = {
    "P-521": ec.generate_private_key(ec.SECP521R1()),
    "P-224": ec.generate_private_key(ec.SECP224R1()),
    "secp256k1": ec.generate_private_key(ec.SECP256K1()),
    "brainpoolP256r1": ec.generate_private_key(ec.BrainpoolP256R1()),
    "RSA-1024": pki.make_key("RSA-1024"),
    "RSA exponent 3": rsa.generate_private_key(3, 2048),
    "Ed448": ed448.Ed448PrivateKey.generate(),
    "X25519": x25519.X25519PrivateKey.generate(),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_other_kinds_of_keys_are_refused(kind: str) -> None:
    """Abuse case 20: weak and costly keys never get to verify anything."""
    with pytest.raises(KeyNotAllowed):
        keys.check_public_key(REFUSED[kind].public_key())
    with pytest.raises(KeyNotAllowed):
        keys.load_spki(_spki(REFUSED[kind]))


@pytest.mark.parametrize("kind", ALLOWED[-3:])
def test_ml_dsa_keys_have_one_encoding(kind: str) -> None:
    """RFC 9881 §2, §4: no parameters, not even NULL; the raw key and nothing around it."""
    spki = _spki(pki.make_key(kind))
    raw = spki[-(len(spki) - 22) :]
    algorithm = der.octets_of(spki, der.children(spki, der.read_element(spki))[0])
    with_null = der.encode(der.SEQUENCE, algorithm[2:], der.encode(der.NULL))
    for changed in (
        der.encode(der.SEQUENCE, with_null, der.encode(der.BIT_STRING, b"\0", raw)),
        der.encode(der.SEQUENCE, algorithm, der.encode(der.BIT_STRING, b"\0", raw[:-1])),
        der.encode(der.SEQUENCE, algorithm, der.encode(der.BIT_STRING, b"\0", raw, b"\0")),
        der.encode(
            der.SEQUENCE,
            algorithm,
            der.encode(der.BIT_STRING, b"\0", der.encode(der.OCTET_STRING, raw)),
        ),
        spki + b"\0",
    ):
        assert changed != spki
        with pytest.raises(KeyNotAllowed):
            keys.load_spki(changed)


def test_an_ml_dsa_key_of_another_parameter_set_is_no_such_key() -> None:
    """The length of ML-DSA-65 under the name of ML-DSA-44."""
    spki = bytearray(_spki(pki.make_key("ML-DSA-65")))
    assert spki[16] == 0x12
    spki[16] = 0x11
    with pytest.raises(KeyNotAllowed):
        keys.load_spki(bytes(spki))


def test_rsa_exponent_of_one_is_refused() -> None:
    """Under it every message is its own signature."""
    modulus = pki.make_key("RSA-2048").public_key().public_numbers().n  # type: ignore[union-attr]
    key = der.encode(der.SEQUENCE, der.encode_integer(modulus), der.encode_integer(1))
    algorithm = bytes.fromhex("300d06092a864886f70d0101010500")
    spki = der.encode(der.SEQUENCE, algorithm, der.encode(der.BIT_STRING, b"\0", key))
    with pytest.raises(KeyNotAllowed):
        keys.load_spki(spki)


def test_rsa_of_more_bits_than_a_verification_may_cost_is_refused() -> None:
    modulus = (1 << 16383) + 1
    with pytest.raises(KeyNotAllowed):
        keys.check_public_key(rsa.RSAPublicNumbers(65537, modulus).public_key())


def test_what_is_no_key_is_refused() -> None:
    for thing in (None, "P-256", dsa.generate_parameters(1024), pki.make_key()):
        with pytest.raises(KeyNotAllowed):
            keys.check_public_key(thing)


def test_the_same_point_compressed_is_refused() -> None:
    """One key, one encoding: otherwise comparing octets would not compare keys."""
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    point = key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    algorithm = bytes.fromhex("301306072a8648ce3d020106082a8648ce3d030107")
    spki = der.encode(der.SEQUENCE, algorithm, der.encode(der.BIT_STRING, b"\0", point))
    with pytest.raises(KeyNotAllowed):
        keys.load_spki(spki)


def test_a_curve_given_by_its_parameters_is_refused() -> None:
    """CVE-2020-0601: explicit parameters with another generator are another curve."""
    point = P256[27:]
    prime_field = der.encode(
        der.SEQUENCE,
        der.encode_oid("1.2.840.10045.1.1"),
        der.encode_integer(2**256 - 2**224 + 2**192 + 2**96 - 1),
    )
    parameters = der.encode(der.SEQUENCE, der.encode_integer(1), prime_field)
    algorithm = der.encode(der.SEQUENCE, der.encode_oid("1.2.840.10045.2.1"), parameters)
    spki = der.encode(der.SEQUENCE, algorithm, der.encode(der.BIT_STRING, b"\0", point))
    with pytest.raises(KeyNotAllowed):
        keys.load_spki(spki)


def test_a_point_off_the_curve_is_refused() -> None:
    altered = P256[:-1] + bytes([P256[-1] ^ 1])
    with pytest.raises(KeyNotAllowed):
        keys.load_spki(altered)


@pytest.mark.parametrize("kind", ALLOWED)
def test_octets_after_a_key_and_keys_cut_short_are_refused(kind: str) -> None:
    spki = _spki(pki.make_key(kind))
    for wrong in (spki + b"\0", spki[:-1], b"", spki[:26], spki[:-1] + b"\0\0"):
        with pytest.raises(KeyNotAllowed):
            keys.load_spki(wrong)


def test_rsa_key_in_another_encoding_is_refused() -> None:
    """Without the NULL parameters it is the same key in other octets."""
    spki = _spki(pki.make_key("RSA-2048"))
    algorithm, bits = der.children(spki, der.read_element(spki))
    bare = der.encode(der.SEQUENCE, der.encode_oid("1.2.840.113549.1.1.1"))
    with pytest.raises(KeyNotAllowed):
        keys.load_spki(der.encode(der.SEQUENCE, bare, der.octets_of(spki, bits)))
    longer = der.encode(0x30, der.octets_of(spki, algorithm), der.octets_of(spki, bits), b"\5\0")
    indefinite = b"\x30\x80" + spki[4:] + b"\0\0"
    for wrong in (longer, indefinite):
        with pytest.raises(KeyNotAllowed):
            keys.load_spki(wrong)


def test_rsa_key_with_a_padded_modulus_is_refused() -> None:
    """BER of the key inside the BIT STRING, where the DER gate does not look."""
    public_key: Any = pki.make_key("RSA-2048").public_key()
    modulus = public_key.public_numbers().n.to_bytes(256, "big")
    for value in (modulus, b"\0" + modulus, b"\0\0" + modulus):
        key = der.encode(0x30, der.encode(der.INTEGER, value), der.encode_integer(65537))
        algorithm = bytes.fromhex("300d06092a864886f70d0101010500")
        spki = der.encode(0x30, algorithm, der.encode(der.BIT_STRING, b"\0", key))
        if value == b"\0" + modulus:
            assert keys.load_spki(spki)
            continue
        with pytest.raises(KeyNotAllowed):
            keys.load_spki(spki)


@given(st.binary(max_size=120))
def test_noise_as_key_is_refused(noise: bytes) -> None:
    for data in (noise, P256[:27] + noise):
        try:
            keys.load_spki(data)
        except KeyNotAllowed:
            continue


# -- certificates
@pytest.mark.parametrize("kind", [*ALLOWED, "P-521"])
def test_spki_is_cut_from_the_certificate(kind: str) -> None:
    key = pki.make_key(kind)
    certificate = pki.make_idevid(ISSUER, key=key).certificate
    assert keys.spki_of(certificate) == _spki(key)
    assert keys.spki_sha256(certificate) == hashlib.sha256(_spki(key)).digest()


def test_spki_keeps_the_encoding_that_the_certificate_has() -> None:
    """A compressed point stays one, so that the gates see it; it is not quietly made right."""
    der_, compressed = _with_compressed_point()
    certificate = keys.parse_certificate(der_)
    assert keys.spki_of(certificate) == compressed
    with pytest.raises(KeyNotAllowed):
        keys.public_key_of_certificate(certificate)
    assert keys.public_key_of_certificate(IDEVID.certificate) == IDEVID.private_key.public_key()


def _with_compressed_point() -> tuple[bytes, bytes]:
    """IDEVID with its key's point compressed (its signature no longer fits), and that key."""
    point = IDEVID.certificate.public_key().public_bytes(
        Encoding.X962, PublicFormat.CompressedPoint
    )
    algorithm = bytes.fromhex("301306072a8648ce3d020106082a8648ce3d030107")
    spki = der.encode(der.SEQUENCE, algorithm, der.encode(der.BIT_STRING, b"\0", point))
    return _rebuilt(lambda fields: [*fields[:6], spki, *fields[7:]]), spki


def _rebuilt(change: Any) -> bytes:
    """IDEVID with the fields of its TBSCertificate changed: version, serial number, …"""
    data = IDEVID.der
    tbs, algorithm, signature = der.children(data, der.read_element(data))
    fields = [der.octets_of(data, field) for field in der.children(data, tbs)]
    rest = [der.octets_of(data, algorithm), der.octets_of(data, signature)]
    return der.encode(0x30, der.encode(0x30, *change(fields)), *rest)


def test_certificate_is_parsed() -> None:
    assert keys.parse_certificate(IDEVID.der) == IDEVID.certificate
    assert keys.certificate_der(IDEVID.certificate) == IDEVID.der
    assert keys.parse_certificate(_rebuilt(lambda fields: fields)) == IDEVID.certificate


def test_certificate_with_anything_after_it_is_refused() -> None:
    with pytest.raises(Malformed):
        keys.parse_certificate(IDEVID.der + b"\0")


@pytest.mark.parametrize("number", [0, -1, -(2**70), 2**170])
def test_certificate_without_a_positive_serial_number_is_refused(number: int) -> None:
    data = _rebuilt(lambda fields: [fields[0], der.encode_integer(number), *fields[2:]])
    with pytest.raises(Malformed):
        keys.parse_certificate(data)


def test_certificate_of_two_signature_algorithms_is_refused() -> None:
    """What is signed says one, what a verifier goes by another."""
    other = der.encode(der.SEQUENCE, der.encode_oid("1.2.840.10045.4.3.3"))  # ecdsa-with-SHA384
    data = _rebuilt(lambda fields: [*fields[:2], other, *fields[3:]])
    with pytest.raises(Malformed, match="two signature algorithms"):
        keys.parse_certificate(data)


def test_certificate_of_a_tbs_alone_is_refused() -> None:
    tbs = der.children(IDEVID.der, der.read_element(IDEVID.der))[0]
    with pytest.raises(Malformed):
        keys.parse_certificate(der.encode(0x30, der.octets_of(IDEVID.der, tbs)))


def test_extension_that_stands_twice_is_refused() -> None:
    """A parser that takes the first and one that takes the last would see two certificates."""

    def twice(fields: list[bytes]) -> list[bytes]:
        element = der.read_element(fields[-1])
        inner = der.children(fields[-1], element)[0]
        rows = der.content_of(fields[-1], inner)
        first = der.octets_of(fields[-1], der.children(fields[-1], inner)[0])
        return [*fields[:-1], der.encode(0xA3, der.encode(0x30, rows, first))]

    with pytest.raises(Malformed):
        keys.parse_certificate(_rebuilt(twice))


def test_extension_that_is_not_what_it_says_is_refused_at_once() -> None:
    bad = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.15"), b"\5\0")
    with pytest.raises(Malformed):
        keys.parse_certificate(pki.make_idevid(ISSUER, key_usage=None, extra=[(bad, True)]).der)


def test_name_with_a_bit_string_is_refused_at_once() -> None:
    """The library raises a TypeError for it, and only when the name is read."""
    data = IDEVID.der.replace(b"\x13\x07SN-0001", b"\x03\x07\0N-0001")
    assert data != IDEVID.der
    with pytest.raises(Malformed):
        keys.parse_certificate(data)
    with pytest.raises(Malformed):
        names.device_serial_number(x509.load_der_x509_certificate(data))


def test_unknown_number_in_a_tls_feature_is_refused_at_once() -> None:
    """The library raises a KeyError for it."""
    value = x509.UnrecognizedExtension(
        x509.ObjectIdentifier("1.3.6.1.5.5.7.1.24"), bytes.fromhex("3003020107")
    )
    certificate = pki.make_idevid(ISSUER, extra=[(value, False)]).certificate
    with pytest.raises(Malformed):
        keys.parse_certificate(keys.certificate_der(certificate))
    for read in (extensions.masa_url, extensions.authority_key_identifier):
        with pytest.raises(Malformed):
            read(x509.load_der_x509_certificate(keys.certificate_der(certificate)))


def test_empty_extended_key_usage_is_no_crash() -> None:
    """CVE-2026-40097: an empty SEQUENCE where one element at least must be."""
    empty = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.37"), b"\x30\0")
    data = pki.make_idevid(ISSUER, extra=[(empty, False)]).der
    try:
        certificate = keys.parse_certificate(data)
    except Malformed:
        return
    assert not list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


@pytest.mark.parametrize(
    "octets", ["", "3000", "30023000", "0500", "3003020100", "300530030201 01"]
)
def test_what_is_no_certificate_is_refused(octets: str) -> None:
    with pytest.raises(Malformed):
        keys.parse_certificate(bytes.fromhex(octets))


def test_certificate_of_more_than_32_kb_is_refused() -> None:
    with pytest.raises(TooLarge):
        keys.parse_certificate(der.encode(0x30, bytes(32 * 1024)))


@given(st.integers(0, len(IDEVID.der) - 1), st.integers(0, 255))
def test_altered_certificate_is_refused_or_can_be_read(position: int, value: int) -> None:
    """Nothing but a declared error comes out, and what comes in can be read in all its parts."""
    data = IDEVID.der[:position] + bytes([value]) + IDEVID.der[position + 1 :]
    try:
        certificate = keys.parse_certificate(data)
    except OnboardingError:
        return
    assert keys.certificate_der(certificate) == data
    keys.spki_of(certificate)
    _ = certificate.extensions, certificate.subject.rfc4514_string()


# -- empty lists

EMPTY = b"\x30\x00"


def _with(oid: str, value: bytes, **knobs: Any) -> bytes:
    odd = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)
    return pki.make_idevid(ISSUER, extra=[(odd, False)], **knobs).der


@pytest.mark.requirement("SEC-10")
@pytest.mark.parametrize(
    "oid",
    [
        "2.5.29.37",  # extended key usage: what stopped step-ca (CVE-2026-40097)
        "2.5.29.17",  # subject alternative name
        "2.5.29.18",  # issuer alternative name
        "2.5.29.32",  # certificate policies
        "2.5.29.31",  # CRL distribution points
        "2.5.29.46",  # freshest CRL
        "1.3.6.1.5.5.7.1.1",  # authority information access
        "1.3.6.1.5.5.7.1.11",  # subject information access
        "2.5.29.30",  # name constraints
        "2.5.29.36",  # policy constraints
        "1.3.6.1.5.5.7.1.24",  # TLS features
    ],
)
def test_empty_extensions_are_refused(oid: str) -> None:
    """A list of nothing where the standard has one or more."""
    with pytest.raises(Malformed):
        keys.parse_certificate(_with(oid, EMPTY))


@pytest.mark.requirement("SEC-10")
def test_empty_key_identifiers_are_refused() -> None:
    """They would be equal to one another, and name nobody; an AKI without any is read."""
    for oid, value, knobs in (
        ("2.5.29.14", b"\x04\x00", {"ski": False}),
        ("2.5.29.35", b"\x30\x02\x80\x00", {"aki": False}),
    ):
        with pytest.raises(Malformed, match="empty extension"):
            keys.parse_certificate(_with(oid, value, **knobs))
    without = keys.parse_certificate(_with("2.5.29.35", EMPTY, aki=False))
    assert extensions.authority_key_identifier(without) is None


# -- PEM


@pytest.mark.requirement("SEC-10")
def test_pem_has_one_spelling() -> None:
    """Padding and pad bits that another reader would pass over."""
    text = base64.b64encode(IDEVID.der + b"\0" * (-len(IDEVID.der) % 3)).decode()
    assert "=" not in text
    for end in ("=", "==", "===", "AA=", "Q==", "AB=="):
        pem = f"-----BEGIN CERTIFICATE-----\n{text}{end}\n-----END CERTIFICATE-----\n"
        with pytest.raises(Malformed, match="base64"):
            keys.parse_pem_certificates(pem.encode())


def test_pem_chain_is_read_in_order() -> None:
    chain = keys.parse_pem_certificates(b"first\n" + IDEVID.chain_pem + IDEVID.key_pem)
    assert chain == IDEVID.chain[:-1]


def test_pem_with_crlf_is_read() -> None:
    assert keys.parse_pem_certificates(IDEVID.chain_pem.replace(b"\n", b"\r\n"))


BODY = base64.encodebytes(IDEVID.der)


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        IDEVID.key_pem,
        IDEVID.der,
        b"-----BEGIN CERTIFICATE-----\n" + BODY,
        b"-----BEGIN CERTIFICATE-----\n" + BODY[:-2] + b"\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\n" + b"*" + BODY + b"-----END CERTIFICATE-----\n",
        IDEVID.chain_pem + b"-----BEGIN CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ],
)
def test_pem_without_whole_certificates_is_refused(pem: bytes) -> None:
    with pytest.raises(Malformed):
        keys.parse_pem_certificates(pem)


def test_published_certificates_are_read(vectors: Path) -> None:
    for path in sorted((vectors / "rfc8995-appC").glob("*.crt")):
        (certificate,) = keys.parse_pem_certificates(path.read_bytes())
        assert isinstance(certificate, x509.Certificate)


def test_published_certificate_over_an_odd_curve_is_read_but_its_key_refused(vectors: Path) -> None:
    path = vectors / "rfc8995-appC" / "server_secp256k1.crt"
    (certificate,) = keys.parse_pem_certificates(path.read_bytes())
    with pytest.raises(KeyNotAllowed):
        keys.public_key_of_certificate(certificate)


def test_ed25519_is_a_key_like_any_other() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    certificate = pki.make_idevid(ISSUER, key=key).certificate
    assert keys.public_key_of_certificate(certificate) == key.public_key()


# -- the quick check that the factory makes, against the library's


def _spki_of(x: int, y: int) -> bytes:
    head = keys.encode_spki(ec.derive_private_key(1, ec.SECP256R1()).public_key())[:-64]
    return head + x.to_bytes(32, "big") + y.to_bytes(32, "big")


@pytest.mark.parametrize("scalar", [1, 2, ec.SECP256R1().group_order - 1, 2**200 + 7])
def test_a_point_of_p256_passes_the_quick_check(scalar: int) -> None:
    """As it passes the library's."""
    spki = keys.encode_spki(ec.derive_private_key(scalar, ec.SECP256R1()).public_key())
    keys.check_spki(spki)
    keys.load_spki(spki)


@pytest.mark.parametrize("bit", range(0, 512, 17))
def test_a_point_beside_the_curve_fails_both_checks(bit: int) -> None:
    """One bit of a coordinate is another: what a fault of a machine looks like."""
    numbers = ec.derive_private_key(5, ec.SECP256R1()).public_key().public_numbers()
    flipped = 1 << bit % 256
    x, y = (numbers.x ^ flipped, numbers.y) if bit < 256 else (numbers.x, numbers.y ^ flipped)
    for check in (keys.check_spki, keys.load_spki):
        with pytest.raises(KeyNotAllowed):
            check(_spki_of(x, y))


def test_a_coordinate_beyond_the_field_fails_both_checks() -> None:
    """x + p names the same point, in an encoding that is not the one."""
    prime = 2**256 - 2**224 + 2**192 + 2**96 - 1
    b = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
    for x in range(1, 200):
        rhs = (x * x * x - 3 * x + b) % prime
        y = pow(rhs, (prime + 1) // 4, prime)
        if y * y % prime == rhs:
            break
    keys.check_spki(_spki_of(x, y))
    for check in (keys.check_spki, keys.load_spki):
        with pytest.raises(KeyNotAllowed):
            check(_spki_of(x + prime, y))


@pytest.mark.parametrize(
    "key", [ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP384R1())]
)
def test_other_kinds_are_left_to_the_library(key: ed25519.Ed25519PrivateKey) -> None:
    """And refused where it refuses them."""
    spki = keys.encode_spki(key.public_key())
    keys.check_spki(spki)
    with pytest.raises(KeyNotAllowed):
        keys.check_spki(spki + b"\x00")
