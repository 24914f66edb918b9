"""A directory in a PostgreSQL database, by asyncpg (extra ``[postgresql]``)."""

from __future__ import annotations

import asyncio
import importlib
import re
from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import asyncpg

from brski.edge.atomic_file import read_file
from brski.edge.signers.file import check_private_mode
from brski.errors import FileUnusable, OnboardingError, StateError, Unavailable
from brski.idevid.record import DeviceRecord
from oem_backend.database.engine_settings import EngineSettings
from oem_backend.database.port import AlreadyThere, Row, Values
from oem_backend.database.reader import (
    BUNDLE,
    CHAIN,
    Origin,
    find_statement,
    origin_of,
    records_of,
)
from oem_backend.database.schema import VERSION

LOCK: Final = 0x6F656D64  # "oemd": whoever brings the schema up to date, or writes, holds it
CONNECT_S: Final = 10.0
COMMAND_S: Final = 600.0  # merging a million rows is one command
LOOK_UP_S: Final = 5.0

_NAME: Final = re.compile(r"(?<!:):([a-z_]+)\b")
_VERSION: Final = "SELECT version_num FROM schema_version"
_STEPS: Final = re.compile(r"[0-9]{1,9}")
_CHANGED: Final = """
SELECT (SELECT coalesce(max(number), 0) FROM bundle) + (SELECT coalesce(max(number), 0) FROM mark)
"""

T = TypeVar("T")


def own(statement: str) -> str:
    """*statement* with this engine's type for byte strings."""
    return statement.replace("OCTETS", "BYTEA")


@lru_cache(maxsize=256)
def numbered(statement: str) -> tuple[str, tuple[str, ...]]:
    """*statement* with ``$1`` for ``:name``, and the names in the order of their numbers."""
    names: list[str] = []

    def number(found: re.Match[str]) -> str:
        if found[1] not in names:
            names.append(found[1])
        return f"${names.index(found[1]) + 1}"

    return _NAME.sub(number, own(statement)), tuple(names)


@dataclass(frozen=True, slots=True)
class PostgreSQLPlace:
    """Implements :class:`oem_backend.database.port.Place`."""

    url: str
    password_file: Path | None = None
    pool: int = 8

    @classmethod
    def open(cls, settings: EngineSettings) -> PostgreSQLPlace:
        """Build it from its settings table; connects to nothing yet."""
        return cls(settings.url, settings.password_file, settings.pool)

    def open_to_read(self) -> PostgreSQLSession:
        """See the port."""
        return self._open(read_only=True)

    def open_to_write(self) -> PostgreSQLSession:
        """See the port."""
        return self._open(read_only=False)

    async def open_records(self) -> PooledRecords:
        """See the port."""
        with translated(self):
            pool = await asyncpg.create_pool(
                self.url,
                password=self._password(),
                min_size=1,
                max_size=self.pool,
                timeout=CONNECT_S,
                command_timeout=LOOK_UP_S,
                server_settings={"default_transaction_read_only": "on"},
            )
        records = PooledRecords(pool, self)
        try:
            with translated(self):
                async with pool.acquire() as connection:
                    await check_version(connection, self)
        except BaseException:
            await records.close()
            raise
        return records

    def _open(self, *, read_only: bool) -> PostgreSQLSession:
        runner = asyncio.Runner()
        try:
            connection = runner.run(self._connect(read_only=read_only))
        except BaseException:
            runner.close()
            raise
        return PostgreSQLSession(runner, connection, self)

    async def _connect(self, *, read_only: bool) -> Any:
        with translated(self):
            connection = await asyncpg.connect(
                self.url,
                password=self._password(),
                timeout=CONNECT_S,
                command_timeout=COMMAND_S,
                server_settings={"default_transaction_read_only": "on" if read_only else "off"},
            )
        try:
            with translated(self):
                if not read_only and await _version_of(connection) != VERSION:
                    await _bring_up_to_date(connection, self)
                await check_version(connection, self)
        except BaseException:
            connection.terminate()
            raise
        return connection

    def _password(self) -> str | None:
        if self.password_file is None:
            return None
        check_private_mode(self.password_file)
        try:
            return read_file(self.password_file).decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError:  # which would show a part of it
            raise FileUnusable(f"{self.password_file} is not UTF-8") from None

    def __str__(self) -> str:
        parts = urlsplit(self.url)
        return f"postgresql://{parts.netloc}{parts.path}"


