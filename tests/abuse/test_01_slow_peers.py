"""Abuse case 1: five hundred connections that send their headers or bodies slowly, or not at all.

An honest device loses less than two seconds meanwhile, at the registrar and at the MASA behind it;
the slow ones are ended: half a body by 408 after 5 s, headers after 15 s, a handshake after 10 s.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kit import flood
from tests.kit.flood import Today, many_descriptors, quickest, until_all_ended
from tests.kit.wired import Wired, wired

MANY = 500
PROMISED_S = 2.0
ENDED_S = 60.0  # 15 s are promised; the rest is a busy machine's
AT: dict[str, Callable[[Wired], tuple[str, int]]] = {
    "registrar": lambda wire: wire.pledges,
    "masa": lambda wire: (wire.masa.host, wire.masa.port),
}


@pytest.mark.slow
@pytest.mark.parametrize("at", AT)
@pytest.mark.parametrize("kind", ["silent", "half-handshake", "slow-headers", "slow-body"])
async def test_honest_device_beside_five_hundred_slow_ones(
    tmp_path: Path, kind: str, at: str
) -> None:
    """Its voucher takes at most two seconds longer than without them."""
    with many_descriptors(4096):
        async with wired(tmp_path, timeout_s=10, clock=Today()) as wire, wire.serving_apart():
            devices = [wire.world.make_device(f"SN-{number}") for number in range(8)]
            alone = await quickest(wire, devices[:4])
            async with flood.flood(AT[at](wire), kind, MANY) as slow:
                assert len(slow) == MANY
                beside = await quickest(wire, devices[4:])
                assert beside - alone < PROMISED_S
                await until_all_ended(slow, within_s=ENDED_S)
