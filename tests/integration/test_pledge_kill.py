"""A pledge's process is killed at each durable step; the next one goes on from what is on disk."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from device_client.identity.from_seed import write_fuse
from device_client.keystore.files import FileKeystore
from device_client.pledge.states import Phase
from tests.kit import device
from tests.kit.device import World
from tests.kit.kill import Step, command
from tests.kit.stub_registrar import StubRegistrar

WORLD = World.make()
PROGRAM = """
import asyncio, sys
from pathlib import Path
from device_client.identity.from_seed import SeedIdentity, load_fuse
from device_client.keystore.files import FileKeystore
from device_client.onboard import onboard
from device_client.pledge.origin import parse_origin
from device_client.renew import renew

fuse, directory, registrar, rekey = sys.argv[1:]
identity, keystore = SeedIdentity(load_fuse(Path(fuse))), FileKeystore(Path(directory))
if rekey:
    joining = renew(identity, keystore, rekey=rekey == "rekey")
else:
    joining = onboard(identity, [parse_origin(registrar)], keystore)
print(asyncio.run(joining).code)
"""
KEYSTORE = "device_client.keystore.files:FileKeystore"
CHANGES = ("request_for", "keep_enrollment", "keep_reported")
CHANGES_OF_RENEWAL = ("renewal_request", "keep_renewal", "keep_reported")


@dataclass(frozen=True)
class Place:
    """A device's files, and the registrar that it joins."""

    folder: Path
    registrar: StubRegistrar

    @property
    def directory(self) -> Path:
        return self.folder / "keystore"

    async def run(self, at: Step | None = None, rekey: str = "") -> tuple[int | None, str]:
        """The device's program, killed *at* a change; its exit code and its end."""
        process = await asyncio.create_subprocess_exec(
            *command(
                *(PROGRAM, self.folder / "device.fuse", self.directory),
                *(str(self.registrar.origin), rekey),
                at=at,
            ),
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate()
        return process.returncode, out.decode().strip()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    write_fuse(tmp_path / "device.fuse", device.make_fuse(WORLD.oem, WORLD.masa_root))
    return Place(tmp_path, StubRegistrar(WORLD))


@pytest.mark.requirement("PL-1")
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("change", CHANGES)
async def test_killed_and_started_again(place: Place, change: str, when: str) -> None:
    """One CSR on the wire, one LDevID, and an end that says enrolled."""
    registrar = place.registrar
    async with registrar.serving():
        assert await place.run(Step(KEYSTORE, change, when)) == (-signal.SIGKILL, "")
        is_over = (change, when) == ("keep_reported", "after")
        assert await place.run() == (0, "already-enrolled" if is_over else "enrolled")
    assert FileKeystore(place.directory).load().phase is Phase.ENROLLED
    assert len({heard.body for heard in registrar.heard if heard.path == "simpleenroll"}) == 1
    issued = [heard for heard in registrar.heard if heard.path == "enrollstatus"]
    assert len({heard.client_chain for heard in issued}) == 1


@pytest.mark.parametrize("rekey", ["renew", "rekey"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("change", CHANGES_OF_RENEWAL)
async def test_killed_while_it_renews(place: Place, change: str, when: str, rekey: str) -> None:
    """At every point the device has a key and a certificate that belong together, and the next
    call finishes what was begun with the same CSR.
    """
    registrar = place.registrar
    async with registrar.serving():
        assert await place.run() == (0, "enrolled")
        former = FileKeystore(place.directory).load().enrollment
        registrar.heard.clear()
        assert await place.run(Step(KEYSTORE, change, when), rekey) == (-signal.SIGKILL, "")
        keystore = FileKeystore(place.directory)
        between = keystore.load()
        assert between.enrollment is not None
        assert keystore.ldevid().chain == between.enrollment.ldevid_chain
        kept = change == "keep_reported" or (change, when) == ("keep_renewal", "after")
        assert (between.enrollment == former) is not kept
        again = await place.run(rekey="" if kept else rekey)
    done = "already-enrolled" if (change, when) == ("keep_reported", "after") else "enrolled"
    assert again == (0, done if kept else "renewed")
    stored = FileKeystore(place.directory).load()
    assert (stored.phase, stored.renewal) == (Phase.ENROLLED, None)
    assert stored.enrollment != former
    assert len({heard.body for heard in registrar.heard if heard.path == "simplereenroll"}) == 1
