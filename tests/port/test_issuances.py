"""What the journal's room for issuances promises: it knows of each LDevID why it is issued."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from brski.errors import WrongOrder
from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.store.issuances import Issuance
from registrar_plugin.store.port import Intent, IssuedCertificate
from registrar_plugin.store.sqlite import SQLiteJournal
from registrar_plugin.store.sqlite_issuances import SQLiteIssuances
from registrar_plugin.telemetry.events import Event, EventKind

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
DEVICE = DeviceKey(bytes(20), "SN-1")
FIRST, SECOND = b"1" * 32, b"2" * 32
LINE = Event(at=NOW, kind=EventKind.LDEVID_INTENT, device=DEVICE)
LABELLED = Issuance(label="sensors", enrollee="basic")


class Room:
    """The journal, and the room in it."""

    def __init__(self, path: Path) -> None:
        self.journal = SQLiteJournal(path)
        self.issuances = SQLiteIssuances(self.journal.writer)

    async def complete(self, intent: Intent, certificate: bytes) -> bytes:
        """Its SHA-256."""
        await self.journal.complete_ldevid(
            intent,
            IssuedCertificate(
                device=intent.device,
                certificate=certificate,
                csr_digest=intent.request_digest,
                spki_sha256=hashlib.sha256(certificate).digest(),
                state="active",
                issued_at=NOW,
            ),
            LINE,
        )
        return hashlib.sha256(certificate).digest()


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    opened = Room(tmp_path / "journal.db")
    yield opened
    await opened.journal.close()


async def test_the_first_intent_of_a_request_stands(room: Room) -> None:
    """Octets and reason of the first; the same request for another reason changes neither."""
    intent, why = await room.issuances.intend(DEVICE, b"tbs", FIRST, LABELLED, LINE)
    again, still = await room.issuances.intend(DEVICE, b"other", FIRST, Issuance(), LINE)
    assert (again, still) == (intent, why)
    assert (intent.octets, why) == (b"tbs", LABELLED)
    assert await room.issuances.of_request(DEVICE, FIRST) == LABELLED
    assert len(await room.journal.events()) == 1


async def test_an_unknown_request_is_a_usual_one(room: Room) -> None:
    """A journal of an earlier version, or a first enrollment without label, has no row."""
    assert await room.issuances.of_request(DEVICE, FIRST) == Issuance()


async def test_a_renewal_needs_an_accepted_certificate(room: Room) -> None:
    """Of two renewals of one LDevID the second finds it superseded, in the intent's transaction."""
    intent, _ = await room.issuances.intend(DEVICE, b"tbs", FIRST, Issuance(), LINE)
    current = await room.complete(intent, b"current")
    renewal = Issuance(renews=current)
    next_, _ = await room.issuances.intend(DEVICE, b"tbs", SECOND, renewal, LINE)
    await room.complete(next_, b"next")
    with pytest.raises(WrongOrder):
        await room.issuances.intend(DEVICE, b"tbs", b"3" * 32, renewal, LINE)
    unknown = Issuance(renews=bytes(32))
    with pytest.raises(WrongOrder):
        await room.issuances.intend(DEVICE, b"tbs", b"4" * 32, unknown, LINE)


async def test_a_later_certificate_overtakes_an_open_intent(room: Room) -> None:
    """Not an earlier one, nor a later intent that is still open."""
    open_, _ = await room.issuances.intend(DEVICE, b"tbs", FIRST, Issuance(), LINE)
    later, _ = await room.issuances.intend(DEVICE, b"tbs", SECOND, Issuance(), LINE)
    assert not await room.issuances.is_overtaken(open_)
    await room.complete(later, b"later")
    assert await room.issuances.is_overtaken(open_)
    assert not await room.issuances.is_overtaken(later)


async def test_what_is_given_up_is_no_longer_open(room: Room) -> None:
    """It keeps its octets, and its result is empty; a completed one is not given up."""
    open_, _ = await room.issuances.intend(DEVICE, b"tbs", FIRST, Issuance(), LINE)
    await room.issuances.abandon(open_, LINE)
    assert await room.journal.open_intents() == ()
    again, _ = await room.issuances.intend(DEVICE, b"tbs", FIRST, Issuance(), LINE)
    assert (again.octets, again.result) == (b"tbs", b"")
    done, _ = await room.issuances.intend(DEVICE, b"tbs", SECOND, Issuance(), LINE)
    await room.complete(done, b"certificate")
    await room.issuances.abandon(done, LINE)
    again, _ = await room.issuances.intend(DEVICE, b"tbs", SECOND, Issuance(), LINE)
    assert again.result == b"certificate"
