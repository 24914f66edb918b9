"""The OEM's key that seed batches are sealed to: ML-KEM-768 and X25519 side by side.

``cryptography`` builds its hybrid key from the two parts and serialises neither, so the file format
is ours: docs/seed-batch.md. Reading and writing files, and randomness, are the caller's.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from brski.errors import KeyMismatch, KeyUnusable, Malformed

MLKEM_PUBLIC_OCTETS: Final = 1184
MLKEM_SEED_OCTETS: Final = 64
X25519_OCTETS: Final = 32
PUBLIC_OCTETS: Final = MLKEM_PUBLIC_OCTETS + X25519_OCTETS
PRIVATE_OCTETS: Final = MLKEM_SEED_OCTETS + X25519_OCTETS
ENC_OCTETS: Final = 1120  # what HPKE puts before the ciphertext
SEAL_OVERHEAD_OCTETS: Final = ENC_OCTETS + 16  # and the tag behind it
HPKE_CODE_POINTS: Final = (0x647A, 0x0001, 0x0002)  # MLKEM768-X25519, HKDF-SHA256, AES-256-GCM

_SUITE: Final = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_PROBE: Final = X25519PrivateKey.from_private_bytes(b"\x42" * 32)  # any scalar shows a small order


class HybridPublicKey:
    """What an OEM gives to its vendors, in a way that they trust: 1216 octets.

    draft-ietf-hpke-pq; FIPS 203 §7.2.
    """

    __slots__ = ("_key", "_octets")

    def __init__(self, octets: bytes) -> None:
        mlkem, x25519 = octets[:MLKEM_PUBLIC_OCTETS], octets[MLKEM_PUBLIC_OCTETS:]
        try:
            x25519_key = X25519PublicKey.from_public_bytes(x25519)
            _PROBE.exchange(x25519_key)
            self._key = MLKEM768X25519PublicKey(
                MLKEM768PublicKey.from_public_bytes(mlkem), x25519_key
            )
        except ValueError as err:
            raise Malformed("recipient key is no ML-KEM-768 and X25519 public key") from err
        self._octets = bytes(octets)

    @classmethod
    def parse(cls, octets: bytes) -> HybridPublicKey:
        """Read the public key file.

        Args:
            octets: 1216, ML-KEM-768 encapsulation key then X25519 public key, raw.

        Raises:
            Malformed: another length, octets that are no encapsulation key, or an X25519 point of
                small order, to which nothing can be sealed.
        """
        return cls(octets)

    def encode(self) -> bytes:
        """The public key file: 1216 octets, raw."""
        return self._octets

    @property
    def key_id(self) -> bytes:
        """SHA-256 of the 1216 octets; ``recipient`` in a batch's header."""
        return hashlib.sha256(self._octets).digest()

    def seal(self, plaintext: bytes, info: bytes) -> bytes:
        """HPKE, base mode, single shot: enc (1120 octets) then the ciphertext with its tag.

        Randomness comes from the system's generator.

        RFC 9180 §6.1.
        """
        return _SUITE.encrypt(plaintext, self._key, info)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HybridPublicKey) and self._octets == other._octets

    def __hash__(self) -> int:
        return hash(self._octets)

    def __repr__(self) -> str:
        return f"HybridPublicKey(key_id={self.key_id.hex()})"


class HybridPrivateKey:
    """What opens seed batches. Shows nothing when printed and refuses to be pickled.

    A worker reads it from its own file; it is never handed over. Not wiped (docs/threat-model.md).

    FIPS 203 §7.1.
    """

    __slots__ = ("_key", "_octets", "_public_key")

    def __init__(self, octets: bytes) -> None:
        if len(octets) != PRIVATE_OCTETS:
            raise KeyUnusable(
                f"recipient private key has {len(octets)} octets, {PRIVATE_OCTETS} are needed"
            )
        mlkem_key = MLKEM768PrivateKey.from_seed_bytes(octets[:MLKEM_SEED_OCTETS])
        x25519_key = X25519PrivateKey.from_private_bytes(octets[MLKEM_SEED_OCTETS:])
        self._octets = bytes(octets)
        self._key = MLKEM768X25519PrivateKey(mlkem_key, x25519_key)
        self._public_key = HybridPublicKey(
            mlkem_key.public_key().public_bytes_raw() + x25519_key.public_key().public_bytes_raw()
        )

    @classmethod
    def parse(cls, octets: bytes) -> HybridPrivateKey:
        """Read the private key file; or make a key, from 96 random octets.

        Args:
            octets: 96, ML-KEM-768 seed (d then z) and X25519 private key, raw.

        Raises:
            KeyUnusable: another length.
        """
        return cls(octets)

    def encode(self) -> bytes:
        """The private key file, a secret: 96 octets, raw."""
        return self._octets

    @property
    def public_key(self) -> HybridPublicKey:
        """The public half."""
        return self._public_key

    def open(self, sealed: bytes, info: bytes) -> bytes:
        """What :meth:`HybridPublicKey.seal` sealed for the same *info*.

        Raises:
            KeyMismatch: not sealed to this key, not with this *info*, or altered. HPKE does not
                tell which.

        RFC 9180 §6.1.
        """
        try:
            return _SUITE.decrypt(sealed, self._key, info)
        except (InvalidTag, ValueError) as err:
            raise KeyMismatch("not sealed to this key and context, or altered") from err

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, HybridPrivateKey):
            return NotImplemented
        return hmac.compare_digest(self._octets, other._octets)

    def __repr__(self) -> str:
        return f"HybridPrivateKey(hidden, key_id={self._public_key.key_id.hex()})"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a recipient private key is not pickled or copied")
