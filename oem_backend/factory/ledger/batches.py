"""Seed batches that were taken in, their chips, and the fingerprints of the chips' seeds.

What only a constraint can see, a chip or a seed that comes twice, is refused here.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from brski.edge.sqlite import transaction
from brski.errors import BatchRefused
from brski.seed.batch import BatchHeader
from oem_backend.factory.work import SeenChip

_COLUMNS: Final = "number, digest, predecessor, vendor_id, product, sequence, profile"


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenBatch:
    """A batch that has been taken in."""

    number: int  # in this ledger
    digest: bytes
    predecessor: bytes | None
    vendor_id: str
    product: str
    sequence: int
    profile: str


class Batches:
    """Everything that came from silicon vendors."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    def find(self, digest: bytes) -> TakenBatch | None:
        """The batch with this digest, if it was taken in."""
        return next(self._select("digest = ?", digest), None)

    def at(self, vendor_id: str, product: str, sequence: int) -> TakenBatch | None:
        """The batch that took this place in a vendor's sequence."""
        where = "vendor_id = ? AND product = ? AND sequence = ?"
        return next(self._select(where, vendor_id, product, sequence), None)

    def of_list(self, number: int) -> tuple[TakenBatch, ...]:
        """The batches that the chips of a list at work came in, in the order of their intake."""
        where = "number IN (SELECT batch FROM entry WHERE build_list = ?)"
        return tuple(self._select(where, number))

    def _select(self, where: str, *values: object) -> Iterator[TakenBatch]:
        query = f"SELECT {_COLUMNS} FROM batch WHERE {where} ORDER BY number"  # noqa: S608
        rows = self._db.execute(query, values)  # our own words, their values
        for number, digest, predecessor, vendor_id, product, sequence, derivation in rows:
            yield TakenBatch(
                number=number,
                digest=digest,
                predecessor=predecessor,
                vendor_id=vendor_id,
                product=product,
                sequence=sequence,
                profile=derivation,
            )

    def take_in(
        self, digest: bytes, header: BatchHeader, chunks: Iterable[Sequence[SeenChip]]
    ) -> None:
        """Enter a batch with all that *chunks* brings, in one transaction.

        Args:
            chunks: of the batch, in order; taken one by one, so that they may still be at work.

        Raises:
            BatchRefused: a chip id or a seed that was there before, in whichever batch.
            Whatever *chunks* raises. Nothing is entered then.
        """
        with transaction(self._db):
            row = self._db.execute(
                "INSERT INTO batch (digest, predecessor, vendor_id, product, sequence, batch_id, "
                "profile, records) VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING number",
                (
                    *(digest, header.predecessor, header.vendor_id, header.product),
                    *(header.sequence, header.batch_id, header.derivation_profile),
                    header.record_count,
                ),
            ).fetchone()
            for index, chips in enumerate(chunks):
                self._enter_chips(row[0], index, chips)

    def _enter_chips(self, batch: int, chunk: int, chips: Sequence[SeenChip]) -> None:
        try:
            self._db.executemany(
                "INSERT INTO chip (chip_id, fingerprint, batch, chunk) VALUES (?, ?, ?, ?)",
                ((chip.chip_id, chip.fingerprint, batch, chunk) for chip in chips),
            )
        except sqlite3.IntegrityError as err:
            raise BatchRefused(self._twice(batch, chunk, chips)) from err

    def _twice(self, batch: int, chunk: int, chips: Sequence[SeenChip]) -> str:
        """Say which of *chips* was there before, and where."""
        query = (
            "SELECT chip_id, chunk, number, vendor_id, product, sequence "
            "FROM chip JOIN batch ON batch.number = chip.batch "
            "WHERE (chip_id = ? OR fingerprint = ?) AND NOT (chip.batch = ? AND chunk = ?)"
        )
        for chip in chips:
            row = self._db.execute(query, (chip.chip_id, chip.fingerprint, batch, chunk)).fetchone()
            if row is None:
                continue
            held_by, at, number, vendor_id, product, sequence = row
            where = "this batch" if number == batch else f"batch {vendor_id}/{product}/{sequence}"
            if held_by == chip.chip_id:
                return f"chip {chip.chip_id.hex()} is in chunk {at} of {where} already"
            return (
                f"chip {chip.chip_id.hex()} has the seed of chip {held_by.hex()}, "
                f"which is in chunk {at} of {where}"
            )
        return f"chunk {chunk} has a chip or a seed twice"

    def is_certified_whole(self, digest: bytes) -> bool:
        """Whether every chip of a batch has had a certificate."""
        row = self._db.execute(
            "SELECT 1 FROM chip JOIN batch ON batch.number = chip.batch WHERE digest = ? "
            "AND NOT EXISTS (SELECT 1 FROM certificate WHERE certificate.chip_id = chip.chip_id) "
            "LIMIT 1",
            (digest,),
        ).fetchone()
        return row is None

    def place_of_chip(self, chip_id: bytes) -> tuple[bytes, int] | None:
        """Digest of the batch, and chunk, that a chip came in."""
        row = self._db.execute(
            "SELECT batch.digest, chip.chunk FROM chip JOIN batch ON batch.number = chip.batch "
            "WHERE chip_id = ?",
            (chip_id,),
        ).fetchone()
        return None if row is None else (row[0], row[1])
