"""A seed batch arrives: verified whole, checked in workers record by record, entered at once."""

from __future__ import annotations

import enum
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from brski.edge.atomic_file import open_atomically
from brski.errors import BatchRefused, Unavailable
from brski.pki.signer import PublicKey
from brski.seed.batch_file import SeedBatch, open_batch
from oem_backend.executors.port import Executor
from oem_backend.factory.ledger import Ledger
from oem_backend.factory.work import ChunkJob, SeenChip, check_chunk

Progress = Callable[[int, int], None]  # chunks done, chunks in all


def no_progress(_done: int, _total: int) -> None:
    """Nobody is looking."""


class Intake(enum.StrEnum):
    """What became of a batch."""

    TAKEN = "taken-in"
    ALREADY = "already-taken-in"


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeReport:
    """What the operator is told."""

    outcome: Intake
    digest: bytes
    vendor_id: str
    product: str
    sequence: int
    records: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """Where workers find what they need; and the public half that addresses batches."""

    recipient_key: Path
    recipient_key_id: bytes
    intake_key: Path


def batch_path(store: Path, digest: bytes) -> Path:
    """Where a batch that was taken in is kept, sealed."""
    return store / "batches" / f"{digest.hex()}.batch"


def take_in(
    path: Path,
    *,
    vendors: Mapping[str, PublicKey],
    keys: Keys,
    store: Path,
    ledger: Ledger,
    executor: Executor,
    accept_gap: bool = False,
    progress: Progress = no_progress,
) -> IntakeReport:
    """Take a batch in, or say why not; nothing of a refused one stays.

    Args:
        path: the batch file.
        vendors: public key by vendor id.
        accept_gap: take it although batches before it are missing.
        progress: called after each chunk.

    Raises:
        BatchRefused, SignatureInvalid, Malformed, UnknownFormat, TooLarge: the whole batch.
        Unavailable: an earlier batch is missing, a worker failed, or the disk is full; try again.

    docs/seed-batch.md; docs/factory.md.
    """
    with path.open("rb") as stream:
        batch = open_batch(stream, vendors, keys.recipient_key_id)
        header = batch.header
        if ledger.batch(batch.digest) is not None:
            return _report(batch, Intake.ALREADY)
        _check_sequence(batch, ledger, accept_gap=accept_gap)
        seen = _seen_chips(batch, keys, executor, progress)
        kept = batch_path(store, batch.digest)
        _keep(path, kept)
        try:
            ledger.take_in(batch.digest, header, seen)
        except BatchRefused:
            kept.unlink()
            raise
    return _report(batch, Intake.TAKEN)


def _check_sequence(batch: SeedBatch, ledger: Ledger, *, accept_gap: bool) -> None:
    header = batch.header
    standing = ledger.batch_at(header.vendor_id, header.product, header.sequence)
    if standing is not None:
        raise BatchRefused(
            f"sequence {header.sequence} of {header.vendor_id}/{header.product} was taken in as "
            f"batch {standing.digest.hex()[:16]}…; this one has another digest",
            hint="the vendor has signed two batches for one place: ask which is true",
        )
    if header.sequence == 1:
        return
    before = ledger.batch_at(header.vendor_id, header.product, header.sequence - 1)
    if before is None:
        if not accept_gap:
            raise Unavailable(
                f"sequence {header.sequence} has come, {header.sequence - 1} has not",
                hint="take in the missing batch first, or say --accept-gap",
            )
    elif before.digest != header.predecessor:
        raise BatchRefused(
            f"its predecessor is not the batch that was taken in as {header.sequence - 1}"
        )


def _seen_chips(
    batch: SeedBatch, keys: Keys, executor: Executor, progress: Progress
) -> list[Sequence[SeenChip]]:
    total = batch.header.chunk_count
    seen: list[Sequence[SeenChip]] = []
    for chips in executor.map(check_chunk, _jobs(batch, keys)):
        seen.append(chips)
        progress(len(seen), total)
    return seen


def _jobs(batch: SeedBatch, keys: Keys) -> Iterator[ChunkJob]:
    for index, sealed in batch.sealed_chunks():
        yield ChunkJob(
            header=batch.header_octets,
            index=index,
            sealed=sealed,
            recipient_key=keys.recipient_key,
            intake_key=keys.intake_key,
        )


def _keep(path: Path, kept: Path) -> None:
    """Copy the sealed file into the store; a copy without a ledger entry is written again."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    with path.open("rb") as source, open_atomically(kept, mode=0o600) as copy:
        shutil.copyfileobj(source, copy)


def _report(batch: SeedBatch, outcome: Intake) -> IntakeReport:
    header = batch.header
    return IntakeReport(
        outcome=outcome,
        digest=batch.digest,
        vendor_id=header.vendor_id,
        product=header.product,
        sequence=header.sequence,
        records=header.record_count,
    )
