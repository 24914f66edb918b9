"""Keys that are somebody else's, and randomness, out of the system's generator."""

from __future__ import annotations

import secrets

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from brski.est.key_package import IV_OCTETS, NONCE_OCTETS, Randomness, content_key_octets
from brski.est.requirements import KeyRequirement
from brski.pki.signatures import PrivateKey, sign
from brski.pki.signer import PublicKey
from brski.registry import AES256_GCM, ID_ED25519, RSA_ENCRYPTION, SECP384R1


class MadeKey:
    """A key of somebody else's; a :class:`~brski.pki.signer.Signer` for the one CSR of it."""

    chain: tuple[x509.Certificate, ...] = ()

    def __init__(self, private_key: PrivateKey) -> None:
        self._private_key = private_key
        self.public_key: PublicKey = private_key.public_key()

    def sign(self, data: bytes) -> bytes:
        """See :class:`~brski.pki.signer.Signer`."""
        return sign(self._private_key, data)

    def pkcs8(self) -> bytes:
        """PrivateKeyInfo, DER, not encrypted."""
        return self._private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def make_key(kind: KeyRequirement) -> MadeKey:
    """Make a key of *kind*; RSA takes its time, so call it in a thread.

    Args:
        kind: EC on either curve, Ed25519 or RSA, as the settings can name them.
    """
    if kind.algorithm == RSA_ENCRYPTION:
        return MadeKey(rsa.generate_private_key(65537, kind.rsa_bits or 3072))
    if kind.algorithm == ID_ED25519:
        return MadeKey(ed25519.Ed25519PrivateKey.generate())
    curve = ec.SECP384R1() if kind.curve == SECP384R1 else ec.SECP256R1()
    return MadeKey(ec.generate_private_key(curve))


def draw(recipient: PublicKey, cipher: str) -> Randomness:
    """What one envelope for *recipient* needs; fresh at each call.

    Args:
        cipher: dotted, one of :data:`brski.est.key_request.CIPHERS`.
    """
    ephemeral = None
    if isinstance(recipient, ec.EllipticCurvePublicKey):
        ephemeral = ec.generate_private_key(recipient.curve)
    return Randomness(
        content_key=secrets.token_bytes(content_key_octets(cipher)),
        nonce=secrets.token_bytes(NONCE_OCTETS if cipher == AES256_GCM else IV_OCTETS),
        ephemeral=ephemeral,
    )
