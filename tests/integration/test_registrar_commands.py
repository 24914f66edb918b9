"""Commands of ``brski-registrar`` beside the running one: what is decided or fetched in one process
is used in the other.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from brski.edge.serve import Listener, serving
from brski.edge.settings import load_settings
from brski.idevid.record import Presentation
from brski_lab.building import Ordered
from brski_lab.children import Children
from brski_lab.names import MANUFACTURER
from brski_lab.stage import Stage, set_stage
from device_client.pledge.origin import Origin
from device_client.pledge.policy import Policy
from device_client.pledge.states import Result
from registrar_plugin.composition import open_registrar
from registrar_plugin.plugin import setup
from registrar_plugin.settings import RegistrarSettings
from tests.kit.staged import join

SERIAL = "SN-0001"


async def command(*arguments: str, settings: Path) -> tuple[int, dict[str, Any]]:
    """``brski-registrar`` in a process of its own; its exit code and JSON."""
    program = "import sys; from registrar_plugin.cli import main; sys.exit(main())"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, *arguments, "-s", str(settings), "--json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, json.loads(out) if out else {}


@asynccontextmanager
async def running(stage: Stage) -> AsyncIterator[Origin]:
    """The registrar of the stage's settings, in this process."""
    settings = load_settings(stage.registrar_settings, RegistrarSettings)
    registrar = open_registrar(settings, source=stage.registrar_settings)
    app = web.Application()
    setup(app, registrar)
    listener = Listener(
        name="host", app=app, listen="127.0.0.1:0", ssl_context=registrar.ssl_context()
    )
    async with serving([listener]) as addresses:
        host, _, port = addresses["host"].rpartition(":")
        yield Origin(host=host, port=int(port))


def rewrite(path: Path, pattern: str, text: str) -> None:
    changed, count = re.subn(pattern, text, path.read_text())
    assert count == 1
    path.write_text(changed)


@pytest.mark.requirement("E2E-3", "REG-17", "PL-12")
async def test_a_person_approves_while_the_pledge_waits(tmp_path: Path) -> None:
    """202 until another process has approved it, then the voucher; and who did is on record."""
    ordered = [Ordered(serial_number=SERIAL, presentation=Presentation.ASSERTED)]
    async with Children(tmp_path / "logs") as children:
        stage = await set_stage(tmp_path, children, ordered)
        await children.end("brski-registrar")
        rewrite(
            stage.registrar_settings,
            r"expected = .*",
            'approval = "manual"\n[approval]\nretry_after_s = 1',
        )
        async with running(stage) as origin:
            joining = asyncio.create_task(join(stage, SERIAL, origin))
            async with asyncio.timeout(60):
                waiting: list[dict[str, Any]] = []
                while not waiting:
                    _, listed = await command("waiting", settings=stage.registrar_settings)
                    waiting = listed["waiting"]
            assert [entry["serial_number"] for entry in waiting] == [SERIAL]
            code, _ = await command("approve", SERIAL, settings=stage.registrar_settings)
            assert code == 0
            assert (await joining).result is Result.ENROLLED
        _, journal = await command("journal", SERIAL, settings=stage.registrar_settings)
        steps = [event["step"] for event in journal["events"]]
        assert steps[:3] == ["approval", "approval", "voucher-request"]
        assert "uid" in journal["events"][1]["details"]["by"]


@pytest.mark.requirement("E2E-6", "OEM-17", "REG-32")
async def test_a_voucher_fetched_ahead_admits_a_device_without_its_masa(tmp_path: Path) -> None:
    """Over real TLS: the MASA knows the owner, gives a voucher without nonce, and ends."""
    ordered = [Ordered(serial_number=SERIAL, presentation=Presentation.CARRIED)]
    async with Children(tmp_path / "logs") as children:
        stage = await set_stage(tmp_path, children, ordered)
        await children.end("brski-registrar")
        settings = stage.registrar_settings
        fetch = ("fetch-voucher", SERIAL, "--manufacturer", MANUFACTURER)
        code, refused = await command(*fetch, settings=settings)
        assert (code, refused["vouchers"][0]["outcome"]) == (1, "refused")

        owner = tmp_path / "keys" / "owner-root.pem"
        await children.run(
            *("brski-masa", "sold", SERIAL, "--certificate", str(owner)),
            *("-s", str(tmp_path / "masa.toml")),
        )
        code, fetched = await command(*fetch, settings=settings)
        assert (code, fetched["vouchers"][0]["assertion"]) == (0, "verified")
        assert (await command("vouchers", settings=settings))[1] == fetched

        await children.end("brski-masa")
        assert (await command(*fetch, settings=settings))[0] == 3
        with settings.open("a") as file:
            file.write('[stored_vouchers]\nuse = "masa-silent"\n')
            file.write("[audit_log]\naccept_silence = true\n")
        async with running(stage) as origin:
            assert (await join(stage, SERIAL, origin)).result is not Result.ENROLLED
            joined = await join(stage, SERIAL, origin, policy=Policy(allow_nonceless=True))
            assert joined.result is Result.ENROLLED
