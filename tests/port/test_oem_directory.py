"""One suite for every engine of the OEM's directory: what holds in a file holds in a server."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from brski.errors import BundleRefused, ChainInvalid, FileUnusable, StateError, Unavailable
from brski.idevid.record import DeviceStatus, Presentation
from brski.pki.keys import encode_spki
from oem_backend import cli
from oem_backend.database.engine.sqlite import SQLitePlace
from oem_backend.database.engine_settings import EngineSettings
from oem_backend.database.loader import Outcome, load_bundle
from oem_backend.database.marks import (
    Verdict,
    add_mark,
    batch_subject,
    device_subject,
)
from oem_backend.database.opening import open_reader, place_of
from oem_backend.database.port import Place
from registrar_plugin.oem_source.database import (
    DatabaseSource,
    DatabaseSourceSettings,
    PostgreSQLSource,
)
from registrar_plugin.oem_source.port import DeviceRecordSource
from tests.kit import oem, pki
from tests.kit.oem import Factory, Made
from tests.kit.programs import require_library

ROOT = Path(__file__).parents[2]
REPLACED = (DeviceStatus.REVOKED, "superseded")
ACTIVE = (DeviceStatus.ACTIVE, "")


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    """One PostgreSQL for all tests of the module."""
    require_library("asyncpg", extra="postgresql")
    kit = pytest.importorskip("tests.kit.postgresql")
    with kit.server() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return SQLitePlace(tmp_path / "devices.db")
    return place_of(server_table(request.getfixturevalue("server")))


def server_table(server: Any) -> EngineSettings:
    """A table ``engine`` that leads to an empty database."""
    return EngineSettings(kind="postgresql", url=server.new_database())


@dataclass(frozen=True, slots=True)
class Directory:
    """What a test asks of a place."""

    place: Place

    def load(self, factory: Factory, *devices: Any, late: bool = False, **changes: Any) -> Any:
        octets = io.BytesIO(factory.bundle(devices, **changes))
        return load_bundle(self.place, octets, factory.keys, now=pki.NOW, late=late)

    def find(self, serial_number: str, idevid_issuer: bytes | None = None) -> Any:
        reader = open_reader(self.place)
        try:
            return reader.find(idevid_issuer, serial_number)
        finally:
            reader.close()

    def standing(self, serial_number: str) -> tuple[DeviceStatus, str]:
        (record,) = self.find(serial_number)
        return record.status, record.status_reason

    def mark(self, subject: Any, verdict: Verdict, reason: str) -> bool:
        with closing(self.place.open_to_write()) as session:
            return add_mark(session, subject, verdict, reason, by="anna", now=pki.NOW)


@pytest.fixture
def directory(place: Place) -> Directory:
    return Directory(place)


@pytest.fixture
def factory() -> Factory:
    return Factory()


def test_a_device_is_found_as_it_was_made(directory: Directory, factory: Factory) -> None:
    made = factory.make("SN-1")
    listed = made.listed(presentation=Presentation.CARRIED, chunk=5)
    report = directory.load(factory, listed, factory.make("SN-2"), generation=3)
    assert (report.outcome, report.records, report.added) == (Outcome.LOADED, 2, 2)
    (record,) = directory.find("SN-1")
    assert (record.certificate, record.spki) == (made.certificate, made.spki)
    assert (record.presentation, record.chunk, record.generation) == ("carried", 5, 3)
    assert record.intermediates == factory.origin().issuing_chain[:-1]
    assert directory.find("SN-1", factory.idevid_issuer) == (record,)
    assert directory.find("SN-1", bytes(20)) == directory.find("sn-1") == ()


def test_the_same_bundle_again_changes_nothing(directory: Directory, factory: Factory) -> None:
    octets = factory.bundle([factory.make("SN-1")])
    outcomes = [
        load_bundle(directory.place, io.BytesIO(octets), factory.keys, now=pki.NOW).outcome
        for _ in range(2)
    ]
    assert outcomes == [Outcome.LOADED, Outcome.ALREADY_LOADED]


def test_a_lower_generation_needs_a_word_and_changes_nothing(
    directory: Directory, factory: Factory
) -> None:
    newer, older = factory.make("SN-1"), factory.make("SN-1", created=oem.CREATED - timedelta(1))
    directory.load(factory, newer.listed(), generation=2)
    with pytest.raises(BundleRefused, match="is at 2"):
        directory.load(factory, older, factory.make("SN-2"), generation=1)
    report = directory.load(factory, older, factory.make("SN-2"), generation=1, late=True)
    assert (report.added, report.passed_over) == (1, 1)
    assert directory.find("SN-1")[0].certificate == newer.certificate


def test_two_boards_change_places(directory: Directory, factory: Factory) -> None:
    """Revocations come before records, all of them."""
    one, two = factory.make("SN-1"), factory.make("SN-2")
    directory.load(factory, one, two)
    later = oem.CREATED + timedelta(days=1)
    new_one = factory.make("SN-1", key=two.private_key, created=later)
    new_two = factory.make("SN-2", key=one.private_key, created=later)
    report = directory.load(
        factory, new_one.listed(one, two), new_two.listed(one, two), generation=2
    )
    assert (report.added, report.replaced, report.revoked) == (0, 2, 2)
    assert directory.find("SN-1")[0].spki == two.spki
    assert directory.standing("SN-1") == directory.standing("SN-2") == ACTIVE


def test_a_replaced_certificate_that_comes_late_is_superseded(
    directory: Directory, factory: Factory
) -> None:
    old = factory.make("SN-1")
    new = factory.make("SN-2", key=old.private_key, created=oem.CREATED + timedelta(days=1))
    directory.load(factory, new.listed(old), generation=2)
    directory.load(factory, old, generation=1, late=True)
    assert directory.standing("SN-1") == REPLACED
    assert directory.standing("SN-2") == ACTIVE


@pytest.mark.parametrize("what", ["key of another", "another product", "contradiction"])
def test_what_contradicts_is_refused_whole(
    directory: Directory, factory: Factory, what: str
) -> None:
    """Nothing of the bundle is in the directory afterwards."""
    standing = factory.make("SN-1")
    directory.load(factory, standing)
    bystander = factory.make("SN-0")
    second: dict[str, tuple[list[Made], dict[str, Any], str]] = {
        "key of another": (
            [factory.make("SN-9", key=standing.private_key)],
            {"generation": 2},
            "its key stands under SN-1",
        ),
        "another product": ([factory.make("SN-1")], {"product": "Pump 8"}, "serial number to a"),
        "contradiction": ([factory.make("SN-1")], {}, "has brought another one"),
    }
    devices, changes, told = second[what]
    with pytest.raises(BundleRefused, match=told):
        directory.load(factory, bystander, *devices, **changes)
    assert directory.find("SN-0") == ()
    assert directory.find("SN-1")[0].certificate == standing.certificate


def test_a_key_twice_in_one_bundle_is_named(directory: Directory, factory: Factory) -> None:
    one = factory.make("SN-1")
    twin = factory.make("SN-2", key=one.private_key)
    with pytest.raises(BundleRefused, match="record 1, SN-2: its key comes twice"):
        directory.load(factory, one, twin, factory.make("SN-3"))
    assert directory.find("SN-1") == ()


def test_a_certificate_of_another_ca_is_refused_whole(
    directory: Directory, factory: Factory
) -> None:
    good = factory.make("SN-2")
    forged = replace(good, certificate=good.certificate[:-1] + bytes((good.certificate[-1] ^ 1,)))
    with pytest.raises(ChainInvalid, match="SN-2: its certificate is not issued by"):
        directory.load(factory, factory.make("SN-1"), forged)
    assert directory.find("SN-1") == ()


def test_marks_on_device_chunk_and_batch(directory: Directory, factory: Factory) -> None:
    """Each is refused from then on; lifted, it is not; a batch may be marked beforehand."""
    digest = factory.origin().batch_digest
    assert directory.mark(batch_subject(digest, 1), Verdict.FLAGGED, "odd-chunk")
    directory.load(
        factory, factory.make("SN-1").listed(chunk=0), factory.make("SN-2").listed(chunk=1)
    )
    assert directory.standing("SN-1") == ACTIVE
    assert directory.standing("SN-2") == (DeviceStatus.FLAGGED, "odd-chunk")
    subject = device_subject(directory.find("SN-1")[0])
    assert directory.mark(subject, Verdict.REVOKED, "stolen")
    assert not directory.mark(subject, Verdict.REVOKED, "stolen")
    assert directory.standing("SN-1") == (DeviceStatus.REVOKED, "stolen")
    assert directory.mark(batch_subject(digest), Verdict.REVOKED, "seed-leak")
    assert directory.standing("SN-2") == (DeviceStatus.REVOKED, "seed-leak")
    assert directory.mark(batch_subject(digest), Verdict.LIFTED, "unfounded")
    assert directory.standing("SN-2") == (DeviceStatus.FLAGGED, "odd-chunk")
    reader = open_reader(directory.place)
    said = [(mark.kind, mark.verdict) for mark in reader.marks_of_persons(digest)]
    assert said == [("chunk", "flagged"), ("batch", "revoked"), ("batch", "lifted")]
    assert len(reader.marks_of_persons()) == 4
    assert len(reader.marks(reader.find(None, "SN-2")[0])) == 3
    assert reader.bundles_of(digest) == 1
    spki_sha256 = hashlib.sha256(reader.find(None, "SN-2")[0].spki).digest()
    assert reader.holder_of(spki_sha256) == "SN-2"
    assert reader.holder_of(bytes(32)) is None
    reader.close()


@pytest.mark.parametrize("statement", ["DELETE FROM mark", "UPDATE mark SET verdict = 'lifted'"])
def test_the_engine_itself_refuses_to_change_a_mark(
    directory: Directory, factory: Factory, statement: str
) -> None:
    directory.load(factory, factory.make("SN-1"))
    directory.mark(device_subject(directory.find("SN-1")[0]), Verdict.REVOKED, "stolen")
    session = directory.place.open_to_write()
    with pytest.raises(StateError, match="only ever added"):
        session.change(statement, {})
    session.close()
    assert directory.standing("SN-1") == (DeviceStatus.REVOKED, "stolen")


def test_a_reader_cannot_write(directory: Directory, factory: Factory) -> None:
    directory.load(factory, factory.make("SN-1"))
    session = directory.place.open_to_read()
    with pytest.raises((StateError, Unavailable), match=r"read-?only"):
        session.change("DELETE FROM device", {})
    session.close()


def test_a_place_without_a_directory_is_told(directory: Directory) -> None:
    with pytest.raises(StateError):
        directory.place.open_to_read()


def test_a_session_that_is_closed_says_so(directory: Directory) -> None:
    session = directory.place.open_to_write()
    session.close()
    session.close()
    for use in (
        lambda: session.rows("SELECT 1", {}),
        lambda: session.change("DELETE FROM device", {}),
        lambda: session.run("SELECT 1"),
        lambda: session.fill("device", ["serial_number"], []),
        session.version,
    ):
        with pytest.raises(Unavailable, match="is closed"):
            use()


def test_a_constraint_that_breaks_is_told_in_our_terms(
    directory: Directory, factory: Factory
) -> None:
    directory.load(factory, factory.make("SN-1"))
    session = directory.place.open_to_write()
    with pytest.raises(StateError, match=r"(?i)unique"), session.writing():
        session.change(
            "INSERT INTO issuing_chain (digest, idevid_issuer) "
            "SELECT digest, idevid_issuer FROM issuing_chain",
            {},
        )
    session.close()


def test_staging_that_is_refused_leaves_no_transaction_open(directory: Directory) -> None:
    session = directory.place.open_to_write()
    with pytest.raises(BundleRefused), session.staging():
        raise BundleRefused("half of it was there")
    with session.writing():
        session.rows("SELECT count(*) FROM device", {})
    session.close()


def test_two_loads_at_once_are_one_after_the_other(directory: Directory, factory: Factory) -> None:
    """The same bundle from two programs: loaded by one, already loaded for the other."""
    octets = factory.bundle([factory.make(f"SN-{number}") for number in range(20)])
    directory.place.open_to_write().close()
    outcomes: list[Outcome] = []

    def load() -> None:
        report = load_bundle(directory.place, io.BytesIO(octets), factory.keys, now=pki.NOW)
        outcomes.append(report.outcome)

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [Outcome.ALREADY_LOADED, Outcome.ALREADY_LOADED, Outcome.LOADED]
    assert len(directory.find("SN-7")) == 1


async def test_look_ups_for_those_who_serve(directory: Directory, factory: Factory) -> None:
    """What a reader finds; and a number that changes with a load and with a mark."""
    octets = io.BytesIO(factory.bundle([factory.make("SN-1")]))
    await asyncio.to_thread(load_bundle, directory.place, octets, factory.keys, now=pki.NOW)
    records = await directory.place.open_records()
    (record,) = await records.find(None, "SN-1")
    assert await records.find(factory.idevid_issuer, "SN-1") == (record,)
    assert await records.find(None, "SN-2") == ()
    before = await records.version()
    assert await records.version() == before
    subject = device_subject(record)
    await asyncio.to_thread(directory.mark, subject, Verdict.FLAGGED, "odd")
    assert await records.version() != before
    (marked,) = await records.find(None, "SN-1")
    assert (marked.status, marked.status_reason) == (DeviceStatus.FLAGGED, "odd")
    await records.close()
    await records.close()
    with pytest.raises(Unavailable):
        await records.find(None, "SN-1")


def source_of(place: Any) -> DeviceRecordSource:
    """A registrar's own copy, by the table that it has for each engine."""
    if isinstance(place, SQLitePlace):
        return DatabaseSource.open(DatabaseSourceSettings(path=place.path))
    return PostgreSQLSource.open(EngineSettings(kind="postgresql", url=place.url))


