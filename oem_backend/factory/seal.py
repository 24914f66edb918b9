"""What a worker does at intake where there is a vault: check a chunk, and seal it for the vault."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from brski.errors import StateError
from brski.idevid import fields
from brski.pki import cbor
from brski.seed.batch import MOST_RECORDS_A_CHUNK
from brski.seed.record import MOST_CHIP_ID_OCTETS, MOST_SEED_OCTETS, seed_fingerprint
from brski.seed.vault import WRAPPED_OCTETS, ChunkPlace
from oem_backend.factory.vault.kept import VaultAccess, seal_records
from oem_backend.factory.work import (
    SealedChunk,
    SeenChip,
    encode_chunk,
    open_records,
    parse_sealed_chunk,
    profile_of,
    read_key,
)

_MOST_OCTETS = 1 << 27  # of a job or an answer
_TAG_OCTETS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedSeen:
    """A chunk as intake sees it, and as the vault keeps it."""

    chips: tuple[SeenChip, ...]
    wrapped: bytes  # the chunk's key
    sealed: tuple[bytes, ...]  # in the order of the chips


def encode_sealing(
    chunk: SealedChunk, intake_key: Path, batch_digest: bytes, vault: VaultAccess
) -> bytes:
    """A job for :func:`seal_chunk`."""
    return cbor.encode([encode_chunk(chunk), str(intake_key), batch_digest, vault.encode()])


def seal_chunk(job: bytes) -> bytes:
    """As :func:`oem_backend.factory.work.check_chunk`; and every seed sealed under a new key.

    Args:
        job: from :func:`encode_sealing`.

    Returns:
        For :func:`parse_sealed`.

    Raises:
        As that, and KeyUnusable: the vault key.
    """
    item = cbor.decode(job, max_octets=_MOST_OCTETS)
    chunk, path, digest, vault = fields.take_array(item, "job", least=4, most=4)
    intake_key = read_key(Path(fields.take_text(path, "path")))
    sealed_chunk = parse_sealed_chunk(fields.take_array(chunk, "chunk", least=4, most=4))
    place = ChunkPlace(
        batch_digest=fields.take_digest(digest, "batch digest"),
        index=sealed_chunk.index,
        profile=profile_of(sealed_chunk).name,
    )
    records = open_records(sealed_chunk)
    wrapped, sealed = seal_records(VaultAccess.parse(vault), place, records)
    return cbor.encode(
        [
            wrapped,
            [
                [record.chip_id, seed_fingerprint(intake_key, record.seed), kept]
                for record, kept in zip(records, sealed, strict=True)
            ],
        ]
    )


def parse_sealed(answer: bytes, count: int) -> SealedSeen:
    """What :func:`seal_chunk` answered.

    Args:
        count: how many records the batch's header gives the chunk.

    Raises:
        Malformed: it is something else.
        StateError: it is of another number of records.
    """
    item = cbor.decode(answer, max_octets=_MOST_OCTETS)
    wrapped, rows = fields.take_array(item, "answer", least=2, most=2)
    listed = fields.take_array(rows, "answer", least=0, most=MOST_RECORDS_A_CHUNK)
    if len(listed) != count:
        raise StateError(f"a worker came back with {len(listed)} chips of {count}")
    parsed = [_parse_row(row) for row in listed]
    size = WRAPPED_OCTETS
    return SealedSeen(
        chips=tuple(chip for chip, _ in parsed),
        wrapped=fields.take_octets(wrapped, "chunk key", least=size, most=size),
        sealed=tuple(sealed for _, sealed in parsed),
    )


def _parse_row(row: cbor.Item) -> tuple[SeenChip, bytes]:
    chip_id, fingerprint, sealed = fields.take_array(row, "chip", least=3, most=3)
    chip = SeenChip(
        chip_id=fields.take_octets(chip_id, "chip id", least=1, most=MOST_CHIP_ID_OCTETS),
        fingerprint=fields.take_digest(fingerprint, "fingerprint"),
    )
    most = MOST_SEED_OCTETS + _TAG_OCTETS
    return chip, fields.take_octets(sealed, "sealed seed", least=_TAG_OCTETS + 1, most=most)
