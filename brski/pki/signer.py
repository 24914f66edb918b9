"""The port through which anything of ours signs: a key in a file, in a process, in a token."""

from __future__ import annotations

from typing import Protocol, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa

MLDSAPublicKey: TypeAlias = mldsa.MLDSA44PublicKey | mldsa.MLDSA65PublicKey | mldsa.MLDSA87PublicKey
PublicKey: TypeAlias = (
    ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey | MLDSAPublicKey
)


class Signer(Protocol):
    """One private key and what is known of it. The key itself cannot be read through this port."""

    @property
    def public_key(self) -> PublicKey:
        """The key's public half."""

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        """The key's certificate first, then its issuers as far as known; empty for a bare key."""

    def sign(self, data: bytes) -> bytes:
        """Sign *data* (whole, not its digest) with the algorithm that the key dictates.

        Returns:
            What X.509 and CMS carry: DER ECDSA-Sig-Value (SHA-256 with P-256, SHA-384 with P-384),
            64 raw octets for Ed25519, PKCS #1 v1.5 with SHA-256 for RSA, 2420, 3309 or 4627 raw
            octets for ML-DSA. See :mod:`brski.pki.signatures`.

        Raises:
            KeyUnusable: the key does not sign this, or not at all.
            Unavailable: whoever holds the key does not answer; the same call may succeed later.
        """
