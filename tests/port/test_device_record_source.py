"""What every source of device records promises: the OEM's service, and a copy of its database."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from brski.edge.serve import Listener, serving
from brski.edge.settings import Settings, read_settings
from brski.edge.tls_server import server_context
from brski.errors import FileUnusable, SettingsError, StateError, Unavailable
from brski.idevid.record import DeviceRecord, DeviceStatus, Presentation
from oem_backend.database.engine.sqlite import InlineRecords
from oem_backend.database.marks import Verdict, batch_subject
from oem_backend.database.opening import open_reader
from oem_backend.database.quota import Quota
from oem_backend.database.registrars import RegistrarGate, Usage
from oem_backend.database.service import Directory, device_app
from registrar_plugin.oem_source.database import DatabaseSource
from registrar_plugin.oem_source.http import HTTPSource
from registrar_plugin.oem_source.lookup import CachedLookup
from registrar_plugin.oem_source.port import DeviceRecordSource, KeyBound, Local
from tests.kit import oem, pki

SPKI = bytes(32)
ROOT = pki.make_root("Service Root")
OWNER = pki.make_pki("Example Owner")


@dataclass
class OEM:
    """A manufacturer: factory, database, and a source that is asked about them."""

    factory: oem.Factory
    database: Path
    source: DeviceRecordSource

    async def find(
        self, serial_number: str, issuer: bytes | None = None
    ) -> tuple[DeviceRecord, ...]:
        return await self.source.find(issuer, serial_number, spki_sha256=SPKI)


def _open(source: Any, table: dict[str, Any], folder: Path) -> DeviceRecordSource:
    settings: Settings = read_settings(table, source.Settings, source=folder / "registrar.toml")
    opened: DeviceRecordSource = source.open(settings)
    return opened


@asynccontextmanager
async def _by_database(database: Path) -> AsyncIterator[DeviceRecordSource]:
    table = {"kind": "database", "path": database.name}
    yield _open(DatabaseSource, table, database.parent)


@asynccontextmanager
async def _by_http(
    database: Path, *, require_spki: bool = False
) -> AsyncIterator[DeviceRecordSource]:
    folder = database.parent
    registrar = pki.make_registrar(OWNER)
    (folder / "root.pem").write_bytes(ROOT.certificate.public_bytes(Encoding.PEM))
    (folder / "registrar.pem").write_bytes(registrar.chain_pem)
    (folder / "registrar.key").touch(0o600)
    (folder / "registrar.key").write_bytes(registrar.key_pem)
    server = pki.make_server(ROOT, name="localhost")
    reader, owner = open_reader(database), object()
    app = device_app(
        Directory(InlineRecords(reader), require_spki=require_spki),
        gate=RegistrarGate(
            [OWNER.root],
            usage=Usage.CMC_RA,
            clock=lambda: pki.NOW,
        ),
        quota=Quota(clock=lambda: 0.0, per_s=1, burst=1000),
        owner=owner,
    )
    context = server_context(server.chain, server.private_key, owner=owner)
    listener = Listener(name="registrars", app=app, listen="127.0.0.1:0", ssl_context=context)
    async with serving([listener]) as addresses:
        url = f"https://{addresses['registrars'].replace('127.0.0.1', 'localhost')}"
        yield _open(HTTPSource, _http_table(url), folder)
    reader.close()


def _http_table(url: str) -> dict[str, Any]:
    return {
        "kind": "http",
        "url": url,
        "anchors": "root.pem",
        "client_chain": "registrar.pem",
        "client_key": "registrar.key",
    }


SOURCES: dict[str, Any] = {"http": _by_http, "database": _by_database}


@asynccontextmanager
async def _manufacturer(kind: str, folder: Path, **options: Any) -> AsyncIterator[OEM]:
    factory, database = oem.Factory(), folder / "devices.db"
    factory.load(database, [factory.make("SN-1")])
    async with SOURCES[kind](database, **options) as source:
        try:
            yield OEM(factory, database, source)
        finally:
            await source.close()


@pytest.fixture(params=list(SOURCES))
async def manufacturer(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OEM]:
    async with _manufacturer(request.param, tmp_path) as one:
        yield one


async def test_a_device_is_found_as_the_factory_made_it(manufacturer: OEM) -> None:
    factory = manufacturer.factory
    made = factory.make("SN-2")
    listed = made.listed(presentation=Presentation.CARRIED, chunk=5)
    factory.load(manufacturer.database, [listed], generation=2)
    (record,) = await manufacturer.find("SN-2")
    assert record.idevid_issuer == factory.idevid_issuer
    assert record.serial_number == "SN-2"
    assert record.certificate == made.certificate
    assert record.spki == made.spki
    assert record.intermediates == factory.origin().issuing_chain[:-1]
    assert record.presentation is Presentation.CARRIED
    assert record.derivation_profile == factory.origin().derivation_profile
    assert record.batch_digest == factory.origin().batch_digest
    assert (record.chunk, record.generation) == (5, 2)
    assert (record.status, record.status_reason) == (DeviceStatus.ACTIVE, "")


@pytest.mark.parametrize("serial_number", ["SN-9", "sn-1", "SN-", "SN-10", ".", "..", "x" * 64])
async def test_an_unknown_device_is_none(manufacturer: OEM, serial_number: str) -> None:
    assert await manufacturer.find(serial_number) == ()
    assert len(await manufacturer.find("SN-1")) == 1


async def test_the_issuer_narrows(manufacturer: OEM) -> None:
    second = oem.Factory()
    second.load(manufacturer.database, [second.make("SN-1")], product="Another")
    found = await manufacturer.find("SN-1")
    assert {record.idevid_issuer for record in found} == {
        manufacturer.factory.idevid_issuer,
        second.idevid_issuer,
    }
    (one,) = await manufacturer.find("SN-1", second.idevid_issuer)
    assert one.idevid_issuer == second.idevid_issuer
    assert await manufacturer.find("SN-1", bytes(20)) == ()


@pytest.mark.parametrize("status", [DeviceStatus.REVOKED, DeviceStatus.FLAGGED])
async def test_a_mark_shows_at_once(manufacturer: OEM, status: DeviceStatus) -> None:
    """Marked devices are found like others: the registrar judges, and tells its operator why."""
    (record,) = await manufacturer.find("SN-1")
    assert record.status is DeviceStatus.ACTIVE
    oem.mark(manufacturer.database, record, Verdict(status), "stolen")
    (record,) = await manufacturer.find("SN-1")
    assert (record.status, record.status_reason) == (status, "stolen")
    oem.mark(manufacturer.database, record, Verdict.LIFTED, "found-again")
    (record,) = await manufacturer.find("SN-1")
    assert (record.status, record.status_reason) == (DeviceStatus.ACTIVE, "")


@pytest.mark.parametrize("chunk", [None, 0])
async def test_a_mark_on_a_batch_shows_at_once(manufacturer: OEM, chunk: int | None) -> None:
    (record,) = await manufacturer.find("SN-1")
    other = batch_subject(record.batch_digest, 1)
    oem.say(manufacturer.database, other, Verdict.REVOKED, "seed-leak")
    assert (await manufacturer.find("SN-1"))[0].status is DeviceStatus.ACTIVE
    subject = batch_subject(record.batch_digest, chunk)
    oem.say(manufacturer.database, subject, Verdict.REVOKED, "seed-leak")
    (record,) = await manufacturer.find("SN-1")
    assert (record.status, record.status_reason) == (DeviceStatus.REVOKED, "seed-leak")


async def test_a_new_bundle_shows_at_once(manufacturer: OEM) -> None:
    factory = manufacturer.factory
    assert await manufacturer.find("SN-2") == ()
    factory.load(manufacturer.database, [factory.make("SN-2")])
    assert len(await manufacturer.find("SN-2")) == 1


async def test_what_cannot_be_answered_is_not_an_unknown_device(manufacturer: OEM) -> None:
    octets = bytearray(manufacturer.database.read_bytes())
    octets[4096:] = bytes(len(octets) - 4096)
    manufacturer.database.write_bytes(octets)
    with pytest.raises(Unavailable):
        await manufacturer.find("SN-1")


async def test_a_closed_source_can_be_closed_again(manufacturer: OEM) -> None:
    await manufacturer.source.close()
    await manufacturer.source.close()


# -- what one of them can and the other cannot


async def test_a_copy_on_this_machine_says_so(tmp_path: Path) -> None:
    """The registrar then keeps no cache of it, and spends no budget on it."""
    async with _manufacturer("database", tmp_path) as one:
        assert isinstance(one.source, Local)
        assert one.source.is_local
        assert not isinstance(one.source, KeyBound)
        await one.source.close()
        with pytest.raises(Unavailable, match="is closed"):
            await one.find("SN-1")


async def test_a_service_is_elsewhere(tmp_path: Path) -> None:
    async with _manufacturer("http", tmp_path) as one:
        assert not isinstance(one.source, Local)


async def test_a_copy_that_is_none_is_found_when_it_is_opened(tmp_path: Path) -> None:
    table = {"kind": "database", "path": "devices.db"}
    with pytest.raises(SettingsError, match="no file at"):
        _open(DatabaseSource, table, tmp_path)
    (tmp_path / "devices.db").write_text("not a database" * 100)
    with pytest.raises((StateError, FileUnusable)):
        _open(DatabaseSource, table, tmp_path)


# -- an OEM that answers only who has met the device


async def test_an_oem_that_demands_the_key_answers_who_has_met_it(tmp_path: Path) -> None:
    """Told the digest it answers for that key alone; not told, it knows nobody."""
    async with _manufacturer("http", tmp_path, require_spki=True) as one:
        silent, telling = one.source, _telling(one.source, tmp_path)
        met = await _digest(one)
        assert await silent.find(None, "SN-1", spki_sha256=met) == ()
        assert len(await telling.find(None, "SN-1", spki_sha256=met)) == 1
        assert await telling.find(None, "SN-1", spki_sha256=SPKI) == ()
        assert isinstance(telling, KeyBound)
        assert telling.answers_by_key
        await telling.close()


async def test_a_stranger_does_not_make_a_device_unknown_there(tmp_path: Path) -> None:
    """What a stranger's key was answered is not kept for the device's own."""
    async with _manufacturer("http", tmp_path, require_spki=True) as one:
        lookup = CachedLookup({"oem": _telling(one.source, tmp_path)}, clock=lambda: 0.0)
        for spki, count in ((SPKI, 0), (await _digest(one), 1), (SPKI, 0)):
            answers = await lookup.find(["oem"], None, "SN-1", spki_sha256=spki)
            assert len(answers["oem"]) == count
        await lookup.close()


async def _digest(one: OEM) -> bytes:
    reader = open_reader(one.database)
    (record,) = reader.find(None, "SN-1")
    reader.close()
    return hashlib.sha256(record.spki).digest()


def _telling(like: DeviceRecordSource, folder: Path) -> DeviceRecordSource:
    assert isinstance(like, HTTPSource)
    table = _http_table(like.base_url) | {"send_spki": True}
    return _open(HTTPSource, table, folder)
