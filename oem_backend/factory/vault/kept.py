"""Chunks of a vault on their way to a worker, and in its hands."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from brski.errors import Malformed
from brski.pki import cbor
from brski.seed.record import SeedRecord
from brski.seed.vault import (
    KEY_OCTETS,
    NONCE_OCTETS,
    ChunkPlace,
    SealedRecord,
    VaultKeys,
)
from oem_backend.factory.vault.key import Source, encode_source, open_keys


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultAccess:
    """Which vault, and where a worker gets its key from. No secret."""

    source: Source
    header: bytes
    mac: bytes

    def encode(self) -> list[cbor.Encodable]:
        """Items of a job."""
        return [encode_source(self.source), self.header, self.mac]

    @classmethod
    def parse(cls, item: cbor.Item) -> VaultAccess:
        """Read what :meth:`encode` wrote.

        Raises:
            Malformed: something else.
        """
        match item:
            case [dict() as source, bytes() as header, bytes() as mac]:
                named = {str(name): str(value) for name, value in source.items()}
                return cls(source=named, header=header, mac=mac)
        raise Malformed("a job's vault is none")

    def open(self) -> VaultKeys:
        """Its keys; in a worker.

        Raises:
            As :func:`oem_backend.factory.vault.key.open_keys`.
        """
        return open_keys(self.source, self.header, self.mac)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptChunk:
    """Some records of one chunk, sealed."""

    vault: VaultAccess
    place: ChunkPlace
    wrapped: bytes
    records: Sequence[SealedRecord]

    def encode(self) -> list[cbor.Encodable]:
        """Four items of a job, of which the first is a list."""
        place = self.place
        return [
            self.vault.encode(),
            [place.batch_digest, place.index, place.profile],
            self.wrapped,
            [[r.place, r.chip_id, r.sealed] for r in self.records],
        ]

    @classmethod
    def parse(cls, item: cbor.Item | Sequence[cbor.Item]) -> KeptChunk:
        """Read what :meth:`encode` wrote.

        Raises:
            Malformed: something else.
        """
        match item:
            case [vault, [bytes() as batch, int(index), str(profile)], bytes() as wrapped, [*rows]]:
                return cls(
                    vault=VaultAccess.parse(vault),
                    place=ChunkPlace(batch_digest=batch, index=index, profile=profile),
                    wrapped=wrapped,
                    records=tuple(map(_parse_record, rows)),
                )
        raise Malformed("a job's chunk is none")

    def open(self, keys: VaultKeys | None = None) -> Iterator[SeedRecord]:
        """The seeds, one by one; in a worker.

        Args:
            keys: of the vault, if they are there already.

        Raises:
            KeyUnusable, StateError: the key is another, or something was altered.
        """
        key = (keys or self.vault.open()).unwrap(self.place, self.wrapped)
        for record in self.records:
            yield key.open(record.place, record.chip_id, record.sealed)


def _parse_record(item: cbor.Item) -> SealedRecord:
    match item:
        case [int(place), bytes() as chip_id, bytes() as sealed]:
            return SealedRecord(place=place, chip_id=chip_id, sealed=sealed)
    raise Malformed("a job's record is none")


def seal_records(
    vault: VaultAccess, place: ChunkPlace, records: Sequence[SeedRecord]
) -> tuple[bytes, list[bytes]]:
    """Seal a chunk under a new key; in a worker.

    Returns:
        The chunk's key, wrapped, and each seed, sealed.

    Raises:
        KeyUnusable: the vault key is not to be had.
    """
    chunk_key, nonce = secrets.token_bytes(KEY_OCTETS), secrets.token_bytes(NONCE_OCTETS)
    key, wrapped = vault.open().wrap(place, chunk_key, nonce)
    return wrapped, [key.seal(number, record) for number, record in enumerate(records)]
