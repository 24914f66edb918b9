"""Why does a device have another key than it should? What a worker tries with the seeds at hand.

:func:`diagnose_chunk` is a worker's task like those of :mod:`oem_backend.factory.work`: sealed
octets and public digests in, causes out; no seed and no key leaves it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, TypeAlias

from brski.errors import Malformed, StateError
from brski.idevid import fields
from brski.idevid.samples import MOST_SAMPLES, Cause
from brski.pki import cbor
from brski.seed.profiles import PROFILES, DerivationProfile
from brski.seed.record import MOST_CHIP_ID_OCTETS, SeedRecord
from brski.seed.secret import Seed
from oem_backend.factory.work import (
    AnyChunk,
    encode_chunk,
    open_records,
    parse_chunk,
    profile_of,
    quickest_spki,
)

MOST_NEIGHBOURLY: Final = 16  # suspects of a chunk that are held against its other chips

_MOST_OCTETS: Final = 1 << 24
_MOST_DETAIL: Final = 128

Digest: TypeAlias = Callable[[SeedRecord], bytes]  # SHA-256 of the SubjectPublicKeyInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A chip that reported a key which is not its certificate's."""

    chip_id: bytes
    spki_sha256: bytes  # as reported


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What gives the reported key."""

    cause: Cause
    detail: str = ""  # a profile's name, or another chip's id in hex


def encode_diagnosis(chunk: AnyChunk, suspects: Sequence[Suspect]) -> bytes:
    """A job for :func:`diagnose_chunk`."""
    asked = [[suspect.chip_id, suspect.spki_sha256] for suspect in suspects]
    return cbor.encode([*encode_chunk(chunk), asked])


def diagnose_chunk(job: bytes) -> bytes:
    """Open a chunk, and try what gives each suspect's key.

    Args:
        job: from :func:`encode_diagnosis`.

    Returns:
        For :func:`parse_diagnoses`, in the order of the suspects.

    Raises:
        StateError: a suspect that did not come in this chunk.
        as :func:`oem_backend.factory.work.check_chunk`.

    docs/check-samples.md.
    """
    items = fields.take_array(cbor.decode(job, max_octets=_MOST_OCTETS), "job", least=5, most=5)
    chunk = parse_chunk(items[:4])
    listed = fields.take_array(items[4], "suspects", least=1, most=MOST_SAMPLES)
    suspects = tuple(map(_parse_suspect, listed))
    derivation = profile_of(chunk)
    records = {record.chip_id: record for record in open_records(chunk)}
    found = _diagnose(derivation, records, suspects)
    return cbor.encode([[each.cause.value, each.detail] for each in found])


def parse_diagnoses(answer: bytes, count: int) -> tuple[Diagnosis, ...]:
    """What :func:`diagnose_chunk` answered.

    Args:
        count: how many suspects it was asked about.

    Raises:
        Malformed: it is something else.
    """
    item = cbor.decode(answer, max_octets=_MOST_OCTETS)
    listed = fields.take_array(item, "diagnoses", least=count, most=count)
    return tuple(map(_parse_diagnosis, listed))


def _parse_suspect(item: cbor.Item) -> Suspect:
    chip_id, digest = fields.take_array(item, "suspect", least=2, most=2)
    return Suspect(
        chip_id=fields.take_octets(chip_id, "chip id", least=1, most=MOST_CHIP_ID_OCTETS),
        spki_sha256=fields.take_digest(digest, "digest"),
    )


def _parse_diagnosis(item: cbor.Item) -> Diagnosis:
    cause, detail = fields.take_array(item, "diagnosis", least=2, most=2)
    try:
        named = Cause(fields.take_text(cause, "cause"))
    except ValueError:
        raise Malformed("a worker's cause is none that is known") from None
    return Diagnosis(cause=named, detail=fields.take_text(detail, "detail")[:_MOST_DETAIL])


def _diagnose(
    derivation: DerivationProfile,
    records: Mapping[bytes, SeedRecord],
    suspects: Sequence[Suspect],
) -> list[Diagnosis]:
    neighbours = _Neighbours(derivation, tuple(records.values()))
    diagnoses = []
    for suspect in suspects:
        record = records.get(suspect.chip_id)
        if record is None:
            raise StateError(f"chip {suspect.chip_id.hex()} is not in this chunk")
        diagnoses.append(
            _alone(derivation, record, suspect.spki_sha256)
            or neighbours.explain(record, suspect.spki_sha256)
            or Diagnosis(cause=Cause.UNEXPLAINED)
        )
    return diagnoses


# -- the chip by itself


def _alone(derivation: DerivationProfile, record: SeedRecord, reported: bytes) -> Diagnosis | None:
    for cause, seed in _seeds(record.seed.octets):
        for tried in (derivation, *_others(derivation)):
            if _digest(tried, record.chip_id, seed) == reported:
                same = tried is derivation
                named = Cause.WRONG_PROFILE if cause is Cause.RIGHT_KEY and not same else cause
                return Diagnosis(cause=named, detail="" if same else tried.name)
    return None


def _seeds(octets: bytes) -> Iterator[tuple[Cause, bytes]]:
    yield Cause.RIGHT_KEY, octets
    yield Cause.ALL_ZERO_SEED, bytes(len(octets))
    yield Cause.ALL_ONE_SEED, b"\xff" * len(octets)
    yield Cause.REVERSED_SEED, octets[::-1]


def _others(derivation: DerivationProfile) -> Iterator[DerivationProfile]:
    return (other for name, other in PROFILES.items() if name != derivation.name)


def _digest(derivation: DerivationProfile, chip_id: bytes, seed: bytes) -> bytes | None:
    """None where the profile takes no seed of this length."""
    with suppress(Malformed):
        return _digests_of(derivation)(SeedRecord(chip_id=chip_id, seed=Seed(seed)))
    return None


def _digests_of(derivation: DerivationProfile) -> Digest:
    make = quickest_spki(derivation)
    return lambda record: hashlib.sha256(make(record)[0]).digest()


# -- the chip and the others of its chunk


class _Neighbours:
    """The chips of one chunk, held against a reported key a bounded number of times."""

    def __init__(self, derivation: DerivationProfile, records: Sequence[SeedRecord]) -> None:
        self._digest = _digests_of(derivation)
        self._records = records
        self._identities: dict[bytes, bytes] = {}  # chip id by digest; made when first needed
        self._left = MOST_NEIGHBOURLY

    def explain(self, record: SeedRecord, reported: bytes) -> Diagnosis | None:
        """Another chip's identity, seed or chip id, if that gives the *reported* key."""
        if not self._left:
            return None
        self._left -= 1
        if not self._identities:
            self._identities = {self._digest(each): each.chip_id for each in self._records}
        holder = self._identities.get(reported)
        if holder is not None:
            return Diagnosis(cause=Cause.SWAPPED_IDENTITY, detail=holder.hex())
        return self._mixed(record, reported)

    def _mixed(self, record: SeedRecord, reported: bytes) -> Diagnosis | None:
        for other in self._records:
            for cause, seed, chip_id in (
                (Cause.SWAPPED_SEED, other.seed, record.chip_id),
                (Cause.SWAPPED_CHIP_ID, record.seed, other.chip_id),
            ):
                if self._digest(SeedRecord(chip_id=chip_id, seed=seed)) == reported:
                    return Diagnosis(cause=cause, detail=other.chip_id.hex())
        return None
