"""Abuse case 27: SIGKILL at each durable step of a MASA, before and after it, then a restart.

The registrar has an answer for the pledge meanwhile (503); the device comes again and ends
enrolled, the MASA's log has one entry for each request, and every voucher that went out is in it.
The registrar's own steps are in ``tests/integration/test_kill_registrar.py``.
"""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from brski.idevid.record import Presentation
from brski_lab.building import Ordered
from brski_lab.children import Children, open_socket, port_of
from brski_lab.fault_proxy import FaultProxy
from brski_lab.stage import Stage, set_stage
from device_client.identity.from_seed import SeedIdentity, load_fuse
from device_client.keystore.files import FileKeystore
from device_client.onboard import onboard
from device_client.outcome import Outcome
from device_client.pledge.origin import Origin
from device_client.pledge.states import Result

STEPS = ("begin", "complete")
WRAPPER = """
import os, signal, sys
from masa_stub.store.log import AuditStore
step, when = sys.argv[1], sys.argv[2]
genuine = getattr(AuditStore, step, None)
async def killing(*arguments):
    if when == "after":
        await genuine(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
if genuine is not None:
    setattr(AuditStore, step, killing)
from masa_stub.cli import main
sys.exit(main(sys.argv[3:]))
"""


@asynccontextmanager
async def masa(
    stage: Stage, proxy: FaultProxy, step: str = "none", when: str = "before"
) -> AsyncIterator[None]:
    """The MASA behind *proxy*, killed at *step*; ended when the block is left."""
    listening, managing = open_socket(), open_socket()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", WRAPPER, step, when),
        *("serve", "-s", str(stage.folder / "masa.toml"), "--announce"),
        *("--listen", f"fd:{listening.fileno()}", "--manage", f"fd:{managing.fileno()}"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        pass_fds=[listening.fileno(), managing.fileno()],
    )
    proxy.port = port_of(listening)
    listening.close()
    managing.close()
    try:
        assert process.stdout is not None
        assert json.loads(await asyncio.wait_for(process.stdout.readline(), 20))
        yield
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


def octets_of(path: Path, query: str) -> list[bytes]:
    """A column of a database file."""
    with closing(sqlite3.connect(path)) as db:
        return [octets for (octets,) in db.execute(query)]


@pytest.mark.slow
async def test_killed_masa_is_asked_again(tmp_path: Path) -> None:
    """Two steps, before and after each."""
    cases = [(step, when) for step in STEPS for when in ("before", "after")]
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
            for device, (step, when) in zip(devices, cases, strict=True):
                async with masa(stage, proxy, step, when):
                    cut_off = await attempt(stage, device.serial_number, origin)
                assert cut_off.result is Result.RETRY, (step, when)
                async with masa(stage, proxy):
                    ended = await attempt(stage, device.serial_number, origin)
                assert ended.result is Result.ENROLLED, (step, when, ended.reason)
    book = stage.folder / "masa.db"
    passed_on = octets_of(
        stage.folder / "registrar.db", "SELECT octets FROM artifacts WHERE kind = 'voucher'"
    )
    assert len(passed_on) == len(devices)
    assert set(passed_on) <= set(octets_of(book, "SELECT voucher FROM entries"))
    requests = octets_of(book, "SELECT request_digest FROM entries")
    assert len(set(requests)) == len(requests)
