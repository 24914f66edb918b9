"""Abuse case 2: thousands of connections that say nothing, or stop in the handshake.

Each address has its bound, all together leave descriptors for the registrar's own needs, memory
grows by a bounded amount for each, and an honest device is served within two seconds.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from brski.edge.settings import load_settings
from brski.idevid.record import Presentation
from brski_lab.building import Ordered
from brski_lab.children import Children
from brski_lab.stage import set_stage
from registrar_plugin.settings import RegistrarSettings
from tests.kit import flood
from tests.kit.flood import Today, descriptors_of, many_descriptors, quickest, resident_kib
from tests.kit.wired import wired

PROMISED_S = 2.0
KIB_EACH = 100  # measured: 30 of one that is silent, 56 of one that has shaken hands
OTHERS = 128  # descriptors that are not of pledges


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "count"), [("silent", 5000), ("idle", 1500)])
async def test_thousands_cost_bounded_memory(tmp_path: Path, kind: str, count: int) -> None:
    """From twenty-five addresses, each below its bound; all are held, and one more is served."""
    with many_descriptors(2 * count + 1024):
        async with (
            wired(tmp_path, timeout_s=10, clock=Today()) as wire,
            wire.serving_apart() as process,
        ):
            devices = [wire.world.make_device(f"SN-{number}") for number in range(6)]
            alone = await quickest(wire, devices[:3])
            before = resident_kib(process.pid)
            async with flood.flood(wire.pledges, kind, count, an_address=200) as held:
                grown = resident_kib(process.pid) - before
                beside = await quickest(wire, devices[3:])
                print(f"{kind}: {len(held)} held, {grown} KiB, {beside - alone:.3f} s more")
                assert len(held) == count
                assert grown < count * KIB_EACH
                assert beside - alone < PROMISED_S


@pytest.mark.slow
async def test_one_address_has_its_bound(tmp_path: Path) -> None:
    """A thousand from one: 256 are held, and nobody else notices."""
    with many_descriptors(4096):
        async with (
            wired(tmp_path, timeout_s=10, clock=Today()) as wire,
            wire.serving_apart() as process,
        ):
            before = descriptors_of(process.pid)
            async with flood.flood(wire.pledges, "silent", 1000, an_address=1000):
                assert await quickest(wire, [wire.world.make_device()]) < PROMISED_S + 10
                assert descriptors_of(process.pid) - before <= 256 + OTHERS


@pytest.mark.slow
async def test_descriptors_are_left_for_itself(tmp_path: Path) -> None:
    """With few descriptors and many peers: journal and questions to others have theirs, and an
    honest device its turn, since the oldest handshake makes room.
    """
    with many_descriptors(4096):
        async with (
            wired(tmp_path, timeout_s=10, clock=Today()) as wire,
            wire.serving_apart(descriptors=400) as process,
        ):
            devices = [wire.world.make_device(f"SN-{number}") for number in range(6)]
            alone = await quickest(wire, devices[:3])
            async with flood.flood(wire.pledges, "silent", 1000):
                beside = await quickest(wire, devices[3:])
                assert beside - alone < PROMISED_S
                assert descriptors_of(process.pid) <= 400


@pytest.mark.slow
async def test_masa_and_oem_service_have_their_bounds_too(tmp_path: Path) -> None:
    """Three hundred from one address: 256 are held; whoever comes from another is answered."""
    with many_descriptors(4096):
        async with Children(tmp_path / "logs") as children:
            device = Ordered(serial_number="SN-0001", presentation=Presentation.CARRIED)
            stage = await set_stage(tmp_path, children, [device])
            settings = load_settings(stage.registrar_settings, RegistrarSettings)
            (manufacturer,) = settings.manufacturer
            assert manufacturer.source is not None
            hosts = [
                manufacturer.masa.hosts[0],
                manufacturer.source["url"].removeprefix("https://"),
            ]
            for host, _, port in (each.rpartition(":") for each in hosts):
                place = host, int(port)
                async with flood.flood(place, "silent", 300, an_address=300) as held:
                    async with asyncio.timeout(30):
                        while sum(not flood.has_ended(each) for each in held) > 256:
                            await asyncio.sleep(0.05)
                    async with flood.flood(place, "idle", 1, first=9) as served:
                        assert len(served) == 1
                    await asyncio.sleep(0)
                    assert sum(not flood.has_ended(each) for each in held) == 256
