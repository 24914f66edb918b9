"""What happens inside a worker: a chunk is opened, used, and gone with the process.

:func:`check_chunk`, :func:`derive_chunk` and :func:`derive_demanded` are the tasks. Everything that
goes into them and comes out is public: sealed octets and paths in, digests, public keys and
signatures out, as CBOR. Seeds and private keys live and end in here.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

from cryptography.hazmat.primitives.asymmetric import ec

from brski.edge.atomic_file import read_file
from brski.edge.signers.file import check_private_mode
from brski.errors import StateError
from brski.idevid import fields
from brski.pki import cbor, signatures
from brski.pki.keys import encode_spki
from brski.seed.batch import MOST_CHUNKS, MOST_RECORDS_A_CHUNK
from brski.seed.formats import open_any_chunk, parse_any_header
from brski.seed.profiles import DerivationProfile, ScalarProfile, profile
from brski.seed.record import MOST_CHIP_ID_OCTETS, SeedRecord, seed_fingerprint
from oem_backend.factory.points import find_points
from oem_backend.factory.vault.kept import KeptChunk

PROOF_LABEL: Final = b"brski factory proof v1"

_MOST_OCTETS: Final = 1 << 27  # of a job, 12 MB, or an answer: 10,000 ML-DSA-87 keys have 73 MB
_FINGERPRINT_OCTETS: Final = 32
_MOST_SPKI_OCTETS: Final = 4096
_MOST_PROOF_OCTETS: Final = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedChunk:
    """One chunk of a verified batch, and where a worker finds the key that opens it."""

    header: bytes  # the batch's, as received
    index: int
    sealed: bytes
    recipient_key: Path


AnyChunk: TypeAlias = SealedChunk | KeptChunk  # of a batch, or of the vault


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenChip:
    """What intake learns of one record."""

    chip_id: bytes
    fingerprint: bytes  # HMAC-SHA-256 under the intake key


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivedKey:
    """The public half of what a seed gives, and the proof that the private half was there."""

    chip_id: bytes
    spki: bytes  # DER
    proof: bytes  # signature over proof_octets, as X.509 has it; empty where none was asked for


def proof_octets(batch_digest: bytes, chip_id: bytes, spki: bytes) -> bytes:
    """What a derived key signs once, before it is thrown away."""
    return b"".join((PROOF_LABEL, batch_digest, len(chip_id).to_bytes(2, "big"), chip_id, spki))


# -- intake


def encode_check(chunk: SealedChunk, intake_key: Path) -> bytes:
    """A job for :func:`check_chunk`."""
    return cbor.encode([*encode_chunk(chunk), str(intake_key)])


def check_chunk(job: bytes) -> bytes:
    """Open a chunk, check every record, and answer what intake may keep.

    Args:
        job: from :func:`encode_check`.

    Returns:
        For :func:`parse_seen`.

    Raises:
        BatchRefused, Malformed, UnknownFormat: as :func:`brski.seed.formats.open_any_chunk`.
        KeyUnusable, FileUnusable: a key file.
    """
    *chunk, intake_path = _take(job, 5)
    intake_key = read_key(Path(fields.take_text(intake_path, "path")))
    return cbor.encode(
        [
            [record.chip_id, seed_fingerprint(intake_key, record.seed)]
            for record in open_records(parse_chunk(chunk))
        ]
    )


def parse_seen(answer: bytes, count: int) -> tuple[SeenChip, ...]:
    """What :func:`check_chunk` answered.

    Args:
        count: how many records the batch's header gives the chunk.

    Raises:
        Malformed: it is something else.
        StateError: it is of another number of records.
    """
    seen = tuple(map(_parse_seen_chip, _take_records(answer)))
    if len(seen) != count:
        raise StateError(f"a worker came back with {len(seen)} chips of {count}")
    return seen


def _parse_seen_chip(item: cbor.Item) -> SeenChip:
    chip_id, fingerprint = fields.take_array(item, "chip", least=2, most=2)
    size = _FINGERPRINT_OCTETS
    return SeenChip(
        chip_id=_take_chip_id(chip_id),
        fingerprint=fields.take_octets(fingerprint, "fingerprint", least=size, most=size),
    )


# -- derivation


def encode_derivation(
    chunk: AnyChunk, batch_digest: bytes, chip_ids: Sequence[bytes], *, prove: bool
) -> bytes:
    """A job for :func:`derive_chunk`: whom to derive for, and what the proofs are bound to.

    Args:
        prove: have each key sign; for workers on other machines.
    """
    return cbor.encode([*encode_chunk(chunk), batch_digest, chip_ids, prove])


def derive_chunk(job: bytes) -> bytes:
    """Open a chunk and derive the keys of some of its chips as the devices will.

    Args:
        job: from :func:`encode_derivation`.

    Returns:
        For :func:`parse_derived`, in the order of the chunk.

    Raises:
        as :func:`check_chunk`.
    """
    *chunk, batch_digest, chip_ids, prove = _take(job, 7)
    digest = fields.take_digest(batch_digest, "batch digest")
    listed = fields.take_array(chip_ids, "chip ids", least=1, most=MOST_RECORDS_A_CHUNK)
    wanted = frozenset(map(_take_chip_id, listed))
    sealed = parse_chunk(chunk)
    derivation = profile_of(sealed)
    derive = partial(_prove, derivation, digest) if prove else quickest_spki(derivation)
    return cbor.encode(
        [
            [record.chip_id, *derive(record)]
            for record in open_records(sealed)
            if record.chip_id in wanted
        ]
    )


def encode_demanded(
    chunk: AnyChunk, batch_digest: bytes, chip_id: bytes, spki_sha256: bytes
) -> bytes:
    """A job for :func:`derive_demanded`."""
    return cbor.encode([*encode_chunk(chunk), batch_digest, chip_id, spki_sha256])


def derive_demanded(job: bytes) -> bytes:
    """Derive the key of one chip, and tell it only to whom knows its digest already.

    Args:
        job: from :func:`encode_demanded`.

    Returns:
        For :func:`parse_derived`: the key with its proof, or nothing where the digest is another.

    Raises:
        as :func:`check_chunk`.
    """
    *chunk, batch_digest, chip_id, spki_sha256 = _take(job, 7)
    digest = fields.take_digest(batch_digest, "batch digest")
    wanted, known = _take_chip_id(chip_id), fields.take_digest(spki_sha256, "key digest")
    sealed = parse_chunk(chunk)
    derivation = profile_of(sealed)
    proven = [
        (record.chip_id, *_prove(derivation, digest, record))
        for record in open_records(sealed)
        if record.chip_id == wanted
    ]
    return cbor.encode(
        [each for each in proven if hmac.compare_digest(hashlib.sha256(each[1]).digest(), known)]
    )


def _prove(
    derivation: DerivationProfile, batch_digest: bytes, record: SeedRecord
) -> tuple[bytes, bytes]:
    key = derivation.derive(record.seed, record.chip_id)
    spki = encode_spki(key.public_key())
    octets = proof_octets(batch_digest, record.chip_id, spki)
    return spki, signatures.sign(key, octets, deterministic=True)


def quickest_spki(derivation: DerivationProfile) -> Callable[[SeedRecord], tuple[bytes, bytes]]:
    """From a record to its public key (SubjectPublicKeyInfo, DER), without a proof.

    Gives the octets of :func:`plain_spki`.
    """
    points = find_points()
    if (
        points is None
        or not isinstance(derivation, ScalarProfile)
        or not isinstance(derivation.curve, ec.SECP256R1)
    ):
        return plain_spki(derivation)
    spki, scalar = points.spki, derivation.scalar
    return lambda record: (spki(scalar(record.seed, record.chip_id)), b"")


def plain_spki(derivation: DerivationProfile) -> Callable[[SeedRecord], tuple[bytes, bytes]]:
    """:func:`quickest_spki` by the library that everything else here uses."""
    derive = derivation.derive
    return lambda record: (encode_spki(derive(record.seed, record.chip_id).public_key()), b"")


def parse_derived(answer: bytes) -> tuple[DerivedKey, ...]:
    """What :func:`derive_chunk` answered; its proofs are not verified here.

    Raises:
        Malformed: it is something else.
    """
    return tuple(map(_parse_derived_key, _take_records(answer)))


def _parse_derived_key(item: cbor.Item) -> DerivedKey:
    chip_id, spki, proof = fields.take_array(item, "derived key", least=3, most=3)
    return DerivedKey(
        chip_id=_take_chip_id(chip_id),
        spki=fields.take_octets(spki, "public key", least=1, most=_MOST_SPKI_OCTETS),
        proof=fields.take_octets(proof, "proof", least=0, most=_MOST_PROOF_OCTETS),
    )


# -- what both have in common


def encode_chunk(chunk: AnyChunk) -> list[cbor.Encodable]:
    """A chunk as four items of a job."""
    if isinstance(chunk, KeptChunk):
        return chunk.encode()
    return [chunk.header, chunk.index, chunk.sealed, str(chunk.recipient_key)]


def parse_chunk(items: Sequence[cbor.Item]) -> AnyChunk:
    """What :func:`encode_chunk` gave.

    Raises:
        Malformed: it is something else.
    """
    if isinstance(items[0], list):
        return KeptChunk.parse(items)
    return parse_sealed_chunk(items)


def parse_sealed_chunk(items: Sequence[cbor.Item]) -> SealedChunk:
    """What :func:`encode_chunk` gave for a batch's chunk.

    Raises:
        Malformed: it is something else.
    """
    header, index, sealed, recipient_key = items
    return SealedChunk(
        header=fields.take_octets(header, "header", least=1, most=_MOST_OCTETS),
        index=fields.take_uint(index, "chunk", most=MOST_CHUNKS - 1),
        sealed=fields.take_octets(sealed, "sealed chunk", least=1, most=_MOST_OCTETS),
        recipient_key=Path(fields.take_text(recipient_key, "path")),
    )


def open_records(chunk: AnyChunk) -> tuple[SeedRecord, ...]:
    """Open *chunk* with the key in its file; from here on this process holds secrets.

    Raises:
        as :func:`brski.seed.formats.open_any_chunk`; KeyUnusable, FileUnusable: the key file;
        StateError: the vault was altered.
    """
    if isinstance(chunk, KeptChunk):
        return tuple(chunk.open())
    return open_any_chunk(chunk.header, chunk.index, chunk.sealed, read_key(chunk.recipient_key))


def profile_of(chunk: AnyChunk) -> DerivationProfile:
    """By which profile the chunk's keys are derived.

    Raises:
        UnknownFormat: one that is not known.
        Malformed: a header that is none.
    """
    if isinstance(chunk, KeptChunk):
        return profile(chunk.place.profile)
    return profile(parse_any_header(chunk.header).derivation_profile)


def read_key(path: Path) -> bytes:
    """A key file that none but its owner may touch.

    Raises:
        KeyUnusable, FileUnusable: others may, or it cannot be read.
    """
    check_private_mode(path)
    return read_file(path)


def _take(job: bytes, count: int) -> list[cbor.Item]:
    item = cbor.decode(job, max_octets=_MOST_OCTETS)
    return fields.take_array(item, "job", least=count, most=count)


def _take_records(answer: bytes) -> list[cbor.Item]:
    item = cbor.decode(answer, max_octets=_MOST_OCTETS)
    return fields.take_array(item, "answer", least=0, most=MOST_RECORDS_A_CHUNK)


def _take_chip_id(item: cbor.Item) -> bytes:
    return fields.take_octets(item, "chip id", least=1, most=MOST_CHIP_ID_OCTETS)
