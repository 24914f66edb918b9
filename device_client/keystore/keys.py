"""LDevID keys in this process, always from the system's generator and never from the seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa

from brski import registry
from brski.edge.signers.key import KeySigner, check_private_key
from brski.errors import KeyUnusable, StateError, UnknownFormat
from brski.est.requirements import KeyRequirement
from brski.pki.signatures import PrivateKey

_EXPONENT: Final = 65537


class FileKeys:
    """Implements :class:`device_client.keystore.ldevid_keys.LDevIDKeys`; a reference is the key
    itself, PKCS #8 PEM.
    """

    def make(self, kind: KeyRequirement) -> bytes:
        """See the port."""
        return generate_key(kind).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    def signer(self, reference: bytes, chain: Sequence[x509.Certificate] = ()) -> KeySigner:
        """See the port."""
        try:
            key = serialization.load_pem_private_key(reference, password=None)
            private_key = check_private_key(key)
        except (ValueError, TypeError, UnsupportedAlgorithm, KeyUnusable) as err:
            raise StateError("the LDevID's key is not a private key of ours") from err
        return KeySigner(private_key, chain)


def generate_key(kind: KeyRequirement) -> PrivateKey:
    """Make a fresh key of that *kind*, of which every part is given.

    Raises:
        UnknownFormat: no kind that this device makes.
    """
    if kind.algorithm == registry.ID_ED25519:
        return ed25519.Ed25519PrivateKey.generate()
    if kind.algorithm == registry.ID_ML_DSA_44:
        return mldsa.MLDSA44PrivateKey.generate()
    if kind.algorithm == registry.ID_ML_DSA_65:
        return mldsa.MLDSA65PrivateKey.generate()
    if kind.algorithm == registry.ID_ML_DSA_87:
        return mldsa.MLDSA87PrivateKey.generate()
    if kind.algorithm == registry.RSA_ENCRYPTION and kind.rsa_bits is not None:
        return rsa.generate_private_key(_EXPONENT, kind.rsa_bits)
    if kind.curve == registry.SECP256R1:
        return ec.generate_private_key(ec.SECP256R1())
    if kind.curve == registry.SECP384R1:
        return ec.generate_private_key(ec.SECP384R1())
    raise UnknownFormat(f"this device makes no key of {kind}")
