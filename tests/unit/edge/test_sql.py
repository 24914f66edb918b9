"""The writer thread: grouped, durable, all or nothing for each call."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Column, Connection, Integer, MetaData, String, Table, insert, select, text
from sqlalchemy.exc import IntegrityError

from brski.edge import sql_writer
from brski.edge.sql import sql_of, sqlite_engine, translated
from brski.edge.sql_writer import Writer
from brski.errors import FileUnusable, StateError, Unavailable

METADATA = MetaData()
ITEMS = Table(
    "items",
    METADATA,
    Column("name", String, primary_key=True),
    Column("number", Integer, nullable=False),
)


def put(name: str, number: int = 0) -> Callable[[Connection], str]:
    def function(connection: Connection) -> str:
        connection.execute(insert(ITEMS).values(name=name, number=number))
        return name

    return function


def names(connection: Connection) -> list[str]:
    return sorted(connection.execute(select(ITEMS.c.name)).scalars())


@pytest.fixture
async def writer(tmp_path: Path) -> AsyncIterator[Writer]:
    writer = Writer(tmp_path / "db", METADATA, busy_timeout_s=0.05)
    yield writer
    await writer.close()


class Gate:
    """Keeps the writer thread inside a call, so that others queue behind it."""

    def __init__(self) -> None:
        self.entered, self.opened = threading.Event(), threading.Event()

    def __call__(self, connection: Connection) -> None:
        self.entered.set()
        assert self.opened.wait(10)


async def grouped(writer: Writer, *functions: Callable[[Connection], Any]) -> list[Any]:
    """Run *functions* in one transaction; results and exceptions."""
    gate = Gate()
    first = asyncio.create_task(writer.run(gate))
    await asyncio.to_thread(gate.entered.wait, 10)
    tasks = [asyncio.create_task(writer.run(function)) for function in functions]
    await asyncio.sleep(0)
    gate.opened.set()
    await first
    return await asyncio.gather(*tasks, return_exceptions=True)


async def test_result_comes_back_and_is_durable(writer: Writer) -> None:
    """Another connection to the file sees it when the call has returned."""
    assert await writer.run(put("a")) == "a"
    with closing(sqlite3.connect(writer.path)) as other:
        assert other.execute("SELECT name FROM items").fetchall() == [("a",)]


async def test_calls_that_wait_together_share_one_commit(writer: Writer) -> None:
    """Hundred calls behind a busy writer are one transaction, in their order."""
    begun: list[int] = []
    seen: list[int] = []

    def one(number: int) -> Callable[[Connection], int]:
        def function(connection: Connection) -> int:
            before = names(connection)
            begun.append(len(before))
            put(f"{number:03}")(connection)
            with closing(sqlite3.connect(writer.path)) as other:
                seen.append(other.execute("SELECT count(*) FROM items").fetchone()[0])
            return number

        return function

    assert await grouped(writer, *(one(n) for n in range(100))) == list(range(100))
    assert begun == list(range(100))  # each sees those before it
    assert set(seen) == {0}  # none was visible outside before the one commit
    assert len(writer.read(names)) == 100


async def test_call_that_raises_undoes_only_itself(writer: Writer) -> None:
    """Its neighbours in the same transaction are kept."""

    def fails(connection: Connection) -> None:
        put("half")(connection)
        raise ZeroDivisionError("mine")

    before, failed, after = await grouped(writer, put("a"), fails, put("b"))
    assert (before, after) == ("a", "b")
    assert isinstance(failed, ZeroDivisionError)
    assert writer.read(names) == ["a", "b"]


async def test_broken_constraint_reaches_its_caller_as_such(writer: Writer) -> None:
    """IntegrityError is the caller's to name; neighbours are kept."""
    await writer.run(put("a"))
    twice, other = await grouped(writer, put("a", 2), put("b"))
    assert isinstance(twice, IntegrityError)
    assert other == "b"
    assert writer.read(names) == ["a", "b"]


PUT = sql_of(insert(ITEMS))


def place(name: str, number: int = 0) -> Callable[[sqlite3.Connection], str]:
    """As :func:`put`, by the driver's own connection."""

    def function(driver: sqlite3.Connection) -> str:
        driver.execute(PUT, {"name": name, "number": number})
        return name

    return function


async def test_statement_for_the_driver_is_made_of_the_schema(writer: Writer) -> None:
    """Every column but ``id`` is named, in the table's order, its value by name."""
    assert " ".join(PUT.split()) == "INSERT INTO items (name, number) VALUES (:name, :number)"
    assert await writer.change(place("a", 7)) == "a"
    assert writer.look_up(sql_of(select(ITEMS)), {}) == ("a", 7)


