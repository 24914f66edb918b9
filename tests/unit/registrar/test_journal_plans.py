"""What the journal's readers cost does not grow with the number of devices: each has its index."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from brski.edge.sqlite import connect
from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.store import sqlite_crls, sqlite_entries, statements
from registrar_plugin.store.sqlite import SQLiteJournal
from registrar_plugin.store.sqlite_history import SQLiteHistory
from registrar_plugin.telemetry.events import Event, EventKind

NOW = datetime(2026, 3, 1, tzinfo=UTC)
DEVICE = DeviceKey(bytes(20), "SN-1")


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    found = tmp_path / "journal.db"
    await SQLiteJournal(found).close()
    return found


def scans(path: Path, query: str, *names: str) -> list[str]:
    """Whole tables that SQLite would go through for *query*."""
    with closing(sqlite3.connect(path)) as db:
        plan = db.execute(f"EXPLAIN QUERY PLAN {query}", dict.fromkeys(names, b"")).fetchall()
    return [row[3] for row in plan if row[3].startswith("SCAN") and "alarms" not in row[3]]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        (statements.DEVICES, ["serial"]),
        (statements.OPEN_INTENTS, []),
        (statements.GET_ONBOARDING, ["issuer", "serial"]),
        (statements.GET_ONBOARDING_BY_KEY, ["spki"]),
        (sqlite_entries._MARK, ["issuer"]),
        (sqlite_entries._OF_ISSUER, ["issuer", "since", "with_superseded"]),
        (sqlite_crls._NEWEST, ["scope"]),
        (sqlite_crls._NEWEST_SIGNED, ["scope"]),
    ],
)
async def test_statements_go_by_an_index(path: Path, query: str, names: list[str]) -> None:
    """No scan of a table that has a row for each device or event."""
    assert [s for s in scans(path, query, *names) if "open_intents" not in s] == []


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every statement that is run over SQLAlchemy, its values in it."""
    told: list[str] = []

    def connected(*args: object, **named: object) -> sqlite3.Connection:
        opened = connect(*args, **named)  # type: ignore[arg-type]  # as they came
        opened.set_trace_callback(told.append)
        return opened

    monkeypatch.setattr("brski.edge.sql.connect", connected)
    return told


async def test_what_is_listed_goes_by_an_index(path: Path, seen: list[str]) -> None:
    """Alarms are few among millions of events; so are those of one device."""
    journal = SQLiteJournal(path)
    await journal.record(Event(at=NOW, kind=EventKind.ALARM, device=DEVICE))
    history = SQLiteHistory(journal.writer)
    seen.clear()
    (alarm,) = await journal.events(kind=EventKind.ALARM)
    assert alarm.device == DEVICE
    assert await journal.events(kind=EventKind.ALARM, device=DEVICE) == (alarm,)
    assert await journal.events(device=DEVICE) == (alarm,)
    assert await history.devices("SN-1") == (DEVICE,)
    assert await history.of_serial_number("SN-1", most=9, claims=9) == (alarm,)
    await journal.close()
    queries = [each for each in seen if each.startswith("SELECT")]
    assert len(queries) == 6
    assert [scan for query in queries for scan in scans(path, query)] == []


async def test_an_older_file_gets_the_indexes_that_it_lacks(path: Path) -> None:
    """Made when it is opened; nothing else of its tables changes."""
    with closing(sqlite3.connect(path)) as db:
        before = set(db.execute("SELECT name, sql FROM sqlite_master"))
        db.execute("DROP INDEX alarms")
    await SQLiteJournal(path).close()
    with closing(sqlite3.connect(path)) as db:
        assert set(db.execute("SELECT name, sql FROM sqlite_master")) == before
