"""429 for an EST client that asks too often, and for no other."""

from __future__ import annotations

import base64
from pathlib import Path

from brski.rates import Rate
from registrar_plugin.est_server.budget import ClientBudget
from tests.kit.world import make_world
from tests.kit.world_site import est_site


async def test_who_asks_too_often_is_told_when_to_come_again(tmp_path: Path) -> None:
    """By the key that TLS has proven: another device at the same address is served, and so are the
    public operations; after the time that was named the first is served, too.
    """
    now = [0.0]
    budget = ClientBudget(clock=lambda: now[0], rate=Rate(per_s=0.5, burst=2))
    async with (
        make_world(tmp_path, est_budget=budget) as world,
        est_site(world, tmp_path) as site,
    ):
        greedy, modest = world.make_device("SN-1"), world.make_device("SN-2")
        shown, bodies = {}, {}
        for device in (greedy, modest):
            await world.voucher(device)
            await world.accept(device)
            shown[device.serial_number] = site.credentials(device.shown, device.entity.private_key)
            bodies[device.serial_number] = base64.b64encode(world.csr(device))
        for expected in (200, 200, 429, 429):
            reply = await site.post("/simpleenroll", bodies["SN-1"], *shown["SN-1"])
            assert reply.status == expected
        assert reply.headers["retry-after"] == "2"
        assert reply.headers["content-type"] == "text/plain; charset=utf-8"
        assert (await site.post("/simplereenroll", b"", *shown["SN-1"])).status == 429
        assert (await site.post("/serverkeygen", b"", *shown["SN-1"])).status == 429
        assert (await site.curl("/cacerts")).status == 200
        assert (await site.post("/simpleenroll", bodies["SN-2"], *shown["SN-2"])).status == 200
        now[0] += 2
        reply = await site.post("/simpleenroll", bodies["SN-1"], *shown["SN-1"])
        assert reply.status == 200


async def test_without_a_certificate_the_address_counts(tmp_path: Path) -> None:
    """Strangers share one budget, and take nothing from a device's."""
    budget = ClientBudget(clock=lambda: 0.0, rate=Rate(per_s=1, burst=3))
    async with (
        make_world(tmp_path, est_budget=budget) as world,
        est_site(world, tmp_path) as site,
    ):
        device = world.make_device()
        await world.voucher(device)
        await world.accept(device)
        body = base64.b64encode(world.csr(device))
        statuses = [(await site.post("/simpleenroll", body)).status for _ in range(5)]
        assert statuses == [403, 403, 403, 429, 429]
        shown = site.credentials(device.shown, device.entity.private_key)
        assert (await site.post("/simpleenroll", body, *shown)).status == 200
