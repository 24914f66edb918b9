"""Sample devices against the factory's own bundles, and why one differs (docs/check-samples.md).

Compares in this process, from public records. What needs a seed is done by workers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from brski.errors import StateError
from brski.idevid.bundle import open_bundle
from brski.idevid.samples import (
    BatchSamples,
    Cause,
    Compared,
    Published,
    Sample,
    by_batch,
    compare,
)
from brski.pki.signer import PublicKey
from brski.seed.formats import open_any_batch
from oem_backend.executors.port import Executor
from oem_backend.factory.bundles import bundle_name
from oem_backend.factory.diagnosis import (
    Suspect,
    diagnose_chunk,
    encode_diagnosis,
    parse_diagnoses,
)
from oem_backend.factory.intake import Keys, batch_path
from oem_backend.factory.ledger.batches import TakenBatch
from oem_backend.factory.ledger.file import Ledger
from oem_backend.factory.ledger.given_out import CertifiedChip
from oem_backend.factory.work import SealedChunk

Places: TypeAlias = Mapping[tuple[str, bytes], CertifiedChip]  # by serial number and batch digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """Where a factory's bundles and sealed batches are, and by which keys they are read."""

    store: Path
    keys: Keys
    vendors: Mapping[str, PublicKey]
    factories: Mapping[str, PublicKey]  # whose bundles: factory id to public key


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedBatch:
    """One batch with its samples; *taken* is what the ledger says of it."""

    taken: TakenBatch
    samples: BatchSamples


def check_samples(
    samples: Sequence[Sample], shelf: Shelf, *, ledger: Ledger, executor: Executor
) -> tuple[tuple[CheckedBatch, ...], tuple[str, ...]]:
    """Hold *samples* against the bundles in the store, and find out why some differ.

    Returns:
        The batches that the samples are of, and the serial numbers that are not on record.

    Raises:
        StateError: the store has lost a bundle, or mixed one up.
        SignatureInvalid, Malformed, BundleRefused: a bundle in the store is no longer what it was.
        Unavailable: a worker failed; try again.

    docs/check-samples.md.
    """
    chips = ledger.given_out.chips([sample.serial_number for sample in samples])
    published, holders = _read_bundles(samples, chips, shelf)
    compared, unknown = compare(samples, published, holders)
    places = {(chip.serial_number, chip.batch_digest): chip for chip in chips}
    explained = _explain(compared, places, shelf, ledger, executor)
    batches = tuple(
        CheckedBatch(taken=_taken(ledger, each.batch_digest), samples=each)
        for each in by_batch(explained)
    )
    return batches, unknown


def _taken(ledger: Ledger, digest: bytes) -> TakenBatch:
    batch = ledger.batches.find(digest)
    if batch is None:
        raise StateError(f"the ledger has lost batch {digest.hex()}")
    return batch


# -- what was published


def _read_bundles(
    samples: Sequence[Sample], chips: Sequence[CertifiedChip], shelf: Shelf
) -> tuple[dict[str, list[Published]], dict[bytes, str]]:
    """The records of the chips, and whose the reported keys are, in one pass over each bundle."""
    wanted = {(chip.serial_number, _bundle_of(chip)) for chip in chips}
    reported = {sample.spki_sha256 for sample in samples}
    published: dict[str, list[Published]] = {}
    holders: dict[bytes, str] = {}
    for name in sorted({_bundle_of(chip) for chip in chips}):
        for record in _records(shelf, name):
            if record.spki_sha256 in reported:
                holders[record.spki_sha256] = record.serial_number
            if (record.serial_number, name) in wanted:
                published.setdefault(record.serial_number, []).append(record)
    return published, holders


def _bundle_of(chip: CertifiedChip) -> str:
    return bundle_name(chip.build_list_digest, chip.batch_digest)


def _records(shelf: Shelf, name: str) -> Iterator[Published]:
    path = shelf.store / "bundles" / name
    if not path.is_file():
        raise StateError(f"the store has lost the bundle {path}")
    with path.open("rb") as file:
        for record in open_bundle(file, shelf.factories).records():
            yield Published(
                serial_number=record.serial_number,
                spki_sha256=hashlib.sha256(record.spki).digest(),
                batch_digest=record.batch_digest,
                derivation_profile=record.derivation_profile,
            )


# -- why it differs


def _explain(
    compared: Sequence[Compared],
    places: Places,
    shelf: Shelf,
    ledger: Ledger,
    executor: Executor,
) -> list[Compared]:
    by_chunk: dict[tuple[bytes, int], list[Compared]] = {}
    for each in compared:
        if each.cause is Cause.UNEXPLAINED:
            chip = _chip_of(each, places)
            by_chunk.setdefault((chip.batch_digest, chip.chunk), []).append(each)
    found: dict[str, Compared] = {}
    work = [
        (sealed, asked)
        for (digest, chunk), asked in by_chunk.items()
        if (sealed := _sealed_chunk(shelf, digest, chunk)) is not None
    ]
    jobs = (encode_diagnosis(sealed, _suspects(asked, places)) for sealed, asked in work)
    with closing(executor.map(diagnose_chunk, jobs)) as answers:
        for (_, asked), answer in zip(work, answers, strict=True):
            for each, told in zip(asked, parse_diagnoses(answer, len(asked)), strict=True):
                detail = _as_serial_number(ledger, told.cause, told.detail)
                found[each.sample.serial_number] = each.explained(told.cause, detail)
    return [found.get(each.sample.serial_number, each) for each in compared]


def _chip_of(compared: Compared, places: Places) -> CertifiedChip:
    return places[compared.sample.serial_number, compared.published.batch_digest]


def _suspects(asked: Sequence[Compared], places: Places) -> list[Suspect]:
    return [
        Suspect(
            chip_id=_chip_of(each, places).chip_id,
            spki_sha256=each.sample.spki_sha256,
        )
        for each in asked
    ]


def _sealed_chunk(shelf: Shelf, digest: bytes, index: int) -> SealedChunk | None:
    """The chunk as it came; None where the store has the batch no more."""
    path = batch_path(shelf.store, digest)
    if not path.is_file():
        return None
    with path.open("rb") as stream:
        batch = open_any_batch(stream, shelf.vendors, shelf.keys.recipients)
        if batch.digest != digest:
            raise StateError(f"{path} holds another batch, {batch.digest.hex()}")
        return SealedChunk(
            header=batch.header_octets,
            index=index,
            sealed=batch.sealed_chunk(index),
            recipient_key=shelf.keys.opening(batch.header_octets),
        )


def _as_serial_number(ledger: Ledger, cause: Cause, detail: str) -> str:
    """Another chip by its serial number, where it has one."""
    if cause not in (Cause.SWAPPED_IDENTITY, Cause.SWAPPED_SEED, Cause.SWAPPED_CHIP_ID):
        return detail
    return ledger.given_out.serial_number_of(bytes.fromhex(detail)) or detail