async def test_a_registrar_asks_a_copy_of_its_own(directory: Directory, factory: Factory) -> None:
    """All at once the first time; a mark shows at once; closed, it has nothing to say."""
    made = factory.make("SN-1")
    octets = io.BytesIO(factory.bundle([made]))
    await asyncio.to_thread(load_bundle, directory.place, octets, factory.keys, now=pki.NOW)
    source = source_of(directory.place)
    asking = [source.find(None, "SN-1", spki_sha256=made.spki_sha256) for _ in range(4)]
    (record,), *others = await asyncio.gather(*asking)
    assert others == [(record,)] * 3
    assert record.certificate == made.certificate
    assert await source.find(bytes(20), "SN-1", spki_sha256=made.spki_sha256) == ()
    await asyncio.to_thread(directory.mark, device_subject(record), Verdict.REVOKED, "stolen")
    (marked,) = await source.find(None, "SN-1", spki_sha256=made.spki_sha256)
    assert marked.status_reason == "stolen"
    await source.close()
    with pytest.raises(Unavailable):
        await source.find(None, "SN-1", spki_sha256=made.spki_sha256)


async def test_a_copy_on_a_server_that_holds_nothing_is_told_when_asked(server: Any) -> None:
    """The registrar starts; the pledge is asked to come again, and no more is told."""
    source = PostgreSQLSource.open(server_table(server))
    for _ in range(2):
        with pytest.raises(Unavailable, match="cannot be read"):
            await source.find(None, "SN-1", spki_sha256=bytes(32))
    await source.close()