async def test_both_connections_share_one_transaction(writer: Writer) -> None:
    """A call over SQLAlchemy's sees what a call over the driver's did, and is undone alone."""
    gate = Gate()
    first = asyncio.create_task(writer.run(gate))
    await asyncio.to_thread(gate.entered.wait, 10)
    calls = [
        asyncio.create_task(call)
        for call in (
            writer.change(place("a")),
            writer.run(names),
            writer.run(put("a")),
            writer.change(place("a")),
            writer.change(lambda driver: driver.execute("DELETE FROM none").rowcount),
            writer.change(place("b")),
        )
    ]
    await asyncio.sleep(0)
    gate.opened.set()
    await first
    placed, seen, twice, again, wrong, other = await asyncio.gather(*calls, return_exceptions=True)
    assert (placed, seen, other) == ("a", ["a"], "b")
    assert isinstance(twice, IntegrityError)
    assert isinstance(again, sqlite3.IntegrityError)
    assert isinstance(wrong, StateError)
    assert writer.read(names) == ["a", "b"]


async def test_done_is_told_what_is_durable_before_anybody_else(writer: Writer) -> None:
    """In the order of the calls, though a caller has gone; never of a call that failed."""
    told: list[str] = []

    def done(name: str) -> None:
        with closing(sqlite3.connect(writer.path)) as other:
            assert (name,) in other.execute("SELECT name FROM items").fetchall()
        told.append(name)

    gate = Gate()
    first = asyncio.create_task(writer.run(gate))
    await asyncio.to_thread(gate.entered.wait, 10)
    gone, twice, stays = (
        asyncio.create_task(writer.change(place(name), done=done)) for name in ("a", "a", "b")
    )
    await asyncio.sleep(0)
    gone.cancel()
    gate.opened.set()
    await first
    with pytest.raises(sqlite3.IntegrityError):
        await twice
    assert await stays == "b"
    assert told == ["a", "b"]


async def test_done_that_fails_is_logged_and_hurts_nobody(
    writer: Writer, caplog: pytest.LogCaptureFixture
) -> None:
    """The change is durable and its caller hears so; the writer lives on."""

    def fails(_: str) -> None:
        raise ZeroDivisionError

    assert await writer.change(place("a"), done=fails) == "a"
    assert await writer.change(place("b")) == "b"
    assert [record.levelname for record in caplog.records] == ["ERROR"]