async def _version_of(connection: Any) -> int | None:
    if await connection.fetchval("SELECT to_regclass('schema_version')") is None:
        return None
    found = await connection.fetchval(_VERSION)
    if not _STEPS.fullmatch(str(found)):
        raise StateError(f"the table schema_version says {str(found)[:40]!r}: no OEM database")
    return int(found)


async def _bring_up_to_date(connection: Any, place: PostgreSQLPlace) -> None:
    async with connection.transaction():
        await connection.execute(f"SELECT pg_advisory_xact_lock({LOCK})")
        version = await _version_of(connection)  # another program may have been at it
        if version is not None and version > VERSION:
            raise StateError(
                f"{place} has schema version {version}, this program knows {VERSION}",
                hint="a newer version of this program wrote it",
            )
        if version != VERSION:
            # by name: alembic and SQLAlchemy take a quarter of a second, and are needed once
            run = importlib.import_module("oem_backend.database.migrations.run")
            await connection.execute(run.script_for_postgresql(version))


async def check_version(connection: Any, place: PostgreSQLPlace) -> None:
    """Raise StateError unless the database is a directory of the version that we read."""
    version = await _version_of(connection)
    if version is None:
        raise StateError(f"{place} is no OEM database", hint="brski-oem database load makes one")
    if version != VERSION:
        raise StateError(
            f"{place} has schema version {version}, this program reads {VERSION}",
            hint="brski-oem database load brings an older one up to date",
        )


class PostgreSQLSession:
    """Implements :class:`oem_backend.database.port.Session`; blocks its thread."""

    def __init__(self, runner: asyncio.Runner, connection: Any, place: PostgreSQLPlace) -> None:
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
        return self._wait(version_of(self._open()))

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


async def version_of(connection: Any) -> int:
    """Bundles and marks are only ever added, under one lock, so their numbers only ever grow."""
    return int(await connection.fetchval(_CHANGED))


class PooledRecords:
    """Implements :class:`oem_backend.database.port.Records`."""

    def __init__(self, pool: Any, place: PostgreSQLPlace) -> None:
        self._pool = pool
        self._place = place
        self._origins: dict[int, Origin] = {}

    async def find(
        self, idevid_issuer: bytes | None, serial_number: str
    ) -> tuple[DeviceRecord, ...]:
        """See the port."""
        text, names = numbered(find_statement(idevid_issuer))
        values = {"serial": serial_number, "issuer": idevid_issuer}
        async with self._acquired() as connection:
            rows = await connection.fetch(text, *(values[name] for name in names))
            for row in rows:
                if row["bundle"] not in self._origins:
                    self._origins[row["bundle"]] = await self._origin(connection, row["bundle"])
        return records_of(serial_number, [tuple(row) for row in rows], self._origins)

    async def _origin(self, connection: Any, bundle: int) -> Origin:
        row = await connection.fetchrow(numbered(BUNDLE)[0], bundle)
        chain = await connection.fetch(numbered(CHAIN)[0], row["issuing_chain"])
        return origin_of(tuple(row), [each["certificate"] for each in chain])

    async def version(self) -> int:
        """See the port."""
        async with self._acquired() as connection:
            return await version_of(connection)

    async def close(self) -> None:
        """See the port."""
        try:
            async with asyncio.timeout(CONNECT_S):
                await self._pool.close()
        except (asyncpg.PostgresError, *_NO_CONNECTION):
            self._pool.terminate()  # nobody is there to be told

    @asynccontextmanager
    async def _acquired(self) -> AsyncIterator[Any]:
        with translated(self._place):
            async with self._pool.acquire(timeout=LOOK_UP_S) as connection:
                yield connection


@contextmanager
def translated(place: PostgreSQLPlace) -> Iterator[None]:
    """Say in our terms what PostgreSQL, its client or the network said."""
    try:
        yield
    except asyncpg.PostgresError as err:
        may_pass = err.sqlstate is not None and err.sqlstate[:2] in _MAY_PASS
        kind = Unavailable if may_pass else StateError
        raise kind(f"database {place}: {err}") from err
    except _NO_CONNECTION as err:
        raise Unavailable(f"database {place}: {str(err) or type(err).__name__}") from err


# The internal error is what asyncpg comes to when a server ends in the middle of its conversation.
_NO_CONNECTION: Final = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
# SQLSTATE classes: connection, transaction rolled back, resources, operator, system; and who may
_MAY_PASS: Final = frozenset({"08", "40", "53", "55", "57", "58", "28"})
