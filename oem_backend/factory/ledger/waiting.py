"""What the ledger holds of devices that are certified on demand (docs/on-demand.md).

Asked as queries here; the rules are in :mod:`oem_backend.factory.on_demand`. No secret.
"""

from __future__ import annotations

import enum
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from brski.edge.sqlite import transaction
from brski.idevid.demand import Demand
from brski.idevid.record import Presentation
from oem_backend.factory.looks import look_of

SCHEMA: Final = """
    -- entries of build lists that wait for somebody to meet the device
    CREATE TABLE waiting (
        serial_number TEXT PRIMARY KEY,
        chip_id BLOB NOT NULL UNIQUE,
        presentation TEXT NOT NULL,
        build_list INTEGER NOT NULL REFERENCES build_list (number),
        batch INTEGER NOT NULL REFERENCES batch (number),
        chunk INTEGER NOT NULL
    );
    -- demands that were answered, each with a bundle in the store
    CREATE TABLE answer (
        demand BLOB PRIMARY KEY,
        serial_number TEXT NOT NULL UNIQUE,
        file_sha256 BLOB NOT NULL
    );
    CREATE TABLE demand_count (
        day INTEGER NOT NULL,
        outcome TEXT NOT NULL,
        count INTEGER NOT NULL,
        PRIMARY KEY (day, outcome)
    );
    CREATE TABLE derivation_count (
        day INTEGER NOT NULL,
        serial_number TEXT NOT NULL,
        count INTEGER NOT NULL,
        PRIMARY KEY (day, serial_number)
    );
"""

_WAITING: Final = """
SELECT waiting.serial_number, waiting.chip_id, presentation, waiting.chunk,
    build_list.number, build_list.digest, build_list.product, build_list.generation,
    build_list.created, batch.digest, batch.profile
FROM waiting
JOIN build_list ON build_list.number = waiting.build_list
JOIN batch ON batch.number = waiting.batch
WHERE serial_number = ?
"""
_TAKEN: Final = """
SELECT entry.chip_id, entry.serial_number, waiting.chip_id, waiting.serial_number
FROM entry JOIN waiting
    ON waiting.serial_number = entry.serial_number OR waiting.chip_id = entry.chip_id
WHERE entry.build_list = ? AND NOT entry.replaces ORDER BY entry.place LIMIT 1
"""
_ALIKE: Final = f"""
SELECT entry.serial_number, waiting.serial_number
FROM entry CROSS JOIN waiting
    ON {look_of("waiting.serial_number")} = {look_of("entry.serial_number")}
WHERE EXISTS (SELECT 1 FROM waiting)  -- seen once, before a million entries
    AND entry.build_list = :list AND waiting.serial_number <> entry.serial_number
    AND NOT EXISTS (
        SELECT 1 FROM entry AS other WHERE other.build_list = :list AND other.replaces
            AND (other.serial_number = waiting.serial_number OR other.chip_id = waiting.chip_id)
    )
ORDER BY entry.place LIMIT 1
"""  # noqa: S608 - of this module's constants
_FORGET_REPLACED: Final = """
DELETE FROM waiting WHERE serial_number IN (
    SELECT waiting.serial_number FROM entry JOIN waiting
        ON waiting.serial_number = entry.serial_number OR waiting.chip_id = entry.chip_id
    WHERE entry.build_list = ? AND entry.replaces
)
"""
_COUNT: Final = """
INSERT INTO demand_count VALUES (?, ?, 1)
ON CONFLICT (day, outcome) DO UPDATE SET count = count + 1
"""
_COUNT_DERIVATION: Final = """
INSERT INTO derivation_count VALUES (?, ?, 1)
ON CONFLICT (day, serial_number) DO UPDATE SET count = count + 1
"""


class DemandOutcome(enum.StrEnum):
    """What became of a demand that is gone."""

    MALFORMED = "malformed"
    UNKNOWN = "unknown"
    OTHER_KEY = "other-key"
    REPEATED = "repeated"
    ANSWERED = "answered"


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingDevice:
    """An entry that waits, with what its certificate and bundle will say."""

    serial_number: str
    chip_id: bytes
    presentation: Presentation
    chunk: int
    build_list: int  # number in this ledger
    build_list_digest: bytes
    product: str
    generation: int
    created_at: datetime  # aware UTC
    batch_digest: bytes
    profile: str


