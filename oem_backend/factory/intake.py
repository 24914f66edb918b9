"""A seed batch arrives: verified whole, checked in workers record by record, entered at once."""

from __future__ import annotations

import enum
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from brski.edge.atomic_file import erase_file, open_atomically, open_input, remove_leftovers
from brski.errors import BatchRefused, StateError, Unavailable
from brski.pki.signer import PublicKey
from brski.seed.batch_file import SeedBatch
from brski.seed.formats import BatchFormat, RecipientIds, format_of, open_any_batch
from oem_backend.executors.port import Executor
from oem_backend.factory.ledger.file import Ledger
from oem_backend.factory.seal import encode_sealing, parse_sealed, seal_chunk
from oem_backend.factory.vault.keeper import VaultUse
from oem_backend.factory.work import SealedChunk, SeenChip, check_chunk, encode_check, parse_seen

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
    worker_keys: Path | None = None  # folder where workers on other machines have their copies
    cms_recipient_key: Path | None = None  # of batches that OpenSSL alone has made; None: refused
    cms_recipient_key_id: bytes | None = None

    @property
    def recipients(self) -> RecipientIds:
        """Whom a batch may be addressed to."""
        return RecipientIds(cose=self.recipient_key_id, cms=self.cms_recipient_key_id)

    def opening(self, header_octets: bytes, *, elsewhere: bool = False) -> Path:
        """The file of the key that opens a batch with such a header.

        Args:
            elsewhere: by workers on other machines.

        Raises:
            StateError: there is none any more.
        """
        path = self.cms_recipient_key
        if format_of(header_octets) is BatchFormat.COSE:
            path = self.recipient_key
        if path is None:
            raise StateError("no recipient key for batches in CMS is configured any more")
        return self.worker_keys / path.name if elsewhere and self.worker_keys else path


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
    vault: VaultUse | None = None,
) -> IntakeReport:
    """Take a batch in, or say why not; nothing of a refused one stays.

    Args:
        path: the batch file; a regular one.
        vendors: public key by vendor id.
        accept_gap: take it although batches before it are missing.
        progress: called with the chunks that are done, and those there are.
        vault: gets the seeds; the store's copy of the batch is then erased.

    Raises:
        BatchRefused, SignatureInvalid, Malformed, UnknownFormat, TooLarge: the whole batch.
        FileUnusable: there is no such file.
        KeyUnusable, StateError: the vault's key is another, or the vault was altered.
        Unavailable: an earlier batch is missing, a worker failed, or the disk is full; try again.

    docs/seed-batch.md; docs/factory.md.
    """
    with open_input(path) as stream:
        batch = open_any_batch(stream, vendors, keys.recipients)
        if ledger.batches.find(batch.digest) is not None:
            _erase_copy(store, batch.digest, vault)
            return _report(batch, Intake.ALREADY)
        _check_place(batch, ledger, accept_gap=accept_gap)
        kept = batch_path(store, batch.digest)
        _keep(stream, kept)
    try:
        _check_and_enter(kept, batch.digest, vendors, keys, ledger, executor, progress, vault)
    except BaseException:
        if ledger.batches.find(batch.digest) is None:
            kept.unlink(missing_ok=True)
        raise
    _erase_copy(store, batch.digest, vault)
    return _report(batch, Intake.TAKEN)


def _erase_copy(store: Path, digest: bytes, vault: VaultUse | None) -> None:
    """Where the seeds are in the vault they are nowhere else."""
    path = batch_path(store, digest)
    if vault is not None and vault.vault.has_batch(digest) and path.exists():
        erase_file(path)


