"""What the factory remembers for ever: batches, chips, fingerprints, certificates; no secret."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from brski.edge.sqlite import connect, migrate, transaction
from brski.errors import BatchRefused
from brski.seed.batch import BatchHeader
from oem_backend.factory.work import SeenChip

_SCHEMA: Final = (
    """
    CREATE TABLE batches (
        digest BLOB PRIMARY KEY, vendor_id TEXT NOT NULL, product TEXT NOT NULL,
        sequence INTEGER NOT NULL, batch_id TEXT NOT NULL, profile TEXT NOT NULL,
        records INTEGER NOT NULL, UNIQUE (vendor_id, product, sequence));
    CREATE TABLE chips (
        chip_id BLOB PRIMARY KEY, batch BLOB NOT NULL REFERENCES batches (digest),
        chunk INTEGER NOT NULL);
    CREATE TABLE fingerprints (fingerprint BLOB PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE build_lists (digest BLOB PRIMARY KEY, product TEXT NOT NULL,
        generation INTEGER NOT NULL, UNIQUE (product, generation));
    CREATE TABLE results (
        build_list BLOB NOT NULL, chunk INTEGER NOT NULL, serial_number TEXT NOT NULL,
        certificate BLOB NOT NULL, PRIMARY KEY (build_list, serial_number)) WITHOUT ROWID;
    CREATE TABLE chunks_done (
        build_list BLOB NOT NULL, chunk INTEGER NOT NULL, PRIMARY KEY (build_list, chunk));
    CREATE TABLE certified (
        idevid_issuer BLOB NOT NULL, serial_number TEXT NOT NULL, chip_id BLOB NOT NULL,
        certificate_sha256 BLOB NOT NULL, build_list BLOB NOT NULL,
        active INTEGER NOT NULL, ended_by BLOB);
    CREATE UNIQUE INDEX active_serial ON certified (idevid_issuer, serial_number) WHERE active;
    CREATE UNIQUE INDEX active_chip ON certified (chip_id) WHERE active;
    """,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenBatch:
    """A batch that has been taken in."""

    digest: bytes
    sequence: int
    records: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Certified:
    """One certificate that is or was in use."""

    idevid_issuer: bytes
    serial_number: str
    chip_id: bytes
    certificate_sha256: bytes


class Ledger:
    """One SQLite file, by the standard library alone."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    # -- batches

    def batch(self, digest: bytes) -> TakenBatch | None:
        """The batch with this digest, if it was taken in."""
        return self._batch("digest = ?", digest)

    def batch_at(self, vendor_id: str, product: str, sequence: int) -> TakenBatch | None:
        """The batch that took this place in a vendor's sequence."""
        return self._batch(
            "vendor_id = ? AND product = ? AND sequence = ?", vendor_id, product, sequence
        )

    def _batch(self, where: str, *values: object) -> TakenBatch | None:
        query = f"SELECT digest, sequence, records FROM batches WHERE {where}"  # noqa: S608 - our own
        row = self._db.execute(query, values).fetchone()
        return None if row is None else TakenBatch(digest=row[0], sequence=row[1], records=row[2])

    def take_in(
        self, digest: bytes, header: BatchHeader, chunks: Iterable[Sequence[SeenChip]]
    ) -> None:
        """Enter a batch, its chips and its fingerprints: all of it or nothing.

        Raises:
            BatchRefused: a chip id or a seed that was there before, in whichever batch.
        """
        with transaction(self._db):
            self._db.execute(
                "INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    *(digest, header.vendor_id, header.product, header.sequence),
                    *(header.batch_id, header.derivation_profile, header.record_count),
                ),
            )
            for index, chips in enumerate(chunks):
                for chip in chips:
                    self._enter(digest, index, chip)

    def _enter(self, digest: bytes, index: int, chip: SeenChip) -> None:
        try:
            self._db.execute("INSERT INTO chips VALUES (?, ?, ?)", (chip.chip_id, digest, index))
        except sqlite3.IntegrityError as err:
            raise BatchRefused(
                f"chip {chip.chip_id.hex()} was taken in before, in this batch or an earlier one"
            ) from err
        try:
            self._db.execute("INSERT INTO fingerprints VALUES (?)", (chip.fingerprint,))
        except sqlite3.IntegrityError as err:
            raise BatchRefused(
                f"chip {chip.chip_id.hex()} has a seed that another chip has, "
                "in this batch or an earlier one"
            ) from err

    def place_of(self, chip_id: bytes) -> tuple[bytes, int] | None:
        """Batch digest and chunk of a chip."""
        row = self._db.execute(
            "SELECT batch, chunk FROM chips WHERE chip_id = ?", (chip_id,)
        ).fetchone()
        return None if row is None else (row[0], row[1])

    # -- build lists

    def build_list_at(self, product: str, generation: int) -> bytes | None:
        """The digest of the list that took this generation."""
        row = self._db.execute(
            "SELECT digest FROM build_lists WHERE product = ? AND generation = ?",
            (product, generation),
        ).fetchone()
        return None if row is None else row[0]

    def last_generation(self, product: str) -> int:
        """The highest generation of a product; 0 before the first."""
        row = self._db.execute(
            "SELECT MAX(generation) FROM build_lists WHERE product = ?", (product,)
        ).fetchone()
        return int(row[0] or 0)

    def active_by_chip(self, chip_id: bytes) -> Certified | None:
        """What a chip is certified as."""
        return self._certified("chip_id = ? AND active", chip_id)

    def active_by_serial_number(self, idevid_issuer: bytes, serial: str) -> Certified | None:
        """Who bears a serial number under an issuer."""
        where = "idevid_issuer = ? AND serial_number = ? AND active"
        return self._certified(where, idevid_issuer, serial)

    def _certified(self, where: str, *values: object) -> Certified | None:
        row = self._db.execute(
            "SELECT idevid_issuer, serial_number, chip_id, certificate_sha256 FROM certified "  # noqa: S608
            f"WHERE {where}",
            values,
        ).fetchone()
        if row is None:
            return None
        return Certified(
            idevid_issuer=row[0], serial_number=row[1], chip_id=row[2], certificate_sha256=row[3]
        )

    def replaced_by(self, build_list: bytes) -> Iterator[tuple[str, Certified]]:
        """For a list that is done: what its re-issues replaced, with the serial number of each."""
        rows = self._db.execute(
            "SELECT new.serial_number, old.idevid_issuer, old.serial_number, old.chip_id, "
            "old.certificate_sha256 FROM certified AS new JOIN certified AS old "
            "ON old.ended_by = new.build_list AND (old.chip_id = new.chip_id OR "
            "(old.idevid_issuer = new.idevid_issuer AND old.serial_number = new.serial_number)) "
            "WHERE new.build_list = ? ORDER BY new.serial_number, old.rowid",
            (build_list,),
        )
        for serial, issuer, old_serial, chip_id, digest in rows:
            yield (
                serial,
                Certified(
                    idevid_issuer=issuer,
                    serial_number=old_serial,
                    chip_id=chip_id,
                    certificate_sha256=digest,
                ),
            )

    def done_chunks(self, build_list: bytes) -> frozenset[int]:
        """Chunks whose certificates are on record already, from a run that was cut off."""
        rows = self._db.execute("SELECT chunk FROM chunks_done WHERE build_list = ?", (build_list,))
        return frozenset(row[0] for row in rows)

    def keep_chunk(
        self, build_list: bytes, chunk: int, certificates: Iterable[tuple[str, bytes]]
    ) -> None:
        """Put a chunk's certificates on record, all or none."""
        with transaction(self._db):
            self._db.executemany(
                "INSERT INTO results VALUES (?, ?, ?, ?)",
                ((build_list, chunk, serial, der) for serial, der in certificates),
            )
            self._db.execute("INSERT INTO chunks_done VALUES (?, ?)", (build_list, chunk))

    def results(self, build_list: bytes) -> Iterator[tuple[str, int, bytes]]:
        """Serial number, chunk and certificate of a list, in the order of serial numbers."""
        return iter(
            self._db.execute(
                "SELECT serial_number, chunk, certificate FROM results WHERE build_list = ? "
                "ORDER BY serial_number",
                (build_list,),
            )
        )

    def certify(
        self,
        build_list: bytes,
        product: str,
        generation: int,
        entries: Iterable[tuple[Certified, bool]],
    ) -> None:
        """Enter a finished list; each entry with whether it replaces what was there before.

        Raises:
            sqlite3.IntegrityError: what the checks before should have refused.
        """
        with transaction(self._db):
            self._db.execute(
                "INSERT INTO build_lists VALUES (?, ?, ?)", (build_list, product, generation)
            )
            for entry, replaces in entries:
                if replaces:
                    self._db.execute(
                        "UPDATE certified SET active = 0, ended_by = ? WHERE active AND "
                        "(chip_id = ? OR (idevid_issuer = ? AND serial_number = ?))",
                        (build_list, entry.chip_id, entry.idevid_issuer, entry.serial_number),
                    )
                self._db.execute(
                    "INSERT INTO certified VALUES (?, ?, ?, ?, ?, 1, NULL)",
                    (
                        *(entry.idevid_issuer, entry.serial_number, entry.chip_id),
                        *(entry.certificate_sha256, build_list),
                    ),
                )

    def summary(self) -> dict[str, int]:
        """How much of each is on record."""
        return {
            "batches": self._count("batches"),
            "chips": self._count("chips"),
            "build_lists": self._count("build_lists"),
            "certified": self._count("certified"),
        }

    def _count(self, table: str) -> int:
        row = self._db.execute(f"SELECT COUNT(*) FROM {table}").fetchone()  # noqa: S608 - our own
        return int(row[0])


@contextmanager
def open_ledger(path: Path) -> Iterator[Ledger]:
    """The ledger at *path*, made when missing.

    Raises:
        StateError: the file is something else; Unavailable: locked or a failing disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(connect(path)) as connection:
        migrate(connection, _SCHEMA)
        yield Ledger(connection)
