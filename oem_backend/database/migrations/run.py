"""Brings a database up to date, by alembic: the steps are in ``versions``, both engines' alike.

Imported when a database is behind, by name: alembic and SQLAlchemy take a quarter of a second.
"""

from __future__ import annotations

import logging
import sqlite3
from io import StringIO
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from brski.edge.sqlite import database_error
from brski.errors import StateError

HEAD: Final = "head"

logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells each step, at each start


def upgrade(connection: Connection, revision: str = HEAD) -> None:
    """Run the steps that are missing; within the caller's transaction.

    Raises:
        alembic.util.CommandError: the database has had steps that we do not know.
    """
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def upgrade_sqlite(connection: sqlite3.Connection, revision: str = HEAD) -> None:
    """:func:`upgrade` for a connection of the standard library, all of it or nothing.

    ``PRAGMA user_version`` counts the steps, too: a reader looks there, and files that were made
    before alembic kept the count have it alone.

    Raises:
        StateError: the file has had steps that we do not know.
        Unavailable: locked, full or read-only.
    """
    engine = create_engine(
        "sqlite://",
        creator=lambda: connection,
        poolclass=StaticPool,
        pool_reset_on_return=None,
    )
    path = Path(connection.execute("SELECT file FROM pragma_database_list").fetchone()[0])
    try:
        with engine.connect() as bound:
            connection.execute("BEGIN IMMEDIATE")
            with bound.begin():  # commits, or rolls back
                _take_over(connection)
                upgrade(bound, revision)
                (version,) = connection.execute("SELECT version_num FROM schema_version").fetchone()
                connection.execute(f"PRAGMA user_version = {int(version)}")
    except CommandError as err:
        raise StateError(
            f"{path} has had steps of the schema that this program does not know: {err}",
            hint="a newer version of this program wrote it",
        ) from err
    except sqlite3.Error as err:
        raise database_error(err, path) from err
    except DBAPIError as err:
        if not isinstance(err.orig, sqlite3.Error):
            raise
        raise database_error(err.orig, path) from err


def script_for_postgresql(version: int | None) -> str:
    """The steps from *version* (None: from nothing) to the last one, as one SQL script.

    Written down rather than run: SQLAlchemy has asyncpg only by way of another dependency.
    """
    written = StringIO()
    config = _config(output_buffer=written)
    start = "base" if version is None else f"{version:04d}"
    command.upgrade(config, f"{start}:{HEAD}", sql=True)
    return written.getvalue()


def _config(output_buffer: StringIO | None = None) -> Config:
    config = Config(output_buffer=output_buffer)
    config.set_main_option("script_location", str(Path(__file__).parent))
    return config


def _take_over(connection: sqlite3.Connection) -> None:
    (done,) = connection.execute("PRAGMA user_version").fetchone()
    if done:
        _note_steps(connection, done)


def _note_steps(connection: sqlite3.Connection, done: int) -> None:
    connection.execute(
        "CREATE TABLE IF NOT EXISTS schema_version (version_num VARCHAR(32) NOT NULL, "
        "CONSTRAINT schema_version_pkc PRIMARY KEY (version_num))"
    )
    if connection.execute("SELECT 1 FROM schema_version").fetchone() is None:
        connection.execute("INSERT INTO schema_version VALUES (?)", (f"{done:04d}",))
