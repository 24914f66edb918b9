"""What happens inside a worker: a chunk is opened, used, and gone with the process.

Everything that comes in and goes out of these functions is public: sealed octets and paths in,
digests, public keys and signatures out. Seeds and private keys live and end in here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from brski.edge.atomic_file import read_file
from brski.edge.signers.file import check_private_mode
from brski.pki import signatures
from brski.pki.keys import encode_spki
from brski.seed.batch import open_chunk, parse_header
from brski.seed.profiles import profile
from brski.seed.recipient_key import HybridPrivateKey
from brski.seed.record import seed_fingerprint

PROOF_LABEL: Final = b"brski factory proof v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkJob:
    """One sealed chunk, and where the worker finds the keys that it needs. Holds no secret."""

    header: bytes
    index: int
    sealed: bytes
    recipient_key: Path
    intake_key: Path | None = None
    batch_digest: bytes = b""
    chip_ids: frozenset[bytes] = frozenset()  # whom to derive for


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
    proof: bytes  # signature over proof_octets, as X.509 has it


def proof_octets(batch_digest: bytes, chip_id: bytes, spki: bytes) -> bytes:
    """What a derived key signs once, before it is thrown away."""
    return b"".join((PROOF_LABEL, batch_digest, len(chip_id).to_bytes(2, "big"), chip_id, spki))


def check_chunk(job: ChunkJob) -> tuple[SeenChip, ...]:
    """Open a chunk, check every record, and return what intake may keep.

    Raises:
        BatchRefused, Malformed, UnknownFormat: as :func:`brski.seed.batch.open_chunk`.
        KeyUnusable, FileUnusable: a key file.
    """
    if job.intake_key is None:
        return ()
    check_private_mode(job.intake_key)
    intake_key = read_file(job.intake_key)
    records = open_chunk(job.header, job.index, job.sealed, _recipient(job.recipient_key))
    return tuple(
        SeenChip(chip_id=record.chip_id, fingerprint=seed_fingerprint(intake_key, record.seed))
        for record in records
    )


def derive_chunk(job: ChunkJob) -> tuple[DerivedKey, ...]:
    """Open a chunk and derive the keys of ``job.chip_ids``, as the devices will.

    Raises:
        as :func:`check_chunk`.
    """
    derivation = profile(parse_header(job.header).derivation_profile)
    derived = []
    for record in open_chunk(job.header, job.index, job.sealed, _recipient(job.recipient_key)):
        if record.chip_id not in job.chip_ids:
            continue
        key = derivation.derive(record.seed, record.chip_id)
        spki = encode_spki(key.public_key())
        proof = signatures.sign(
            key, proof_octets(job.batch_digest, record.chip_id, spki), deterministic=True
        )
        derived.append(DerivedKey(chip_id=record.chip_id, spki=spki, proof=proof))
    return tuple(derived)


def _recipient(path: Path) -> HybridPrivateKey:
    check_private_mode(path)
    return HybridPrivateKey.parse(read_file(path))
