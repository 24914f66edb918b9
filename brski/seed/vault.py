"""What the octets of a vault mean: keys, sealed records, heads and log entries (docs/vault.md).

Values in, values out. Where the key comes from, the database, and randomness are the caller's.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from brski.errors import KeyUnusable, StateError
from brski.pki import cbor
from brski.seed.record import SeedRecord
from brski.seed.secret import Seed

KEY_OCTETS: Final = 32  # of the vault key, and of all below it
ID_OCTETS: Final = 16
SALT_OCTETS: Final = 16
NONCE_OCTETS: Final = 12
WRAPPED_OCTETS: Final = NONCE_OCTETS + KEY_OCTETS + 16
LEAST_PASSPHRASE_OCTETS: Final = 12
TOKEN_LABEL: Final = b"brski vault key v1"
LEAST_LOG2_N: Final = 15
MOST_LOG2_N: Final = 20

_R: Final = 8
_MOST_P: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretching:
    """How a passphrase becomes a key: scrypt's parameters.

    Raises:
        StateError: weaker than this program accepts, or more work than it does.

    RFC 7914 §2.
    """

    salt: bytes  # 16 octets
    log2_n: int = 17
    r: int = _R
    p: int = 1

    def __post_init__(self) -> None:
        if not LEAST_LOG2_N <= self.log2_n <= MOST_LOG2_N or self.r != _R:
            raise StateError(f"scrypt with N = 2^{self.log2_n} and r = {self.r} is not accepted")
        if not 1 <= self.p <= _MOST_P or len(self.salt) != SALT_OCTETS:
            raise StateError("scrypt with another p or salt than this program accepts")

    def stretch(self, passphrase: bytes) -> bytes:
        """The vault key, 32 octets.

        Raises:
            KeyUnusable: a passphrase below 12 octets.
        """
        if len(passphrase) < LEAST_PASSPHRASE_OCTETS:
            raise KeyUnusable(f"a passphrase has {LEAST_PASSPHRASE_OCTETS} octets or more")
        scrypt = Scrypt(salt=self.salt, length=KEY_OCTETS, n=1 << self.log2_n, r=self.r, p=self.p)
        return scrypt.derive(passphrase)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkPlace:
    """Which chunk of which batch; bound into all that is sealed of it."""

    batch_digest: bytes
    index: int
    profile: str  # the derivation profile's name


class VaultKeys:
    """The keys below a vault key. Shows nothing when printed, and is neither pickled nor copied.

    Args:
        vault_key: 32 octets.
        vault_id: 16 octets.

    Raises:
        KeyUnusable: another number of octets.

    RFC 5869.
    """

    __slots__ = ("_index", "_vault_id", "_wrapping")

    def __init__(self, vault_key: bytes, vault_id: bytes) -> None:
        if len(vault_key) != KEY_OCTETS:
            raise KeyUnusable(f"the vault key has {len(vault_key)} octets, not {KEY_OCTETS}")
        self._vault_id = vault_id
        self._index = _expand(vault_key, vault_id, b"brski vault index v1")
        self._wrapping = AESGCM(_expand(vault_key, vault_id, b"brski vault wrap v1"))

    def mac(self, octets: bytes) -> bytes:
        """HMAC-SHA-256 under the index key: of a header or a head."""
        return hmac.digest(self._index, octets, "sha256")

    def check_mac(self, octets: bytes, mac: bytes, what: str) -> None:
        """Raise unless *mac* is that of *octets*.

        Raises:
            StateError: it is not.
        """
        if not hmac.compare_digest(self.mac(octets), mac):
            raise StateError(f"{what} of the vault was altered")

    def wrap(self, place: ChunkPlace, chunk_key: bytes, nonce: bytes) -> tuple[ChunkKey, bytes]:
        """Seal a new chunk key.

        Args:
            chunk_key: 32 random octets.
            nonce: 12 random octets.

        Returns:
            The key to seal the chunk's records with, each place once; and 60 octets to keep.
        """
        sealed = self._wrapping.encrypt(nonce, chunk_key, self._chunk_data(place))
        return ChunkKey(chunk_key, self._vault_id, place), nonce + sealed

    def unwrap(self, place: ChunkPlace, wrapped: bytes) -> ChunkKey:
        """What :meth:`wrap` sealed.

        Raises:
            StateError: it was altered, or is of another chunk or vault.
        """
        nonce, sealed = wrapped[:NONCE_OCTETS], wrapped[NONCE_OCTETS:]
        try:
            chunk_key = self._wrapping.decrypt(nonce, sealed, self._chunk_data(place))
        except (InvalidTag, ValueError) as err:
            raise StateError(f"the key of {_called(place)} of the vault was altered") from err
        return ChunkKey(chunk_key, self._vault_id, place)

    def _chunk_data(self, place: ChunkPlace) -> bytes:
        return cbor.encode(["brski vault chunk v1", self._vault_id, *_items(place)])

    def __repr__(self) -> str:
        return "VaultKeys(hidden)"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("vault keys are not pickled or copied")


class ChunkKey:
    """Seals and opens the records of one chunk; from :class:`VaultKeys`."""

    __slots__ = ("_aead", "_place", "_vault_id")

    def __init__(self, chunk_key: bytes, vault_id: bytes, place: ChunkPlace) -> None:
        self._aead = AESGCM(chunk_key)
        self._vault_id = vault_id
        self._place = place

    def seal(self, place: int, record: SeedRecord) -> bytes:
        """The record's seed, sealed: as long as it, and 16 octets.

        Args:
            place: in the chunk, from 0; under one chunk key each but once.
        """
        data = self._record_data(place, record.chip_id)
        return self._aead.encrypt(_nonce(place), record.seed.octets, data)

    def open(self, place: int, chip_id: bytes, sealed: bytes) -> SeedRecord:
        """What :meth:`seal` sealed.

        Raises:
            StateError: it was altered, or is another chip's, place's, chunk's or vault's.
        """
        try:
            seed = self._aead.decrypt(_nonce(place), sealed, self._record_data(place, chip_id))
        except (InvalidTag, ValueError) as err:
            raise StateError(
                f"the record of chip {chip_id.hex()} in {_called(self._place)} of the vault "
                "was altered"
            ) from err
        return SeedRecord(chip_id=chip_id, seed=Seed(seed))

    def _record_data(self, place: int, chip_id: bytes) -> bytes:
        label = "brski vault record v1"
        return cbor.encode([label, self._vault_id, *_items(self._place), place, chip_id])

    def __repr__(self) -> str:
        return "ChunkKey(hidden)"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a chunk key is not pickled or copied")


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedRecord:
    """One row of a vault. Public."""

    place: int
    chip_id: bytes
    sealed: bytes


def chunk_digest(place: ChunkPlace, wrapped: bytes, records: Iterable[SealedRecord]) -> bytes:
    """What a head says of a chunk: SHA-256 over its key and all its records, by place."""
    rows: list[cbor.Encodable] = [
        [r.place, r.chip_id, hashlib.sha256(r.sealed).digest()] for r in records
    ]
    label = "brski vault chunk v1"
    return hashlib.sha256(cbor.encode([label, *_items(place), wrapped, rows])).digest()


def _items(place: ChunkPlace) -> list[cbor.Encodable]:
    return [place.batch_digest, place.index, place.profile]


def _called(place: ChunkPlace) -> str:
    return f"chunk {place.index} of batch {place.batch_digest.hex()}"


def _nonce(place: int) -> bytes:
    return place.to_bytes(NONCE_OCTETS, "big")


def _expand(key: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=KEY_OCTETS, salt=salt, info=info).derive(key)
