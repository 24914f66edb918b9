"""Which public keys are accepted, and how keys and certificates come out of their octets.

Every key that a peer shows passes :func:`load_spki` or :func:`check_public_key` before it verifies
anything.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from functools import lru_cache
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)

from brski.errors import KeyNotAllowed, Malformed
from brski.pki import der
from brski.pki.signer import PublicKey

RSA_BITS: Final = (2048, 4096)  # least and most: below is weak, above a verification costs too much
RSA_EXPONENT: Final = 65537
MLDSA_PUBLIC_KEYS: Final = mldsa.MLDSA44PublicKey | mldsa.MLDSA65PublicKey | mldsa.MLDSA87PublicKey

_CERTIFICATE_OCTETS_LIMIT: Final = 32 * 1024
_SECTION: Final = "RFC 5480 §2.2"

# The SubjectPublicKeyInfo of each elliptic key type starts with the same octets: lengths, the named
# curve and the mark of an uncompressed point (04), so nothing else gets past the comparison. ML-DSA
# has no parameters, not even NULL (RFC 9881 §2).
_FIXED_HEADS: Final = (
    bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004"),  # P-256
    bytes.fromhex("3076301006072a8648ce3d020106052b8104002203620004"),  # P-384
    bytes.fromhex("302a300506032b6570032100"),  # Ed25519
    bytes.fromhex("30820532300b06096086480165030403110382052100"),  # ML-DSA-44
    bytes.fromhex("308207b2300b0609608648016503040312038207a100"),  # ML-DSA-65
    bytes.fromhex("30820a32300b060960864801650304031303820a2100"),  # ML-DSA-87
)
# SEC 2 §2.4.2: y^2 = x^3 - 3x + b over the integers modulo p
_P256_P: Final = 2**256 - 2**224 + 2**192 + 2**96 - 1
_P256_B: Final = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
_P256_SPKI_OCTETS: Final = 91
_P256_POINT_OCTETS: Final = 65
# That of an RSA key of a kind that we take stands after a header of four octets, its parameters are
# NULL.
_RSA_ALGORITHM: Final = bytes.fromhex("300d06092a864886f70d0101010500")

# What reading a name, a date or an extension of a hostile certificate or request raises in the
# library: found by altering each octet to each value. Warnings only where they are errors.
UNREADABLE: Final = (
    ValueError,
    TypeError,  # a BIT STRING in a name
    LookupError,  # an unknown number in a TLS feature extension
    Warning,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)

# Extensions whose value is SIZE (1..MAX); empty usages and constraints the library refuses itself.
_LISTS: Final = (
    x509.SubjectAlternativeName,
    x509.IssuerAlternativeName,
    x509.CertificatePolicies,
    x509.CRLDistributionPoints,
    x509.FreshestCRL,
    x509.AuthorityInformationAccess,
    x509.SubjectInformationAccess,
)

# What octets say does not change: the answers about the last ones are kept, never a refusal. In an
# onboarding the same few certificates and keys come again in TLS, in messages and from records.
_REMEMBERED: Final = 256  # ours; of certificates 8 MB at most, 200 kB as a rule

_PEM_CERTIFICATE: Final = re.compile(
    rb"-----BEGIN CERTIFICATE-----[ \t]*\r?\n([A-Za-z0-9+/=\s]+?)-----END CERTIFICATE-----"
)


def check_public_key(key: object) -> PublicKey:
    """Return *key* if signatures may be verified under it.

    Accepted are P-256, P-384, Ed25519, ML-DSA-44, ML-DSA-65, ML-DSA-87, and RSA of 2048 to 4096
    bits with exponent 65537.

    Args:
        key: a public key object of ``cryptography``, or the DER of a SubjectPublicKeyInfo (then
            also the named curve and the uncompressed point are demanded, as :func:`load_spki`).

    Raises:
        KeyNotAllowed: another type, curve, size, exponent or point form.

    RFC 5480 §2; RFC 8017 §3.1; RFC 8410 §3; RFC 9881 §4.
    """
    if isinstance(key, bytes):
        return load_spki(key)
    if isinstance(key, ec.EllipticCurvePublicKey):
        if not isinstance(key.curve, (ec.SECP256R1, ec.SECP384R1)):
            raise KeyNotAllowed(f"curve {key.curve.name} is not accepted", section=_SECTION)
        return key
    if isinstance(key, ed25519.Ed25519PublicKey | MLDSA_PUBLIC_KEYS):
        return key
    if isinstance(key, rsa.RSAPublicKey):
        return _check_rsa(key)
    raise KeyNotAllowed(f"keys of type {type(key).__name__} are not accepted")


def _check_rsa(key: rsa.RSAPublicKey) -> rsa.RSAPublicKey:
    least, most = RSA_BITS
    if not least <= key.key_size <= most:
        raise KeyNotAllowed(f"RSA key of {key.key_size} bits, {least} to {most} are accepted")
    exponent = key.public_numbers().e
    if exponent != RSA_EXPONENT:
        raise KeyNotAllowed(f"RSA exponent {exponent % 2**64}, {RSA_EXPONENT} is accepted")
    return key


@lru_cache(maxsize=_REMEMBERED)
def load_spki(spki: bytes) -> PublicKey:
    """Read a SubjectPublicKeyInfo.

    Args:
        spki: DER, nothing after it.

    Returns:
        The key; an elliptic curve's point lies on it.

    Raises:
        KeyNotAllowed: not one of the accepted kinds in its one accepted encoding: named curve,
            uncompressed point, minimal DER.

    RFC 5480 §2; RFC 8410 §4; RFC 9881 §4.
    """
    if not spki.startswith(_FIXED_HEADS) and spki[4:19] != _RSA_ALGORITHM:
        raise KeyNotAllowed(
            "public key is not P-256 or P-384 by name with an uncompressed point, Ed25519, ML-DSA "
            "or RSA",
            section=_SECTION,
        )
    try:
        return check_public_key(load_der_public_key(spki))
    except (ValueError, UnsupportedAlgorithm) as err:
        raise KeyNotAllowed("public key cannot be read", section=_SECTION) from err


def check_spki(spki: bytes) -> None:
    """Raise unless *spki* is one that :func:`load_spki` reads; quicker where it is P-256.

    For keys that are written into certificates, a million at a time.

    Args:
        spki: DER, nothing after it.

    Raises:
        KeyNotAllowed: as :func:`load_spki`.

    RFC 5480 §2; SEC 1 §3.2.2.1.
    """
    if len(spki) != _P256_SPKI_OCTETS or not spki.startswith(_FIXED_HEADS[0]):
        load_spki(spki)
        return
    x = int.from_bytes(spki[-64:-32], "big")
    y = int.from_bytes(spki[-32:], "big")
    if x >= _P256_P or y >= _P256_P or (y * y - (x * x - 3) * x - _P256_B) % _P256_P:
        raise KeyNotAllowed("public key cannot be read: no point of P-256", section=_SECTION)


def key_bits(spki: bytes) -> bytes:
    """The content of the BIT STRING in a SubjectPublicKeyInfo, without its unused-bits octet.

    Args:
        spki: DER.

    Raises:
        Malformed: no SubjectPublicKeyInfo.

    RFC 5280 §4.1.2.7.
    """
    if len(spki) == _P256_SPKI_OCTETS and spki.startswith(_FIXED_HEADS[0]):
        return spki[-_P256_POINT_OCTETS:]
    parts = der.children(spki, der.read_element(spki))
    if len(parts) != 2 or parts[1].tag != der.BIT_STRING:
        raise Malformed("not a SubjectPublicKeyInfo", section="RFC 5280 §4.1.2.7")
    return der.content_of(spki, parts[1])[1:]


def encode_spki(key: PublicKey) -> bytes:
    """Write *key* as SubjectPublicKeyInfo, DER, points uncompressed.

    RFC 5280 §4.1.2.7.
    """
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@lru_cache(maxsize=_REMEMBERED)
def spki_of(certificate: x509.Certificate) -> bytes:
    """Cut the SubjectPublicKeyInfo out of the certificate's own DER.

    Never encoded anew from a loaded key: two encodings of one key must not count as equal.

    Args:
        certificate: as parsed.

    Returns:
        DER, header included.

    RFC 5280 §4.1.
    """
    tbs = certificate.tbs_certificate_bytes
    fields = _tbs_fields(tbs)
    return der.octets_of(tbs, fields[5])


def _tbs_fields(tbs: bytes) -> list[der.Element]:
    """serialNumber, signature, issuer, validity, subject, subjectPublicKeyInfo, without version."""
    fields = der.children(tbs, der.read_element(tbs))
    if fields and fields[0].tag == 0xA0:
        del fields[0]
    if len(fields) < 6:
        raise Malformed("DER of a certificate that lacks fields", section="RFC 5280 §4.1")
    return fields[:6]


def public_key_of_certificate(certificate: x509.Certificate) -> PublicKey:
    """The certificate's key, accepted by kind, size and encoding.

    Raises:
        KeyNotAllowed: as :func:`load_spki`.

    RFC 5280 §4.1.2.7.
    """
    return load_spki(spki_of(certificate))


def spki_sha256(certificate: x509.Certificate) -> bytes:
    """SHA-256 of the certificate's SubjectPublicKeyInfo, 32 octets.

    RFC 7469 §2.4.
    """
    return hashlib.sha256(spki_of(certificate)).digest()


@lru_cache(maxsize=_REMEMBERED)
def parse_certificate(data: bytes) -> x509.Certificate:
    """Read one certificate; whatever is wrong with it as a value shows here and not later.

    Nothing is judged: neither its signature, its validity nor its key.

    Args:
        data: DER, nothing after it.

    Returns:
        The certificate; names, dates and extensions have been read once, so that they can be again.

    Raises:
        Malformed: not DER, not a certificate, a serial number that is not positive, two signature
            algorithms, an extension twice, empty or not as its type demands.
        TooLarge: more than 32 kB.

    RFC 5280 §4.1.
    """
    der.check_der(data, max_octets=_CERTIFICATE_OCTETS_LIMIT)
    _check_outline(data)
    try:
        certificate = x509.load_der_x509_certificate(data)
        _read_lazy_parts(certificate)
    except UNREADABLE as err:
        raise Malformed(f"certificate cannot be read: {err}", section="RFC 5280 §4.1") from err
    return certificate


def _check_outline(data: bytes) -> None:
    tbs = der.read_element(data, der.read_element(data).content)
    signed = der.octets_of(data, tbs)
    number, algorithm = _tbs_fields(signed)[:2]
    _check_certificate_number(signed, number)
    applied = der.read_element(data, tbs.end)
    if der.octets_of(signed, algorithm) != der.octets_of(data, applied):
        raise Malformed("certificate of two signature algorithms", section="RFC 5280 §4.1.1.2")


def _check_certificate_number(tbs: bytes, number: der.Element) -> None:
    # The library warns of these at every load and will refuse them one day.
    octets = der.content_of(tbs, number)
    if number.tag != der.INTEGER or octets[0] & 0x80 or len(octets) > 21:
        raise Malformed("certificate without a positive serial number", section="RFC 5280 §4.1.2.2")
    if not any(octets):
        raise Malformed("certificate with serial number 0", section="RFC 5280 §4.1.2.2")


def _read_lazy_parts(certificate: x509.Certificate) -> None:
    _ = certificate.subject, certificate.issuer
    _ = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    for extension in certificate.extensions:
        if _is_empty(extension.value):
            raise Malformed(
                f"certificate with an empty extension {extension.oid.dotted_string}",
                section="RFC 5280 §4.2.1",
            )


def _is_empty(value: x509.ExtensionType) -> bool:
    """The library takes lists of nothing, which each reader could understand in its own way."""
    if isinstance(value, x509.SubjectKeyIdentifier):
        return not value.digest
    if isinstance(value, x509.AuthorityKeyIdentifier):
        return value.key_identifier == b""
    return isinstance(value, _LISTS) and len(value) == 0


def parse_pem_certificates(pem: bytes) -> tuple[x509.Certificate, ...]:
    """Read every certificate of a PEM file, in its order; other blocks and text are passed over.

    Args:
        pem: RFC 7468 text, such as a chain, leaf first.

    Raises:
        Malformed: no certificate in it, bad base64, or a block that :func:`parse_certificate`
            refuses.
        TooLarge: as :func:`parse_certificate`.

    RFC 7468 §5.
    """
    blocks = _PEM_CERTIFICATE.findall(pem)
    if not blocks or len(blocks) != pem.count(b"-----BEGIN CERTIFICATE-----"):
        raise Malformed("PEM without a whole certificate", section="RFC 7468 §5")
    return tuple(parse_certificate(_decode_pem_block(block)) for block in blocks)


def _decode_pem_block(block: bytes) -> bytes:
    text = b"".join(block.split())
    try:
        octets = binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error as err:
        raise Malformed("PEM block is not base64", section="RFC 7468 §3") from err
    if binascii.b2a_base64(octets, newline=False) != text:
        raise Malformed("PEM block is base64 with stray pad bits", section="RFC 4648 §3.5")
    return octets


@lru_cache(maxsize=_REMEMBERED)
def certificate_der(certificate: x509.Certificate) -> bytes:
    """The certificate's own octets, DER."""
    return certificate.public_bytes(Encoding.DER)
