"""Abuse case 1: five hundred connections that send their headers or bodies slowly, or not at all.

An honest device loses less than two seconds meanwhile, at the registrar and at the MASA behind it;
the slow ones are ended: half a body by 408 after 5 s, headers after 15 s, a handshake after 10 s.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.kit import flood
from tests.kit.flood import Today, many_descriptors, quickest, until_all_ended
from tests.kit.wired import Wired, wired

MANY = 500
KINDS = ("slow-body", "slow-headers", "half-handshake", "silent")
PROMISED_S = 2.0
ENDED_S = 60.0  # 15 s are promised; the rest is a busy machine's
AT: dict[str, Callable[[Wired], tuple[str, int]]] = {
    "registrar": lambda wire: wire.pledges,
    "masa": lambda wire: (wire.masa.host, wire.masa.port),
}


@pytest.mark.slow
@pytest.mark.parametrize("at", AT)
async def test_honest_device_beside_five_hundred_slow_ones_of_each_kind(
    tmp_path: Path, at: str
) -> None:
    """Its voucher takes at most two seconds longer than without them."""
    with many_descriptors(8192):
        async with (
            wired(tmp_path, timeout_s=10, clock=Today()) as wire,
            wire.serving_apart(),
            AsyncExitStack() as stack,
        ):
            devices = [wire.world.make_device(f"SN-{number}") for number in range(8)]
            alone = await quickest(wire, devices[:4])
            held = []
            for place, kind in enumerate(KINDS):
                slow = flood.flood(AT[at](wire), kind, MANY, first=10 * place)
                held += await stack.enter_async_context(slow)
            assert len(held) == MANY * len(KINDS)
            beside = await quickest(wire, devices[4:])
            assert beside - alone < PROMISED_S
            await until_all_ended(held, within_s=ENDED_S)
