"""A private key on its way to its owner, in CMS: signed by who made it, enveloped for who asked.

Owns the DER of an AsymmetricKeyPackage (RFC 5958) in SignedData in EnvelopedData or
AuthEnvelopedData (RFC 7030 §4.4.2). Randomness is the caller's; nothing is kept.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, keywrap
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.x963kdf import X963KDF
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from brski.errors import KeyNotAllowed
from brski.pki import der
from brski.pki.cms_algorithms import KEY_AGREEMENT, KEY_WRAP, OAEP_SHA256, algorithm
from brski.pki.extensions import key_identifier
from brski.pki.keys import certificate_der, encode_spki
from brski.pki.signatures import digest_algorithm, signature_algorithm
from brski.pki.signer import PublicKey, Signer
from brski.registry import (
    AES128_CBC,
    AES256_GCM,
    ID_AUTH_ENVELOPED_DATA,
    ID_CONTENT_TYPE,
    ID_CT_ASYMMETRIC_KEY_PACKAGE,
    ID_EC_PUBLIC_KEY,
    ID_ENVELOPED_DATA,
    ID_MESSAGE_DIGEST,
    ID_SIGNED_DATA,
)

NONCE_OCTETS: Final = 12  # AES-GCM, RFC 5084 §3.2
IV_OCTETS: Final = 16  # AES-CBC
_TAG_OCTETS: Final = 16
_OAEP: Final = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
_CURVES: Final = (ec.SECP256R1, ec.SECP384R1)


def content_key_octets(cipher: str) -> int:
    """How long the content-encryption key of *cipher* (dotted) is."""
    return 16 if cipher == AES128_CBC else 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Randomness:
    """What an envelope needs of the system's generator; shows nothing when printed."""

    content_key: bytes = field(repr=False)  # content_key_octets of the cipher
    nonce: bytes  # NONCE_OCTETS with AES-GCM, else IV_OCTETS
    ephemeral: ec.EllipticCurvePrivateKey | None = field(repr=False)  # on the recipient's curve


def check_recipient(public_key: PublicKey) -> None:
    """Raise unless a key package can be enveloped for *public_key*.

    Raises:
        KeyNotAllowed: it is neither RSA nor on P-256 or P-384.
    """
    on_curve = isinstance(public_key, ec.EllipticCurvePublicKey) and isinstance(
        public_key.curve, _CURVES
    )
    if not on_curve and not isinstance(public_key, rsa.RSAPublicKey):
        raise KeyNotAllowed(
            "a private key is encrypted to an RSA, P-256 or P-384 key", section="RFC 7030 §4.4.2"
        )


def sign_key_package(pkcs8: bytes, signer: Signer) -> bytes:
    """Return SignedData (DER, without ContentInfo) of a package with this one private key.

    Args:
        pkcs8: PrivateKeyInfo, DER.
        signer: who made the key; its chain is enclosed, but for the root.

    RFC 5958 §2; RFC 5652 §5.1; RFC 7030 §4.4.2.
    """
    package = der.encode(der.SEQUENCE, pkcs8)
    digest_oid, hash_name = digest_algorithm(signer.public_key)
    digest = algorithm(digest_oid)
    content_type = der.encode_oid(ID_CT_ASYMMETRIC_KEY_PACKAGE)
    attributes = b"".join(
        sorted(
            (
                _attribute(ID_CONTENT_TYPE, content_type),
                _attribute(
                    ID_MESSAGE_DIGEST,
                    der.encode(der.OCTET_STRING, hashlib.new(hash_name, package).digest()),
                ),
            )
        )
    )
    signature = signer.sign(der.encode(der.SET, attributes))
    signer_info = der.encode(
        der.SEQUENCE,
        der.encode_integer(1),
        _issuer_and_serial(signer.chain[0]),
        digest,
        der.encode(0xA0, attributes),
        signature_algorithm(signer.public_key),
        der.encode(der.OCTET_STRING, signature),
    )
    return der.encode(
        der.SEQUENCE,
        der.encode_integer(3),
        der.encode(der.SET, digest),
        der.encode(
            der.SEQUENCE, content_type, der.encode(0xA0, der.encode(der.OCTET_STRING, package))
        ),
        der.encode(0xA0, *sorted(map(certificate_der, signer.chain[:-1] or signer.chain))),
        der.encode(der.SET, signer_info),
    )


