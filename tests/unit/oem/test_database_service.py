"""The directory behind the service, and what it does on a listener that is not its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer

from brski.errors import StateError
from brski.idevid.record import DeviceStatus
from brski.idevid.record_json import RECORDS_LIMIT, decode_records
from oem_backend.database.engine.sqlite import InlineRecords
from oem_backend.database.marks import Verdict
from oem_backend.database.opening import open_reader
from oem_backend.database.query import Question
from oem_backend.database.quota import Quota
from oem_backend.database.registrars import RegistrarGate, Usage
from oem_backend.database.service import Answer, Directory, device_app
from tests.kit import oem, pki


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "devices.db"


async def ask(directory: Directory, question: Question) -> Answer:
    answer = await directory.ask(question)
    assert isinstance(answer, Answer)
    return answer


async def test_an_answer_is_encoded_once_until_something_changes(database: Path) -> None:
    factory = oem.Factory()
    factory.load(database, [factory.make("SN-1"), factory.make("SN-2")])
    reader = open_reader(database)
    directory = Directory(InlineRecords(reader), require_spki=False)
    first = await ask(directory, Question("SN-1"))
    assert await ask(directory, Question("SN-1")) is first
    (other,) = reader.find(None, "SN-2")
    oem.mark(database, other, Verdict.FLAGGED, "odd")
    again = await ask(directory, Question("SN-1"))
    assert again is not first
    assert again == first  # the same octets and ETag: this device has not changed
    assert (
        decode_records((await ask(directory, Question("SN-2"))).body)[0].status
        is DeviceStatus.FLAGGED
    )
    reader.close()


async def test_only_so_many_answers_are_kept(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oem_backend.database.service._ANSWERS", 2)
    factory = oem.Factory()
    factory.load(database, [factory.make(f"SN-{number}") for number in range(4)])
    reader = open_reader(database)
    directory = Directory(InlineRecords(reader), require_spki=False)
    first = await ask(directory, Question("SN-0"))
    for number in range(1, 4):
        await ask(directory, Question(f"SN-{number}"))
        await directory.ask(Question("unknown"))  # takes no room
    assert len(directory._answers) == 2
    assert await ask(directory, Question("SN-0")) == first
    reader.close()


async def test_why_there_is_no_answer(database: Path) -> None:
    factory = oem.Factory()
    device = factory.make("SN-1")
    factory.load(database, [device])
    reader = open_reader(database)
    usual, strict = (
        Directory(InlineRecords(reader), require_spki=demanded) for demanded in (False, True)
    )
    assert await usual.ask(Question("SN-9")) == "unknown"
    assert await usual.ask(Question("SN-1", bytes(20))) == "unknown"
    assert await usual.ask(Question("SN-1", None, bytes(32))) == "other-key"
    assert (
        await strict.ask(Question("SN-1")) == await strict.ask(Question("SN-9")) == "key-not-told"
    )
    assert await ask(strict, Question("SN-1", None, device.spki_sha256))
    reader.close()


async def test_more_namesakes_than_a_document_holds_are_asked_for_one_by_one(
    database: Path,
) -> None:
    factories = [oem.Factory(pki.make_pki(levels=1)) for _ in range(RECORDS_LIMIT + 1)]
    for number, factory in enumerate(factories):
        factory.load(database, [factory.make("SN-1")], product=f"Product {number}")
    reader = open_reader(database)
    directory = Directory(InlineRecords(reader), require_spki=False)
    with pytest.raises(StateError, match="records of SN-1"):
        await directory.ask(Question("SN-1"))
    for factory in factories:
        assert await ask(directory, Question("SN-1", factory.idevid_issuer))
    reader.close()


async def test_a_listener_of_another_kind_gets_nothing(database: Path) -> None:
    """Without our TLS context nobody knows who asks; that is never taken for "no certificate"."""
    factory = oem.Factory()
    factory.load(database, [factory.make("SN-1")])
    reader = open_reader(database)
    app = device_app(
        Directory(InlineRecords(reader), require_spki=False),
        gate=RegistrarGate(
            [pki.make_root().certificate], usage=Usage.CMC_RA, clock=lambda: pki.NOW
        ),
        quota=Quota(clock=lambda: 0.0, per_s=1, burst=1),
        owner=object(),
    )
    async with TestClient(TestServer(app)) as client:
        response = await client.get("/v1/devices/SN-1")
        assert (response.status, await response.read()) == (503, b"")
    reader.close()
