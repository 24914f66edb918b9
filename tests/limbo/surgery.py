"""Certificates that no builder makes: one field of the TBSCertificate changed, and signed anew."""

from __future__ import annotations

import base64
import hashlib
import textwrap
from collections.abc import Callable
from typing import Any, Final

from asn1crypto import keys as asn1_keys
from asn1crypto import x509 as asn1_x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding

from tests.kit import pki

DER: Final = Encoding.DER
_P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def fixed_key(label: str) -> ec.EllipticCurvePrivateKey:
    """A P-256 key that anybody can make: SHA-256 of *label*."""
    number = int.from_bytes(hashlib.sha256(label.encode("utf-8")).digest(), "big")
    return ec.derive_private_key(number % (_P256_ORDER - 1) + 1, ec.SECP256R1())


def fixed_ed25519_key(label: str) -> ed25519.Ed25519PrivateKey:
    """The same for Ed25519."""
    return ed25519.Ed25519PrivateKey.from_private_bytes(hashlib.sha256(label.encode()).digest())


def altered(entity: pki.Entity, issuer: pki.Entity, edit: Callable[[Any], None]) -> bytes:
    """The certificate of *entity* after *edit* of its TBSCertificate, signed by *issuer* again.

    Args:
        entity: as made.
        issuer: with a P-256 key.
        edit: changes asn1crypto's TbsCertificate in place.

    Returns:
        DER.
    """
    certificate = asn1_x509.Certificate.load(entity.der)
    tbs = certificate["tbs_certificate"]
    edit(tbs)
    key = issuer.private_key
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    signature = key.sign(
        tbs.dump(force=True), ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
    )
    certificate["signature_value"] = signature
    return bytes(certificate.dump(force=True))


def pem(der: bytes) -> str:
    """*der* as PEM, whatever it is a certificate of."""
    lines = textwrap.wrap(base64.b64encode(der).decode("ascii"), 64)
    return "\n".join(("-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""))


def rsa_spki(bits: int, exponent: int = 65537) -> bytes:
    """DER of an RSA public key whose modulus is some odd number: nobody has its private key."""
    octets = hashlib.shake_256(f"modulus of {bits}".encode()).digest(bits // 8)
    modulus = int.from_bytes(octets, "big") | 1 << (bits - 1) | 1
    key = asn1_keys.RSAPublicKey({"modulus": modulus, "public_exponent": exponent})
    return bytes(asn1_keys.PublicKeyInfo.wrap(key, "rsa").dump())


def p192_spki() -> bytes:
    """DER of the generator of P-192 as a public key: the curve of secp192r1, SEC 2 §2.2.2."""
    x = "188da80eb03090f67cbf20eb43a18800f4ff0afd82ff1012"
    y = "07192b95ffc8da78631011ed6b24cdd573f977a11e794811"
    head = "3049301306072a8648ce3d020106082a8648ce3d03010103320004"
    return bytes.fromhex(head + x + y)


def with_key(spki: bytes) -> Callable[[Any], None]:
    """Another public key."""

    def edit(tbs: Any) -> None:
        tbs["subject_public_key_info"] = asn1_keys.PublicKeyInfo.load(spki)

    return edit


def numbered(number: int) -> Callable[[Any], None]:
    """Another certificate number."""

    def edit(tbs: Any) -> None:
        tbs["serial_number"] = number

    return edit


def without_version(tbs: Any) -> None:
    """A version 1 certificate, which has no extensions."""
    tbs["version"] = "v1"
    del tbs["extensions"]
