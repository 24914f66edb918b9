"""What every journal promises, whichever database keeps it."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import Column, Integer, MetaData, Table

from brski.edge.sql_writer import Writer
from brski.errors import DeviceAmbiguous, StateError, WrongOrder
from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.store import recent, sqlite
from registrar_plugin.store.issuances import Issuance
from registrar_plugin.store.port import Intent, IntentKind, IssuedCertificate, Journal, Onboarding
from registrar_plugin.store.schema import VERSION
from registrar_plugin.store.sqlite import SQLiteJournal
from registrar_plugin.store.sqlite_issuances import SQLiteIssuances
from registrar_plugin.telemetry.events import Event, EventKind, Outcome

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
DEVICE = DeviceKey(bytes(20), "SN-1")
TWIN = DeviceKey(bytes([1]) * 20, "SN-1")  # another manufacturer's, same serial number


def onboarding(device: DeviceKey = DEVICE, request: bytes = b"pvr") -> Onboarding:
    return Onboarding(
        device=device,
        idevid_spki_sha256=hashlib.sha256(device.idevid_issuer).digest(),
        manufacturer="acme",
        masa_url="https://masa.example.com/.well-known/brski",
        presentation="asserted",
        idevid_chain=(b"\x30\x01a", b"\x30\x02bc"),
        pledge_request=request,
        request_digest=hashlib.sha256(request).digest(),
        updated_at=NOW,
    )


def line(
    kind: EventKind = EventKind.VOUCHER_REQUEST, device: DeviceKey | None = DEVICE, reason: str = ""
) -> Event:
    return Event(at=NOW, kind=kind, device=device, reason=reason, details={"a": "b"})


def issued(device: DeviceKey, intent: Intent, certificate: bytes) -> IssuedCertificate:
    return IssuedCertificate(
        device=device,
        certificate=certificate,
        csr_digest=intent.request_digest,
        spki_sha256=hashlib.sha256(certificate).digest(),
        state="active",
        issued_at=NOW,
    )


async def intend(
    journal: Journal, device: DeviceKey, octets: bytes, digest: bytes, *events: Event
) -> Intent:
    """As the EST server does it for a device's first LDevID."""
    assert isinstance(journal, SQLiteJournal)
    room = SQLiteIssuances(journal.writer)
    intent, issuance = await room.intend(device, octets, digest, Issuance(), *events, spki=digest)
    assert issuance == Issuance()
    return intent


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    opened = SQLiteJournal(tmp_path / "journal.db")
    yield opened
    await opened.close()


async def test_an_onboarding_begins_with_its_intent(journal: Journal) -> None:
    """Onboarding, intent and event are there together, as they were given."""
    intent = await journal.begin(onboarding(), b"unsigned", line())
    assert intent.result is None
    assert await journal.onboarding(DEVICE) == onboarding()
    assert await journal.onboarding_by_key(onboarding().idevid_spki_sha256) == onboarding()
    assert await journal.open_intents() == (intent,)
    assert await journal.events() == (line(),)


async def test_the_same_request_again_changes_nothing(journal: Journal) -> None:
    """A repeated voucher-request finds the intent that stands, and its progress untouched."""
    first = await journal.begin(onboarding(), b"unsigned", line())
    await journal.complete_registrar_request(first, b"signed", line())
    await journal.complete_voucher(onboarding(), b"voucher", "application/x", line())
    again = await journal.begin(onboarding(), b"another", line())
    assert (again.octets, again.result) == (b"unsigned", b"signed")
    standing = await journal.onboarding(DEVICE)
    assert standing is not None
    assert (standing.registrar_request, standing.voucher) == (b"signed", b"voucher")


async def test_a_new_request_takes_the_place_of_the_former(journal: Journal) -> None:
    """Voucher, status and verdict belong to one request; a later one starts without them."""
    await journal.begin(onboarding(), b"unsigned", line())
    await journal.complete_voucher(onboarding(), b"voucher", "application/x", line())
    await journal.begin(onboarding(request=b"pvr 2"), b"unsigned 2", line())
    standing = await journal.onboarding(DEVICE)
    assert standing == onboarding(request=b"pvr 2")


