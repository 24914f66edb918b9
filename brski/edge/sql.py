"""SQLAlchemy Core over one SQLite file: engines, the text of statements, schemas, our errors.

:mod:`brski.edge.sql_writer` is how the online roles change a database.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, MetaData, create_engine, event, inspect
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.pool import NullPool

from brski.edge.sqlite import BUSY_TIMEOUT_S, connect, database_error
from brski.errors import StateError

_DIALECT: Final = sqlite.dialect(paramstyle="named")


def sqlite_engine(
    path: Path, *, read_only: bool = False, busy_timeout_s: float = BUSY_TIMEOUT_S
) -> Engine:
    """An engine without a pool over one SQLite file, with our pragmas on each connection.

    Transactions of a writing engine begin with ``BEGIN IMMEDIATE``, so that two writers queue at
    the start instead of failing in the middle. For programs that need no event loop, and what
    :class:`~brski.edge.sql_writer.Writer` stands on. Wrap its use in :func:`translated`.

    Args:
        path: made with mode 0600 when missing, unless *read_only*.
        read_only: every write is refused; the file must exist.
        busy_timeout_s: how long to wait for another process's lock.
    """
    opened = partial(
        connect, path, read_only=read_only, busy_timeout_s=busy_timeout_s, any_thread=True
    )
    engine = create_engine("sqlite+pysqlite://", creator=opened, poolclass=NullPool)
    begin = "BEGIN" if read_only else "BEGIN IMMEDIATE"

    def on_begin(connection: Connection) -> None:
        if not driver_of(connection).in_transaction:  # the writer has begun by itself
            connection.exec_driver_sql(begin)

    event.listen(engine, "begin", on_begin)
    return engine


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn what the database says inside the block into our errors.

    Raises:
        Unavailable: locked, full, read-only, failing disk.
        StateError: damaged, not a database, or a statement that does not fit the schema.
        sqlalchemy.exc.IntegrityError, sqlite3.IntegrityError: as they are, for the caller to name.
    """
    try:
        yield
    except (IntegrityError, sqlite3.IntegrityError):
        raise
    except sqlite3.Error as err:
        raise database_error(err, path) from err
    except DBAPIError as err:
        if isinstance(err.orig, sqlite3.Error):
            raise database_error(err.orig, path) from err
        raise


def sql_of(statement: Any) -> str:
    """The text of *statement* for the driver's own connection, its parameters as ``:name``.

    Made once, where a module is loaded: SQLAlchemy's own look at a statement costs more than
    SQLite's work on it.

    Args:
        statement: of SQLAlchemy Core. An INSERT names every column but ``id``.
    """
    columns = (
        [c.name for c in statement.table.columns if c.name != "id"] if statement.is_insert else None
    )
    return str(statement.compile(dialect=_DIALECT, column_keys=columns))


def prepare_schema(
    connection: Connection,
    metadata: MetaData,
    version: int,
    path: Path,
    *,
    grown_from: int | None = None,
) -> None:
    """Create *metadata*'s tables in an empty file, or see that the file has that version.

    With *grown_from* a schema grows: tables that an older file, or one of this version written by
    a program with fewer parts, does not have are created, and so are indexes; the tables that it
    has are left as they are. So a version that changes a table must not be grown into.

    Args:
        connection: inside a transaction, so that a file is old or new and nothing between.
        version: from 1; kept in ``PRAGMA user_version``.
        path: for the message.
        grown_from: the oldest version whose tables are this version's; None when the schema does
            not grow.

    Raises:
        StateError: the file has another version, or tables of another program.
    """
    found = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    if found == version and grown_from is None:
        return
    is_new = found == 0 and not inspect(connection).get_table_names()
    if not is_new and not (grown_from is not None and grown_from <= found <= version):
        raise StateError(
            f"{path} has schema version {found}, this program writes {version}",
            hint="another version of this program, or another program, wrote it",
        )
    metadata.create_all(connection)
    for table in metadata.sorted_tables:
        for index in table.indexes:
            index.create(connection, checkfirst=True)
    if found != version:
        connection.exec_driver_sql(f"PRAGMA user_version = {version}")


def driver_of(connection: Connection) -> sqlite3.Connection:
    """The driver's own connection under SQLAlchemy's."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)  # noqa: S101 - for the type
    return driver
