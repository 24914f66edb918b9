"""What stands in an OEM database file, and how it is opened (docs/oem-database.md).

What only SQLite has stands here: pragmas, its file. The tables are in
:mod:`oem_backend.database.migrations`; statements elsewhere are SQL that PostgreSQL also takes.
"""

from __future__ import annotations

import importlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from brski.edge.sqlite import connect, database_error
from brski.errors import StateError

APPLICATION_ID: Final = 0x6F656D64  # "oemd": tells this file from every other SQLite file

BUSY_TIMEOUT_S: Final = 60.0  # a writer waits for another one: merging a million rows takes 20 s
_READER_TIMEOUT_S: Final = 1.0  # a reader waits only while a crash is being mended
_READER_CACHE_KIB: Final = 16 * 1024
_WRITER_CACHE_KIB: Final = 64 * 1024

VERSION: Final = 2  # of the schema: how many steps are in oem_backend/database/migrations/versions


def open_to_read(path: Path) -> sqlite3.Connection:
    """Open an OEM database that exists; threads may share the connection, taking turns.

    Raises:
        StateError: no such file, not an OEM database, or one of another version.
        Unavailable: it cannot be read now.
    """
    connection = connect(path, read_only=True, busy_timeout_s=_READER_TIMEOUT_S, any_thread=True)
    with _closed_on_error(connection, path):
        _check_application(connection, path)
        version = _schema_version(connection)
        if version != VERSION:
            raise StateError(
                f"{path} has schema version {version}, this program reads {VERSION}",
                hint="brski-oem database load brings an older file up to date",
            )
        connection.execute(f"PRAGMA cache_size = -{_READER_CACHE_KIB}")
    return connection


def open_to_write(path: Path) -> sqlite3.Connection:
    """Open an OEM database; a missing or empty file becomes one, mode 0600.

    Raises:
        StateError: another program's file, or one of a later version.
        Unavailable: locked, read-only, no space.
        FileUnusable: the folder is missing or the file not permitted.
    """
    connection = connect(path, busy_timeout_s=BUSY_TIMEOUT_S)
    with _closed_on_error(connection, path):
        if _schema_version(connection) or _has_tables(connection):
            _check_application(connection, path)
        if _schema_version(connection) != VERSION:
            _bring_up_to_date(connection, path)
        connection.execute(f"PRAGMA cache_size = -{_WRITER_CACHE_KIB}")
        connection.execute(f"PRAGMA temp.cache_size = -{_WRITER_CACHE_KIB}")
    return connection


def _bring_up_to_date(connection: sqlite3.Connection, path: Path) -> None:
    done = _schema_version(connection)
    if done > VERSION:
        raise StateError(
            f"{path} has schema version {done}, this program knows {VERSION}",
            hint="a newer version of this program wrote it",
        )
    # By name: what it imports takes a quarter of a second, and is needed once in a file's life.
    importlib.import_module("oem_backend.database.migrations.run").upgrade_sqlite(connection)


def data_version(connection: sqlite3.Connection) -> int:
    """A number that changes when another connection has committed anything."""
    return int(connection.execute("PRAGMA data_version").fetchone()[0])


def empty_log(connection: sqlite3.Connection) -> None:
    """Bring a long write-ahead log into the file and give its space back, if nobody is reading."""
    with suppress(sqlite3.Error):  # the next commit does it
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@contextmanager
def _closed_on_error(connection: sqlite3.Connection, path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as err:
        connection.close()
        raise database_error(err, path) from err
    except BaseException:
        connection.close()
        raise


def _check_application(connection: sqlite3.Connection, path: Path) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application != APPLICATION_ID:
        raise StateError(f"{path} is no OEM database", hint="brski-oem database load makes one")


def _schema_version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def _has_tables(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is not None