class Waiting:
    """The part of an open ledger that is about demands."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    def begin(self, number: int) -> int:
        """Have the entries of a list at work wait, and the list be finished; in one transaction.

        Returns:
            How many there are.
        """
        with transaction(self._db):
            entered = self._db.execute(
                "INSERT INTO waiting SELECT serial_number, chip_id, presentation, build_list, "
                "batch, chunk FROM entry WHERE build_list = ?",
                (number,),
            ).rowcount
            self._db.execute("UPDATE build_list SET finished = 1 WHERE number = ?", (number,))
            self._db.execute("DELETE FROM entry WHERE build_list = ?", (number,))
        return entered

    def taken(self, number: int) -> tuple[bytes, str, bytes, str] | None:
        """The first entry without ``replace`` of a list at work that runs into one that waits.

        Returns:
            Chip id and serial number of the entry, then of what waits.
        """
        row = self._db.execute(_TAKEN, (number,)).fetchone()
        return None if row is None else (row[0], row[1], row[2], row[3])

    def alike(self, number: int) -> tuple[str, str] | None:
        """A serial number of a list at work, and one that looks like it and waits, and is not
        replaced by this list.
        """
        row = self._db.execute(_ALIKE, {"list": number}).fetchone()
        return None if row is None else (row[0], row[1])

    def forget_replaced(self, number: int) -> None:
        """Take what the ``replace`` entries of a list at work name off record; in a transaction."""
        self._db.execute(_FORGET_REPLACED, (number,))

    def device(self, serial_number: str) -> WaitingDevice | None:
        """The entry that waits under this serial number."""
        row = self._db.execute(_WAITING, (serial_number,)).fetchone()
        if row is None:
            return None
        number, chip_id, presentation, chunk, build_list, digest, product, *rest = row
        generation, created, batch_digest, profile = rest
        return WaitingDevice(
            serial_number=number,
            chip_id=chip_id,
            presentation=Presentation(presentation),
            chunk=chunk,
            build_list=build_list,
            build_list_digest=digest,
            product=product,
            generation=generation,
            created_at=datetime.fromtimestamp(created, UTC),
            batch_digest=batch_digest,
            profile=profile,
        )

    def was_answered(self, serial_number: str) -> bool:
        """Whether a demand for this serial number was answered."""
        return self._exists("answer WHERE serial_number = ?", serial_number)

    def answer(self, demand: Demand) -> bytes | None:
        """SHA-256 of the bundle that this very demand was answered with."""
        row = self._db.execute(
            "SELECT file_sha256 FROM answer WHERE demand = ?", (demand.digest,)
        ).fetchone()
        return None if row is None else bytes(row[0])

    def enter(
        self,
        demand: Demand,
        device: WaitingDevice,
        *,
        idevid_issuer: bytes,
        certificate_sha256: bytes,
        file_sha256: bytes,
        day: int,
    ) -> None:
        """Put a certificate and its bundle on record, and end the waiting; all or nothing."""
        with transaction(self._db):
            self._db.execute(
                "INSERT INTO certificate (sha256, idevid_issuer, serial_number, chip_id, "
                "build_list) VALUES (?, ?, ?, ?, ?)",
                (
                    *(certificate_sha256, idevid_issuer, device.serial_number),
                    *(device.chip_id, device.build_list),
                ),
            )
            self._db.execute(
                "INSERT INTO answer VALUES (?, ?, ?)",
                (demand.digest, device.serial_number, file_sha256),
            )
            self._db.execute("DELETE FROM waiting WHERE serial_number = ?", (device.serial_number,))
            self._db.execute(_COUNT, (day, DemandOutcome.ANSWERED))

    def count(self, outcome: DemandOutcome, day: int) -> None:
        """Count a demand that is gone."""
        self._db.execute(_COUNT, (day, outcome))

    def take_derivation(self, serial_number: str, day: int, *, most: int, most_each: int) -> bool:
        """Count one derivation ahead, if the day's budgets have it."""
        with transaction(self._db):
            in_all, each = self._db.execute(
                "SELECT coalesce(sum(count), 0), "
                "coalesce(sum(CASE WHEN serial_number = ? THEN count END), 0) "
                "FROM derivation_count WHERE day = ?",
                (serial_number, day),
            ).fetchone()
            if in_all >= most or each >= most_each:
                return False
            self._db.execute("DELETE FROM derivation_count WHERE day < ?", (day,))
            self._db.execute(_COUNT_DERIVATION, (day, serial_number))
        return True

    def summary(self) -> dict[str, int]:
        """How many wait, and what became of all demands so far."""
        (waiting,) = self._db.execute("SELECT count(*) FROM waiting").fetchone()
        counted = self._db.execute("SELECT outcome, sum(count) FROM demand_count GROUP BY outcome")
        return {"waiting": waiting, **dict(counted.fetchall())}

    def _exists(self, what: str, *values: object) -> bool:
        query = f"SELECT 1 FROM {what} LIMIT 1"  # noqa: S608 - our own words, their values
        return self._db.execute(query, values).fetchone() is not None
