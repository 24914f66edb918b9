"""Demands out, answers in: how often, for whom, and that it is remembered."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from brski.edge.cli import DONE, MISUSE, REFUSED
from brski.errors import Unavailable
from brski.idevid.demand import Demand, parse_demand
from oem_backend.cli import main
from oem_backend.database.demand_desk import DemandDesk, taking_answers
from oem_backend.database.demands import DAY_S, Asked, DemandBook, DemandLimits
from oem_backend.database.engine.sqlite import InlineRecords, SQLitePlace
from oem_backend.database.opening import open_reader
from oem_backend.database.query import Question
from oem_backend.database.registrars import RegistrarName
from oem_backend.database.schema import open_to_write
from tests.kit import oem
from tests.kit.world import Clock

NOW_S = 1_800_000_000
USUAL = DemandLimits()
ONE, TWO = bytes(32), bytes([1]) * 32


def demand(number: int, key: int = 0) -> Demand:
    return Demand(serial_number=f"SN-{number}", spki_sha256=bytes([key]) * 32)


class Spool:
    """A spool folder, with a book that a test closes and opens."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def ask(
        self,
        which: Demand,
        registrar: bytes = ONE,
        now_s: int = NOW_S,
        limits: DemandLimits = USUAL,
    ) -> Asked:
        with closing(DemandBook(self.folder, limits)) as book:
            return book.demand(which, registrar, now_s=now_s)

    def files(self) -> list[Demand]:
        return sorted(
            (parse_demand(path.read_bytes(), path.name) for path in self.folder.glob("*.demand")),
            key=lambda each: each.serial_number,
        )


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "demands")


def test_a_demand_is_written_once_in_a_while(spool: Spool) -> None:
    """Not again before again_s, the factory having taken it or not; then anew."""
    assert spool.ask(demand(1)) is Asked.DEMANDED
    assert spool.files() == [demand(1)]
    (spool.folder / demand(1).file_name).unlink()
    assert spool.ask(demand(1), TWO, NOW_S + 3599) is Asked.BEFORE
    assert spool.files() == []
    assert spool.ask(demand(1, key=2)) is Asked.DEMANDED
    assert spool.ask(demand(1), now_s=NOW_S + 3600) is Asked.DEMANDED
    assert len(spool.files()) == 2


def test_each_registrar_has_its_share_and_all_have_one(spool: Spool) -> None:
    """Counted over 24 hours, through restarts: each call here is one."""
    limits = DemandLimits(per_registrar_and_day=2, per_day=3)
    assert [spool.ask(demand(each), limits=limits) for each in (1, 2, 3)] == [
        *(Asked.DEMANDED, Asked.DEMANDED, Asked.QUOTA)
    ]
    assert [spool.ask(demand(each), TWO, limits=limits) for each in (3, 4)] == [
        *(Asked.DEMANDED, Asked.QUOTA)
    ]
    assert spool.files() == [demand(1), demand(2), demand(3)]
    assert spool.ask(demand(5), now_s=NOW_S + DAY_S - 1, limits=limits) is Asked.QUOTA
    assert spool.ask(demand(5), now_s=NOW_S + DAY_S, limits=limits) is Asked.DEMANDED