async def test_commits_keep_their_distance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where callers share commits, who comes next waits for others; who is alone does not."""
    asleep, awake = threading.Event(), threading.Event()
    naps: list[float] = []

    def sleep(for_s: float) -> None:
        naps.append(for_s)
        asleep.set()
        assert awake.wait(10)

    monkeypatch.setattr(sql_writer, "time", SimpleNamespace(monotonic=lambda: 100.0, sleep=sleep))
    writer = Writer(tmp_path / "db", METADATA, pace_s=5.0)
    for name in ("alone", "alone again"):
        await writer.run(put(name))
    await grouped(writer, put("first"), put("second"))
    assert naps == []
    one = asyncio.create_task(writer.run(put("one")))
    await asyncio.to_thread(asleep.wait, 10)
    two = asyncio.create_task(writer.run(put("two")))
    await asyncio.sleep(0)
    assert writer.read(names) == ["alone", "alone again", "first", "second"]
    awake.set()
    assert (await one, await two) == ("one", "two")
    assert naps == [5.0]
    await writer.close()


async def test_wrong_statement_is_our_fault(writer: Writer) -> None:
    """Not a raw database error: LocalError answers 500."""
    with pytest.raises(StateError, match="no such table"):
        await writer.run(lambda c: c.execute(text("DELETE FROM none")).rowcount)


async def test_commit_that_fails_fails_everybody(writer: Writer) -> None:
    """A deferred foreign key shows at COMMIT only; nobody is told "done" before it."""
    await writer.run(lambda c: c.execute(text("CREATE TABLE p (n INTEGER PRIMARY KEY)")).rowcount)
    await writer.run(
        lambda c: (
            c.execute(
                text("CREATE TABLE q (n REFERENCES p(n) DEFERRABLE INITIALLY DEFERRED)")
            ).rowcount
        )
    )
    orphan = "INSERT INTO q VALUES (1)"
    results = await grouped(writer, put("a"), lambda c: c.execute(text(orphan)).rowcount, put("b"))
    assert [type(result) for result in results] == [RuntimeError] * 3
    assert writer.read(names) == []
    assert await writer.run(put("c")) == "c"


async def test_full_database_is_unavailable_and_recovers(writer: Writer) -> None:
    """SQLITE_FULL: 503 material, nothing half-done, and the writer lives on."""
    await writer.run(put("a"))

    def limit(connection: Connection, pages: int) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    await writer.run(lambda c: limit(c, 1))
    with pytest.raises(Unavailable, match="full") as caught:
        await writer.run(put("x" * 100_000))
    assert caught.value.retry_after_s > 0
    assert writer.read(names) == ["a"]
    await writer.run(lambda c: limit(c, 100_000))
    await writer.run(put("b"))
    assert writer.read(names) == ["a", "b"]


async def test_locked_database_is_unavailable(writer: Writer) -> None:
    """Another process holds the lock longer than the wait."""
    with closing(sqlite3.connect(writer.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        results = await grouped_without_gate(writer, put("a"), put("b"))
        assert [type(result) for result in results] == [Unavailable] * 2
        assert all("locked" in str(result) for result in results)
        other.execute("ROLLBACK")
    assert await writer.run(put("a")) == "a"


async def grouped_without_gate(
    writer: Writer, *functions: Callable[[Connection], Any]
) -> list[Any]:
    return await asyncio.gather(*(writer.run(f) for f in functions), return_exceptions=True)


async def test_transaction_that_sqlite_drops_fails_everybody(writer: Writer) -> None:
    """An automatic rollback takes the neighbours with it: they must not hear "done"."""

    def drops(connection: Connection) -> None:
        connection.exec_driver_sql("ROLLBACK")
        raise sqlite3.OperationalError("disk I/O error")

    results = await grouped(writer, put("a"), drops, put("b"))
    assert not any(isinstance(result, str) for result in results)
    assert writer.read(names) == []
    assert await writer.run(put("c")) == "c"


async def test_read_sees_no_more_than_what_is_durable(writer: Writer) -> None:
    """A look-up while a change is under way sees the state before, and does not wait."""
    await writer.run(put("a"))
    gate = Gate()

    def slow(connection: Connection) -> None:
        put("b")(connection)
        gate(connection)

    task = asyncio.create_task(writer.run(slow))
    await asyncio.to_thread(gate.entered.wait, 10)
    assert writer.read(names) == ["a"]
    assert await writer.read_aside(names) == ["a"]
    gate.opened.set()
    await task
    assert writer.read(names) == await writer.read_aside(names) == ["a", "b"]


async def test_read_cannot_write(writer: Writer) -> None:
    """A change must go through the writer."""
    with pytest.raises(Unavailable, match="readonly"):
        writer.read(put("a"))
    with pytest.raises(Unavailable, match="readonly"):
        await writer.read_aside(put("a"))
    assert writer.read(names) == []


async def test_read_that_raises_leaves_the_connection_usable(writer: Writer) -> None:
    """The next look-up sees newer data, not the old snapshot."""

    def fails(connection: Connection) -> None:
        names(connection)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        writer.read(fails)
    await writer.run(put("a"))
    assert writer.read(names) == ["a"]


async def test_too_many_waiting_calls_are_turned_away(tmp_path: Path) -> None:
    """A stalled disk does not eat the memory."""
    writer = Writer(tmp_path / "db", METADATA, backlog=2)
    gate = Gate()
    tasks: list[asyncio.Task[Any]] = [asyncio.create_task(writer.run(gate))]
    await asyncio.to_thread(gate.entered.wait, 10)
    tasks += [asyncio.create_task(writer.run(put(name))) for name in ("a", "b")]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="2 calls wait"):
        await writer.run(put("c"))
    gate.opened.set()
    await asyncio.gather(*tasks)
    assert await writer.run(put("c")) == "c"
    await writer.close()


async def test_cancelled_caller_hurts_nobody(writer: Writer) -> None:
    """Its call may be done; the others get their answers."""
    gate = Gate()
    first = asyncio.create_task(writer.run(gate))
    await asyncio.to_thread(gate.entered.wait, 10)
    left, stays = (
        asyncio.create_task(writer.run(put("a"))),
        asyncio.create_task(writer.run(put("b"))),
    )
    await asyncio.sleep(0)
    left.cancel()
    gate.opened.set()
    await first
    assert await stays == "b"
    assert "b" in writer.read(names)


async def test_close_finishes_what_waits_and_refuses_what_comes(tmp_path: Path) -> None:
    """Nothing that was accepted is lost; a second close does nothing."""
    writer = Writer(tmp_path / "db", METADATA)
    gate = Gate()
    tasks: list[asyncio.Task[Any]] = [asyncio.create_task(writer.run(gate))]
    await asyncio.to_thread(gate.entered.wait, 10)
    tasks.extend(asyncio.create_task(writer.run(put(str(n)))) for n in range(10))
    await asyncio.sleep(0)
    closing_ = asyncio.create_task(writer.close())
    await asyncio.sleep(0)
    gate.opened.set()
    await asyncio.gather(*tasks)
    await closing_
    await writer.close()
    for refused in (writer.run(put("late")), writer.read_aside(names)):
        with pytest.raises(Unavailable, match="is closed"):
            await refused
    with pytest.raises(Unavailable, match="is closed"):
        writer.read(names)
    with closing(sqlite3.connect(tmp_path / "db")) as other:
        assert other.execute("SELECT count(*) FROM items").fetchone() == (10,)


async def test_file_is_private_and_set_for_durability(writer: Writer) -> None:
    """As the ledger's: 0600, WAL, a flush at each commit, foreign keys."""
    assert stat.S_IMODE(writer.path.stat().st_mode) == 0o600

    def pragmas(connection: Connection) -> list[object]:
        return [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]

    assert await writer.run(pragmas) == ["wal", 2, 1]


