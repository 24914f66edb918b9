"""What persons say of devices, chunks and batches: entries that are only ever added."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from brski.edge.sqlite import connect
from brski.errors import Malformed
from brski.idevid.record import DeviceRecord, DeviceStatus
from oem_backend.database.marks import MarkKind, Verdict, add_mark, batch_subject
from oem_backend.database.migrations.run import upgrade_sqlite
from oem_backend.database.opening import as_place, open_reader
from oem_backend.database.schema import open_to_write
from tests.kit import oem, pki

LATER = oem.CREATED + timedelta(days=30)
BATCH = hashlib.sha256(b"batch").digest()
OTHER_BATCH = hashlib.sha256(b"another batch").digest()
ACTIVE = (DeviceStatus.ACTIVE, "")
SUPERSEDED = (DeviceStatus.REVOKED, "superseded")


@pytest.fixture(scope="module")
def factory() -> oem.Factory:
    return oem.Factory()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "devices.db"


def find(database: Path, serial_number: str) -> DeviceRecord:
    reader = open_reader(database)
    (found,) = reader.find(None, serial_number)
    reader.close()
    return found


def standing(database: Path, serial_number: str) -> tuple[DeviceStatus, str]:
    record = find(database, serial_number)
    return record.status, record.status_reason


def dump(database: Path) -> list[str]:
    """Everything in the file."""
    connection = sqlite3.connect(database)
    try:
        return list(connection.iterdump())
    finally:
        connection.close()


def _mark(database: Path, serial_number: str, verdict: Verdict, reason: str) -> bool:
    return oem.mark(database, find(database, serial_number), verdict, reason)


def test_loading_never_clears_a_mark(factory: oem.Factory, database: Path) -> None:
    """Neither the same record again, nor a new certificate for the key, nor a new generation."""
    device = factory.make("SN-1")
    factory.load(database, [device])
    assert _mark(database, "SN-1", Verdict.FLAGGED, "clone-suspected")
    flagged = (DeviceStatus.FLAGGED, "clone-suspected")
    factory.load(database, [device, factory.make("SN-2")])
    assert standing(database, "SN-1") == flagged
    again = factory.make("SN-1", key=device.private_key, created=LATER)
    factory.load(database, [again.listed(device)], generation=2)
    assert standing(database, "SN-1") == flagged
    assert standing(database, "SN-2") == ACTIVE


def test_a_marked_key_stays_marked_under_another_serial_number(
    factory: oem.Factory, database: Path
) -> None:
    """Whoever writes build lists must not be able to launder a stolen device."""
    stolen = factory.make("SN-1")
    factory.load(database, [stolen])
    assert _mark(database, "SN-1", Verdict.REVOKED, "stolen")
    moved = factory.make("SN-2", key=stolen.private_key, created=LATER)
    factory.load(database, [moved.listed(stolen)], generation=2)
    assert standing(database, "SN-2") == (DeviceStatus.REVOKED, "stolen")


def test_a_new_board_under_a_marked_serial_number_is_not_marked(
    factory: oem.Factory, database: Path
) -> None:
    stolen = factory.make("SN-1")
    factory.load(database, [stolen])
    assert _mark(database, "SN-1", Verdict.REVOKED, "stolen")
    spare = factory.make("SN-1", created=LATER)
    factory.load(database, [spare.listed(stolen)], generation=2)
    assert standing(database, "SN-1") == ACTIVE


def test_the_gravest_mark_counts(factory: oem.Factory, database: Path) -> None:
    factory.load(database, [factory.make("SN-1")])
    assert _mark(database, "SN-1", Verdict.FLAGGED, "clone-suspected")
    assert _mark(database, "SN-1", Verdict.REVOKED, "stolen")
    assert _mark(database, "SN-1", Verdict.FLAGGED, "another-reason")
    assert _mark(database, "SN-1", Verdict.REVOKED, "lost")
    assert standing(database, "SN-1") == (DeviceStatus.REVOKED, "stolen")


def test_a_persons_reason_is_told_before_a_re_issues(factory: oem.Factory, database: Path) -> None:
    old = factory.make("SN-1")
    factory.load(database, [old])
    factory.load(database, [factory.make("SN-2").listed(old)], generation=2)
    assert standing(database, "SN-1") == SUPERSEDED
    assert _mark(database, "SN-1", Verdict.REVOKED, "stolen")
    assert standing(database, "SN-1") == (DeviceStatus.REVOKED, "stolen")


def test_the_same_mark_twice_is_one(factory: oem.Factory, database: Path) -> None:
    factory.load(database, [factory.make("SN-1")])
    assert _mark(database, "SN-1", Verdict.FLAGGED, "clone-suspected")
    before = dump(database)
    assert not _mark(database, "SN-1", Verdict.FLAGGED, "clone-suspected")
    assert dump(database) == before


@pytest.mark.parametrize("reason", ["", "Stolen", "stolen device", "a--b", "x" * 65, "a\nb"])
def test_a_reason_is_a_token(factory: oem.Factory, database: Path, reason: str) -> None:
    """It ends in registrars' logs."""
    factory.load(database, [factory.make("SN-1")])
    with pytest.raises(Malformed, match="reason"):
        _mark(database, "SN-1", Verdict.REVOKED, reason)
    assert standing(database, "SN-1") == ACTIVE


