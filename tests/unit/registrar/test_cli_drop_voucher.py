"""brski-registrar vouchers drop, as an operator has it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from registrar_plugin.cli import main
from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.store.sqlite import SQLiteJournal
from registrar_plugin.store.sqlite_vouchers import SQLiteStoredVouchers
from registrar_plugin.store.vouchers import Errand
from registrar_plugin.telemetry.events import Event, EventKind
from tests.kit import pki
from tests.kit.est_site import Files, lay_out

ONE = DeviceKey(bytes(20), "SN-1")
TWIN = DeviceKey(bytes([1]) * 20, "SN-1")
OTHER = DeviceKey(bytes(20), "SN-2")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return lay_out(tmp_path)


def store(files: Files, *devices: DeviceKey) -> None:
    """Put a voucher for each of *devices* into the journal."""

    async def run() -> None:
        journal = SQLiteJournal(files.folder / "registrar.db")
        vouchers = SQLiteStoredVouchers(journal.writer)
        for device in devices:
            line = Event(at=pki.NOW, kind=EventKind.STORED_VOUCHER, device=device)
            errand = Errand(
                id=0,
                device=device,
                manufacturer="acme",
                masa_url="https://masa.example.com/.well-known/brski",
                media_type="application/voucher-cms+json",
                at=pki.NOW,
                unsigned=b"unsigned",
            )
            intended = await vouchers.intend(errand, line)
            await vouchers.change(replace(intended, request=b"r", voucher=b"v"), line)
        await journal.close()

    asyncio.run(run())


def run(files: Files, *said: str) -> int:
    return main([*said, "--settings", str(files.settings)])


def listed(files: Files, capsys: pytest.CaptureFixture[str]) -> list[str]:
    assert run(files, "vouchers", "--json") == 0
    vouchers = json.loads(capsys.readouterr().out)["vouchers"]
    return [f"{each['serial_number']}@{each['idevid_issuer']}" for each in vouchers]


def test_dropped_and_no_longer_listed(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    """The journal says who did it and why."""
    store(files, ONE, OTHER)
    assert run(files, "vouchers", "drop", "SN-1", "--note", "sold on", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["dropped"], document["note"]) == (True, "sold on")
    assert document["by"]
    assert listed(files, capsys) == [str(OTHER)]
    assert run(files, "journal", "SN-1", "--json") == 0
    last = json.loads(capsys.readouterr().out)["events"][-1]
    assert (last["details"]["step"], last["details"]["note"]) == ("drop", "sold on")


def test_again_changes_nothing(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    store(files, ONE)
    assert run(files, "vouchers", "drop", "SN-1") == 0
    assert run(files, "vouchers", "drop", "SN-1") == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{ONE}: dropped",
        f"{ONE}: there is none to drop",
    ]


@pytest.mark.requirement("SEC-9")
def test_an_ambiguous_serial_number_drops_nothing(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    """The issuers are listed, and it is misuse; one of them named, that one's goes."""
    store(files, ONE, TWIN)
    assert run(files, "vouchers", "drop", "SN-1") == 2
    assert TWIN.idevid_issuer.hex() in capsys.readouterr().err
    assert len(listed(files, capsys)) == 2
    assert run(files, "vouchers", "drop", "SN-1", "--issuer", TWIN.idevid_issuer.hex()) == 0
    capsys.readouterr()
    assert listed(files, capsys) == [str(ONE)]


def test_who_was_never_fetched_for_is_told(files: Files) -> None:
    """A typing mistake is no success."""
    store(files, ONE)
    assert run(files, "vouchers", "drop", "SN-9") == 1
    assert run(files, "vouchers", "drop", "no number!") == 1
