"""The standard library's SQLite, set up to keep what it was told."""

from __future__ import annotations

import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from brski.edge.sqlite import connect, migrate, split_script, transaction
from brski.errors import FileUnusable, StateError, Unavailable

STEP_1 = "CREATE TABLE a (n INTEGER PRIMARY KEY, t TEXT CHECK (t <> ';')); CREATE INDEX i ON a(t);"
STEP_2 = "ALTER TABLE a ADD COLUMN m TEXT"


def _one(connection: sqlite3.Connection, sql: str) -> object:
    return connection.execute(sql).fetchone()[0]


def test_connection_is_durable_and_private(tmp_path: Path) -> None:
    """WAL, a flush at each commit, foreign keys, and files that others cannot read."""
    with closing(connect(tmp_path / "db")) as connection:
        assert _one(connection, "PRAGMA journal_mode") == "wal"
        assert _one(connection, "PRAGMA synchronous") == 2
        assert _one(connection, "PRAGMA foreign_keys") == 1
        migrate(connection, [STEP_1])
        modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()}
    assert modes == {"db": 0o600, "db-wal": 0o600, "db-shm": 0o600}


def test_transaction_that_raises_leaves_nothing(tmp_path: Path) -> None:
    """All or nothing, and the connection is usable afterwards."""
    with closing(connect(tmp_path / "db")) as connection:
        migrate(connection, [STEP_1])
        with pytest.raises(ZeroDivisionError), transaction(connection):  # noqa: PT012 - the block is what is tested
            connection.execute("INSERT INTO a VALUES (1, 'x')")
            raise ZeroDivisionError
        with transaction(connection):
            connection.execute("INSERT INTO a VALUES (2, 'y')")
        assert connection.execute("SELECT n FROM a").fetchall() == [(2,)]


def test_broken_constraint_is_for_the_caller_to_name(tmp_path: Path) -> None:
    """IntegrityError passes as it is, rolled back."""
    with closing(connect(tmp_path / "db")) as connection:
        migrate(connection, [STEP_1])
        with pytest.raises(sqlite3.IntegrityError), transaction(connection):  # noqa: PT012 - the block is what is tested
            connection.execute("INSERT INTO a VALUES (1, 'x')")
            connection.execute("INSERT INTO a VALUES (1, 'x')")
        assert _one(connection, "SELECT count(*) FROM a") == 0


def test_locked_database_may_pass(tmp_path: Path) -> None:
    """Another process's transaction gives Unavailable after the wait, not a raw error."""
    with (
        closing(connect(tmp_path / "db")) as first,
        closing(connect(tmp_path / "db", busy_timeout_s=0.01)) as second,
    ):
        first.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="locked"), transaction(second):
            pass
        first.execute("ROLLBACK")
        with transaction(second):
            pass


def test_full_database_may_pass(tmp_path: Path) -> None:
    """SQLITE_FULL gives Unavailable, and what was there stays."""
    with closing(connect(tmp_path / "db")) as connection:
        migrate(connection, [STEP_1])
        connection.execute("INSERT INTO a VALUES (1, 'x')")
        pages = _one(connection, "PRAGMA page_count")
        connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(Unavailable, match="full"), transaction(connection):
            connection.execute("INSERT INTO a VALUES (2, ?)", ("y" * 100_000,))
        assert connection.execute("SELECT n FROM a").fetchall() == [(1,)]


def test_read_only_connection_refuses_to_write(tmp_path: Path) -> None:
    """What the writer committed is read; a write is not done."""
    with closing(connect(tmp_path / "db")) as connection:
        migrate(connection, [STEP_1])
        connection.execute("INSERT INTO a VALUES (1, 'x')")
        with closing(connect(tmp_path / "db", read_only=True)) as reader:
            assert _one(reader, "SELECT n FROM a") == 1
            with pytest.raises(Unavailable, match="readonly"), transaction(reader):
                reader.execute("DELETE FROM a")


def test_read_only_connection_makes_no_file(tmp_path: Path) -> None:
    """A wrong path is told, not turned into an empty database."""
    with pytest.raises(StateError, match="does not exist"):
        connect(tmp_path / "none", read_only=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("read_only", [False, True])
def test_file_of_another_kind_is_refused(tmp_path: Path, read_only: bool) -> None:
    """A text file is told at opening, and stays what it was."""
    path = tmp_path / "db"
    path.write_text("no database, but long enough to look at\n" * 200)
    before = path.read_bytes()
    with pytest.raises(StateError, match="not a sound SQLite database"):
        connect(path, read_only=read_only)
    assert path.read_bytes() == before


def test_missing_folder_is_our_fault(tmp_path: Path) -> None:
    """The message names the path."""
    with pytest.raises(FileUnusable, match="none"):
        connect(tmp_path / "none" / "db")


def test_path_is_not_read_as_a_query(tmp_path: Path) -> None:
    """A name with ?, # or % opens that file and no other."""
    path = tmp_path / "a?mode=memory&x#%41"
    with closing(connect(path)) as connection:
        migrate(connection, [STEP_1])
    assert path.stat().st_size > 0


def test_migration_does_the_missing_steps_once(tmp_path: Path) -> None:
    """A second start changes nothing; a newer program adds its step to the data that is there."""
    with closing(connect(tmp_path / "db")) as connection:
        migrate(connection, [STEP_1])
        connection.execute("INSERT INTO a VALUES (1, 'x')")
        migrate(connection, [STEP_1])
        migrate(connection, [STEP_1, STEP_2])
        assert connection.execute("SELECT * FROM a").fetchall() == [(1, "x", None)]


def test_older_program_refuses_a_newer_file(tmp_path: Path) -> None:
    """It does not write what it does not understand."""
    with closing(connect(tmp_path / "db")) as connection:
        migrate(connection, [STEP_1, STEP_2])
        with pytest.raises(StateError, match="schema version 2, this program knows 1"):
            migrate(connection, [STEP_1])


def test_failing_step_leaves_the_schema_as_it_was(tmp_path: Path) -> None:
    """All missing steps are one transaction."""
    with closing(connect(tmp_path / "db")) as connection:
        migrate(connection, [STEP_1])
        with pytest.raises(StateError, match="no such table"):
            migrate(connection, [STEP_1, STEP_2, "ALTER TABLE none ADD COLUMN x"])
        assert _one(connection, "PRAGMA user_version") == 1
        assert [row[1] for row in connection.execute("PRAGMA table_info(a)")] == ["n", "t"]


def test_script_is_split_at_statements_not_at_semicolons() -> None:
    """Literals and triggers keep theirs."""
    trigger = "CREATE TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM a; DELETE FROM b; END;"
    assert list(split_script(f"SELECT ';'; {trigger}\n -- end\n SELECT 2")) == [
        "SELECT ';';",
        trigger,
        "-- end\n SELECT 2;",
    ]
    assert list(split_script(" ;\n; ")) == []
