"""Abuse case 27: SIGKILL at each durable step of a MASA, before and after it, then a restart.

The registrar has an answer for the pledge meanwhile (503); the device comes again and ends
enrolled, the MASA's log has one entry for each request, and every voucher that went out is in it.
The registrar's own steps are in ``tests/integration/test_kill_registrar.py``.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from brski.idevid.record import Presentation
from brski_lab.building import Ordered
from brski_lab.children import Children, open_socket, port_of
from brski_lab.fault_proxy import FaultProxy
from brski_lab.stage import Stage, set_stage
from device_client.pledge.origin import Origin
from device_client.pledge.states import Result
from tests.kit.kill import Step, served
from tests.kit.staged import join

STORE = "masa_stub.store.log:AuditStore"
STEPS = ("begin", "complete")


@asynccontextmanager
async def masa(stage: Stage, proxy: FaultProxy, at: Step | None = None) -> AsyncIterator[None]:
    """The MASA behind *proxy*."""
    settings = stage.folder / "masa.toml"
    async with served("masa_stub.cli", settings, "--listen", "--manage", at=at) as (port, _):
        proxy.port = port
        yield


def octets_of(path: Path, query: str) -> list[bytes]:
    """A column of a database file."""
    with closing(sqlite3.connect(path)) as db:
        return [octets for (octets,) in db.execute(query)]


@pytest.mark.slow
async def test_killed_masa_is_asked_again(tmp_path: Path) -> None:
    """Two steps, before and after each."""
    cases = [Step(STORE, step, when) for step in STEPS for when in ("before", "after")]
    devices = [
        Ordered(serial_number=f"SN-{number:04X}", presentation=tuple(Presentation)[number % 2])
        for number in range(len(cases))
    ]
    async with Children(tmp_path / "logs") as children:
        stage = await set_stage(tmp_path, children, devices)
        await children.end("brski-registrar")
        await children.end("brski-masa")
        proxy = FaultProxy("127.0.0.1", 1)
        async with proxy.serving():
            settings = stage.registrar_settings.read_text()
            here = f'"127.0.0.1:{proxy.address[1]}"'
            stage.registrar_settings.write_text(
                re.sub(r"hosts = \[.*\]", f"url = {here}\nhosts = [{here}]", settings)
            )
            listening = open_socket()
            origin = Origin(host="127.0.0.1", port=port_of(listening))
            await children.serve(
                *("brski-registrar", "serve", "-s", stage.registrar_settings),
                *("--listen", f"fd:{listening.fileno()}"),
                sockets=[listening],
            )
            for device, step in zip(devices, cases, strict=True):
                async with masa(stage, proxy, step):
                    cut_off = await join(stage, device.serial_number, origin)
                assert cut_off.result is Result.RETRY, step
                async with masa(stage, proxy):
                    ended = await join(stage, device.serial_number, origin)
                assert ended.result is Result.ENROLLED, f"{step}: {ended.reason}"
    book = stage.folder / "masa.db"
    passed_on = octets_of(
        stage.folder / "registrar.db", "SELECT octets FROM artifacts WHERE kind = 'voucher'"
    )
    assert len(passed_on) == len(devices)
    assert set(passed_on) <= set(octets_of(book, "SELECT voucher FROM entries"))
    requests = octets_of(book, "SELECT request_digest FROM entries")
    assert len(set(requests)) == len(requests)
