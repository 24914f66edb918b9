"""``brski-registrar waiting``, ``approve`` and ``deny``, as a person types them."""

from __future__ import annotations

import asyncio
import json
import os
import tomllib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from registrar_plugin.cli import main
from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.store.approvals import Approval, Decision
from registrar_plugin.store.sqlite import SQLiteJournal
from registrar_plugin.store.sqlite_approvals import SQLiteApprovals
from registrar_plugin.telemetry.events import Event, EventKind, Outcome
from tests.kit.settings import beside

CONF = Path(__file__).parents[3] / "conf" / "registrar.toml"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DEVICE = DeviceKey(bytes(20), "SN-1")
TWIN = DeviceKey(bytes([1]) * 20, "SN-1")

Answer = tuple[int, dict[str, Any]]
Run = Callable[..., Answer]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    settings = beside(CONF, tmp_path)

    def typed(*arguments: str) -> Answer:
        code = main([*arguments, "-s", str(settings), "--json"])
        out = capsys.readouterr().out
        return code, json.loads(out) if out else {}

    return typed


def in_journal(folder: Path, work: Callable[[SQLiteJournal], Awaitable[object]]) -> Any:
    async def opened() -> object:
        journal = SQLiteJournal(folder / "registrar.db")
        try:
            return await work(journal)
        finally:
            await journal.close()

    return asyncio.run(opened())


def let_wait(folder: Path, *devices: DeviceKey) -> None:
    async def enter(journal: SQLiteJournal) -> None:
        for device in devices:
            waits = Approval(
                device=device, decision=Decision.WAITING, manufacturer="acme", since=NOW
            )
            event = Event(at=NOW, kind=EventKind.APPROVAL, device=device)
            await SQLiteApprovals(journal.writer).wait(waits, most=9, expired=NOW, event=event)

    in_journal(folder, enter)


def test_who_waits_is_listed_and_approved(tmp_path: Path, run: Run) -> None:
    """The decision is durable, and the event names the account that it was typed under."""
    let_wait(tmp_path, DEVICE)
    code, listed = run("waiting")
    assert (code, [w["serial_number"] for w in listed["waiting"]]) == (0, ["SN-1"])
    code, decided = run("approve", "SN-1", "--note", "rack 3")
    assert (code, decided["decision"], decided["note"]) == (0, "approved", "rack 3")
    assert f"uid {os.getuid()}" in decided["decided_by"]
    assert run("waiting") == (0, {"waiting": []})
    events = in_journal(tmp_path, lambda journal: journal.events())
    assert f"uid {os.getuid()}" in events[-1].details["by"]
    assert events[-1].details["decision"] == "approved"


@pytest.mark.requirement("SEC-9")
def test_an_ambiguous_serial_number_decides_nothing(
    tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its issuers are listed, and the command exits with 2; with the issuer it decides on one."""
    let_wait(tmp_path, DEVICE, TWIN)
    settings = tmp_path / "registrar.toml"
    assert main(["deny", "SN-1", "-s", str(settings)]) == 2
    said = capsys.readouterr().err
    assert DEVICE.idevid_issuer.hex() in said
    assert TWIN.idevid_issuer.hex() in said
    assert len(run("waiting")[1]["waiting"]) == 2
    assert run("deny", "SN-1", "--issuer", "01" * 20)[0] == 0
    (left,) = run("waiting")[1]["waiting"]
    assert left["idevid_issuer"] == "00" * 20


def test_a_device_that_has_not_come_is_named_by_its_issuer(
    tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bare serial number that nobody has is a mistake more often than a plan."""
    let_wait(tmp_path)
    settings = tmp_path / "registrar.toml"
    assert main(["approve", "SN-9", "-s", str(settings)]) == 1
    assert "--issuer" in capsys.readouterr().err
    code, decided = run("approve", "SN-9", "--issuer", "AB" * 20)
    assert (code, decided["idevid_issuer"]) == (0, "ab" * 20)


def test_a_device_that_was_refused_before_needs_no_issuer(tmp_path: Path, run: Run) -> None:
    """It came, was verified and not expected; now a person lets it in."""

    async def refused(journal: SQLiteJournal) -> None:
        await journal.record(
            Event(at=NOW, kind=EventKind.ADMISSION, outcome=Outcome.REFUSED, device=DEVICE)
        )

    in_journal(tmp_path, refused)
    code, decided = run("approve", "SN-1")
    assert (code, decided["idevid_issuer"]) == (0, "00" * 20)


@pytest.mark.parametrize(
    "arguments",
    [
        ("approve", "SN-1", "--issuer", "12"),
        ("approve", "SN-1", "--note", "x" * 501),
        ("approve", "no serial number!"),
    ],
)
def test_what_cannot_be_meant_is_misuse(tmp_path: Path, run: Run, arguments: tuple[str]) -> None:
    let_wait(tmp_path, DEVICE)
    assert run(*arguments)[0] in (1, 2)
    assert len(run("waiting")[1]["waiting"]) == 1


def test_the_settings_of_conf_have_no_manual_approval(tmp_path: Path) -> None:
    """What is not asked for is off."""
    assert "approval" not in tomllib.loads(CONF.read_text())["admission"]
