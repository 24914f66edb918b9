"""The file of a vault: rows, nothing but public octets. What they mean is judged elsewhere.

``secure_delete`` overwrites what is deleted; :meth:`VaultDatabase.purge` then moves the rest
together and empties the write-ahead log (docs/vault.md).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from brski.edge.sqlite import connect, database_error, migrate, transaction
from brski.errors import StateError, Unavailable
from brski.seed.vault import ChunkPlace, SealedRecord

_SCHEMA: Final = (
    """
    CREATE TABLE vault (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        header BLOB NOT NULL,
        mac BLOB NOT NULL,
        purge INTEGER NOT NULL DEFAULT 0
    );
    CREATE TABLE head (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        head BLOB NOT NULL,
        mac BLOB NOT NULL,
        previous BLOB NOT NULL
    );
    CREATE TABLE chunk (
        row INTEGER PRIMARY KEY,
        batch BLOB NOT NULL,
        number INTEGER NOT NULL,
        profile TEXT NOT NULL,
        wrapped BLOB NOT NULL,
        digest BLOB NOT NULL,
        UNIQUE (batch, number)
    );
    CREATE TABLE record (
        chunk INTEGER NOT NULL REFERENCES chunk (row),
        place INTEGER NOT NULL,
        chip_id BLOB NOT NULL,
        sealed BLOB NOT NULL,
        PRIMARY KEY (chunk, place)
    ) WITHOUT ROWID;
    CREATE TABLE use (
        number INTEGER PRIMARY KEY,
        entry BLOB NOT NULL,
        digest BLOB NOT NULL
    );
    """,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredChunk:
    """A row of ``chunk``."""

    row: int
    place: ChunkPlace
    wrapped: bytes
    digest: bytes


_CHUNKS: Final = "SELECT row, batch, number, profile, wrapped, digest FROM chunk"
_IN_ORDER: Final = "ORDER BY batch, number"


def _chunk_of(columns: tuple[int, bytes, int, str, bytes, bytes]) -> StoredChunk:
    row, batch, number, profile, wrapped, digest = columns
    place = ChunkPlace(batch_digest=batch, index=number, profile=profile)
    return StoredChunk(row=row, place=place, wrapped=wrapped, digest=digest)


class VaultDatabase:
    """The open file; from :func:`open_database`."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._db = connection
        self.path: Final = path

    def writing(self) -> AbstractContextManager[object]:
        """A block whose changes are all durable after it, or none of them."""
        return transaction(self._db)

    # -- what it is, and its head

    def found(self, header: bytes, mac: bytes, head: bytes, head_mac: bytes) -> None:
        """Enter a new vault; within :meth:`writing`."""
        self._db.execute("INSERT INTO vault VALUES (1, ?, ?, 0)", (header, mac))
        self._db.execute("INSERT INTO head VALUES (1, ?, ?, x'')", (head, head_mac))

    def header(self) -> tuple[bytes, bytes] | None:
        """Header and MAC; None where no vault was made yet."""
        row = self._db.execute("SELECT header, mac FROM vault").fetchone()
        return None if row is None else (bytes(row[0]), bytes(row[1]))

    def head(self) -> tuple[bytes, bytes, bytes]:
        """Head, its MAC, and the MAC before."""
        row = self._db.execute("SELECT head, mac, previous FROM head").fetchone()
        if row is None:
            raise StateError("the vault has no head")
        return bytes(row[0]), bytes(row[1]), bytes(row[2])

    def set_head(self, head: bytes, mac: bytes, previous: bytes) -> None:
        """Replace the head; within :meth:`writing`."""
        self._db.execute("UPDATE head SET head = ?, mac = ?, previous = ?", (head, mac, previous))

    # -- chunks and records

    def chunks(self, batch: bytes | None = None) -> Iterator[StoredChunk]:
        """All chunks, or those of a batch, by batch and number."""
        where, values = ("", ()) if batch is None else ("WHERE batch = ?", (batch,))
        yield from map(_chunk_of, self._db.execute(f"{_CHUNKS} {where} {_IN_ORDER}", values))

    def chunk(self, batch: bytes, number: int) -> StoredChunk | None:
        """One chunk."""
        row = self._db.execute(f"{_CHUNKS} WHERE batch = ? AND number = ?", (batch, number))
        found = row.fetchone()
        return None if found is None else _chunk_of(found)

    def counts(self) -> Iterator[tuple[bytes, int]]:
        """Each batch with the number of its records."""
        yield from self._db.execute(
            "SELECT batch, count(*) FROM chunk JOIN record ON record.chunk = chunk.row "
            "GROUP BY batch ORDER BY batch"
        )

    def records(self, chunk: StoredChunk) -> tuple[SealedRecord, ...]:
        """A chunk's records, by place."""
        rows = self._db.execute(
            "SELECT place, chip_id, sealed FROM record WHERE chunk = ? ORDER BY place", (chunk.row,)
        )
        return tuple(SealedRecord(place=p, chip_id=c, sealed=s) for p, c, s in rows)

    def enter_chunk(
        self,
        place: ChunkPlace,
        wrapped: bytes,
        digest: bytes,
        records: Iterable[SealedRecord],
    ) -> None:
        """Add a chunk; within :meth:`writing`."""
        (row,) = self._db.execute(
            "INSERT INTO chunk (batch, number, profile, wrapped, digest) VALUES (?, ?, ?, ?, ?) "
            "RETURNING row",
            (place.batch_digest, place.index, place.profile, wrapped, digest),
        ).fetchone()
        self._db.executemany(
            "INSERT INTO record VALUES (?, ?, ?, ?)",
            ((row, r.place, r.chip_id, r.sealed) for r in records),
        )

    def set_digest(self, chunk: StoredChunk, digest: bytes) -> None:
        """What the chunk is after some of its records went; within :meth:`writing`."""
        self._db.execute("UPDATE chunk SET digest = ? WHERE row = ?", (digest, chunk.row))

    def delete_chunk(self, chunk: StoredChunk) -> int:
        """Delete a chunk, its key and its records, and say how many; within :meth:`writing`."""
        count = self._db.execute("DELETE FROM record WHERE chunk = ?", (chunk.row,)).rowcount
        self._db.execute("DELETE FROM chunk WHERE row = ?", (chunk.row,))
        self._mark_for_purge()
        return count

    def delete_records(self, chunk: StoredChunk, places: Sequence[int]) -> None:
        """Delete some records of a chunk; within :meth:`writing`."""
        self._db.executemany(
            "DELETE FROM record WHERE chunk = ? AND place = ?", ((chunk.row, p) for p in places)
        )
        self._mark_for_purge()

    def count(self) -> tuple[int, int]:
        """Records and chunks."""
        (records,) = self._db.execute("SELECT count(*) FROM record").fetchone()
        (chunks,) = self._db.execute("SELECT count(*) FROM chunk").fetchone()
        return records, chunks

    # -- the log

    def uses(self) -> Iterator[tuple[int, bytes, bytes]]:
        """Number, entry and digest, in order."""
        yield from self._db.execute("SELECT number, entry, digest FROM use ORDER BY number")

    def add_use(self, number: int, entry: bytes, digest: bytes) -> None:
        """Add an entry; within :meth:`writing`."""
        self._db.execute("INSERT INTO use VALUES (?, ?, ?)", (number, entry, digest))

    # -- nothing stays of what was deleted

    def _mark_for_purge(self) -> None:
        self._db.execute("UPDATE vault SET purge = 1")

    @property
    def wants_purge(self) -> bool:
        """Whether something was deleted and the file not cleaned since."""
        return bool(self._db.execute("SELECT purge FROM vault WHERE purge").fetchone())

    def purge(self) -> None:
        """Have the file and its side files hold nothing of what was deleted.

        The zeros reach the file before it is made shorter.

        Raises:
            Unavailable: another process reads the vault, or the disk is full; to be done again.
        """
        try:
            self._empty_log()
            self._db.execute("VACUUM")
            self._empty_log()
            self._db.execute("UPDATE vault SET purge = 0")
            self._empty_log()
        except sqlite3.Error as err:
            raise database_error(err, self.path) from err

    def _empty_log(self) -> None:
        (busy, *_) = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise Unavailable(f"another process reads {self.path}, so it cannot be cleaned now")


@contextmanager
def open_database(path: Path, *, read_only: bool = False) -> Iterator[VaultDatabase]:
    """The file at *path*; made when missing, unless *read_only*.

    Raises:
        StateError: missing, another file, or damaged, which may show later, too.
        Unavailable: locked, a full or failing disk.
    """
    try:
        with closing(connect(path, read_only=read_only)) as connection:
            if not read_only:
                connection.execute("PRAGMA secure_delete = ON")
                connection.execute("PRAGMA temp_store = MEMORY")  # VACUUM's copy, too
                migrate(connection, _SCHEMA)
            yield VaultDatabase(connection, path)
    except sqlite3.Error as err:
        raise database_error(err, path) from err
