"""A directory in an SQLite file: the usual one."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from brski.edge.sqlite import database_error, transaction
from brski.errors import OnboardingError, Unavailable
from brski.idevid.record import DeviceRecord
from oem_backend.database import schema
from oem_backend.database.port import AlreadyThere, Row, Values
from oem_backend.database.reader import Reader


@lru_cache(maxsize=256)
def _own(statement: str) -> str:
    return statement.replace("OCTETS", "BLOB")


class SQLiteSession:
    """Implements :class:`oem_backend.database.port.Session`; threads take turns."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection: sqlite3.Connection | None = connection
        self._path = path
        self._lock = threading.Lock()

    def rows(self, statement: str, values: Values) -> list[Row]:
        """See the port."""
        with self._ready() as connection:
            return connection.execute(_own(statement), values).fetchall()

    def change(self, statement: str, values: Values) -> int:
        """See the port."""
        with self._ready() as connection:
            return connection.execute(_own(statement), values).rowcount

    def run(self, statement: str) -> None:
        """See the port."""
        with self._ready() as connection:
            connection.execute(_own(statement))

    def fill(self, table: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
        """See the port."""
        marks = ", ".join("?" * len(columns))
        statement = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608 - ours
        with self._ready() as connection:
            try:
                connection.executemany(statement, rows)
            except sqlite3.IntegrityError as err:
                raise AlreadyThere from err

    @contextmanager
    def writing(self) -> Iterator[None]:
        """See the port."""
        if self._connection is None:
            raise self._closed()
        with transaction(self._connection):
            yield

    @contextmanager
    def staging(self) -> Iterator[None]:
        """See the port; temporary tables alone are written, so ``BEGIN`` locks nobody out."""
        self.run("BEGIN")
        try:
            yield
        except BaseException:
            with suppress(OnboardingError):
                self.run("ROLLBACK")
            raise
        self.run("COMMIT")

    def version(self) -> int:
        """See the port."""
        with self._ready() as connection:
            return schema.data_version(connection)

    def settle(self) -> None:
        """See the port."""
        with self._ready() as connection:
            schema.empty_log(connection)

    def close(self) -> None:
        """See the port."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    @contextmanager
    def _ready(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._connection is None:
                raise self._closed()
            try:
                yield self._connection
            except sqlite3.Error as err:
                raise database_error(err, self._path) from err

    def _closed(self) -> Unavailable:
        return Unavailable(f"database {self._path} is closed")


class InlineRecords:
    """Implements :class:`oem_backend.database.port.Records`.

    Inline: a look-up in a file takes less time than handing it to a thread would.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def find(
        self, idevid_issuer: bytes | None, serial_number: str
    ) -> tuple[DeviceRecord, ...]:
        """See the port."""
        return self._reader.find(idevid_issuer, serial_number)

    async def version(self) -> int:
        """See the port."""
        return self._reader.version()

    async def close(self) -> None:
        """See the port."""
        self._reader.close()


@dataclass(frozen=True, slots=True)
class SQLitePlace:
    """Implements :class:`oem_backend.database.port.Place`."""

    path: Path

    def open_to_read(self) -> SQLiteSession:
        """See the port."""
        return SQLiteSession(schema.open_to_read(self.path), self.path)

    def open_to_write(self) -> SQLiteSession:
        """See the port."""
        return SQLiteSession(schema.open_to_write(self.path), self.path)

    async def open_records(self) -> InlineRecords:
        """See the port."""
        return InlineRecords(Reader(self.open_to_read()))

    def __str__(self) -> str:
        return str(self.path)
