"""``brski-registrar explain``, as a person types it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from registrar_plugin.cli import main
from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.store.sqlite import SQLiteJournal
from registrar_plugin.telemetry.events import Event, EventKind, Outcome
from tests.kit.settings import beside

CONF = Path(__file__).parents[3] / "conf" / "registrar.toml"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DEVICE = DeviceKey(bytes(20), "SN-1")
TWIN = DeviceKey(bytes([1]) * 20, "SN-1")
REFUSED = Event(
    at=NOW,
    kind=EventKind.ADMISSION,
    outcome=Outcome.REFUSED,
    device=DEVICE,
    reason="two \x1b[31m things differ (RFC 8995 §5.3)",
    code="pledge-not-expected",
    peer_address="192.0.2.7",
    details={"section": "RFC 8995 §5.3", "found": "SN-1", "wanted": "SN-2"},
)


def written(folder: Path, *events: Event) -> str:
    """A journal with *events*; the settings file beside it."""

    async def write() -> None:
        journal = SQLiteJournal(folder / "registrar.db")
        await journal.record(*events)
        await journal.close()

    settings = beside(CONF, folder)
    asyncio.run(write())
    return str(settings)


def test_a_person_reads_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rule, section, both values, advice; nothing that steers a terminal."""
    settings = written(tmp_path, REFUSED)
    assert main(["explain", "SN-1", "-s", settings]) == 0
    said = capsys.readouterr().out
    assert "pledge-not-expected, RFC 8995 §5.3" in said
    assert "SN-2" in said
    assert "brski-registrar approve" in said
    assert "192.0.2.7" in said
    assert "\x1b" not in said


def test_a_device_writes_no_lines_of_ours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it gives for a reason is one line, whatever it has in it."""
    forged = "no\n  what to do run this\r\n\u2028\x85  rule       none"
    line = replace(REFUSED, kind=EventKind.VOUCHER_STATUS, reason=forged, code="voucher-rejected")
    settings = written(tmp_path, line)
    for command in (["explain", "SN-1"], ["journal"]):
        assert main([*command, "-s", settings]) == 0
        said = capsys.readouterr().out
        assert "\\n" in said
        assert not any(each.lstrip().startswith("what to do run") for each in said.splitlines())
    assert main(["explain", "SN-1", "-s", settings]) == 0
    lines = [each.split()[0] for each in capsys.readouterr().out.splitlines() if each.strip()]
    assert lines.count("rule") == 1


def test_a_program_reads_it_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = written(tmp_path, REFUSED)
    assert main(["explain", "SN-1", "-s", settings, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["idevid_issuer"] == "00" * 20
    assert told["refusal"]["found"] == "SN-1"
    assert told["refusal"]["at"] == "2026-03-01T12:00:00Z"
    assert (told["claims"], told["alarms"]) == ([], [])


@pytest.mark.requirement("SEC-9")
def test_of_two_devices_the_issuer_says_which(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else their issuers are listed, and the command exits with 2."""
    twin = Event(at=NOW, kind=EventKind.VOUCHER, device=TWIN)
    settings = written(tmp_path, REFUSED, twin)
    assert main(["explain", "SN-1", "-s", settings]) == 2
    assert "01" * 20 in capsys.readouterr().err
    assert main(["explain", "SN-1", "--issuer", "01" * 20, "-s", settings]) == 0
    assert "it got its voucher" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["SN-9"], ["SN-1", "--issuer", "ff" * 20], ["no number!"]])
def test_who_never_came_is_not_explained(tmp_path: Path, arguments: list[str]) -> None:
    settings = written(tmp_path, REFUSED)
    assert main(["explain", *arguments, "-s", settings]) == 1
