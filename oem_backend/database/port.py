"""The port to whatever keeps the directory: an SQLite file, or a PostgreSQL database.

Statements are SQL that both take, with ``:name`` for a value and OCTETS for the type of a byte
string. What else differs is behind these methods.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeAlias

from brski.idevid.record import DeviceRecord

Row: TypeAlias = tuple[Any, ...]
Values: TypeAlias = Mapping[str, object]


class Session(Protocol):
    """One connection, for one thread at a time; blocks.

    Every method raises Unavailable where the engine cannot be reached, is locked or full, and
    StateError where what it holds is damaged or no directory of ours.
    """

    def rows(self, statement: str, values: Values) -> list[Row]:
        """All rows that a statement gives."""

    def change(self, statement: str, values: Values) -> int:
        """Run a statement that changes something; how many rows it did."""

    def run(self, statement: str) -> None:
        """Run a statement that takes no values and gives nothing."""

    def fill(self, table: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
        """Add *rows* to an empty temporary table, by the engine's bulk path, taken one by one.

        Raises:
            AlreadyThere: a row breaks a UNIQUE constraint of the table.
        """

    def writing(self) -> AbstractContextManager[object]:
        """A block that is one transaction, durable at its end; other writers wait for it."""

    def staging(self) -> AbstractContextManager[object]:
        """A block that fills temporary tables, and locks nobody out."""

    def version(self) -> int:
        """A number that changes when another connection has committed anything."""

    def settle(self) -> None:
        """What is good after a large load; failing does no harm."""

    def close(self) -> None:
        """Close it. Calling it again does nothing."""


class AlreadyThere(Exception):
    """A UNIQUE constraint of a temporary table; for the loader, which knows what it means."""


class Records(Protocol):
    """Point look-ups for programs that serve others; never blocks their loop for long."""

    async def find(
        self, idevid_issuer: bytes | None, serial_number: str
    ) -> tuple[DeviceRecord, ...]:
        """See :meth:`oem_backend.database.reader.Reader.find`."""

    async def version(self) -> int:
        """See :meth:`Session.version`."""

    async def close(self) -> None:
        """Close it. Calling it again does nothing."""


class Place(Protocol):
    """Where a directory is, and how it is opened; prints as what a person would know it by."""

    def open_to_read(self) -> Session:
        """A session that changes nothing.

        Raises:
            StateError: there is no directory, or one of another version.
            Unavailable: it cannot be reached now.
        """

    def open_to_write(self) -> Session:
        """A session for a directory that is made when missing, and brought up to date.

        Raises:
            StateError, FileUnusable: it cannot become one.
            Unavailable: it cannot be reached now.
        """

    async def open_records(self) -> Records:
        """Raises as :meth:`open_to_read`."""
