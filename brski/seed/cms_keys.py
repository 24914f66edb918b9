"""The OEM's key for seed batches that vendors make with OpenSSL alone: P-256, P-384 or RSA.

CMS AuthEnvelopedData (RFC 5083) in the one form that ``openssl cms -encrypt -aes-256-gcm -keyid``
writes, read by taking it apart and writing it again: what is not the same octets is refused. Not
safe against quantum computers; docs/seed-batch.md says when to use it. Files are the caller's.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, keywrap
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.x963kdf import X963KDF
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from brski.errors import KeyMismatch, KeyNotAllowed, KeyUnusable, Malformed
from brski.pki import der
from brski.pki.cms_algorithms import KEY_AGREEMENT, KEY_WRAP, OAEP_SHA256, algorithm
from brski.pki.extensions import key_identifier
from brski.pki.keys import check_public_key, encode_spki
from brski.pki.signer import PublicKey
from brski.registry import (
    AES256_GCM,
    ID_AUTH_ENVELOPED_DATA,
    ID_DATA,
    ID_EC_PUBLIC_KEY,
)

MOST_ENVELOPE_OCTETS: Final = 1024  # around the ciphertext: 810 with an RSA-4096 key

_KEY_OCTETS: Final = 32
_NONCE_OCTETS: Final = 12
_TAG_OCTETS: Final = 16
_LEAST_RSA_BITS: Final = 3072  # NIST SP 800-57 part 1: 128 bits of strength
_OAEP: Final = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
_CURVES: Final = (ec.SECP256R1, ec.SECP384R1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Envelope:
    """What differs from one envelope to the next."""

    ephemeral: bytes  # the sender's point, uncompressed; empty with RSA
    wrapped: bytes  # the content key, wrapped or encrypted
    nonce: bytes
    ciphertext: bytes
    tag: bytes


class CMSPublicKey:
    """What an OEM gives to vendors without more than OpenSSL, in a certificate around it."""

    __slots__ = ("_key",)

    def __init__(self, key: PublicKey) -> None:
        """Take a public key.

        Raises:
            KeyNotAllowed: neither P-256 nor P-384 nor RSA of 3072 bits or more.
        """
        check_public_key(key)
        on_curve = isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CURVES)
        long_rsa = isinstance(key, rsa.RSAPublicKey) and key.key_size >= _LEAST_RSA_BITS
        if not (on_curve or long_rsa):
            raise KeyNotAllowed(
                f"seed batches in CMS are sealed to P-256, P-384 or RSA of {_LEAST_RSA_BITS} bits"
            )
        self._key = key

    @property
    def key_id(self) -> bytes:
        """SHA-256 of the SubjectPublicKeyInfo, DER; ``recipient`` in a batch's header."""
        return hashlib.sha256(encode_spki(self._key)).digest()

    def seal(self, plaintext: bytes) -> bytes:
        """AuthEnvelopedData, DER. Randomness comes from the system's generator.

        RFC 5083 §2.1; RFC 5084 §3.2; RFC 5753 §3.1; RFC 4055 §4.1.
        """
        content_key = AESGCM.generate_key(_KEY_OCTETS * 8)
        nonce = AESGCM.generate_key(128)[:_NONCE_OCTETS]  # random octets
        ephemeral, wrapped = self._wrap(content_key)
        sealed = AESGCM(content_key).encrypt(nonce, plaintext, None)
        envelope = _Envelope(
            ephemeral=ephemeral,
            wrapped=wrapped,
            nonce=nonce,
            ciphertext=sealed[:-_TAG_OCTETS],
            tag=sealed[-_TAG_OCTETS:],
        )
        return self._encode(envelope)

    def _wrap(self, content_key: bytes) -> tuple[bytes, bytes]:
        if isinstance(self._key, rsa.RSAPublicKey):
            return b"", self._key.encrypt(content_key, _OAEP)
        assert isinstance(self._key, ec.EllipticCurvePublicKey)  # noqa: S101 - seen when it was made
        sender = ec.generate_private_key(self._key.curve)
        wrapping = _wrapping_key(sender.exchange(ec.ECDH(), self._key))
        point = sender.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return point, keywrap.aes_key_wrap(wrapping, content_key)

    def _encode(self, envelope: _Envelope) -> bytes:
        return der.encode(
            der.SEQUENCE,
            der.encode_oid(ID_AUTH_ENVELOPED_DATA),
            der.encode(
                0xA0,
                der.encode(
                    der.SEQUENCE,
                    der.encode_integer(0),
                    der.encode(der.SET, self._recipient_info(envelope)),
                    _content_info(envelope),
                    der.encode(der.OCTET_STRING, envelope.tag),
                ),
            ),
        )

    def _recipient_info(self, envelope: _Envelope) -> bytes:
        identifier = key_identifier(encode_spki(self._key))
        wrapped = der.encode(der.OCTET_STRING, envelope.wrapped)
        if isinstance(self._key, rsa.RSAPublicKey):  # KeyTransRecipientInfo
            named = der.encode(0x80, identifier)
            return der.encode(der.SEQUENCE, der.encode_integer(2), named, OAEP_SHA256, wrapped)
        sender = der.encode(
            0xA1,
            algorithm(ID_EC_PUBLIC_KEY),
            der.encode(der.BIT_STRING, b"\x00", envelope.ephemeral),
        )
        named = der.encode(0xA0, der.encode(der.OCTET_STRING, identifier))
        return der.encode(  # KeyAgreeRecipientInfo
            0xA1,
            der.encode_integer(3),
            der.encode(0xA0, sender),
            KEY_AGREEMENT,
            der.encode(der.SEQUENCE, der.encode(der.SEQUENCE, named, wrapped)),
        )

    def parse(self, sealed: bytes) -> _Envelope:
        """Take an envelope for this key apart.

        Raises:
            Malformed, TooLarge: it is not DER, or not of the one form.
        """
        der.check_der(sealed, max_octets=max(len(sealed), 1))
        try:
            envelope = _take_apart(sealed, rsa_key=isinstance(self._key, rsa.RSAPublicKey))
        except (IndexError, Malformed):
            envelope = None
        if envelope is None or self._encode(envelope) != sealed:
            raise Malformed(
                "it is no AuthEnvelopedData of AES-256-GCM with one recipient, this key, as "
                "docs/seed-batch.md has it",
                section="RFC 5083 §2.1",
            )
        return envelope


