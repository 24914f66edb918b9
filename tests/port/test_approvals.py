"""What every store of approvals promises."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from brski.errors import TooManyRequests
from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.store.approvals import Approval, Decision
from registrar_plugin.store.sqlite import SQLiteJournal
from registrar_plugin.store.sqlite_approvals import SQLiteApprovals
from registrar_plugin.telemetry.events import Event, EventKind

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
DEVICE = DeviceKey(bytes(20), "SN-1")
TWIN = DeviceKey(bytes([1]) * 20, "SN-1")
EVER = NOW - timedelta(days=365)


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[SQLiteJournal]:
    opened = SQLiteJournal(tmp_path / "journal.db")
    yield opened
    await opened.close()


@pytest.fixture
def approvals(journal: SQLiteJournal) -> SQLiteApprovals:
    return SQLiteApprovals(journal.writer)


@asynccontextmanager
async def another_process(journal: SQLiteJournal) -> AsyncIterator[SQLiteApprovals]:
    opened = SQLiteJournal(journal.writer.path)
    yield SQLiteApprovals(opened.writer)
    await opened.close()


def line(device: DeviceKey = DEVICE, *, at: datetime = NOW) -> Event:
    return Event(at=at, kind=EventKind.APPROVAL, device=device)


def entry(device: DeviceKey = DEVICE, *, since: datetime = NOW) -> Approval:
    return Approval(
        device=device,
        decision=Decision.WAITING,
        manufacturer="acme",
        peer_address="192.0.2.7",
        since=since,
    )


async def wait(approvals: SQLiteApprovals, approval: Approval, *, most: int = 10) -> Approval:
    return await approvals.wait(approval, most=most, expired=EVER, event=line(approval.device))


async def decide(
    approvals: SQLiteApprovals, decision: Decision, device: DeviceKey = DEVICE
) -> Approval:
    at = NOW + timedelta(hours=1)
    return await approvals.decide(
        device, decision, by="ann (uid 7)", note="expected", event=line(device, at=at)
    )


async def test_a_device_is_entered_once(approvals: SQLiteApprovals, journal: SQLiteJournal) -> None:
    """Asking again changes nothing, not even the time."""
    assert await approvals.of(DEVICE) is None
    assert await wait(approvals, entry()) == entry()
    assert await wait(approvals, entry(since=NOW + timedelta(hours=1))) == entry()
    assert await approvals.of(DEVICE) == entry()
    assert len(await journal.events()) == 1


async def test_a_decision_stands_with_who_and_when(
    approvals: SQLiteApprovals, journal: SQLiteJournal
) -> None:
    """It replaces the former one, and the events keep both."""
    await wait(approvals, entry())
    await decide(approvals, Decision.APPROVED)
    denied = await decide(approvals, Decision.DENIED)
    assert denied == await approvals.of(DEVICE)
    assert (denied.manufacturer, denied.since) == ("acme", NOW)
    assert (denied.decided_by, denied.note) == ("ann (uid 7)", "expected")
    assert denied.decided_at == NOW + timedelta(hours=1)
    assert len(await journal.events(device=DEVICE)) == 3
    assert await approvals.waiting() == ()


async def test_namesakes_share_nothing(approvals: SQLiteApprovals) -> None:
    """Approving one manufacturer's device says nothing of another's of the same serial number."""
    await wait(approvals, entry())
    await wait(approvals, entry(TWIN))
    await decide(approvals, Decision.APPROVED)
    assert await approvals.of(TWIN) == entry(TWIN)
    assert [found.device for found in await approvals.find("SN-1")] == [DEVICE, TWIN]
    assert [found.device for found in await approvals.waiting()] == [TWIN]
    assert await approvals.find("SN-2") == ()


async def test_the_list_is_bounded(approvals: SQLiteApprovals, journal: SQLiteJournal) -> None:
    """A full list takes nobody more; who is on it stays; a decision makes room."""
    await wait(approvals, entry(), most=1)
    with pytest.raises(TooManyRequests, match="1 devices wait"):
        await wait(approvals, entry(TWIN), most=1)
    assert await wait(approvals, entry(), most=1) == entry()
    await decide(approvals, Decision.DENIED)
    assert await wait(approvals, entry(TWIN), most=1) == entry(TWIN)
    assert [event.device for event in await journal.events()] == [DEVICE, DEVICE, TWIN]


async def test_who_waited_too_long_makes_room(approvals: SQLiteApprovals) -> None:
    """Those decided on are not forgotten, however long ago it was."""
    await wait(approvals, entry())
    await decide(approvals, Decision.APPROVED)
    old = DeviceKey(bytes(20), "SN-2")
    await wait(approvals, entry(old))
    late = entry(TWIN, since=NOW + timedelta(days=5))
    await approvals.wait(late, most=1, expired=NOW + timedelta(days=1), event=line(TWIN))
    assert await approvals.of(old) is None
    assert [found.device for found in await approvals.waiting()] == [TWIN]
    assert (await approvals.of(DEVICE)) is not None


async def test_only_who_waits_can_be_dropped(
    approvals: SQLiteApprovals, journal: SQLiteJournal
) -> None:
    """A decision that came a moment earlier stands."""
    await wait(approvals, entry())
    await approvals.drop(DEVICE, line())
    assert await approvals.of(DEVICE) is None
    await decide(approvals, Decision.APPROVED)
    await approvals.drop(DEVICE, line())
    assert (await approvals.of(DEVICE)) is not None
    assert len(await journal.events()) == 3


async def test_another_process_decides_and_is_heard_at_once(
    approvals: SQLiteApprovals, journal: SQLiteJournal
) -> None:
    """The commands and the running registrar share one file."""
    await wait(approvals, entry())
    async with another_process(journal) as command:
        await decide(command, Decision.APPROVED)
        standing = await approvals.of(DEVICE)
        assert standing is not None
        assert standing.decision is Decision.APPROVED
