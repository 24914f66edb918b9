"""SIGKILL at each durable step of an onboarding, before and after it, then a restart.

The registrar is the real program in a process of its own; a wrapper ends it at one call of its
journal. Whatever the step, the device ends enrolled, with one active LDevID, and everything that
was signed and seen on the wire is in the journal.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from brski.idevid.record import Presentation
from brski_lab.building import Ordered
from brski_lab.children import Children, open_socket, port_of
from brski_lab.stage import Stage, set_stage
from device_client.identity.from_seed import SeedIdentity, load_fuse
from device_client.keystore.files import FileKeystore
from device_client.onboard import onboard
from device_client.outcome import Outcome
from device_client.pledge.origin import Origin
from device_client.pledge.states import Result

STEPS = (
    "begin",
    "complete_registrar_request",
    "complete_voucher",
    "set_voucher_status",
    "set_audit_verdict",
    "intend",  # the LDevID
    "complete_ldevid",
    "record",  # enrollstatus
)

WRAPPER = """
import os, signal, sys
from registrar_plugin.store.sqlite import SQLiteJournal
from registrar_plugin.store.sqlite_issuances import SQLiteIssuances
step, when = sys.argv[1], sys.argv[2]
room = SQLiteIssuances if step == "intend" else SQLiteJournal
genuine = getattr(room, step, None)
async def killing(*arguments, **named):
    if when == "after":
        await genuine(*arguments, **named)
    os.kill(os.getpid(), signal.SIGKILL)
if genuine is not None:
    setattr(room, step, killing)
from registrar_plugin.cli import main
sys.exit(main(sys.argv[3:]))
"""


@asynccontextmanager
async def registrar(
    stage: Stage, step: str = "none", when: str = "before"
) -> AsyncIterator[Origin]:
    """The registrar on a socket of its own, killed at *step*; ended when the block is left."""
    listening = open_socket()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", WRAPPER, step, when),
        *("serve", "-s", str(stage.registrar_settings), "--announce"),
        *("--listen", f"fd:{listening.fileno()}"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        pass_fds=[listening.fileno()],
    )
    port = port_of(listening)
    listening.close()
    try:
        assert process.stdout is not None
        assert json.loads(await asyncio.wait_for(process.stdout.readline(), 20))
        yield Origin(host="127.0.0.1", port=port)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def attempt(stage: Stage, serial_number: str, origin: Origin) -> Outcome:
    return await onboard(
        SeedIdentity(load_fuse(stage.fuse_path(serial_number))),
        [origin],
        FileKeystore(stage.keystore_path(serial_number)),
    )


def rows(path: Path, query: str, *values: object) -> list[tuple[bytes, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(query, values).fetchall()


def check_books(stage: Stage, serial_number: str, ended: Outcome, label: str) -> None:
    """One active LDevID, the one that the device holds; all that was on the wire is on record."""
    journal = stage.folder / "registrar.db"
    active = rows(
        journal,
        "SELECT certificate FROM certificates WHERE serial_number = ? AND state = 'active'",
        serial_number,
    )
    assert len(active) == 1, label
    if ended.artifacts.ldevid_chain:
        assert ended.artifacts.ldevid_chain[0] == active[0][0], label
    signed = {
        hashlib.sha256(octets).digest()
        for (octets,) in rows(
            journal,
            "SELECT result FROM intents WHERE kind = 'registrar-voucher-request' "
            "AND serial_number = ? AND result IS NOT NULL",
            serial_number,
        )
    }
    seen = {
        digest
        for (digest,) in rows(
            stage.folder / "masa.db",
            "SELECT request_digest FROM entries WHERE serial_number = ?",
            serial_number,
        )
    }
    assert seen <= signed, label
    assert not rows(journal, "SELECT octets FROM intents WHERE result IS NULL"), label


@pytest.mark.slow
async def test_whatever_the_step_the_device_ends_enrolled(tmp_path: Path) -> None:
    """Eight steps, before and after each: killed, restarted, enrolled, and the books agree."""
    cases = [(step, when) for step in STEPS for when in ("before", "after")]
    devices = [
        Ordered(serial_number=f"SN-{number:04X}", presentation=tuple(Presentation)[number % 2])
        for number in range(len(cases))
    ]
    async with Children(tmp_path / "logs") as children:
        stage = await set_stage(tmp_path, children, devices)
        await children.end("brski-registrar")
        for device, (step, when) in zip(devices, cases, strict=True):
            label = f"{when} {step}"
            async with registrar(stage, step, when) as origin:
                cut_off = await attempt(stage, device.serial_number, origin)
            if step != "record":
                assert cut_off.result is Result.RETRY, label
            async with registrar(stage) as origin:
                ended = await attempt(stage, device.serial_number, origin)
            assert ended.result is Result.ENROLLED, f"{label}: {ended.reason}"
            check_books(stage, device.serial_number, ended, label)
