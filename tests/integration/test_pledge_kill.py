"""A pledge's process is killed at each durable step; the next one goes on from what is on disk."""

from __future__ import annotations

import asyncio
import signal
import sys
from dataclasses import dataclass
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
from device_client.renew import renew

fuse, directory, registrar, at, before, rekey = sys.argv[1:]

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
    def renewal_request(self, *args, **kwargs):
        return self.die("request", super().renewal_request, *args, **kwargs)
    def keep_renewal(self, *args):
        return self.die("renewal", super().keep_renewal, *args)

identity, keystore = SeedIdentity(load_fuse(Path(fuse))), Killed(Path(directory))
if rekey:
    joining = renew(identity, keystore, rekey=rekey == "rekey")
else:
    joining = onboard(identity, [parse_origin(registrar)], keystore)
print(asyncio.run(joining).code)
"""


@dataclass(frozen=True)
class Place:
    """A device's files, and the registrar that it joins."""

    folder: Path
    registrar: StubRegistrar

    @property
    def directory(self) -> Path:
        return self.folder / "keystore"

    async def run(self, at: str, before: str, rekey: str = "") -> tuple[int | None, str]:
        """The device's program, killed before or after that change; its exit code and its end."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROGRAM, self.folder / "device.fuse", self.directory,
            str(self.registrar.origin), at, before, rekey,
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, _ = await process.communicate()
        return process.returncode, out.decode().strip()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    write_fuse(tmp_path / "device.fuse", device.make_fuse(WORLD.oem, WORLD.masa_root))
    return Place(tmp_path, StubRegistrar(WORLD))


@pytest.mark.requirement("PL-1")
@pytest.mark.parametrize("before", ["before", "after"])
@pytest.mark.parametrize("at", ["request", "enrollment", "reported"])
async def test_killed_and_started_again(place: Place, at: str, before: str) -> None:
    """One CSR on the wire, one LDevID, and an end that says enrolled."""
    registrar = place.registrar
    async with registrar.serving():
        assert await place.run(at, before) == (-signal.SIGKILL, "")
        told = (0, "already-enrolled" if (at, before) == ("reported", "after") else "enrolled")
        assert await place.run("nowhere", before) == told
    assert FileKeystore(place.directory).load().phase is Phase.ENROLLED
    assert len({heard.body for heard in registrar.heard if heard.path == "simpleenroll"}) == 1
    issued = [heard for heard in registrar.heard if heard.path == "enrollstatus"]
    assert len({heard.client_chain for heard in issued}) == 1


@pytest.mark.parametrize("rekey", ["renew", "rekey"])
@pytest.mark.parametrize("before", ["before", "after"])
@pytest.mark.parametrize("at", ["request", "renewal", "reported"])
async def test_killed_while_it_renews(place: Place, at: str, before: str, rekey: str) -> None:
    """At every point the device has a key and a certificate that belong together, and the next
    call finishes what was begun with the same CSR.
    """
    registrar = place.registrar
    async with registrar.serving():
        assert await place.run("nowhere", before) == (0, "enrolled")
        former = FileKeystore(place.directory).load().enrollment
        registrar.heard.clear()
        assert await place.run(at, before, rekey) == (-signal.SIGKILL, "")
        keystore = FileKeystore(place.directory)
        between = keystore.load()
        assert between.enrollment is not None
        assert keystore.ldevid().chain == between.enrollment.ldevid_chain
        kept = (at, before) in (("renewal", "after"), ("reported", "before"), ("reported", "after"))
        assert (between.enrollment == former) is not kept
        again = await place.run("nowhere", before, "" if kept else rekey)
    done = "already-enrolled" if (at, before) == ("reported", "after") else "enrolled"
    assert again == (0, done if kept else "renewed")
    stored = FileKeystore(place.directory).load()
    assert (stored.phase, stored.renewal) == (Phase.ENROLLED, None)
    assert stored.enrollment != former
    assert len({heard.body for heard in registrar.heard if heard.path == "simplereenroll"}) == 1
