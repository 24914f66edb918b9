"""The line: derive, certify, destroy. A build list and sealed chunks in, bundles out.

Workers derive, others certify; this process never sees a seed or a device's private key.
Each chunk's certificates are on record before the next is begun, so that a run that was cut off is
taken up where it stopped, and ends with the same octets (docs/factory.md).
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from cryptography import x509

from brski.edge.atomic_file import open_input, remove_leftovers
from brski.errors import BatchRefused, SettingsError
from brski.idevid.build_list import BuildList, open_build_list
from brski.idevid.bundle import BundleOrigin, BundleWriter, Revocation
from brski.idevid.signed_chunks import key_digest
from brski.pki import cbor
from brski.pki.extensions import subject_key_identifier
from brski.pki.keys import certificate_der
from brski.pki.signer import PublicKey, Signer
from oem_backend.executors.port import Executor
from oem_backend.factory.build_lists import begin_list
from oem_backend.factory.bundles import bundle_name, hand_out, keep_bundle, places_of
from oem_backend.factory.certify import Terms
from oem_backend.factory.intake import Keys, Progress, no_progress
from oem_backend.factory.ledger.batches import TakenBatch
from oem_backend.factory.ledger.file import Ledger
from oem_backend.factory.pipeline import Derivation, Work
from oem_backend.factory.seeds import Seeds
from oem_backend.factory.vault.keeper import VaultUse


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What one factory makes all its bundles with.

    Args:
        issuing: the CA's key, deterministic; its chain issuing certificate first, root last.
        issuing_key: the file of that key, for workers that certify; None where it is in no file,
            and this process certifies.
        vault: where seeds are that are not in the store.
        keep_batches: in the store, also when all of their chips are certified.
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
    issuing_key: Path | None = None
    vault: VaultUse | None = None
    keep_batches: bool = True

    @property
    def seeds(self) -> Seeds:
        """Where its seeds are."""
        return Seeds(
            store=self.store,
            vendors=self.vendors,
            keys=self.keys,
            vault=self.vault,
            keep_batches=self.keep_batches,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenBundle:
    """One bundle that was handed out."""

    path: Path
    digest: bytes
    batch_digest: bytes
    records: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeReport:
    """What the operator is told."""

    build_list_digest: bytes
    generation: int
    bundles: tuple[WrittenBundle, ...]  # one for each seed batch that the list has chips of
    certified: int  # in this run; what an earlier run had made is not counted
    repeated: bool  # the list was finished before; the same octets were handed out again


def make_bundles(
    line: Line,
    build_list: Path,
    out: Path,
    *,
    ledger: Ledger,
    executor: Executor,
    progress: Progress = no_progress,
) -> MakeReport:
    """Certify the devices of *build_list* and write their bundles to *out*.

    Args:
        out: the bundle, where all chips are of one seed batch; or an existing folder, for any
            number of bundles.
        progress: called with the chunks that are done, and those there are.

    Raises:
        BatchRefused: the list, whole; see :func:`oem_backend.factory.build_lists.begin_list`; or a
            chip whose seed was destroyed in the vault.
        SignatureInvalid, Malformed, UnknownFormat, TooLarge: the list or a batch.
        SettingsError: settings that no certificate can be made with, or that have changed since the
            list was begun.
        FileUnusable: there are several bundles, and *out* is no folder.
        Unavailable: a worker failed or the disk is full; nothing is lost, try again.
        StateError: the store has lost a batch or a bundle.
    """
    with open_input(build_list) as file:
        wanted = open_build_list(file, line.assemblers)
        known = ledger.lists.find(wanted.digest)
        if known is not None and known.finished:
            return _hand_out(line, wanted, known.number, out, ledger, certified=0, repeated=True)
        terms = check_terms(line, wanted)
        number = begin_list(
            wanted, terms=terms_digest(line), idevid_issuer=idevid_issuer_of(line), ledger=ledger
        )
    batches = ledger.batches.of_list(number)
    places_of(out, wanted.digest, [batch.digest for batch in batches])
    certified = _certify_chunks(
        line, terms, wanted.digest, number, batches, ledger, executor, progress
    )
    revocations = _revocations(number, line, ledger)
    folder = line.store / "bundles"
    folder.mkdir(exist_ok=True)
    remove_leftovers(folder)
    kept = [
        (
            batch.number,
            keep_bundle(
                folder,
                _origin(line, wanted, batch),
                ledger.at_work.made(number, batch.number),
                revocations,
                line.bundling,
            ),
        )
        for batch in batches
    ]
    ledger.lists.finish(number, idevid_issuer_of(line), kept)
    return _hand_out(line, wanted, number, out, ledger, certified=certified, repeated=False)


# -- what all of a list has in common


def terms_digest(line: Line) -> bytes:
    """SHA-256 of what of the settings is in certificates and bundles."""
    return hashlib.sha256(
        cbor.encode(
            [
                *(line.name, key_digest(line.bundling.public_key)),
                [certificate_der(certificate) for certificate in line.issuing.chain],
                *(line.masa_url, line.hardware_module_type),
            ]
        )
    ).digest()


def idevid_issuer_of(line: Line) -> bytes:
    """The issuing certificate's SubjectKeyIdentifier.

    Raises:
        SettingsError: there is none.
    """
    identifier = subject_key_identifier(_issuing_certificate(line))
    if identifier is None:
        raise SettingsError("the issuing certificate has no SubjectKeyIdentifier")
    return identifier


def _issuing_certificate(line: Line) -> x509.Certificate:
    if not line.issuing.chain:
        raise SettingsError("the issuing chain has no certificate")
    return line.issuing.chain[0]


def check_terms(line: Line, wanted: BuildList) -> Terms:
    """What all certificates of a list have in common, once it is clear that there can be any.

    Raises:
        SettingsError, Malformed, ChainInvalid: no certificate or bundle can be made with these.
    """
    terms = Terms(
        issuer=_issuing_certificate(line),
        masa_url=line.masa_url,
        not_before=wanted.header.created_at,
        hardware_module_type=line.hardware_module_type,
    )
    terms.profile()
    _origin(line, wanted)
    return terms


def _origin(line: Line, wanted: BuildList, batch: TakenBatch | None = None) -> BundleOrigin:
    """What a bundle says of itself; without *batch*, to see beforehand that there can be one."""
    header = wanted.header
    origin = BundleOrigin(
        factory_id=line.name,
        batch_digest=bytes(32) if batch is None else batch.digest,
        build_list_digest=wanted.digest,
        generation=header.generation,
        created_at=header.created_at,
        product=header.product,
        derivation_profile="none" if batch is None else batch.profile,
        issuing_chain=tuple(map(certificate_der, line.issuing.chain)),
    )
    BundleWriter(BytesIO(), origin)
    return origin


# -- derive, certify, destroy


def _certify_chunks(
    line: Line,
    terms: Terms,
    build_list_digest: bytes,
    number: int,
    batches: Sequence[TakenBatch],
    ledger: Ledger,
    executor: Executor,
    progress: Progress,
) -> int:
    chunks = ledger.at_work.chunks_of(number)
    left = [(batch, index) for batch, index, done in chunks if not done]
    _log_use(line, build_list_digest, number, batches, left, ledger)
    work = Work(
        derivations=_derivations(line, number, batches, left, ledger, prove=not executor.trusted),
        terms=terms,
        issuing=line.issuing,
        issuing_key=line.issuing_key if executor.trusted else None,
    )
    done = len(chunks) - len(left)
    progress(done, len(chunks))
    certified = 0
    for made in work.certificates(executor):
        ledger.at_work.keep_chunk(made)
        done, certified = done + 1, certified + len(made)
        progress(done, len(chunks))
    return certified


def _derivations(
    line: Line,
    number: int,
    batches: Sequence[TakenBatch],
    left: Sequence[tuple[int, int]],
    ledger: Ledger,
    *,
    prove: bool,
) -> Iterator[Derivation]:
    for batch in batches:
        indices = [index for of, index in left if of == batch.number]
        if not indices:
            continue
        with line.seeds.chunks_of(batch.digest, elsewhere=prove) as chunk_of:
            for index in indices:
                wanted = tuple(ledger.at_work.wanted_keys(number, batch.number, index))
                yield Derivation(
                    chunk=chunk_of(index, [key.chip_id for key in wanted]),
                    batch_digest=batch.digest,
                    wanted=wanted,
                    prove=prove,
                )


def _log_use(
    line: Line,
    build_list_digest: bytes,
    number: int,
    batches: Sequence[TakenBatch],
    left: Sequence[tuple[int, int]],
    ledger: Ledger,
) -> None:
    """Where seeds of the vault will be opened, its log says so first."""
    if line.vault is None:
        return
    wanted = {
        batch.digest: sum(
            len(tuple(ledger.at_work.wanted_keys(number, of, index)))
            for of, index in left
            if of == batch.number
        )
        for batch in batches
    }
    line.seeds.log_use(f"build list {build_list_digest.hex()}", wanted)


# -- what goes out


def _revocations(number: int, line: Line, ledger: Ledger) -> Mapping[int, Sequence[Revocation]]:
    by_place: defaultdict[int, list[Revocation]] = defaultdict(list)
    for place, revocation in ledger.at_work.revocations(number, idevid_issuer_of(line)):
        by_place[place].append(revocation)
    return by_place


def _hand_out(
    line: Line,
    wanted: BuildList,
    number: int,
    out: Path,
    ledger: Ledger,
    *,
    certified: int,
    repeated: bool,
) -> MakeReport:
    kept = ledger.lists.bundles_of(number)
    if not kept:
        raise BatchRefused(
            f"build list {wanted.digest.hex()} was registered: its devices are certified on demand"
        )
    line.seeds.erase_finished([each.batch_digest for each in kept], ledger)
    paths = places_of(out, wanted.digest, [each.batch_digest for each in kept])
    for path, each in zip(paths, kept, strict=True):
        name = bundle_name(wanted.digest, each.batch_digest)
        hand_out(line.store / "bundles" / name, each.file_sha256, path)
    return MakeReport(
        build_list_digest=wanted.digest,
        generation=wanted.header.generation,
        bundles=tuple(
            WrittenBundle(
                path=path,
                digest=each.digest,
                batch_digest=each.batch_digest,
                records=each.records,
            )
            for path, each in zip(paths, kept, strict=True)
        ),
        certified=certified,
        repeated=repeated,
    )
