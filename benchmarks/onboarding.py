"""Many devices join at once: how fast, and how much of the registrar's CPU goes to cryptography."""

from __future__ import annotations

import asyncio
import tempfile
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from benchmarks.floor import Devices, Shown, floor_ms
from benchmarks.measure import Options, established_to, process_cpu_ms
from brski.edge.serve import run_loop
from brski.edge.signers.file import load_chain
from brski.edge.signers.key import KeySigner
from brski.idevid.record import Presentation
from brski_lab.building import Ordered
from brski_lab.children import Children
from brski_lab.stage import Stage, set_stage
from device_client.identity.from_seed import SeedIdentity, load_fuse
from device_client.keystore.files import FileKeystore
from device_client.onboard import onboard
from device_client.pledge.origin import Origin
from device_client.pledge.states import Result

AT_ONCE: Final = 32
WARM_UP: Final = 8  # devices onboarded before: connections opened, statements prepared
_SHOWN: Final = 4  # devices whose certificates the floor's handshakes use


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One that joins."""

    serial_number: str
    identity: SeedIdentity
    keystore: FileKeystore


def measure(options: Options) -> dict[str, float]:
    """Onboard; see docs/benchmarks.md for what each number is."""
    with tempfile.TemporaryDirectory(prefix="brski-bench-") as name:
        return run_loop(_measure(Path(name), options.devices))


async def _measure(folder: Path, count: int) -> dict[str, float]:
    async with Children(folder / "logs") as children:
        stage, devices = await some_devices(folder, children, WARM_UP + count)
        await onboard_all(stage, devices[:WARM_UP])
        registrar, servers = children.pid("brski-registrar"), _servers(stage)
        opened, cpu_ms = established_to(servers), process_cpu_ms(registrar)
        began_s = time.monotonic()
        await onboard_all(stage, devices[WARM_UP:])
        took_s = time.monotonic() - began_s
        cpu_ms = (process_cpu_ms(registrar) - cpu_ms) / count
        calls = max(0, established_to(servers) - opened) / count
    floor = floor_ms(folder / "keys", _some(stage, devices[:_SHOWN]), calls_per_onboarding=calls)
    return {
        "per_s": count / took_s,
        "registrar_cpu_ms": cpu_ms,
        "floor_ms": floor,
        "ratio_to_floor": cpu_ms / floor,
        "connections_opened_each": calls,
    }


async def some_devices(folder: Path, children: Children, count: int) -> tuple[Stage, list[Device]]:
    """Everybody's program, and *count* devices that have started, every other one asserting."""
    ordered = [
        Ordered(
            serial_number=f"SN-{number:04X}",
            presentation=Presentation.ASSERTED if number % 2 else Presentation.CARRIED,
        )
        for number in range(count)
    ]
    stage = await set_stage(folder, children, ordered)
    return stage, [_device(stage, one.serial_number) for one in ordered]


def _device(stage: Stage, serial_number: str) -> Device:
    """A device that has started: its key is derived, which is not the registrar's work."""
    return Device(
        serial_number=serial_number,
        identity=SeedIdentity(load_fuse(stage.fuse_path(serial_number))),
        keystore=FileKeystore(stage.keystore_path(serial_number)),
    )


async def onboard_all(stage: Stage, devices: Sequence[Device]) -> None:
    """Have them join, some at once."""
    places = asyncio.Semaphore(AT_ONCE)
    origin = Origin(host="127.0.0.1", port=stage.registrar_port)

    async def join(device: Device) -> None:
        async with places:
            ended = await onboard(device.identity, [origin], device.keystore)
        assert ended.result is Result.ENROLLED, f"{device.serial_number}: {ended.reason}"

    await asyncio.gather(*(join(device) for device in devices))


def _servers(stage: Stage) -> frozenset[int]:
    """The ports of MASA and OEM's service, to which only the registrar connects."""
    (manufacturer,) = tomllib.loads(stage.registrar_settings.read_text())["manufacturer"]
    masas = [f"//{host}" for host in manufacturer["masa"]["hosts"]]
    ports = [urlsplit(url).port for url in (manufacturer["source"]["url"], *masas)]
    return frozenset(port for port in ports if port is not None)


def _some(stage: Stage, devices: Sequence[Device]) -> Devices:
    ldevids = [device.keystore.ldevid() for device in devices]
    root = load_chain(stage.oem_root)[-1]
    carried = next(d.identity.client_chain for d in devices if d.identity.carried)
    return Devices(
        idevids=[
            Shown(chain=d.identity.client_chain, private_key=d.identity.signer().private_key)
            for d in devices
        ],
        ldevids=[
            Shown(chain=ldevid.chain, private_key=ldevid.private_key)
            for ldevid in ldevids
            if isinstance(ldevid, KeySigner)
        ],
        path=carried if carried[-1] == root else (*carried, root),
    )
