"""Abuse case 16: a serial number that is another's.

A device is (idevid-issuer, serial number, key), never a serial number alone. Whoever has not the
key on record gets the same 404 with the same empty body as an unknown one (docs/identity.md; this
replaces the 403 that one might expect); a request that contradicts its own TLS certificate is 403.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from brski.registry import VOUCHER_CMS_JSON
from registrar_plugin.telemetry.events import Outcome
from tests.kit import pki, talk
from tests.kit.wired import REQUEST_VOUCHER, Wired, wired
from tests.kit.world import Device


async def codes(wire: Wired) -> list[str]:
    return [event.code for event in await wire.events() if event.outcome is Outcome.REFUSED]


@pytest.mark.parametrize("asserting", [False, True])
async def test_request_that_names_another_than_its_certificate(
    tmp_path: Path, asserting: bool
) -> None:
    """403; with its own number the same device is let in."""
    async with wired(tmp_path) as wire, wire.serving():
        device = wire.world.make_device("SN-1", asserting=asserting)
        wire.world.make_device("SN-2")
        assert (await wire.voucher(device, serial_number="SN-2")).status == 403
        assert await codes(wire) == ["serial-number-mismatch"]
        assert (await wire.voucher(device)).status == 200


async def test_all_who_are_not_on_record_learn_the_same(tmp_path: Path) -> None:
    """Another key, an unknown number, a revoked device: one answer; the journal tells which."""
    async with wired(tmp_path) as wire, wire.serving():
        world = wire.world
        genuine = world.make_device("SN-1", asserting=True)
        imposter = world.make_device("SN-1", asserting=True, listed=False)
        unknown = world.make_device("SN-2", asserting=True, listed=False)
        assert (await wire.voucher(genuine)).status == 200
        replies = [await wire.voucher(device) for device in (imposter, unknown)]
        assert {(reply.status, reply.body) for reply in replies} == {(404, b"")}
        assert len({tuple(reply.headers) for reply in replies}) == 1
        assert await codes(wire) == ["key-mismatch", "device-unknown"]


async def test_certificate_of_the_manufacturer_that_is_not_on_record(tmp_path: Path) -> None:
    """A second IDevID for one number, truly signed: refused, and an alarm."""
    async with wired(tmp_path) as wire, wire.serving():
        genuine = wire.world.make_device("SN-1")
        second = wire.world.make_device("SN-1", listed=False)
        assert (await wire.voucher(genuine)).status == 200
        assert (await wire.voucher(second)).status == 404
        assert "certificate-mismatch" in await codes(wire)


async def test_same_number_under_an_issuer_that_is_not_trusted(tmp_path: Path) -> None:
    """Its chain leads nowhere: 403, and the genuine device is not touched."""
    async with wired(tmp_path) as wire, wire.serving():
        genuine = wire.world.make_device("SN-1")
        namesake: Device = wire.world.make_device(
            "SN-1", issuer=pki.make_pki("Nobody's OEM"), listed=False
        )
        assert (await wire.voucher(namesake)).status == 403
        await wire.onboard(genuine)
        assert await codes(wire) == ["chain-invalid"]


async def test_certificate_whose_key_was_exchanged(tmp_path: Path) -> None:
    """TLS takes any certificate; its serial number under another key is nobody's."""
    async with wired(tmp_path) as wire, wire.serving():
        genuine = wire.world.make_device("SN-1")
        key = pki.make_key()
        forged = pki.certify(genuine.entity.certificate.subject, issuer=pki.make_pki(), key=key)
        body = genuine.request(wire.world.registrar_entity.certificate)
        octets = talk.request(REQUEST_VOUCHER, body, VOUCHER_CMS_JSON)
        reply = await talk.ask(*wire.pledges, octets, forged.chain[:1], key)
        assert reply is not None
        assert reply.status in (403, 404)
        assert wire.asked == []
