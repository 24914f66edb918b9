"""Build lists, from the first look to the bundles that were handed out."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from brski.edge.sqlite import transaction
from brski.idevid.build_list import BuildEntry, BuildListHeader
from oem_backend.factory.ledger.at_work import REPLACED
from oem_backend.factory.ledger.waiting import Waiting

_ENTER_ENTRY: Final = """
INSERT INTO entry (build_list, serial_number, chip_id, presentation, replaces, batch, chunk)
SELECT given.*, chip.batch, chip.chunk
FROM (SELECT ?, ?, ? AS chip_id, ?, ?) AS given LEFT JOIN chip ON chip.chip_id = given.chip_id
"""
_END_REPLACED: Final = f"""
UPDATE certificate SET ended_by = :list WHERE rowid IN (SELECT ended FROM ({REPLACED}))
"""  # noqa: S608 - of this module's constants
_ENTER_CERTIFICATES: Final = """
INSERT INTO certificate (sha256, idevid_issuer, serial_number, chip_id, build_list)
SELECT made.sha256, :issuer, entry.serial_number, entry.chip_id, :list
FROM entry JOIN made USING (place) WHERE entry.build_list = :list
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownList:
    """A build list that has been begun."""

    number: int  # in this ledger
    terms: bytes  # SHA-256 of what of the settings is in its certificates and bundles
    finished: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptBundle:
    """A bundle in the store."""

    batch_digest: bytes
    digest: bytes
    file_sha256: bytes
    records: int


class BuildLists:
    """Every list that was begun."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    def find(self, digest: bytes) -> KnownList | None:
        """The list with this digest, if it was begun."""
        row = self._db.execute(
            "SELECT number, terms, finished FROM build_list WHERE digest = ?", (digest,)
        ).fetchone()
        if row is None:
            return None
        return KnownList(number=row[0], terms=row[1], finished=bool(row[2]))

    def finished_generation(self, product: str) -> int | None:
        """The highest generation of a product that was finished; None before the first."""
        row = self._db.execute(
            "SELECT max(generation) FROM build_list WHERE product = ? AND finished", (product,)
        ).fetchone()
        return None if row[0] is None else int(row[0])

    def begin(
        self, digest: bytes, header: BuildListHeader, terms: bytes, entries: Iterable[BuildEntry]
    ) -> int:
        """Put a list on record as begun, with its entries; within a transaction.

        Args:
            entries: in the order of their serial numbers.

        Returns:
            Its number in this ledger.
        """
        row = self._db.execute(
            "INSERT INTO build_list (digest, product, generation, created, terms) "
            "VALUES (?, ?, ?, ?, ?) RETURNING number",
            (
                *(digest, header.product, header.generation),
                *(int(header.created_at.timestamp()), terms),
            ),
        ).fetchone()
        number = int(row[0])
        self._db.executemany(
            _ENTER_ENTRY,
            (
                (number, entry.serial_number, entry.chip_id, entry.presentation, entry.replace)
                for entry in entries
            ),
        )
        return number

    def drop(self, number: int) -> None:
        """Forget a list that was begun and not finished, and what was made for it."""
        with transaction(self._db):
            self._db.execute("DELETE FROM entry WHERE build_list = ?", (number,))
            self._db.execute("DELETE FROM build_list WHERE number = ?", (number,))

    def finish(
        self, number: int, idevid_issuer: bytes, bundles: Iterable[tuple[int, KeptBundle]]
    ) -> None:
        """Enter what was made as given out, end what it replaces, all in one transaction.

        Args:
            bundles: each with the number of its batch.

        Raises:
            sqlite3.IntegrityError: what the checks before should have refused; the open ledger
                makes a StateError of it.
        """
        names = {"list": number, "issuer": idevid_issuer}
        with transaction(self._db):
            Waiting(self._db).forget_replaced(number)
            self._db.execute(_END_REPLACED, names)
            self._db.execute(_ENTER_CERTIFICATES, names)
            self._db.executemany(
                "INSERT INTO bundle (build_list, batch, digest, file_sha256, records) "
                "VALUES (?, ?, ?, ?, ?)",
                (
                    (number, batch, kept.digest, kept.file_sha256, kept.records)
                    for batch, kept in bundles
                ),
            )
            self._db.execute("UPDATE build_list SET finished = 1 WHERE number = ?", (number,))
            self._db.execute("DELETE FROM entry WHERE build_list = ?", (number,))

    def bundles_of(self, number: int) -> tuple[KeptBundle, ...]:
        """The bundles of a list that was finished."""
        rows = self._db.execute(
            "SELECT batch.digest, bundle.digest, file_sha256, bundle.records FROM bundle "
            "JOIN batch ON batch.number = bundle.batch WHERE build_list = ? ORDER BY batch.number",
            (number,),
        )
        return tuple(
            KeptBundle(batch_digest=batch, digest=digest, file_sha256=sha256, records=records)
            for batch, digest, sha256, records in rows
        )
