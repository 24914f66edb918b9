"""One connection that blocks its thread: loading, marks, manifests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, TypeVar

import asyncpg

from brski.errors import OnboardingError, Unavailable
from oem_backend.database.engine.postgresql.terms import CONNECT_S, LOCK, numbered, own, translated
from oem_backend.database.engine.postgresql.versions import content_version
from oem_backend.database.port import AlreadyThere, Row, Values

COMMAND_S: Final = 600.0  # merging a million rows is one command

T = TypeVar("T")


class PostgreSQLSession:
    """Implements :class:`oem_backend.database.port.Session`; blocks its thread."""

    def __init__(self, runner: asyncio.Runner, connection: Any, place: object) -> None:
        self._runner = runner
        self._connection = connection
        self._place = place

    def rows(self, statement: str, values: Values) -> list[Row]:
        """See the port."""
        text, names = numbered(statement)
        found = self._wait(self._open().fetch(text, *(values[name] for name in names)))
        return [tuple(row) for row in found]

    def change(self, statement: str, values: Values) -> int:
        """See the port."""
        text, names = numbered(statement)
        status = self._wait(self._open().execute(text, *(values[name] for name in names)))
        return int(status.rpartition(" ")[2])  # such as "INSERT 0 3"

    def run(self, statement: str) -> None:
        """See the port."""
        self._wait(self._open().execute(own(statement)))

    def fill(self, table: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
        """See the port."""
        self._wait(self._copy(self._open(), table, list(columns), rows))
        self.run(f"ANALYZE {table}")

    @staticmethod
    async def _copy(connection: Any, table: str, columns: list[str], rows: Iterable[Row]) -> None:
        try:
            await connection.copy_records_to_table(
                table, columns=columns, records=rows, timeout=COMMAND_S
            )
        except asyncpg.UniqueViolationError as err:
            raise AlreadyThere from err

    @contextmanager
    def writing(self) -> Iterator[None]:
        """See the port."""
        self.run("BEGIN")
        try:
            self.run(f"SELECT pg_advisory_xact_lock({LOCK})")
            yield
        except BaseException:
            with suppress(OnboardingError):
                self.run("ROLLBACK")
            raise
        self.run("COMMIT")

    @contextmanager
    def staging(self) -> Iterator[None]:
        """See the port."""
        yield

    def version(self) -> int:
        """See the port."""
        return self._wait(content_version(self._open()))

    def settle(self) -> None:
        """See the port."""
        with suppress(OnboardingError):
            self.run("ANALYZE device")

    def close(self) -> None:
        """See the port."""
        if self._connection is not None:
            with suppress(Exception):
                self._runner.run(self._connection.close(timeout=CONNECT_S))
            self._runner.close()
            self._connection = None

    def _open(self) -> Any:
        if self._connection is None:
            raise Unavailable(f"database {self._place} is closed")
        return self._connection

    def _wait(self, awaited: Awaitable[T]) -> T:
        async def wait() -> T:
            return await awaited

        with translated(self._place):
            return self._runner.run(wait())