@pytest.mark.parametrize("late", ["voucher", "status", "verdict"])
async def test_what_belongs_to_a_replaced_request_is_refused(journal: Journal, late: str) -> None:
    """A slow MASA's answer to an earlier request does not land in a later onboarding."""
    await journal.begin(onboarding(), b"unsigned", line())
    await journal.begin(onboarding(request=b"pvr 2"), b"unsigned 2", line())
    changes: dict[str, Callable[[], Awaitable[None]]] = {
        "voucher": lambda: journal.complete_voucher(onboarding(), b"voucher", "a/x", line()),
        "status": lambda: journal.set_voucher_status(onboarding(), True, line()),
        "verdict": lambda: journal.set_audit_verdict(onboarding(), True, "", line()),
    }
    with pytest.raises(WrongOrder):
        await changes[late]()
    assert len(await journal.events()) == 2  # the refused change left no line either


async def test_an_earlier_request_that_comes_back_finds_its_signature(journal: Journal) -> None:
    """One voucher-request is signed once, however the requests are interleaved."""
    first = await journal.begin(onboarding(), b"unsigned", line())
    await journal.complete_registrar_request(first, b"signed", line())
    await journal.begin(onboarding(request=b"pvr 2"), b"unsigned 2", line())
    again = await journal.begin(onboarding(), b"unsigned 3", line())
    assert again.result == b"signed"
    standing = await journal.onboarding(DEVICE)
    assert standing is not None
    assert standing.registrar_request == b"signed"


async def test_it_knows_which_requests_have_begun_an_onboarding(journal: Journal) -> None:
    """Also the one that a later one has replaced; none of another device's."""
    first, second = (onboarding(request=octets) for octets in (b"pvr", b"pvr 2"))
    assert not await journal.has_begun(DEVICE, first.request_digest)
    await journal.begin(first, b"unsigned", line())
    await journal.begin(second, b"unsigned 2", line())
    assert await journal.has_begun(DEVICE, first.request_digest)
    assert await journal.has_begun(DEVICE, second.request_digest)
    assert not await journal.has_begun(TWIN, first.request_digest)


async def test_events_of_one_kind(journal: Journal) -> None:
    """The last of it, of everybody or of one device."""
    alarms = [line(EventKind.ALARM, device, str(n)) for n, device in enumerate((TWIN, DEVICE))]
    await journal.record(*alarms, line(), line(EventKind.ALARM, None, "2"))
    found = await journal.events(kind=EventKind.ALARM)
    assert [event.reason for event in found] == ["0", "1", "2"]
    assert [event.reason for event in await journal.events(kind=EventKind.ALARM, limit=1)] == ["2"]
    found = await journal.events(kind=EventKind.ALARM, device=DEVICE)
    assert [event.reason for event in found] == ["1"]


async def test_status_and_verdict_are_kept(journal: Journal) -> None:
    """What the pledge says and what the registrar judges, for good and for bad."""
    await journal.begin(onboarding(), b"unsigned", line())
    await journal.set_voucher_status(onboarding(), True, line(EventKind.VOUCHER_STATUS))
    await journal.set_audit_verdict(onboarding(), False, "nonceless", line(EventKind.AUDIT_LOG))
    standing = await journal.onboarding(DEVICE)
    assert standing is not None
    assert (standing.voucher_status, standing.audit_verdict) == (True, False)
    assert standing.audit_reason == "nonceless"


async def test_one_csr_has_one_certificate(journal: Journal) -> None:
    """The intent of a CSR is found again, and a second completion gives the stored octets."""
    intent = await intend(journal, DEVICE, b"tbs", b"c" * 32, line(EventKind.LDEVID_INTENT))
    again = await intend(journal, DEVICE, b"tbs 2", b"c" * 32, line(EventKind.LDEVID_INTENT))
    assert again == intent
    assert await journal.complete_ldevid(intent, issued(DEVICE, intent, b"cert"), line()) == b"cert"
    assert await journal.complete_ldevid(again, issued(DEVICE, again, b"other"), line()) == b"cert"
    found = await journal.certificate_for_csr(DEVICE, b"c" * 32)
    assert found is not None
    assert found.certificate == b"cert"
    assert await journal.certificate_by_digest(hashlib.sha256(b"cert").digest()) == found
    assert await journal.certificate_by_digest(hashlib.sha256(b"other").digest()) is None


async def test_a_second_key_supersedes_the_first(journal: Journal) -> None:
    """A device has one accepted LDevID; the former one is on record and no longer accepted."""
    for digest, certificate in ((b"1" * 32, b"first"), (b"2" * 32, b"second")):
        intent = await intend(journal, DEVICE, b"tbs", digest, line())
        await journal.complete_ldevid(intent, issued(DEVICE, intent, certificate), line())
    active = await journal.active_certificate(DEVICE)
    former = await journal.certificate_for_csr(DEVICE, b"1" * 32)
    assert active is not None
    assert former is not None
    assert (active.certificate, former.state) == (b"second", "superseded")


