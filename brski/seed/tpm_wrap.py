"""Wraps an object to a TPM's storage key, as TPM2_Duplicate would, without a TPM.

Only that TPM can unwrap it, so that a seed reaches it without crossing its bus in clear. The outer
wrapper alone is used: a secret shared by ECDH, AES-CFB under it, and an HMAC over the result. TPM
2.0 Library, Part 1 §23.3 and Annex C.6; docs/tpm.md.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Final

# AES-CFB stands under "decrepit": fit for nothing new, and what every TPM encrypts objects with
from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from brski.errors import KeyNotAllowed
from brski.seed.tpm_object import StorageKey, TPMObject, sized

_IV: Final = bytes(16)


@dataclass(frozen=True, slots=True, kw_only=True)
class WrappedObject:
    """What TPM2_Import takes, sizes included, as ``tpm2_import`` reads them from files."""

    public: bytes  # TPM2B_PUBLIC
    duplicate: bytes  # TPM2B_PRIVATE
    encrypted_secret: bytes  # TPM2B_ENCRYPTED_SECRET


def wrap(
    plain: TPMObject, storage_key: StorageKey, ephemeral: ec.EllipticCurvePrivateKey
) -> WrappedObject:
    """Encrypt *plain* so that the TPM of *storage_key* alone can import it.

    Args:
        ephemeral: a fresh key on the storage key's curve, used this once.

    Raises:
        KeyNotAllowed: *ephemeral* is on another curve.
    """
    if ephemeral.curve.name != storage_key.public_key.curve.name:
        raise KeyNotAllowed("the ephemeral key is not on the storage key's curve")
    hash_name = storage_key.hash_name
    bits = hashlib.new(hash_name).digest_size * 8
    own, theirs = _coordinates(ephemeral.public_key()), _coordinates(storage_key.public_key)
    shared = ephemeral.exchange(ec.ECDH(), storage_key.public_key)
    secret = _kdfe(hash_name, shared, b"DUPLICATE", own[0] + theirs[0], bits)
    key = _kdfa(hash_name, secret, b"STORAGE", plain.name, storage_key.aes_octets * 8)
    encryptor = Cipher(algorithms.AES(key), CFB(_IV)).encryptor()
    encrypted = encryptor.update(sized(plain.sensitive)) + encryptor.finalize()
    integrity = _kdfa(hash_name, secret, b"INTEGRITY", b"", bits)
    mac = hmac.digest(integrity, encrypted + plain.name, hash_name)
    return WrappedObject(
        public=sized(plain.public),
        duplicate=sized(sized(mac) + encrypted),
        encrypted_secret=sized(sized(own[0]) + sized(own[1])),
    )


def _coordinates(key: ec.EllipticCurvePublicKey) -> tuple[bytes, bytes]:
    """x and y, each as long as the field's elements."""
    octets, point = (key.curve.key_size + 7) // 8, key.public_numbers()
    return point.x.to_bytes(octets, "big"), point.y.to_bytes(octets, "big")


def _kdfa(hash_name: str, key: bytes, label: bytes, context: bytes, bits: int) -> bytes:
    """SP 800-108 counter mode; one block is enough here. TPM 2.0 Part 1 §11.4.10.2."""
    data = (1).to_bytes(4, "big") + label + b"\0" + context + bits.to_bytes(4, "big")
    return hmac.digest(key, data, hash_name)[: bits // 8]


def _kdfe(hash_name: str, shared: bytes, label: bytes, parties: bytes, bits: int) -> bytes:
    """SP 800-56A concatenation; one block is enough here. TPM 2.0 Part 1 §11.4.10.3."""
    data = (1).to_bytes(4, "big") + shared + label + b"\0" + parties
    return hashlib.new(hash_name, data).digest()[: bits // 8]
