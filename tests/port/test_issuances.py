"""What the journal's room for issuances promises: it knows of each LDevID why it is issued."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from brski.errors import CSRMismatch, WrongOrder
from registrar_plugin.identity.clients import PASSWORD, client_key
from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.store.issuances import Issuance
from registrar_plugin.store.port import Intent, IssuedCertificate
from registrar_plugin.store.sqlite import SQLiteJournal
from registrar_plugin.store.sqlite_issuances import SQLiteIssuances
from registrar_plugin.telemetry.events import Event, EventKind

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
DEVICE = DeviceKey(bytes(20), "SN-1")
FIRST, SECOND = b"1" * 32, b"2" * 32
KEY = b"the key"
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
    intent, why = await room.issuances.intend(DEVICE, b"tbs", FIRST, LABELLED, LINE, spki=KEY)
    again, still = await room.issuances.intend(DEVICE, b"other", FIRST, Issuance(), LINE, spki=KEY)
    assert (again, still) == (intent, why)
    assert (intent.octets, why) == (b"tbs", LABELLED)
    assert await room.issuances.of_request(DEVICE, FIRST) == LABELLED
    assert len(await room.journal.events()) == 1


async def test_an_unknown_request_is_a_usual_one(room: Room) -> None:
    """A journal of an earlier version, or a first enrollment without label, has no row."""
    assert await room.issuances.of_request(DEVICE, FIRST) == Issuance()


async def test_a_renewal_needs_an_accepted_certificate(room: Room) -> None:
    """Of two renewals of one LDevID the second finds it superseded, in the intent's transaction."""
    intent, _ = await room.issuances.intend(DEVICE, b"tbs", FIRST, Issuance(), LINE, spki=KEY)
    current = await room.complete(intent, b"current")
    renewal = Issuance(renews=current)
    next_, _ = await room.issuances.intend(DEVICE, b"tbs", SECOND, renewal, LINE, spki=KEY)
    await room.complete(next_, b"next")
    with pytest.raises(WrongOrder):
        await room.issuances.intend(DEVICE, b"tbs", b"3" * 32, renewal, LINE, spki=KEY)
    unknown = Issuance(renews=bytes(32))
    with pytest.raises(WrongOrder):
        await room.issuances.intend(DEVICE, b"tbs", b"4" * 32, unknown, LINE, spki=KEY)


async def test_a_later_certificate_overtakes_an_open_intent(room: Room) -> None:
    """Not an earlier one, nor a later intent that is still open."""
    open_, _ = await room.issuances.intend(DEVICE, b"tbs", FIRST, Issuance(), LINE, spki=KEY)
    later, _ = await room.issuances.intend(DEVICE, b"tbs", SECOND, Issuance(), LINE, spki=KEY)
    assert not await room.issuances.is_overtaken(open_)
    await room.complete(later, b"later")
    assert await room.issuances.is_overtaken(open_)
    assert not await room.issuances.is_overtaken(later)


async def test_what_is_given_up_is_no_longer_open(room: Room) -> None:
    """It keeps its octets, and its result is empty; a completed one is not given up."""
    open_, _ = await room.issuances.intend(DEVICE, b"tbs", FIRST, Issuance(), LINE, spki=KEY)
    await room.issuances.abandon(open_, LINE)
    assert await room.journal.open_intents() == ()
    again, _ = await room.issuances.intend(DEVICE, b"tbs", FIRST, Issuance(), LINE, spki=KEY)
    assert (again.octets, again.result) == (b"tbs", b"")
    done, _ = await room.issuances.intend(DEVICE, b"tbs", SECOND, Issuance(), LINE, spki=KEY)
    await room.complete(done, b"certificate")
    await room.issuances.abandon(done, LINE)
    again, _ = await room.issuances.intend(DEVICE, b"tbs", SECOND, Issuance(), LINE, spki=KEY)
    assert again.result == b"certificate"


# -- whose key it is


CLIENT, OTHER_CLIENT = client_key(PASSWORD, "a"), client_key(PASSWORD, "b")


async def claim(room: Room, device: DeviceKey, digest: bytes, spki: bytes = KEY) -> Intent:
    octets = b"tbs with " + spki
    return (await room.issuances.intend(device, octets, digest, Issuance(), LINE, spki=spki))[0]


@pytest.mark.parametrize(
    ("first", "second"), [(DEVICE, CLIENT), (CLIENT, DEVICE), (CLIENT, OTHER_CLIENT)]
)
async def test_a_key_that_is_about_to_be_certified_is_taken(
    room: Room, first: DeviceKey, second: DeviceKey
) -> None:
    """By the intent, however long the CA takes; the second one's is undone with its refusal."""
    open_ = await claim(room, first, FIRST)
    with pytest.raises(CSRMismatch):
        await claim(room, second, SECOND)
    assert await room.journal.open_intents() == (open_,)
    await claim(room, first, SECOND)
    await claim(room, second, FIRST, b"another key")


@pytest.mark.parametrize(
    ("first", "second"), [(DEVICE, CLIENT), (CLIENT, DEVICE), (CLIENT, OTHER_CLIENT)]
)
async def test_a_key_that_was_certified_stays_taken(
    room: Room, first: DeviceKey, second: DeviceKey
) -> None:
    """Superseded or not."""
    for digest in (FIRST, SECOND):
        intent = await claim(room, first, digest)
        certificate = IssuedCertificate(
            device=first,
            certificate=digest,
            csr_digest=digest,
            spki_sha256=hashlib.sha256(KEY).digest(),
            state="active",
            issued_at=NOW,
        )
        await room.journal.complete_ldevid(intent, certificate, LINE)
        with pytest.raises(CSRMismatch):
            await claim(room, second, b"3" * 32)


async def test_two_devices_are_not_compared(room: Room) -> None:
    """Of theirs the IDevID's key is unique, and that decides."""
    await claim(room, DEVICE, FIRST)
    await claim(room, DeviceKey(bytes(20), "SN-2"), FIRST)


async def test_an_older_file_knows_its_devices_keys(tmp_path: Path) -> None:
    """The index is made when the first client comes, also of a file that had no such table."""
    room = Room(tmp_path / "journal.db")
    intent = await claim(room, DEVICE, FIRST)
    await room.complete(intent, KEY)  # whose key the kit takes the certificate for
    await room.journal.writer.change(lambda db: db.execute("DROP TABLE client_keys"))
    await room.journal.close()
    room = Room(tmp_path / "journal.db")

    def indexes(db: sqlite3.Connection) -> list[tuple[str]]:
        return db.execute(
            "SELECT name FROM sqlite_master WHERE name = 'certificates_by_key'"
        ).fetchall()

    assert await room.journal.writer.change(indexes) == []
    with pytest.raises(CSRMismatch):
        await claim(room, CLIENT, FIRST)
    await claim(room, CLIENT, FIRST, b"another key")
    assert await room.journal.writer.change(indexes) == [("certificates_by_key",)]
    await room.journal.close()