async def test_two_at_once_leave_one_active(journal: Journal) -> None:
    """Racing enrollments of one device end with one accepted LDevID."""

    async def enroll(number: int) -> None:
        intent = await intend(journal, DEVICE, b"tbs", bytes([number]) * 32, line())
        certificate = b"cert %d" % number
        await journal.complete_ldevid(intent, issued(DEVICE, intent, certificate), line())

    await asyncio.gather(*(enroll(number) for number in range(20)))
    states = [
        found.state
        for number in range(20)
        if (found := await journal.certificate_for_csr(DEVICE, bytes([number]) * 32))
    ]
    assert sorted(states) == ["active"] + ["superseded"] * 19


async def test_the_database_itself_allows_one_active(journal: Journal, tmp_path: Path) -> None:
    """The unique partial index decides, whoever writes."""
    intent = await intend(journal, DEVICE, b"tbs", b"1" * 32, line())
    await journal.complete_ldevid(intent, issued(DEVICE, intent, b"first"), line())
    raw = sqlite3.connect(tmp_path / "journal.db")
    try:
        with pytest.raises(sqlite3.IntegrityError):
            raw.execute(
                "INSERT INTO certificates SELECT x'00', idevid_issuer, serial_number, certificate,"
                " x'01', spki_sha256, 'active', issued_at FROM certificates"
            )
    finally:
        raw.close()


@pytest.mark.requirement("SEC-9")
async def test_same_serial_number_of_two_issuers_is_two_devices(journal: Journal) -> None:
    """State is keyed by issuer and serial number, never by the serial number alone."""
    for device in (DEVICE, TWIN):
        await journal.begin(onboarding(device), b"unsigned", line(device=device))
        intent = await intend(journal, device, b"tbs", b"c" * 32, line(device=device))
        certificate = b"cert" + device.idevid_issuer
        await journal.complete_ldevid(intent, issued(device, intent, certificate), line())
    assert set(await journal.devices("SN-1")) == {DEVICE, TWIN}
    for device in (DEVICE, TWIN):
        active = await journal.active_certificate(device)
        assert active is not None
        assert active.certificate == b"cert" + device.idevid_issuer


async def test_one_key_cannot_be_two_devices(journal: Journal) -> None:
    """A key that already belongs to an onboarding does not begin another device's."""
    await journal.begin(onboarding(), b"unsigned", line())
    stolen = replace(onboarding(TWIN), idevid_spki_sha256=onboarding().idevid_spki_sha256)
    with pytest.raises(DeviceAmbiguous):
        await journal.begin(stolen, b"unsigned", line(device=TWIN))
    assert await journal.onboarding(TWIN) is None


async def test_events_come_back_as_they_were(journal: Journal) -> None:
    """Oldest first, the last ones when there are more, of one device when asked."""
    unknown = Event(
        at=NOW + timedelta(microseconds=1),
        kind=EventKind.IDENTITY,
        outcome=Outcome.REFUSED,
        asserted_serial_number="SN-9",
        reason="no record",
        code="device-unknown",
        peer_address="192.0.2.1",
    )
    await journal.record(line(), unknown, line(device=TWIN))
    assert await journal.events() == (line(), unknown, line(device=TWIN))
    assert await journal.events(limit=2) == (unknown, line(device=TWIN))
    assert await journal.events(device=TWIN) == (line(device=TWIN),)


async def test_what_was_answered_survives_the_process(tmp_path: Path) -> None:
    """A journal opened again has it all, and its open intents with the same octets."""
    first = SQLiteJournal(tmp_path / "journal.db")
    await first.begin(onboarding(), b"unsigned", line())
    await intend(first, DEVICE, b"tbs", b"c" * 32, line())
    await first.close()
    again = SQLiteJournal(tmp_path / "journal.db")
    try:
        kinds = [(intent.kind, intent.octets) for intent in await again.open_intents()]
        assert kinds == [
            (IntentKind.REGISTRAR_VOUCHER_REQUEST, b"unsigned"),
            (IntentKind.LDEVID, b"tbs"),
        ]
        assert await again.onboarding(DEVICE) == onboarding()
    finally:
        await again.close()


async def test_change_whose_caller_has_gone_is_known(tmp_path: Path) -> None:
    """What is durable is what a look-up says, whoever heard of it."""
    opened = SQLiteJournal(tmp_path / "journal.db")
    await opened.begin(onboarding(), b"unsigned", line())
    gone = asyncio.create_task(opened.set_voucher_status(onboarding(), True, line()))
    await asyncio.sleep(0)
    gone.cancel()
    await opened.record(line())  # the next in the queue, so that the other one is done
    for standing in (
        await opened.onboarding(DEVICE),
        await opened.onboarding_by_key(onboarding().idevid_spki_sha256),
    ):
        assert standing is not None
        assert standing.voucher_status is True
    await opened.close()


