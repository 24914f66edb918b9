"""One chip of a seed batch: its name, which is public, and its seed, which is not."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from brski.errors import BatchRefused, KeyUnusable, Malformed
from brski.seed.secret import Seed

MOST_CHIP_ID_OCTETS: Final = 64
MOST_SEED_OCTETS: Final = 512  # in a batch; what bounds the size of a chunk
INTAKE_KEY_OCTETS: Final = 32
FINGERPRINT_LABEL: Final = b"seed-fingerprint v1"


def check_chip_id(chip_id: bytes) -> None:
    """Raise unless *chip_id* has 1 to 64 octets, any octets.

    Raises:
        Malformed: it has none, or more than 64.
    """
    if not 1 <= len(chip_id) <= MOST_CHIP_ID_OCTETS:
        raise Malformed(
            f"chip id has {len(chip_id)} octets, 1 to {MOST_CHIP_ID_OCTETS} are allowed"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedRecord:
    """What the silicon vendor says of one chip. Cannot be pickled, since it holds a seed.

    Raises:
        Malformed: a chip id of no or more than 64 octets, or a seed above 512.
    """

    chip_id: bytes  # 1 to 64 octets, kept exactly as they are
    seed: Seed

    def __post_init__(self) -> None:
        check_chip_id(self.chip_id)
        if len(self.seed) > MOST_SEED_OCTETS:
            raise Malformed(
                f"seed has {len(self.seed)} octets, {MOST_SEED_OCTETS} are the most in a batch"
            )


def make_record(number: int, chip_id: bytes, seed: bytes) -> SeedRecord:
    """Record *number* of a chunk, from 0.

    Raises:
        Malformed: see :class:`SeedRecord`; the reason names the record.
    """
    try:
        return SeedRecord(chip_id=chip_id, seed=Seed(seed))
    except Malformed as err:
        raise Malformed(f"record {number}: {err.reason}", section=err.section) from None


def check_distinct(records: Iterable[SeedRecord]) -> None:
    """Raise if two of *records* share a chip id or a seed.

    Raises:
        BatchRefused: names the chips, never the seed that they share.
    """
    chip_ids: set[bytes] = set()
    holders: dict[bytes, bytes] = {}
    for number, record in enumerate(records):
        if record.chip_id in chip_ids:
            raise BatchRefused(f"record {number}: chip id {record.chip_id.hex()} comes twice")
        chip_ids.add(record.chip_id)
        holder = holders.get(record.seed.octets)
        if holder is not None:
            raise BatchRefused(
                f"record {number}: chips {holder.hex()} and {record.chip_id.hex()} have one seed"
            )
        holders[record.seed.octets] = record.chip_id


def seed_fingerprint(intake_key: bytes, seed: Seed) -> bytes:
    """What a factory keeps of a seed for ever, to know it again: a keyed digest, 32 octets raw.

    ``HMAC-SHA-256(intake key, "seed-fingerprint v1" || seed)``. A plain digest of a seed would let
    anybody test guesses against it.

    Args:
        intake_key: 32 octets from the factory's own key file; it never leaves the factory.

    Raises:
        KeyUnusable: the key has another length.

    docs/seed-batch.md.
    """
    if len(intake_key) != INTAKE_KEY_OCTETS:
        raise KeyUnusable(
            f"the intake key has {len(intake_key)} octets, {INTAKE_KEY_OCTETS} are needed"
        )
    return hmac.digest(intake_key, FINGERPRINT_LABEL + seed.octets, "sha256")
