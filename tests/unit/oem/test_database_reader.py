"""Look-ups in the OEM database: by pair, by serial number, with what marks say."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from brski.edge.sqlite import connect
from brski.errors import StateError, Unavailable
from brski.idevid.record import DeviceStatus, Presentation
from brski.pki import keys
from oem_backend.database.marks import Verdict
from oem_backend.database.opening import open_reader
from oem_backend.database.reader import _FIND_BY_PAIR, _FIND_BY_SERIAL
from oem_backend.database.schema import APPLICATION_ID, VERSION, open_to_write
from tests.kit import oem, pki


@pytest.fixture(scope="module")
def factory() -> oem.Factory:
    return oem.Factory()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "devices.db"


def test_a_loaded_device_is_found_as_the_factory_published_it(
    factory: oem.Factory, database: Path
) -> None:
    device = factory.make("SN-1")
    listed = device.listed(presentation=Presentation.CARRIED, chunk=7)
    factory.load(database, [listed, factory.make("SN-2")], generation=3)
    reader = open_reader(database)
    (record,) = reader.find(factory.idevid_issuer, "SN-1")
    reader.close()
    assert record.serial_number == "SN-1"
    assert record.idevid_issuer == factory.idevid_issuer
    assert record.certificate == device.certificate
    assert record.spki == device.spki
    assert record.intermediates == tuple(map(keys.certificate_der, factory.issuer.chain[:-1]))
    assert record.presentation is Presentation.CARRIED
    assert record.derivation_profile == "hmac-drbg-p256"
    assert record.batch_digest == factory.origin().batch_digest
    assert (record.chunk, record.generation) == (7, 3)
    assert (record.status, record.status_reason) == (DeviceStatus.ACTIVE, "")


@pytest.mark.parametrize(
    "serial_number", ["SN-2", "sn-1", "SN-1 ", "SN-", "SN-%", "' OR 1=1 --", "", "SN-1\x00"]
)
def test_only_the_very_serial_number_finds(
    factory: oem.Factory, database: Path, serial_number: str
) -> None:
    """Octet for octet: no case folding, no padding, no pattern."""
    factory.load(database, [factory.make("SN-1")])
    reader = open_reader(database)
    assert reader.find(None, serial_number) == ()
    assert reader.find(factory.idevid_issuer, serial_number) == ()
    assert len(reader.find(None, "SN-1")) == 1
    reader.close()


def test_one_serial_number_under_two_issuers_gives_both_or_the_one_asked_for(
    factory: oem.Factory, database: Path
) -> None:
    second = oem.Factory()
    factory.load(database, [factory.make("SN-1")])
    second.load(database, [second.make("SN-1")], product="Another")
    reader = open_reader(database)
    found = reader.find(None, "SN-1")
    assert [record.idevid_issuer for record in found] == sorted(
        [factory.idevid_issuer, second.idevid_issuer]
    )
    (one,) = reader.find(second.idevid_issuer, "SN-1")
    assert one.idevid_issuer == second.idevid_issuer
    assert reader.find(bytes(20), "SN-1") == ()
    reader.close()


def test_a_root_that_issues_devices_itself_leaves_no_intermediates(database: Path) -> None:
    factory = oem.Factory(pki.make_pki(levels=1))
    factory.load(database, [factory.make("SN-1")])
    reader = open_reader(database)
    assert reader.find(None, "SN-1")[0].intermediates == ()
    reader.close()


def test_a_mark_shows_at_once_and_changes_the_version(factory: oem.Factory, database: Path) -> None:
    factory.load(database, [factory.make("SN-1"), factory.make("SN-2")])
    reader = open_reader(database)
    (record,) = reader.find(None, "SN-1")
    before = reader.version()
    assert reader.version() == before
    assert oem.mark(database, record, Verdict.FLAGGED, "clone-suspected")
    assert reader.version() != before
    (marked,) = reader.find(None, "SN-1")
    assert (marked.status, marked.status_reason) == (DeviceStatus.FLAGGED, "clone-suspected")
    assert reader.find(None, "SN-2")[0].status is DeviceStatus.ACTIVE
    reader.close()


def test_a_load_changes_the_version(factory: oem.Factory, database: Path) -> None:
    factory.load(database, [factory.make("SN-1")])
    reader = open_reader(database)
    before = reader.version()
    factory.load(database, [factory.make("SN-2")])
    assert reader.version() != before
    reader.close()


def test_threads_share_a_reader(factory: oem.Factory, database: Path) -> None:
    factory.load(database, [factory.make(f"SN-{number}") for number in range(20)])
    reader = open_reader(database)
    failures: list[BaseException] = []

    def look() -> None:
        try:
            for number in range(200):
                assert len(reader.find(None, f"SN-{number % 20}")) == 1
        except BaseException as err:
            failures.append(err)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reader.close()
    assert failures == []


def test_a_closed_reader_says_so(factory: oem.Factory, database: Path) -> None:
    factory.load(database, [factory.make("SN-1")])
    reader = open_reader(database)
    reader.close()
    reader.close()
    with pytest.raises(Unavailable, match="is closed"):
        reader.find(None, "SN-1")
    with pytest.raises(Unavailable, match="is closed"):
        reader.version()


def test_a_reader_cannot_write(factory: oem.Factory, database: Path) -> None:
    factory.load(database, [factory.make("SN-1")])
    reader = open_reader(database)
    with pytest.raises(Unavailable, match="readonly"):
        reader._session.change("DELETE FROM device", {})
    reader.close()


def test_no_file_is_made_by_looking(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="does not exist"):
        open_reader(tmp_path / "none.db")
    assert list(tmp_path.iterdir()) == []


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    connection = connect(path)
    connection.execute("CREATE TABLE device (serial_number TEXT)")
    connection.close()
    with pytest.raises(StateError, match="is no OEM database"):
        open_reader(path)
    with pytest.raises(StateError, match="is no OEM database"):
        open_to_write(path)


def test_a_file_of_a_later_version_is_refused(database: Path) -> None:
    connection = open_to_write(database)
    connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    with pytest.raises(StateError, match=f"schema version {VERSION + 1}"):
        open_reader(database)
    with pytest.raises(StateError, match=f"schema version {VERSION + 1}"):
        open_to_write(database)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "devices.db"
    path.write_bytes(b"not a database, whatever its name says" * 100)
    with pytest.raises(StateError, match="not a sound SQLite database"):
        open_reader(path)


def test_a_damaged_page_is_an_error_not_an_unknown_device(
    factory: oem.Factory, database: Path
) -> None:
    factory.load(database, [factory.make("SN-1")])
    octets = bytearray(database.read_bytes())
    octets[4096:] = bytes(len(octets) - 4096)
    database.write_bytes(octets)
    with pytest.raises(StateError), closing(open_reader(database)) as reader:
        reader.find(None, "SN-1")


def test_a_new_file_is_private_and_says_whose_it_is(database: Path) -> None:
    open_to_write(database).close()
    assert database.stat().st_mode & 0o777 == 0o600
    connection = sqlite3.connect(database)
    assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_opening_again_writes_nothing(database: Path) -> None:
    open_to_write(database).close()
    before = database.read_bytes()
    open_to_write(database).close()
    assert database.read_bytes() == before


@pytest.mark.parametrize(
    ("statement", "values"),
    [
        (_FIND_BY_SERIAL, {"serial": "SN-1"}),
        (_FIND_BY_PAIR, {"serial": "SN-1", "issuer": bytes(20)}),
    ],
)
def test_look_ups_use_their_index(
    database: Path, statement: str, values: dict[str, object]
) -> None:
    """A scan would make every onboarding wait for a million rows."""
    connection = open_to_write(database)
    plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall()
    connection.close()
    assert [row[3].split()[:2] for row in plan] == [
        ["SEARCH", "device"],
        ["SEARCH", "bundle"],
        ["SEARCH", "mark"],
    ]
