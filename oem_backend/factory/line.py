"""The line: derive, certify, destroy. A build list and sealed chunks in, a bundle out.

Workers derive and prove; this process certifies and never sees a seed or a device's private key.
Each chunk's certificates are on record before the next is begun, so that a run that was cut off is
taken up where it stopped, and ends with the same octets (docs/factory.md).
"""

from __future__ import annotations

import hashlib
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from brski.edge.atomic_file import open_atomically
from brski.errors import BatchRefused, StateError
from brski.idevid.build_list import BuildEntry, BuildList, open_build_list
from brski.idevid.bundle import (
    BundleOrigin,
    BundleWriter,
    CertifiedDevice,
    Revocation,
    open_bundle,
)
from brski.idevid.profile import IDevIDProfile
from brski.pki import signatures
from brski.pki.extensions import subject_key_identifier
from brski.pki.keys import certificate_der, load_spki
from brski.pki.signer import PublicKey, Signer
from brski.seed.batch_file import SeedBatch, open_batch
from oem_backend.executors.port import Executor
from oem_backend.factory.intake import Keys, Progress, batch_path, no_progress
from oem_backend.factory.ledger import Certified, Ledger
from oem_backend.factory.work import ChunkJob, DerivedKey, derive_chunk, proof_octets


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What one factory makes all its bundles with.

    Args:
        issuing: the CA's key, deterministic; its chain issuing certificate first, root last.
        bundling: the key that signs bundles, deterministic.
    """

    name: str
    vendors: Mapping[str, PublicKey]
    assemblers: Mapping[str, PublicKey]
    keys: Keys
    store: Path
    issuing: Signer
    bundling: Signer
    masa_url: str
    hardware_module_type: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeReport:
    """What the operator is told."""

    bundle: Path
    digest: bytes
    records: int
    generation: int
    repeated: bool  # the list was finished before; the same octets were written again


def make_bundle(
    line: Line,
    build_list: Path,
    out: Path,
    *,
    ledger: Ledger,
    executor: Executor,
    progress: Progress = no_progress,
) -> MakeReport:
    """Certify the devices of *build_list* and write their bundle to *out*.

    Raises:
        BatchRefused: the list, whole: a chip or serial number twice or in use, a chip of no batch,
            chips of several batches, a generation that is not new.
        SignatureInvalid, Malformed, UnknownFormat, TooLarge: the list or the batch.
        Unavailable: a worker failed or the disk is full; nothing is lost, try again.
        StateError: the store has lost a batch.
    """
    with build_list.open("rb") as file:
        wanted = open_build_list(file, line.assemblers)
        product = wanted.header.product
        standing = ledger.build_list_at(product, wanted.header.generation)
        repeated = standing == wanted.digest
        if not repeated:
            _check_generation(wanted, standing, ledger)
        batch_digest, chips = _placed(wanted, ledger)
        path = batch_path(line.store, batch_digest)
        if not path.is_file():
            raise StateError(f"the store has lost batch {batch_digest.hex()}")
        with path.open("rb") as stream:
            batch = open_batch(stream, line.vendors, line.keys.recipient_key_id)
            if batch.header.product != product:
                raise BatchRefused(
                    f"the list is for {product!r}, its chips for {batch.header.product!r}"
                )
            if not repeated:
                _check_conflicts(wanted, line, ledger)
                _certify_chunks(line, wanted, batch, chips, ledger, executor, progress)
                ledger.certify(
                    wanted.digest,
                    product,
                    wanted.header.generation,
                    _entries(wanted, line, ledger),
                )
        origin = BundleOrigin(
            factory_id=line.name,
            batch_digest=batch_digest,
            build_list_digest=wanted.digest,
            generation=wanted.header.generation,
            created_at=wanted.header.created_at,
            product=product,
            derivation_profile=batch.header.derivation_profile,
            issuing_chain=tuple(map(certificate_der, line.issuing.chain)),
        )
        digest = _write_bundle(line, wanted, origin, ledger, out)
    return MakeReport(
        bundle=out,
        digest=digest,
        records=wanted.header.entry_count,
        generation=wanted.header.generation,
        repeated=repeated,
    )


# -- what is asked for


def _check_generation(wanted: BuildList, standing: bytes | None, ledger: Ledger) -> None:
    header = wanted.header
    if standing is not None:
        raise BatchRefused(f"generation {header.generation} of {header.product} is another list's")
    last = ledger.last_generation(header.product)
    if header.generation <= last:
        raise BatchRefused(f"generation {header.generation} is not above {last}, the last one")


def _placed(wanted: BuildList, ledger: Ledger) -> tuple[bytes, dict[int, dict[bytes, str]]]:
    """The one batch that the list is of, and for each chunk its chips with their serial numbers."""
    batches = set()
    chips: defaultdict[int, dict[bytes, str]] = defaultdict(dict)
    for entry in wanted.entries():
        place = ledger.place_of(entry.chip_id)
        if place is None:
            raise BatchRefused(
                f"chip {entry.chip_id.hex()} ({entry.serial_number}) is of no batch taken in"
            )
        batches.add(place[0])
        chips[place[1]][entry.chip_id] = entry.serial_number
    if len(batches) != 1:
        raise BatchRefused(f"the list is of {len(batches)} batches; make a list for each")
    return batches.pop(), dict(chips)


def _check_conflicts(wanted: BuildList, line: Line, ledger: Ledger) -> None:
    """Without ``replace`` neither chip nor serial number may be in use (docs/oem-formats.md)."""
    issuer = _issuer_of(line)
    for entry in wanted.entries():
        if entry.replace:
            continue
        by_chip = ledger.active_by_chip(entry.chip_id)
        if by_chip is not None:
            raise BatchRefused(
                f"chip {entry.chip_id.hex()} is certified as {by_chip.serial_number} already",
                hint="a re-issue is an entry with replace",
            )
        if ledger.active_by_serial_number(issuer, entry.serial_number) is not None:
            raise BatchRefused(
                f"serial number {entry.serial_number} is in use under this issuer",
                hint="a re-issue is an entry with replace",
            )


def _issuer_of(line: Line) -> bytes:
    identifier = subject_key_identifier(line.issuing.chain[0])
    if identifier is None:
        raise StateError("the issuing certificate has no subjectKeyIdentifier")
    return identifier


# -- derive, certify, destroy


def _certify_chunks(
    line: Line,
    wanted: BuildList,
    batch: SeedBatch,
    chips: Mapping[int, Mapping[bytes, str]],
    ledger: Ledger,
    executor: Executor,
    progress: Progress,
) -> None:
    profile = IDevIDProfile(
        issuer=line.issuing.chain[0],
        masa_url=line.masa_url,
        not_before=wanted.header.created_at,
        hardware_module_type=line.hardware_module_type,
    )
    done = ledger.done_chunks(wanted.digest)
    left = [index for index in sorted(chips) if index not in done]
    finished = len(chips) - len(left)
    progress(finished, len(chips))
    derived = executor.map(derive_chunk, _jobs(line, batch, left, chips))
    for index, keys in zip(left, derived, strict=True):
        certificates = _certify(line, profile, batch.digest, keys, chips[index])
        ledger.keep_chunk(wanted.digest, index, certificates)
        finished += 1
        progress(finished, len(chips))


def _jobs(
    line: Line, batch: SeedBatch, indices: Sequence[int], chips: Mapping[int, Mapping[bytes, str]]
) -> Iterator[ChunkJob]:
    for index in indices:
        yield ChunkJob(
            header=batch.header_octets,
            index=index,
            sealed=batch.sealed_chunk(index),
            recipient_key=line.keys.recipient_key,
            batch_digest=batch.digest,
            chip_ids=frozenset(chips[index]),
        )


def _certify(
    line: Line,
    profile: IDevIDProfile,
    batch_digest: bytes,
    keys: Sequence[DerivedKey],
    serial_numbers: Mapping[bytes, str],
) -> list[tuple[str, bytes]]:
    if {key.chip_id for key in keys} != set(serial_numbers):
        raise StateError("a worker came back without some of its chips")
    certificates = []
    for key in keys:
        octets = proof_octets(batch_digest, key.chip_id, key.spki)
        signatures.verify(load_spki(key.spki), key.proof, octets, what="a worker's proof")
        serial = serial_numbers[key.chip_id]
        certificates.append((serial, profile.certify(key.spki, serial, line.issuing)))
    return certificates


def _entries(wanted: BuildList, line: Line, ledger: Ledger) -> list[tuple[Certified, bool]]:
    issuer = _issuer_of(line)
    digests = {
        serial: hashlib.sha256(der).digest() for serial, _, der in ledger.results(wanted.digest)
    }
    return [
        (
            Certified(
                idevid_issuer=issuer,
                serial_number=entry.serial_number,
                chip_id=entry.chip_id,
                certificate_sha256=digests[entry.serial_number],
            ),
            entry.replace,
        )
        for entry in wanted.entries()
    ]


# -- what goes out


def _write_bundle(
    line: Line, wanted: BuildList, origin: BundleOrigin, ledger: Ledger, out: Path
) -> bytes:
    replaced: defaultdict[str, list[Revocation]] = defaultdict(list)
    for serial, old in ledger.replaced_by(wanted.digest):
        replaced[serial].append(
            Revocation(
                idevid_issuer=old.idevid_issuer,
                serial_number=old.serial_number,
                certificate_sha256=old.certificate_sha256,
            )
        )
    with tempfile.TemporaryFile() as spool, open_atomically(out, mode=0o644) as file:
        writer = BundleWriter(spool, origin)
        results = ledger.results(wanted.digest)
        for entry, (serial, chunk, der) in zip(wanted.entries(), results, strict=True):
            writer.add(_device(entry, serial, chunk, der, tuple(sorted(replaced[serial]))))
        digest = writer.finish(file, line.bundling)
    with out.open("rb") as written:
        _read_back(written, line)
    return digest


def _device(
    entry: BuildEntry, serial: str, chunk: int, der: bytes, replaces: tuple[Revocation, ...]
) -> CertifiedDevice:
    if entry.serial_number != serial:
        raise StateError(f"the ledger has {serial} where the list has {entry.serial_number}")
    return CertifiedDevice(
        serial_number=serial,
        presentation=entry.presentation,
        certificate=der,
        chunk=chunk,
        replaces=replaces,
    )


def _read_back(written: BinaryIO, line: Line) -> None:
    """A factory reads its own bundle once, as the database will, before it says that it is done."""
    for _ in open_bundle(written, {line.name: line.bundling.public_key}).records():
        pass
