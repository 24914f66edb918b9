"""Abuse case 10: a whole earlier voucher-request comes again.

From somebody else it is refused, since its signature is not of his TLS key. From the same device
(a lost answer) it gets the same voucher, whose going out is on record each time; the MASA is asked
once.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from brski.registry import VOUCHER_CMS_JSON
from registrar_plugin.telemetry.events import EventKind, Outcome
from tests.kit import talk
from tests.kit.wired import REQUEST_VOUCHER, wired


@pytest.mark.requirement("SEC-3")
async def test_from_another_tls_identity(tmp_path: Path) -> None:
    """403, for a device of the same manufacturer as for a stranger; and the journal knows."""
    async with wired(tmp_path) as wire, wire.serving():
        device, other = wire.world.make_device("SN-1"), wire.world.make_device("SN-2")
        stranger = wire.world.make_device("SN-3", asserting=True, listed=False)
        body = device.request(wire.world.registrar_entity.certificate)
        octets = talk.request(REQUEST_VOUCHER, body, VOUCHER_CMS_JSON)
        assert (await wire.ask(octets, device)).status == 200
        for thief in (other, stranger):
            assert (await wire.ask(octets, thief)).status == 403
        refused = [event for event in await wire.events() if event.outcome is Outcome.REFUSED]
        assert [event.code for event in refused] == ["signature-invalid"] * 2
        assert wire.asked == [REQUEST_VOUCHER]


async def test_from_the_same_device(tmp_path: Path) -> None:
    """One after the other, at once, and after a restart: one voucher to the octet."""
    async with wired(tmp_path) as wire:
        device = wire.world.make_device()
        body = device.request(wire.world.registrar_entity.certificate)
        octets = talk.request(REQUEST_VOUCHER, body, VOUCHER_CMS_JSON)
        async with wire.serving():
            replies = await asyncio.gather(*(wire.ask(octets, device) for _ in range(3)))
        async with wire.serving():
            replies.append(await wire.ask(octets, device))
        assert {reply.status for reply in replies} == {200}
        assert len({reply.body for reply in replies}) == 1
        assert wire.asked == [REQUEST_VOUCHER]
        entries = [e for e in await wire.events() if e.kind is EventKind.VOUCHER]
        assert [entry.details.get("again") for entry in entries] == [None, "yes", "yes", "yes"]


async def test_after_an_answer_that_was_lost(tmp_path: Path) -> None:
    """The device left in the middle; what it gets later is what it would have got."""
    async with wired(tmp_path) as wire, wire.serving():
        device = wire.world.make_device()
        body = device.request(wire.world.registrar_entity.certificate)
        octets = talk.request(REQUEST_VOUCHER, body, VOUCHER_CMS_JSON)
        left = await wire.connect(device)
        left.say(octets)
        async with asyncio.timeout(20):
            while not wire.asked:
                await asyncio.sleep(0.01)
        left.abort()
        assert (await wire.ask(octets, device)).status == 200
        assert wire.asked == [REQUEST_VOUCHER]
