"""LDevID keys, always from the system's generator and never from the seed."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa

from brski import registry
from brski.errors import UnknownFormat
from brski.est.requirements import KeyRequirement
from brski.pki.signatures import PrivateKey

_EXPONENT = 65537


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