def test_a_demand_that_cannot_be_written_is_not_remembered(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk, and then it is not: the next question is written."""
    with closing(DemandBook(spool.folder, DemandLimits())) as book:
        with monkeypatch.context() as patched:

            def full(*_: object, **__: object) -> None:
                raise Unavailable("no space left")

            patched.setattr("oem_backend.database.demands.write_atomically", full)
            with pytest.raises(Unavailable):
                book.demand(demand(1), ONE, now_s=NOW_S)
        assert book.demand(demand(1), ONE, now_s=NOW_S) is Asked.DEMANDED
    assert spool.files() == [demand(1)]


# -- beside the service

REGISTRAR = RegistrarName(subject="CN=registrar", certificate_sha256=ONE, spki_sha256=TWO)
FACTORY = oem.Factory()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "devices.db"
    open_to_write(path).close()
    return path


@pytest.fixture
def desk(database: Path, spool: Spool) -> Iterator[DemandDesk]:
    with (
        closing(open_reader(database)) as reader,
        closing(DemandBook(spool.folder, DemandLimits())) as book,
    ):
        yield DemandDesk(book, InlineRecords(reader), Clock())


async def test_an_unknown_device_is_demanded(
    desk: DemandDesk, spool: Spool, caplog: pytest.LogCaptureFixture
) -> None:
    """By whom, the log says; without the key's digest nothing is."""
    caplog.set_level(logging.INFO, "oem_backend.database.audit")
    desk.note(Question("SN-1", spki_sha256=ONE), REGISTRAR)
    desk.note(Question("SN-2"), REGISTRAR)
    await desk.close()
    assert spool.files() == [Demand(serial_number="SN-1", spki_sha256=ONE)]
    (line,) = caplog.records
    assert (line.serial_number, line.outcome) == ("SN-1", "demanded")  # type: ignore[attr-defined]  # what was logged


async def test_a_device_on_record_is_not_demanded(
    desk: DemandDesk, spool: Spool, database: Path
) -> None:
    """Also if the question was for another issuer's."""
    FACTORY.load(database, [FACTORY.make("SN-1")])
    desk.note(Question("SN-1", idevid_issuer=bytes(20), spki_sha256=ONE), REGISTRAR)
    await desk.close()
    assert spool.files() == []


def answered(folder: Path, name: str, octets: bytes) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{name * 64}.bundle").write_bytes(octets)


async def test_answers_are_loaded_as_they_come(database: Path, tmp_path: Path) -> None:
    """A later generation stands already; what is refused is put aside, and hinders nobody."""
    folder = tmp_path / "answers"
    FACTORY.load(database, [FACTORY.make("SN-0")], generation=7)
    stranger = oem.Factory()
    answered(folder, "a", stranger.bundle([stranger.make("SN-9")]))
    answered(folder, "b", FACTORY.bundle([FACTORY.make("SN-1")]))
    (folder / f".{'c' * 64}.bundle.0123456789abcdef.tmp").write_bytes(b"half")
    place = SQLitePlace(database)
    async with taking_answers(place, folder, FACTORY.keys, poll_s=0.01, clock=Clock()):
        with closing(open_reader(database)) as reader:
            while not reader.find(None, "SN-1"):
                await asyncio.sleep(0.01)
            answered(folder, "d", FACTORY.bundle([FACTORY.make("SN-2")], generation=2))
            while (folder / f"{'d' * 64}.bundle").exists():
                await asyncio.sleep(0.01)
            assert reader.find(None, "SN-2")
            assert reader.find(None, "SN-9") == ()
    assert sorted(path.name for path in folder.iterdir()) == [
        f".{'c' * 64}.bundle.0123456789abcdef.tmp",
        f"{'a' * 64}.bundle.refused",
    ]


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    (tmp_path / "factory-1.pem").write_bytes(
        FACTORY.signer.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    path = tmp_path / "oem.toml"
    path.write_text(
        '[[database.factory]]\nname = "factory-1"\nkey = "factory-1.pem"\n[database.on_demand]\n'
    )
    return path


def test_answers_that_were_carried(
    settings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From a terminal, once: what became of each, and the exit status of the worst."""
    command = ["database", "load-answers", "-s", str(settings)]
    answered(tmp_path / "answers", "a", FACTORY.bundle([FACTORY.make("SN-1")]))
    assert main([*command, "--json"]) == DONE
    told: Any = json.loads(capsys.readouterr().out)
    assert [each["outcome"] for each in told["answers"]] == ["loaded"]
    answered(tmp_path / "answers", "b", b"no bundle")
    assert main(command) == REFUSED
    assert "refused" in capsys.readouterr().out
    assert main(command) == DONE
    settings.write_text("[database]\n")
    assert main(command) == MISUSE