async def test_schema_is_made_once_and_its_version_compared(tmp_path: Path) -> None:
    """A program opens its own file again; another version's or another program's it refuses."""
    path = tmp_path / "db"
    for _ in range(2):
        writer = Writer(path, METADATA, version=3)
        await writer.close()
    with pytest.raises(StateError, match="schema version 3, this program writes 4"):
        Writer(path, METADATA, version=4)
    foreign = tmp_path / "foreign"
    with closing(sqlite3.connect(foreign)) as other:
        other.execute("CREATE TABLE t (x)")
    with pytest.raises(StateError, match="schema version 0, this program writes 1"):
        Writer(foreign, METADATA)


def test_unusable_files_are_told_at_opening(tmp_path: Path) -> None:
    """Not a database; no folder."""
    (tmp_path / "text").write_text("text " * 1000)
    with pytest.raises(StateError, match="not a sound"):
        Writer(tmp_path / "text", METADATA)
    with pytest.raises(FileUnusable):
        Writer(tmp_path / "none" / "db", METADATA)


def test_engine_serves_a_program_without_a_loop(tmp_path: Path) -> None:
    """Commands use it directly; errors are ours inside the block."""
    path = tmp_path / "db"
    engine = sqlite_engine(path, busy_timeout_s=0.01)
    with translated(path), engine.begin() as connection:
        METADATA.create_all(connection)
        put("a")(connection)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="locked"), translated(path), engine.begin():
            pass
    with translated(path), sqlite_engine(path, read_only=True).connect() as connection:
        assert names(connection) == ["a"]


def test_what_was_acknowledged_survives_sigkill(tmp_path: Path) -> None:
    """The process is killed right after its last acknowledgement."""
    program = (
        "import asyncio, os, signal, sys, pathlib\n"
        "from tests.unit.edge.test_sql import METADATA, put\n"
        "from brski.edge.sql_writer import Writer\n"
        "async def main():\n"
        "    writer = Writer(pathlib.Path(sys.argv[1]), METADATA)\n"
        "    await asyncio.gather(*(writer.run(put(str(n))) for n in range(200)))\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())\n"
    )
    path = tmp_path / "db"
    ended = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert ended.returncode == -9
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT count(*) FROM items").fetchone() == (200,)


async def test_a_look_up_sees_what_is_durable(tmp_path: Path) -> None:
    """One row by key as a tuple, None when there is none; errors are ours."""
    writer = Writer(tmp_path / "look-up.db")
    await writer.run(lambda db: db.exec_driver_sql("CREATE TABLE t (k TEXT PRIMARY KEY, v BLOB)"))
    await writer.run(lambda db: db.exec_driver_sql("INSERT INTO t VALUES ('a', x'01')"))
    assert writer.look_up("SELECT k, v FROM t WHERE k = :k", {"k": "a"}) == ("a", b"\x01")
    assert writer.look_up("SELECT k, v FROM t WHERE k = :k", {"k": "b"}) is None
    await writer.run(lambda db: db.exec_driver_sql("UPDATE t SET v = x'02'"))
    assert writer.look_up("SELECT k, v FROM t WHERE k = :k", {"k": "a"}) == ("a", b"\x02")
    with pytest.raises(StateError):
        writer.look_up("SELECT nothing FROM t WHERE k = :k", {"k": "a"})
    await writer.close()
    with pytest.raises(Unavailable):
        writer.look_up("SELECT k FROM t WHERE k = :k", {"k": "a"})