def test_a_copy_in_a_file_that_is_none_is_told_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "devices.db").write_bytes(b"no database" * 100)
    with pytest.raises(StateError):
        source_of(SQLitePlace(tmp_path / "devices.db"))


KILLED = """
import io, os, signal, sys
from oem_backend.database import loader
from oem_backend.database.engine.{module} import {kind}
from pathlib import Path
place = {kind}({argument})
genuine = loader._merge
def merge(*arguments):
    genuine(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
loader._merge = merge
from tests.kit import oem, pki
from cryptography.hazmat.primitives.serialization import load_der_public_key
key = load_der_public_key(bytes.fromhex(sys.argv[1]))
loader.load_bundle(place, sys.stdin.buffer and io.BytesIO(sys.stdin.buffer.read()),
                   {{oem.FACTORY_ID: key}}, now=pki.NOW)
"""


def test_a_load_that_is_killed_before_its_commit_has_changed_nothing(
    directory: Directory, factory: Factory
) -> None:
    directory.place.open_to_write().close()
    if isinstance(directory.place, SQLitePlace):
        names = {"module": "sqlite", "kind": "SQLitePlace"}
        argument = f"Path({str(directory.place.path)!r})"
    else:
        names = {"module": "postgresql.place", "kind": "PostgreSQLPlace"}
        argument = repr(directory.place.url)  # type: ignore[attr-defined]
    octets = factory.bundle([factory.make("SN-1")])
    done = subprocess.run(
        [
            *(sys.executable, "-c", KILLED.format(argument=argument, **names)),
            encode_spki(factory.signer.public_key).hex(),
        ],
        input=octets,
        capture_output=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == -9, done.stderr.decode()
    assert directory.find("SN-1") == ()
    report = load_bundle(directory.place, io.BytesIO(octets), factory.keys, now=pki.NOW)
    assert report.outcome is Outcome.LOADED


# -- by the programs, with a table in the settings


def test_the_program_keeps_the_directory_in_postgresql(
    server: Any, tmp_path: Path, factory: Factory, capsys: pytest.CaptureFixture[str]
) -> None:
    """load, mark and show; and a password that a file has."""
    url = server.new_database()
    (tmp_path / "password").touch(0o600)
    (tmp_path / "password").write_text("not asked for\n")
    key = factory.signer.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "factory.pub").write_bytes(key)
    settings = tmp_path / "oem.toml"
    settings.write_text(
        f"""
        [database.engine]
        kind = "postgresql"
        url = "{url}"
        password_file = "password"
        [[database.factory]]
        name = "{oem.FACTORY_ID}"
        key = "factory.pub"
        """
    )
    (tmp_path / "bundle").write_bytes(factory.bundle([factory.make("SN-1")]))
    words = ["-s", str(settings), "--json"]
    assert cli.main(["database", "load", str(tmp_path / "bundle"), *words]) == 0
    marking = ["database", "mark", "SN-1", "--revoked", "--reason", "stolen", *words]
    assert cli.main(marking) == 0
    capsys.readouterr()
    assert cli.main(["database", "show", "SN-1", *words]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["status"], shown["status_reason"]) == ("revoked", "stolen")
    (tmp_path / "password").chmod(0o644)
    assert cli.main(["database", "show", "SN-1", *words]) == 2
    assert "password" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "code", "told"),
    [
        ("postgresql://somebody:secret@/x", 2, "password_file"),
        ("postgresql:///nowhere?host=%2Fnowhere", 3, "nowhere"),
        ("postgresql://somebody@/x?password=secret", 2, "password_file"),
        ("postgresql://somebody@x:secret/x", 2, "not a URL"),
        ("mysql://x/y", 2, "url"),
        ("mysql://somebody:secret@/x", 2, "url"),
    ],
)
def test_a_server_that_cannot_be_used_is_told(
    tmp_path: Path, url: str, code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    require_library("asyncpg", extra="postgresql")
    settings = tmp_path / "oem.toml"
    settings.write_text(f'[database.engine]\nkind = "postgresql"\nurl = "{url}"\n')
    assert cli.main(["database", "show", "SN-1", "-s", str(settings)]) == code
    said = capsys.readouterr().err
    assert told in said
    assert "secret" not in said
    assert "Traceback" not in said


def engine_of_postgresql(room: str = "place") -> Any:
    require_library("asyncpg", extra="postgresql")
    return pytest.importorskip(f"oem_backend.database.engine.postgresql.{room}")


def test_a_password_that_cannot_be_read_is_not_shown(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.touch(0o600)
    password.write_bytes(b"s\xe9cret\n")
    place = engine_of_postgresql().PostgreSQLPlace("postgresql://x@/y", password)
    with pytest.raises(FileUnusable, match="not UTF-8") as caught:
        place.open_to_read()
    assert "cret" not in caught.value.reason.replace(str(tmp_path), "")
    assert caught.value.__suppress_context__


def test_a_server_that_ends_in_mid_conversation_is_unavailable() -> None:
    """Its client comes to an internal error then, and is not always told that it may come back."""
    engine = engine_of_postgresql("terms")
    for said in (
        engine.asyncpg.InternalClientError("cannot switch to state 12"),
        engine.asyncpg.ConnectionDoesNotExistError("closed"),
        engine.asyncpg.InterfaceError("pool is closed"),
        ConnectionResetError(),
        TimeoutError(),
    ):
        with pytest.raises(Unavailable, match=str(said) or type(said).__name__):  # noqa: SIM117
            with engine.translated("here"):
                raise said


async def test_a_pool_is_closed_though_its_server_does_not_answer() -> None:
    class Pool:
        ended = False

        async def close(self) -> None:
            raise TimeoutError

        def terminate(self) -> None:
            self.ended = True

    engine = engine_of_postgresql()
    pool = Pool()
    await engine.PooledRecords(pool, engine.PostgreSQLPlace("postgresql://x@/y")).close()
    assert pool.ended


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("VALUES ('0099')", "version 99"),
        ("VALUES ('v1.2')", "'v1.2'"),
        ("SELECT '' LIMIT 0", "None"),
    ],
)
def test_a_database_of_somebody_else_is_left_alone(server: Any, said: str, told: str) -> None:
    """Tables of another program are no directory; ours are made beside them."""
    engine = engine_of_postgresql()
    url = server.new_database()
    name = url.partition("@/")[2].partition("?")[0]
    statements = (
        f"CREATE TABLE schema_version (version_num TEXT); INSERT INTO schema_version {said}"
    )
    subprocess.run(
        [
            *(server.programs / "psql", "-q", "-h", server.folder, "-U", server.user),
            *("-d", name, "-c", statements),
        ],
        check=True,
    )
    with pytest.raises(StateError, match=told):
        engine.PostgreSQLPlace(url).open_to_write()