@pytest.mark.parametrize("name", ["", "x" * 65, "line\nfeed", "J\u00fcrgen"])
def test_a_mark_says_who_made_it(factory: oem.Factory, database: Path, name: str) -> None:
    factory.load(database, [factory.make("SN-1")])
    subject = batch_subject(BATCH)
    with (
        closing(as_place(database).open_to_write()) as session,
        pytest.raises(Malformed, match="printable ASCII"),
    ):
        add_mark(session, subject, Verdict.REVOKED, "stolen", by=name, now=pki.NOW)
    assert standing(database, "SN-1") == ACTIVE


def test_lifting_is_one_more_entry(factory: oem.Factory, database: Path) -> None:
    """What was said stays readable; what is said afterwards counts again."""
    factory.load(database, [factory.make("SN-1")])
    assert _mark(database, "SN-1", Verdict.REVOKED, "stolen")
    assert _mark(database, "SN-1", Verdict.FLAGGED, "odd")
    assert _mark(database, "SN-1", Verdict.LIFTED, "found-again")
    assert standing(database, "SN-1") == ACTIVE
    assert not _mark(database, "SN-1", Verdict.LIFTED, "found-again")  # nothing is there to lift
    assert _mark(database, "SN-1", Verdict.FLAGGED, "odd")
    assert standing(database, "SN-1") == (DeviceStatus.FLAGGED, "odd")
    reader = open_reader(database)
    (record,) = reader.find(None, "SN-1")
    said = [(mark.verdict, mark.reason, mark.marked_by) for mark in reader.marks(record)]
    assert reader.marks_of_persons() == reader.marks(record)
    reader.close()
    assert said == [
        (Verdict.REVOKED, "stolen", "operator"),
        (Verdict.FLAGGED, "odd", "operator"),
        (Verdict.LIFTED, "found-again", "operator"),
        (Verdict.FLAGGED, "odd", "operator"),
    ]


def test_a_person_cannot_lift_what_a_re_issue_replaced(
    factory: oem.Factory, database: Path
) -> None:
    old = factory.make("SN-1")
    factory.load(database, [old])
    factory.load(database, [factory.make("SN-2").listed(old)], generation=2)
    assert not _mark(database, "SN-1", Verdict.LIFTED, "mistake")
    assert standing(database, "SN-1") == SUPERSEDED


# -- a batch, and a chunk of one


def _two_batches(factory: oem.Factory, database: Path) -> None:
    """SN-1 and SN-2 in chunks 0 and 1 of one batch, SN-3 in chunk 1 of another."""
    factory.load(
        database, [factory.make("SN-1").listed(chunk=0), factory.make("SN-2").listed(chunk=1)]
    )
    factory.load(database, [factory.make("SN-3").listed(chunk=1)], batch_digest=OTHER_BATCH)


def _standings(database: Path) -> list[tuple[DeviceStatus, str]]:
    return [standing(database, serial_number) for serial_number in ("SN-1", "SN-2", "SN-3")]


def test_a_marked_batch_marks_its_devices_and_no_others(
    factory: oem.Factory, database: Path
) -> None:
    _two_batches(factory, database)
    assert oem.say(database, batch_subject(BATCH), Verdict.REVOKED, "seed-leak")
    leaked = (DeviceStatus.REVOKED, "seed-leak")
    assert _standings(database) == [leaked, leaked, ACTIVE]
    assert not oem.say(database, batch_subject(BATCH), Verdict.REVOKED, "seed-leak")
    assert oem.say(database, batch_subject(BATCH), Verdict.LIFTED, "false-alarm")
    assert _standings(database) == [ACTIVE, ACTIVE, ACTIVE]


def test_a_marked_chunk_marks_its_devices_and_no_others(
    factory: oem.Factory, database: Path
) -> None:
    """Chunk 1 of this batch; neither chunk 0, nor chunk 1 of another."""
    _two_batches(factory, database)
    assert oem.say(database, batch_subject(BATCH, 1), Verdict.FLAGGED, "seed-leak")
    assert _standings(database) == [ACTIVE, (DeviceStatus.FLAGGED, "seed-leak"), ACTIVE]
    assert not oem.say(database, batch_subject(BATCH), Verdict.LIFTED, "false-alarm")
    assert standing(database, "SN-2")[0] is DeviceStatus.FLAGGED