def _check_place(batch: SeedBatch, ledger: Ledger, *, accept_gap: bool) -> None:
    """A vendor's batches of a product form one chain, and each place in it is taken once.

    A batch names the one before it by digest. So the vendor has signed two batches for one place
    not only where both are here, but also where a neighbour names another than the one that is.
    """
    header = batch.header
    place = f"{header.vendor_id}/{header.product}"
    standing = ledger.batches.at(header.vendor_id, header.product, header.sequence)
    if standing is not None:
        raise _equivocation(f"{place}/{header.sequence} was taken in as {standing.digest.hex()}")
    after = ledger.batches.at(header.vendor_id, header.product, header.sequence + 1)
    if after is not None and after.predecessor != batch.digest:
        raise _equivocation(
            f"{place}/{after.sequence}, which was taken in, names another predecessor"
        )
    if header.sequence == 1:
        return
    before = ledger.batches.at(header.vendor_id, header.product, header.sequence - 1)
    if before is not None and before.digest != header.predecessor:
        raise _equivocation(
            f"it names another predecessor than the batch that was taken in as "
            f"{place}/{before.sequence}"
        )
    if before is None and not accept_gap:
        raise Unavailable(
            f"{place}/{header.sequence} has come, {header.sequence - 1} has not",
            hint="take in the missing batch first, or say --accept-gap",
        )


def _equivocation(why: str) -> BatchRefused:
    return BatchRefused(
        f"{why}: the vendor has signed two batches for one place", hint="ask which is true"
    )


def _keep(stream: BinaryIO, kept: Path) -> None:
    """Copy the sealed file into the store; a copy without a ledger entry is written again."""
    kept.parent.mkdir(exist_ok=True, mode=0o700)
    remove_leftovers(kept.parent)
    stream.seek(0)
    with open_atomically(kept, mode=0o600) as copy:
        shutil.copyfileobj(stream, copy)


def _check_and_enter(
    kept: Path,
    digest: bytes,
    vendors: Mapping[str, PublicKey],
    keys: Keys,
    ledger: Ledger,
    executor: Executor,
    progress: Progress,
    vault: VaultUse | None,
) -> None:
    """What is entered is what is in the store: verified once more, then opened by workers."""
    with kept.open("rb") as stream:
        batch = open_any_batch(stream, vendors, keys.recipients)
        if batch.digest != digest:
            raise StateError(f"{kept} has changed while it was copied")
        seen = (
            _seen_chips(batch, keys, executor, progress)
            if vault is None
            else _sealed_chips(batch, keys, executor, progress, vault)
        )
        with closing(seen):
            ledger.batches.take_in(digest, batch.header, seen)


def _seen_chips(
    batch: SeedBatch, keys: Keys, executor: Executor, progress: Progress
) -> Generator[Sequence[SeenChip], None, None]:
    header = batch.header
    progress(0, header.chunk_count)
    jobs = (encode_check(chunk, keys.intake_key) for chunk in _chunks(batch, keys))
    with closing(executor.map(check_chunk, jobs)) as answers:
        for index, answer in zip(range(header.chunk_count), answers, strict=True):
            yield parse_seen(answer, header.records_in(index))
            progress(index + 1, header.chunk_count)


def _sealed_chips(
    batch: SeedBatch, keys: Keys, executor: Executor, progress: Progress, into: VaultUse
) -> Generator[Sequence[SeenChip], None, None]:
    """The same; the batch is in the vault, durably, before the ledger's transaction ends."""
    header, digest = batch.header, batch.digest
    progress(0, header.chunk_count)
    jobs = (
        encode_sealing(chunk, keys.intake_key, digest, into.vault.access)
        for chunk in _chunks(batch, keys)
    )
    with (
        into.vault.sealing(into.who, digest, header.record_count) as sealing,
        closing(executor.map(seal_chunk, jobs)) as answers,
    ):
        for index, answer in zip(range(header.chunk_count), answers, strict=True):
            seen = parse_sealed(answer, header.records_in(index))
            rows = [(c.chip_id, s) for c, s in zip(seen.chips, seen.sealed, strict=True)]
            sealing.add(index, header.derivation_profile, seen.wrapped, rows)
            yield seen.chips
            progress(index + 1, header.chunk_count)


def _chunks(batch: SeedBatch, keys: Keys) -> Iterator[SealedChunk]:
    for index, sealed in batch.sealed_chunks():
        yield SealedChunk(
            header=batch.header_octets,
            index=index,
            sealed=sealed,
            recipient_key=keys.opening(batch.header_octets),
        )


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
