"""A pledge's process is killed at each durable step; the next one goes on from what is on disk."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from device_client.identity.from_seed import write_fuse
from device_client.keystore.files import FileKeystore
from device_client.pledge.states import Phase
from tests.kit import device
from tests.kit.device import World
from tests.kit.stub_registrar import StubRegistrar

WORLD = World.make()
PROGRAM = """
import asyncio, os, signal, sys
from pathlib import Path
from device_client.identity.from_seed import SeedIdentity, load_fuse
from device_client.keystore.files import FileKeystore
from device_client.onboard import onboard
from device_client.pledge.origin import parse_origin

fuse, directory, registrar, at, before = sys.argv[1:]

class Killed(FileKeystore):
    def die(self, name, change, *args, **kwargs):
        if name == at and before == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = change(*args, **kwargs)
        if name == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    def request_for(self, *args, **kwargs):
        return self.die("request", super().request_for, *args, **kwargs)
    def keep_enrollment(self, *args):
        return self.die("enrollment", super().keep_enrollment, *args)
    def keep_reported(self):
        return self.die("reported", super().keep_reported)

outcome = asyncio.run(
    onboard(SeedIdentity(load_fuse(Path(fuse))), [parse_origin(registrar)], Killed(Path(directory)))
)
print(outcome.code)
"""


@pytest.mark.requirement("PL-1")
@pytest.mark.parametrize("before", ["before", "after"])
@pytest.mark.parametrize("at", ["request", "enrollment", "reported"])
async def test_killed_and_started_again(tmp_path: Path, at: str, before: str) -> None:
    """One CSR on the wire, one LDevID, and an end that says enrolled."""
    fuse, directory = tmp_path / "device.fuse", tmp_path / "keystore"
    write_fuse(fuse, device.make_fuse(WORLD.oem, WORLD.masa_root))
    registrar = StubRegistrar(WORLD)

    async def run(where: str) -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROGRAM, fuse, directory, str(registrar.origin), where, before,
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, _ = await process.communicate()
        return process.returncode, out.decode().strip()

    async with registrar.serving():
        assert await run(at) == (-signal.SIGKILL, "")
        told = (0, "already-enrolled" if (at, before) == ("reported", "after") else "enrolled")
        assert await run("nowhere") == told
    assert FileKeystore(directory).load().phase is Phase.ENROLLED
    assert len({heard.body for heard in registrar.heard if heard.path == "simpleenroll"}) == 1
    issued = [heard for heard in registrar.heard if heard.path == "enrollstatus"]
    assert len({heard.client_chain for heard in issued}) == 1
