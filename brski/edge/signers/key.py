"""The signer whose private key is a ``cryptography`` object in this process."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa

from brski.errors import KeyNotAllowed, KeyUnusable
from brski.pki import signatures
from brski.pki.keys import check_public_key
from brski.pki.signatures import PrivateKey
from brski.pki.signer import PublicKey

_KNOWN = (
    ec.EllipticCurvePrivateKey
    | ed25519.Ed25519PrivateKey
    | rsa.RSAPrivateKey
    | mldsa.MLDSA44PrivateKey
    | mldsa.MLDSA65PrivateKey
    | mldsa.MLDSA87PrivateKey
)


class KeySigner:
    """Implements :class:`brski.pki.signer.Signer` with a key in memory.

    Args:
        private_key: P-256, P-384, Ed25519, ML-DSA, or RSA of 2048 to 4096 bits.
        chain: the key's certificate first, then its issuers; may be empty.
        deterministic: make ECDSA nonces as RFC 6979 has them, so that the same data gives the same
            signature. Ed25519 and RSA do so always, ML-DSA never. Off, ECDSA nonces come from the
            system's generator.

    Raises:
        KeyUnusable: a key of another kind, or the first certificate is for another key.
    """

    __slots__ = ("_chain", "_private_key", "_public_key", "_sign")

    def __init__(
        self,
        private_key: PrivateKey,
        chain: Iterable[x509.Certificate] = (),
        *,
        deterministic: bool = False,
    ) -> None:
        self._private_key = check_private_key(private_key)
        self._public_key: PublicKey = private_key.public_key()
        self._chain = tuple(chain)
        self._sign = signatures.signing_with(self._private_key, deterministic=deterministic)
        if self._chain and self._chain[0].public_key() != self._public_key:
            raise KeyUnusable("the first certificate of the chain is for another key")

    @property
    def public_key(self) -> PublicKey:
        """The key's public half."""
        return self._public_key

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        """As given, leaf first."""
        return self._chain

    @property
    def private_key(self) -> PrivateKey:
        """The key itself, for a TLS context of this process; not part of the port."""
        return self._private_key

    def sign(self, data: bytes) -> bytes:
        """Sign *data*, whole.

        Returns:
            DER ECDSA-Sig-Value (SHA-256 with P-256, SHA-384 with P-384), 64 raw octets for
            Ed25519, PKCS #1 v1.5 with SHA-256 for RSA, raw octets for ML-DSA.

        RFC 5758 §3.2; RFC 8410 §6; RFC 8017 §8.2; RFC 6979; RFC 9881 §3.
        """
        return self._sign(data)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {type(self._public_key).__name__}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a private key is not pickled")


def check_private_key(private_key: object) -> PrivateKey:
    """Return *private_key* if it is one that we sign with.

    Raises:
        KeyUnusable: its public half is not of an accepted kind (:mod:`brski.pki.keys`).
    """
    hint = "use P-256, P-384, Ed25519, ML-DSA, or RSA of 2048 to 4096 bits"
    if not isinstance(private_key, _KNOWN):
        name = type(private_key).__name__
        raise KeyUnusable(f"a {name} is not a key that we sign with", hint=hint)
    try:
        check_public_key(private_key.public_key())
    except KeyNotAllowed as err:
        raise KeyUnusable(err.reason, hint=hint) from err
    return private_key
