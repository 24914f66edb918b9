"""Abuse case 13: somebody stands between pledge and registrar.

The pledge signs which certificate it saw. The registrar compares it with its own (401, and the
connection ends); a registrar that does not is stopped by the MASA, which compares it with the
signer of the registrar's request (403, written down).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from brski.registry import VOUCHER_CMS_JSON
from brski.voucher.model import Assertion
from brski.voucher.yang_types import encode_nonce
from registrar_plugin.telemetry.events import Outcome
from tests.kit import pki, talk
from tests.kit.masa_desk import REGISTRAR, STRANGER, desk
from tests.kit.masa_site import masa_site
from tests.kit.wired import REQUEST_VOUCHER, wired

NONCE = bytes(range(16))


@pytest.mark.requirement("REG-3")
@pytest.mark.parametrize("asserting", [False, True])
async def test_at_the_registrar(tmp_path: Path, asserting: bool) -> None:
    """The device saw another certificate: nothing is asked of anybody, and it is on record."""
    async with wired(tmp_path) as wire, wire.serving():
        device = wire.world.make_device(asserting=asserting)
        seen = pki.make_registrar(pki.make_pki("In the middle", not_after=pki.NOT_AFTER))
        connection = await wire.connect(device)
        body = device.request(seen.certificate)
        connection.say(talk.request(REQUEST_VOUCHER, body, VOUCHER_CMS_JSON))
        reply = await connection.reply()
        assert reply is not None
        assert reply.status == 401
        assert await connection.ended()
        refused = [e.code for e in await wire.events() if e.outcome is Outcome.REFUSED]
        assert refused == ["proximity-mismatch"]
        assert wire.asked == []
        assert (await wire.voucher(device)).status == 200


@pytest.mark.requirement("SEC-4")
@pytest.mark.parametrize("asserting", [False, True])
async def test_at_the_masa(tmp_path: Path, asserting: bool) -> None:
    """A registrar that passes on what was made for another: 403, and on record."""
    async with (
        desk(tmp_path, asserting=asserting) as masa,
        masa_site(masa.world.wire.masa, tmp_path) as site,
    ):
        prior = masa.device.request(STRANGER.certificate, nonce=NONCE)
        leaves = {
            "nonce": encode_nonce(NONCE),
            "assertion": Assertion.PROXIMITY,
            "prior_signed_voucher_request": prior,
        }
        refused = await site.post(masa.request(by=REGISTRAR, **leaves))  # type: ignore[arg-type]
        assert refused.status == 403
        (line,) = await masa.world.masa_store.last_refusals(10)
        assert line.code == "prior-request-refused"
        granted = await site.post(masa.request(by=STRANGER, **leaves))  # type: ignore[arg-type]
        assert granted.status == 200
