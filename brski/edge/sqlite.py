"""SQLite by the standard library alone, for programs that keep a ledger and have no network.

Online roles use :mod:`brski.edge.sql`, which sets the same pragmas and translates errors through
:func:`database_error`.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from brski.edge.atomic_file import file_error
from brski.errors import OnboardingError, StateError, Unavailable

BUSY_TIMEOUT_S: Final = 5.0  # ours: how long a writer waits for another process

_CHECKPOINT_PAGES: Final = 4000  # ours: 16 MB of log; a page changed often is moved once
_MAY_PASS: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
    }
)
_NOT_OURS: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


def connect(
    path: Path,
    *,
    read_only: bool = False,
    busy_timeout_s: float = BUSY_TIMEOUT_S,
    any_thread: bool = False,
) -> sqlite3.Connection:
    """Open a database file: WAL, ``synchronous=FULL``, foreign keys on, no implicit transactions.

    A new file gets mode 0600. Transactions are the caller's, by :func:`transaction`; a statement
    outside one commits by itself.

    Args:
        path: the file; made when missing, unless *read_only*.
        read_only: refuse every write.
        busy_timeout_s: how long to wait for another process's lock.
        any_thread: threads may share the connection; they must take turns.

    Raises:
        Unavailable: locked, read-only, no space.
        StateError: the file is not an SQLite database.
        FileUnusable: the folder is missing or the file not permitted.
    """
    if not read_only:
        make_private(path)
    elif not path.exists():
        raise StateError(f"{path} does not exist")
    mode = "ro" if read_only else "rw"
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=busy_timeout_s,
            isolation_level=None,
            check_same_thread=not any_thread,
        )
    except sqlite3.Error as err:
        raise database_error(err, path) from err
    try:
        set_pragmas(connection, read_only=read_only)
    except sqlite3.Error as err:
        connection.close()
        raise database_error(err, path) from err
    return connection


def make_private(path: Path) -> None:
    """Create *path* empty with mode 0600 when it is missing; SQLite's side files copy the mode.

    Raises:
        Unavailable, FileUnusable: it cannot be made.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as err:
        raise file_error(err, path, "opened") from err


def set_pragmas(connection: sqlite3.Connection, *, read_only: bool) -> None:
    """Give a fresh connection our durability and safety; raises what :mod:`sqlite3` raises."""
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA trusted_schema = OFF")
    if read_only:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("PRAGMA schema_version")  # reads the file, so that a wrong one shows now
    else:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Run a block as one ``BEGIN IMMEDIATE`` transaction: all of it durable, or none of it.

    Raises:
        Unavailable: locked, full or read-only; nothing has changed.
        StateError: the file is damaged.
        sqlite3.IntegrityError: a constraint of the schema, for the caller to name.
    """
    path = _path_of(connection)
    try:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
    except sqlite3.IntegrityError:
        raise
    except sqlite3.Error as err:
        raise database_error(err, path) from err


def migrate(connection: sqlite3.Connection, statements: Sequence[str]) -> None:
    """Bring a database to the schema that *statements* lead to.

    Each element is one step of the schema's history, an SQL script of one or more statements;
    ``PRAGMA user_version`` counts the steps done. Steps once released are never changed, only
    followed by others. All missing steps are done in one transaction.

    Raises:
        StateError: the file has had more steps than we know: a newer program wrote it.
        Unavailable: locked, full or read-only.
    """
    path = _path_of(connection)
    with transaction(connection):
        (done,) = connection.execute("PRAGMA user_version").fetchone()
        if done > len(statements):
            raise StateError(
                f"{path} has schema version {done}, this program knows {len(statements)}",
                hint="a newer version of this program wrote it",
            )
        for script in statements[done:]:
            for statement in split_script(script):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(statements)}")


def split_script(script: str) -> Iterator[str]:
    """The statements of an SQL script, one by one (``executescript`` would commit first)."""
    statement = ""
    for piece in script.split(";"):
        statement += piece + ";"
        if sqlite3.complete_statement(statement):
            if statement.strip(" \t\r\n;"):
                yield statement.strip()
            statement = ""
    if statement.strip(" \t\r\n;"):
        yield statement.strip().removesuffix(";")


def database_error(error: sqlite3.Error, path: Path) -> OnboardingError:
    """Say in our terms what SQLite said.

    Returns:
        :class:`~brski.errors.Unavailable` for what may pass by itself (locked, full, read-only,
        failing disk), :class:`~brski.errors.StateError` for a damaged or foreign file and for
        everything else, which is a fault of ours.
    """
    code = getattr(error, "sqlite_errorcode", None)
    primary = code & 0xFF if code is not None else None
    if primary in _MAY_PASS:
        return Unavailable(f"database {path}: {error}")
    if primary in _NOT_OURS:
        return StateError(f"{path} is not a sound SQLite database: {error}")
    return StateError(f"database {path}: {error}")


def _path_of(connection: sqlite3.Connection) -> Path:
    return Path(connection.execute("PRAGMA database_list").fetchone()[2])
