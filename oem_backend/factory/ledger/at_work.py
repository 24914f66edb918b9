"""Build lists at work: which chunks they draw on, and what was made of each.

Empty when nothing is at work.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from brski.edge.sqlite import transaction
from brski.idevid.bundle import Revocation
from brski.idevid.record import Presentation

# What the replace entries of a list at work end: what their chip has, and what their number has.
REPLACED: Final = """
SELECT entry.place AS place, certificate.rowid AS ended
FROM entry JOIN certificate ON certificate.chip_id = entry.chip_id
WHERE entry.build_list = :list AND entry.replaces AND certificate.ended_by IS NULL
UNION
SELECT entry.place, certificate.rowid
FROM entry JOIN certificate ON certificate.serial_number = entry.serial_number
    AND certificate.idevid_issuer = :issuer
WHERE entry.build_list = :list AND entry.replaces AND certificate.ended_by IS NULL
"""
_REVOCATIONS: Final = f"""
SELECT replaced.place, idevid_issuer, serial_number, sha256
FROM ({REPLACED}) AS replaced JOIN certificate ON certificate.rowid = replaced.ended
ORDER BY replaced.place, idevid_issuer, serial_number, sha256
"""  # noqa: S608 - of this module's constants


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedKey:
    """One chip whose key a worker is to derive."""

    place: int  # of its entry
    chip_id: bytes
    serial_number: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """One entry with its certificate."""

    place: int
    serial_number: str
    presentation: Presentation
    chunk: int
    certificate: bytes  # DER


class AtWork:
    """The entries of build lists at work, and their certificates."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    def chunks_of(self, number: int) -> tuple[tuple[int, int, bool], ...]:
        """Each chunk that a list at work draws on: batch, index, and whether it is done."""
        rows = self._db.execute(
            "SELECT batch, chunk, count(made.place) = count(*) FROM entry LEFT JOIN made "
            "USING (place) WHERE build_list = ? GROUP BY batch, chunk ORDER BY batch, chunk",
            (number,),
        )
        return tuple((batch, chunk, bool(done)) for batch, chunk, done in rows)

    def wanted_keys(self, number: int, batch: int, chunk: int) -> tuple[WantedKey, ...]:
        """The entries of a list at work whose chips came in this chunk."""
        rows = self._db.execute(
            "SELECT place, chip_id, serial_number FROM entry "
            "WHERE build_list = ? AND batch = ? AND chunk = ? ORDER BY place",
            (number, batch, chunk),
        )
        return tuple(
            WantedKey(place=place, chip_id=chip_id, serial_number=serial_number)
            for place, chip_id, serial_number in rows
        )

    def keep_chunk(self, made: Iterable[tuple[int, bytes, bytes]]) -> None:
        """Put the certificates of a chunk on record, all or none: place, DER, SHA-256 of it."""
        with transaction(self._db):
            self._db.executemany(
                "INSERT INTO made (place, certificate, sha256) VALUES (?, ?, ?)", made
            )

    def made(self, number: int, batch: int) -> Iterator[Made]:
        """What was made for a list at work out of one batch, in the order of serial numbers."""
        rows = self._db.execute(
            "SELECT place, serial_number, presentation, chunk, certificate "
            "FROM entry JOIN made USING (place) WHERE +build_list = ? AND +batch = ? "
            "ORDER BY place",  # + keeps it from a detour by an index: lists at work are few
            (number, batch),
        )
        for place, serial_number, presentation, chunk, certificate in rows:
            yield Made(
                place=place,
                serial_number=serial_number,
                presentation=Presentation(presentation),
                chunk=chunk,
                certificate=certificate,
            )

    def is_certified_in_part(self, number: int) -> bool:
        """Whether certificates of a list at work have been made."""
        row = self._db.execute(
            "SELECT 1 FROM entry JOIN made USING (place) WHERE build_list = ? LIMIT 1", (number,)
        ).fetchone()
        return row is not None

    def revocations(self, number: int, idevid_issuer: bytes) -> Iterator[tuple[int, Revocation]]:
        """What the ``replace`` entries of a list at work end, by place."""
        rows = self._db.execute(_REVOCATIONS, {"list": number, "issuer": idevid_issuer})
        for place, issuer, serial_number, sha256 in rows:
            yield (
                place,
                Revocation(
                    idevid_issuer=issuer, serial_number=serial_number, certificate_sha256=sha256
                ),
            )