def test_a_batch_can_be_marked_before_a_bundle_of_it_is_loaded(
    factory: oem.Factory, database: Path
) -> None:
    """And before there is a database at all."""
    assert oem.say(database, batch_subject(BATCH), Verdict.REVOKED, "seed-leak")
    _two_batches(factory, database)
    leaked = (DeviceStatus.REVOKED, "seed-leak")
    assert _standings(database) == [leaked, leaked, ACTIVE]
    factory.load(database, [factory.make("SN-4")], generation=2)
    assert standing(database, "SN-4") == leaked


def test_lifting_a_batch_leaves_what_was_said_of_a_device(
    factory: oem.Factory, database: Path
) -> None:
    _two_batches(factory, database)
    assert _mark(database, "SN-1", Verdict.FLAGGED, "clone-suspected")
    assert oem.say(database, batch_subject(BATCH), Verdict.REVOKED, "seed-leak")
    assert oem.say(database, batch_subject(BATCH, 1), Verdict.FLAGGED, "mixed-up")
    assert standing(database, "SN-1") == (DeviceStatus.REVOKED, "seed-leak")
    assert oem.say(database, batch_subject(BATCH), Verdict.LIFTED, "false-alarm")
    assert _standings(database) == [
        (DeviceStatus.FLAGGED, "clone-suspected"),
        (DeviceStatus.FLAGGED, "mixed-up"),
        ACTIVE,
    ]


def test_a_device_re_issued_from_a_sound_batch_is_sound(
    factory: oem.Factory, database: Path
) -> None:
    """A new board with a chip of another batch: the mark stays with the old batch."""
    leaked = factory.make("SN-1")
    factory.load(database, [leaked])
    assert oem.say(database, batch_subject(BATCH), Verdict.REVOKED, "seed-leak")
    spare = factory.make("SN-1", created=LATER)
    factory.load(database, [spare.listed(leaked)], generation=2, batch_digest=OTHER_BATCH)
    assert standing(database, "SN-1") == ACTIVE


@pytest.mark.parametrize(
    ("digest", "chunk"), [(bytes(31), None), (bytes(33), 0), (bytes(32), -1), (bytes(32), 16384)]
)
def test_what_no_batch_has_cannot_be_marked(digest: bytes, chunk: int | None) -> None:
    with pytest.raises(Malformed):
        batch_subject(digest, chunk)


@pytest.mark.parametrize("counted_by_alembic", [True, False])
def test_marks_of_an_older_file_are_kept(
    factory: oem.Factory, database: Path, counted_by_alembic: bool
) -> None:
    """Made by the first schema, with and without alembic: all marks stand as they stood."""
    connection = connect(database)
    upgrade_sqlite(connection, "0001")
    if not counted_by_alembic:
        connection.execute("DROP TABLE schema_version")
    old = factory.make("SN-1")
    digest = hashlib.sha256(old.certificate).digest()
    for number, kind, on, status, reason in (
        (1, "key", old.spki_sha256, "flagged", "odd"),
        (2, "certificate", digest, "revoked", "superseded"),
    ):
        connection.execute(
            "INSERT INTO mark VALUES (?, ?, ?, ?, ?, ?, ?, NULL, 7)",
            (number, on, kind, old.issuer, "SN-1", status, reason),
        )
    connection.close()
    factory.load(database, [old, factory.make("SN-2").listed(old)])
    assert standing(database, "SN-1") == SUPERSEDED
    reader = open_reader(database)
    (record,) = reader.find(None, "SN-1")
    marks = reader.marks(record)
    reader.close()
    assert [(m.number, m.kind, m.verdict, m.chunk) for m in marks] == [
        (1, MarkKind.KEY, Verdict.FLAGGED, None),
        (2, MarkKind.CERTIFICATE, Verdict.REVOKED, None),
    ]


@pytest.mark.parametrize("statement", ["DELETE FROM mark", "UPDATE mark SET verdict = 'lifted'"])
def test_the_file_itself_refuses_to_change_a_mark(
    factory: oem.Factory, database: Path, statement: str
) -> None:
    factory.load(database, [factory.make("SN-1")])
    assert _mark(database, "SN-1", Verdict.REVOKED, "stolen")
    connection = open_to_write(database)
    with pytest.raises(sqlite3.IntegrityError, match="only ever added"):
        connection.execute(statement)
    connection.close()
    assert standing(database, "SN-1") == (DeviceStatus.REVOKED, "stolen")
