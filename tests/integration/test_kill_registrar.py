"""SIGKILL at each durable step of an onboarding, before and after it, then a restart.

The registrar is the real program in a process of its own, ended at one call of its journal.
Whatever the step, the device ends enrolled, with one active LDevID, and everything that was signed
and seen on the wire is in the journal.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from brski.idevid.record import Presentation
from brski_lab.building import Ordered
from brski_lab.children import Children
from brski_lab.stage import Stage, set_stage
from device_client.outcome import Outcome
from device_client.pledge.states import Result
from tests.kit.kill import Step
from tests.kit.staged import ISSUANCES, JOURNAL, join, registrar, rows

STEPS = (
    (JOURNAL, "begin"),
    (JOURNAL, "complete_registrar_request"),
    (JOURNAL, "complete_voucher"),
    (JOURNAL, "set_voucher_status"),
    (JOURNAL, "set_audit_verdict"),
    (ISSUANCES, "intend"),  # the LDevID
    (JOURNAL, "complete_ldevid"),
    (JOURNAL, "record"),  # enrollstatus
)


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
    cases = [Step(*step, when) for step in STEPS for when in ("before", "after")]
    devices = [
        Ordered(serial_number=f"SN-{number:04X}", presentation=tuple(Presentation)[number % 2])
        for number in range(len(cases))
    ]
    async with Children(tmp_path / "logs") as children:
        stage = await set_stage(tmp_path, children, devices)
        await children.end("brski-registrar")
        for device, step in zip(devices, cases, strict=True):
            async with registrar(stage, step) as origin:
                cut_off = await join(stage, device.serial_number, origin)
            if step.name != "record":
                assert cut_off.result is Result.RETRY, step
            async with registrar(stage) as origin:
                ended = await join(stage, device.serial_number, origin)
            assert ended.result is Result.ENROLLED, f"{step}: {ended.reason}"
            check_books(stage, device.serial_number, ended, f"{step}")
