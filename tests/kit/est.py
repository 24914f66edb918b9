"""Certificate requests with every part replaceable, so that a test can have one thing wrong."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

from brski.pki import der
from brski.pki.keys import encode_spki
from brski.pki.signatures import PrivateKey, sign, signature_algorithm

SUBJECT = x509.Name([x509.NameAttribute(NameOID.SERIAL_NUMBER, "SN-0001")])
SAN = x509.SubjectAlternativeName([x509.DNSName("device.example.com")])
KEY_USAGE_OID = "2.5.29.15"
SAN_OID = "2.5.29.17"
EXTENSION_REQUEST = "1.2.840.113549.1.9.14"
CHALLENGE_PASSWORD = "1.2.840.113549.1.9.7"


def attribute(oid: str, *values: bytes) -> bytes:
    """An attribute, DER; the values as they are and in their order."""
    return der.encode(der.SEQUENCE, der.encode_oid(oid), der.encode(der.SET, *values))


def extension(oid: str, value: bytes, *, critical: bytes = b"") -> bytes:
    """An extension, DER; *critical* is the whole BOOLEAN element."""
    return der.encode(
        der.SEQUENCE, der.encode_oid(oid), critical, der.encode(der.OCTET_STRING, value)
    )


def extensions(*members: bytes) -> bytes:
    """An Extensions value, DER."""
    return der.encode(der.SEQUENCE, *members)


def raw_csr(
    key: PrivateKey,
    *,
    version: bytes = b"\x02\x01\x00",
    subject: bytes | None = None,
    spki: bytes | None = None,
    attributes: Sequence[bytes] = (),
    attribute_set: bytes | None = None,
    algorithm: bytes | None = None,
    digest: hashes.HashAlgorithm | None = None,
    unused_bits: bytes = b"\x00",
    after: bytes = b"",
) -> bytes:
    """A request signed by *key*, right but for what is given (each part is whole DER).

    Args:
        attributes: the members of the attribute set.
        attribute_set: in place of the whole [0] element; empty leaves it out.
        digest: what ECDSA or RSA really hashes with; the key's own by default.
        after: further elements behind the signature.
    """
    info = der.encode(
        der.SEQUENCE,
        version,
        SUBJECT.public_bytes() if subject is None else subject,
        encode_spki(key.public_key()) if spki is None else spki,
        der.encode(0xA0, *attributes) if attribute_set is None else attribute_set,
    )
    signature = der.encode(der.BIT_STRING, unused_bits, _sign(key, info, digest))
    named = signature_algorithm(key.public_key()) if algorithm is None else algorithm
    return der.encode(der.SEQUENCE, info, named, signature, after)


def _sign(key: PrivateKey, data: bytes, digest: hashes.HashAlgorithm | None) -> bytes:
    if digest is not None and isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(data, ec.ECDSA(digest))
    if digest is not None and isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), digest)
    return sign(key, data)