class CMSPrivateKey:
    """What opens them. Shows nothing when printed and refuses to be pickled."""

    __slots__ = ("_key", "_public_key")

    def __init__(self, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
        self._key = key
        self._public_key = CMSPublicKey(key.public_key())

    @classmethod
    def parse(cls, pem: bytes) -> CMSPrivateKey:
        """Read the private key file.

        Args:
            pem: PKCS #8, not encrypted.

        Raises:
            KeyUnusable: it is something else, or of another kind.
        """
        try:
            key = load_pem_private_key(pem, None)
        except (TypeError, ValueError) as err:
            raise KeyUnusable("the recipient key is no PEM private key") from err
        if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
            raise KeyUnusable("the recipient key is neither EC nor RSA")
        try:
            return cls(key)
        except KeyNotAllowed as err:
            raise KeyUnusable(f"the recipient key: {err.reason}") from err

    @property
    def public_key(self) -> CMSPublicKey:
        """The public half."""
        return self._public_key

    def open(self, sealed: bytes) -> bytes:
        """What :meth:`CMSPublicKey.seal` or OpenSSL sealed.

        Raises:
            Malformed, TooLarge: it is not of the one form.
            KeyMismatch: not sealed to this key, or altered.
        """
        envelope = self._public_key.parse(sealed)
        try:
            content_key = self._unwrap(envelope)
            octets = envelope.ciphertext + envelope.tag
            return AESGCM(content_key).decrypt(envelope.nonce, octets, None)
        except (InvalidTag, ValueError, keywrap.InvalidUnwrap) as err:
            raise KeyMismatch("not sealed to this key, or altered") from err

    def _unwrap(self, envelope: _Envelope) -> bytes:
        if isinstance(self._key, rsa.RSAPrivateKey):
            return self._key.decrypt(envelope.wrapped, _OAEP)
        point = ec.EllipticCurvePublicKey.from_encoded_point(self._key.curve, envelope.ephemeral)
        wrapping = _wrapping_key(self._key.exchange(ec.ECDH(), point))
        return keywrap.aes_key_unwrap(wrapping, envelope.wrapped)

    def __repr__(self) -> str:
        return f"CMSPrivateKey(hidden, key_id={self._public_key.key_id.hex()})"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a recipient private key is not pickled or copied")


def _wrapping_key(shared_secret: bytes) -> bytes:
    """RFC 5753 §7.2: X9.63 with SHA-256 over ECC-CMS-SharedInfo, without user keying material."""
    bits = der.encode(der.OCTET_STRING, (_KEY_OCTETS * 8).to_bytes(4, "big"))
    info = der.encode(der.SEQUENCE, KEY_WRAP, der.encode(0xA2, bits))
    return X963KDF(hashes.SHA256(), _KEY_OCTETS, info).derive(shared_secret)


def _content_info(envelope: _Envelope) -> bytes:
    parameters = der.encode(
        der.SEQUENCE,
        der.encode(der.OCTET_STRING, envelope.nonce),
        der.encode_integer(_TAG_OCTETS),
    )
    return der.encode(
        der.SEQUENCE,
        der.encode_oid(ID_DATA),
        algorithm(AES256_GCM, parameters),
        der.encode(0x80, envelope.ciphertext),
    )


def _take_apart(sealed: bytes, *, rsa_key: bool) -> _Envelope:
    """The parts that differ, by their places; whoever calls compares the rest."""

    def inside(element: der.Element, *path: int) -> der.Element:
        for index in path:
            element = der.children(sealed, element)[index]
        return element

    data = inside(der.read_element(sealed), 1, 0)
    info = inside(data, 1, 0)
    ephemeral = b"" if rsa_key else der.content_of(sealed, inside(info, 1, 0, 1))[1:]
    wrapped = inside(info, 3) if rsa_key else inside(info, 3, 0, 1)
    return _Envelope(
        ephemeral=ephemeral,
        wrapped=der.content_of(sealed, wrapped),
        nonce=der.content_of(sealed, inside(data, 2, 1, 1, 0)),
        ciphertext=der.content_of(sealed, inside(data, 2, 2)),
        tag=der.content_of(sealed, inside(data, 3)),
    )