def envelope(
    signed_data: bytes, recipient: PublicKey, cipher: str, randomness: Randomness
) -> bytes:
    """Return ContentInfo (DER) with *signed_data* encrypted for *recipient*.

    AuthEnvelopedData with AES-256-GCM, EnvelopedData with AES-CBC, whose content is authentic by
    the signature inside.

    Args:
        signed_data: as :func:`sign_key_package` gives it.
        recipient: has passed :func:`check_recipient`; named by its key identifier.
        cipher: dotted, one of :data:`brski.est.key_request.CIPHERS`.
        randomness: fresh, used for this one envelope.

    RFC 5652 §6; RFC 5083 §2.1; RFC 5084; RFC 5753 §3.1; RFC 4055 §4.1; RFC 7030 §4.4.2.
    """
    ciphertext, tag, parameters = _encrypt(signed_data, cipher, randomness)
    recipient_info, version = _recipient_info(recipient, randomness)
    content = der.encode(
        der.SEQUENCE,
        der.encode_oid(ID_SIGNED_DATA),
        algorithm(cipher, parameters),
        der.encode(0x80, ciphertext),
    )
    authenticated = cipher == AES256_GCM
    body = der.encode(
        der.SEQUENCE,
        der.encode_integer(0 if authenticated else version),
        der.encode(der.SET, recipient_info),
        content,
        der.encode(der.OCTET_STRING, tag) if authenticated else b"",
    )
    kind = ID_AUTH_ENVELOPED_DATA if authenticated else ID_ENVELOPED_DATA
    return der.encode(der.SEQUENCE, der.encode_oid(kind), der.encode(0xA0, body))


def _encrypt(plaintext: bytes, cipher: str, randomness: Randomness) -> tuple[bytes, bytes, bytes]:
    """Ciphertext, tag (empty with CBC) and the algorithm's parameters."""
    nonce = der.encode(der.OCTET_STRING, randomness.nonce)
    if cipher == AES256_GCM:
        sealed = AESGCM(randomness.content_key).encrypt(randomness.nonce, plaintext, None)
        parameters = der.encode(der.SEQUENCE, nonce, der.encode_integer(_TAG_OCTETS))
        return sealed[:-_TAG_OCTETS], sealed[-_TAG_OCTETS:], parameters
    padder = PKCS7(128).padder()
    padded = padder.update(plaintext) + padder.finalize()
    encryptor = Cipher(
        algorithms.AES(randomness.content_key), modes.CBC(randomness.nonce)
    ).encryptor()
    return encryptor.update(padded) + encryptor.finalize(), b"", nonce


def _recipient_info(recipient: PublicKey, randomness: Randomness) -> tuple[bytes, int]:
    """RecipientInfo, and the version of an EnvelopedData that holds it (RFC 5652 §6.1)."""
    identifier = key_identifier(encode_spki(recipient))
    if isinstance(recipient, rsa.RSAPublicKey):
        wrapped = der.encode(der.OCTET_STRING, recipient.encrypt(randomness.content_key, _OAEP))
        named = der.encode(0x80, identifier)
        return der.encode(der.SEQUENCE, der.encode_integer(2), named, OAEP_SHA256, wrapped), 2
    sender = randomness.ephemeral
    assert isinstance(recipient, ec.EllipticCurvePublicKey)  # noqa: S101 - check_recipient has seen it
    assert sender is not None  # noqa: S101 - the caller's, on this curve
    wrapping = _wrapping_key(sender.exchange(ec.ECDH(), recipient))
    wrapped = der.encode(der.OCTET_STRING, keywrap.aes_key_wrap(wrapping, randomness.content_key))
    point = sender.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    originator = der.encode(
        0xA1, algorithm(ID_EC_PUBLIC_KEY), der.encode(der.BIT_STRING, b"\x00", point)
    )
    named = der.encode(0xA0, der.encode(der.OCTET_STRING, identifier))
    info = der.encode(
        0xA1,
        der.encode_integer(3),
        der.encode(0xA0, originator),
        KEY_AGREEMENT,
        der.encode(der.SEQUENCE, der.encode(der.SEQUENCE, named, wrapped)),
    )
    return info, 2


def _wrapping_key(shared: bytes) -> bytes:
    """The key-encryption key of ECC-CMS-SharedInfo (RFC 5753 §7.2)."""
    info = der.encode(
        der.SEQUENCE,
        KEY_WRAP,
        der.encode(0xA2, der.encode(der.OCTET_STRING, (256).to_bytes(4, "big"))),
    )
    return X963KDF(algorithm=hashes.SHA256(), length=32, sharedinfo=info).derive(shared)


def _issuer_and_serial(certificate: x509.Certificate) -> bytes:
    return der.encode(
        der.SEQUENCE,
        certificate.issuer.public_bytes(),
        der.encode_integer(certificate.serial_number),
    )


def _attribute(oid: str, value: bytes) -> bytes:
    return der.encode(der.SEQUENCE, der.encode_oid(oid), der.encode(der.SET, value))
