"""A registrar's voucher-request, altered on its way or cut short: what the MASA makes of it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from brski.edge.web_errors import status_of
from brski.errors import OnboardingError
from masa_stub.web.registrar_facing import STATUS
from tests.kit.masa_desk import CUSTOMER, REGISTRAR, Desk, desk, pinned, read

STRIDE = 5  # every fifth octet: some 900 requests


async def tried(masa: Desk, body: bytes) -> None:
    """Refused with a status of its own, or granted to the registrar as it is."""
    granted, status = b"", 200
    try:
        granted = await masa.ask(body)
    except OnboardingError as refusal:
        status = status_of(STATUS, refusal) or 500
    assert status in {200, 400, 403, 404, 413, 415}
    assert not granted or pinned(read(granted)) in REGISTRAR.chain


@pytest.mark.requirement("MASA-3", "MASA-16")
async def test_an_octet_altered_anywhere(tmp_path: Path) -> None:
    """In the request, its signature, or a certificate beside it, which no signature covers."""
    chance = random.Random(20261124)
    async with desk(tmp_path) as masa:
        await masa.world.sell(masa.device, CUSTOMER.name)
        former = await masa.ask(masa.request())
        body = masa.request(prior_signed_voucher_request=former)
        for at in range(chance.randrange(STRIDE), len(body), STRIDE):
            altered = bytearray(body)
            altered[at] ^= 1 << chance.randrange(8)
            await tried(masa, bytes(altered))
        assert pinned(read(await masa.ask(body))) == REGISTRAR.root


async def test_cut_short_anywhere(tmp_path: Path) -> None:
    """Nothing of it is taken."""
    async with desk(tmp_path) as masa:
        await masa.world.sell(masa.device, CUSTOMER.name)
        body = masa.request()
        for length in range(0, len(body), STRIDE):
            with pytest.raises(OnboardingError):
                await masa.ask(body[:length])
        assert not await masa.world.masa_store.last(1)