async def test_change_of_another_process_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at once, but in seconds: what this process knows of a device has an end."""
    now_s = [0.0]
    monkeypatch.setattr(sqlite, "time", SimpleNamespace(monotonic=lambda: now_s[0]))
    opened = SQLiteJournal(tmp_path / "journal.db")
    await opened.begin(onboarding(), b"unsigned", line())
    raw = sqlite3.connect(tmp_path / "journal.db")
    raw.execute("UPDATE onboardings SET audit_reason = 'changed'")
    raw.commit()
    raw.close()
    now_s[0] = recent.KEEP_S + 0.1
    standing = await opened.onboarding(DEVICE)
    assert standing is not None
    assert standing.audit_reason == "changed"
    await opened.close()


async def test_another_programs_file_is_not_taken(tmp_path: Path) -> None:
    """A database that is not a journal of this version is left alone."""
    raw = sqlite3.connect(tmp_path / "journal.db")
    raw.execute("CREATE TABLE other (x)")
    raw.commit()
    raw.close()
    with pytest.raises(StateError):
        SQLiteJournal(tmp_path / "journal.db")


def older(path: Path, script: str, *, version: int) -> None:
    raw = sqlite3.connect(path)
    raw.executescript(script)
    raw.execute(f"PRAGMA user_version = {version}")
    raw.commit()
    raw.close()


VERSION_2 = (Path(__file__).parent / "data" / "journal_v2.sql").read_text()


async def test_a_version_2_file_is_grown_and_nothing_of_it_lost(tmp_path: Path) -> None:
    """Devices that enrolled before the update go on; what was open is open."""
    path = tmp_path / "journal.db"
    older(path, VERSION_2, version=2)
    opened = SQLiteJournal(path)
    standing = await opened.onboarding(DEVICE)
    assert standing == replace(
        onboarding(),
        registrar_request=b"signed",
        voucher=b"voucher",
        voucher_media_type="application/voucher-cms+json",
        voucher_status=True,
        audit_verdict=True,
    )
    active = await opened.active_certificate(DEVICE)
    assert active is not None
    assert active.certificate == b"certificate"
    assert [intent.octets for intent in await opened.open_intents()] == [b"open"]
    assert len(await opened.events()) == 8
    await opened.record(line(EventKind.ENROLL_STATUS))
    await opened.close()
    raw = sqlite3.connect(path)
    assert raw.execute("PRAGMA user_version").fetchone() == (VERSION,)
    raw.close()


@pytest.mark.parametrize("version", [1, VERSION + 1])
async def test_versions_that_are_not_this_programs_are_left_alone(
    tmp_path: Path, version: int
) -> None:
    """Version 1 had other tables; a later one may mean something else by the same."""
    path = tmp_path / "journal.db"
    older(path, VERSION_2, version=version)
    before = path.read_bytes()
    with pytest.raises(StateError, match=f"schema version {version}"):
        SQLiteJournal(path)
    assert path.read_bytes()[100:] == before[100:]  # the header tells the journal mode


async def test_a_file_of_fewer_rooms_is_grown_too(tmp_path: Path) -> None:
    """What a part of the program that came later keeps is made when it first opens the file."""
    path = tmp_path / "journal.db"
    await SQLiteJournal(path).close()
    grown = MetaData()
    Table("later_room", grown, Column("id", Integer, primary_key=True))
    writer = Writer(path, grown, version=VERSION, grown_from=2)
    assert await writer.change(lambda db: db.execute("SELECT * FROM later_room").fetchall()) == []
    await writer.close()
    opened = SQLiteJournal(path)
    assert await opened.events() == ()
    await opened.close()


async def test_a_journal_that_was_moved_is_told(tmp_path: Path) -> None:
    """Gone, or another in its place, such as a backup: what is written on would be lost; back where
    it was it is good.
    """
    path, elsewhere = tmp_path / "journal.db", tmp_path / "elsewhere.db"
    journal = SQLiteJournal(path)
    await journal.check()
    path.rename(elsewhere)
    with pytest.raises(StateError, match="is not the file that was opened"):
        await journal.check()
    path.write_bytes(elsewhere.read_bytes())
    with pytest.raises(StateError, match="is not the file that was opened"):
        await journal.check()
    elsewhere.rename(path)
    await journal.check()
    await journal.close()
