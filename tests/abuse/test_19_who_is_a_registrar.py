"""Abuse case 19: any member of a domain plays the registrar; a member of one plays a new device.

Without id-kp-cmcRA nobody is a registrar to the MASA (403), and without it a registrar does not
start. An LDevID, of another domain or of ours, is no IDevID: refused at requestvoucher.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from brski.edge.signers.file import write_chain, write_private_key
from brski.errors import KeyUnusable
from brski.registry import ID_KP_CLIENT_AUTH, ID_KP_SERVER_AUTH, VOUCHER_CMS_JSON
from brski.voucher.model import Assertion
from brski.voucher.yang_types import encode_nonce
from tests.kit import pki, talk
from tests.kit.masa_desk import OWNER, REGISTRAR, desk
from tests.kit.masa_site import masa_site
from tests.kit.wired import REQUEST_VOUCHER, wired
from tests.kit.world import Device

MEMBER = pki.make_registrar(OWNER, ekus=[ID_KP_SERVER_AUTH, ID_KP_CLIENT_AUTH])
NONCE = bytes(range(16))


@pytest.mark.requirement("MASA-2")
async def test_member_of_the_domain_at_the_masa(tmp_path: Path) -> None:
    """Its certificate is of the same CA as the registrar's, and not enough."""
    async with desk(tmp_path) as masa, masa_site(masa.world.wire.masa, tmp_path) as site:
        for by, status in ((MEMBER, 403), (REGISTRAR, 200)):
            leaves = {
                "nonce": encode_nonce(NONCE),
                "assertion": Assertion.PROXIMITY,
                "prior_signed_voucher_request": masa.device.request(by.certificate, nonce=NONCE),
            }
            reply = await site.post(masa.request(by=by, **leaves))  # type: ignore[arg-type]
            assert reply.status == status


@pytest.mark.requirement("REG-25")
async def test_registrar_with_such_a_certificate_does_not_start(tmp_path: Path) -> None:
    """Better at once than at the first pledge."""
    async with wired(tmp_path) as wire:
        (tmp_path / "registrar.key").unlink()
        write_private_key(tmp_path / "registrar.key", MEMBER.private_key)
        write_chain(tmp_path / "registrar.pem", MEMBER.chain)
        with pytest.raises(KeyUnusable, match="id-kp-cmcRA"):
            async with wire.serving():
                pass


async def test_ldevid_of_another_domain(tmp_path: Path) -> None:
    """The same names as the device's IDevID, under a CA that is no manufacturer's: 403."""
    async with wired(tmp_path) as wire, wire.serving():
        genuine = wire.world.make_device()
        elsewhere = pki.make_pki("Another Owner", not_after=pki.NOT_AFTER)
        foreign = Device(
            entity=pki.make_idevid(elsewhere, genuine.serial_number),
            presentation=genuine.presentation,
            serial_number=genuine.serial_number,
        )
        assert (await wire.voucher(foreign)).status == 403
        assert wire.asked == []
        assert (await wire.voucher(genuine)).status == 200


async def test_ldevid_of_ours(tmp_path: Path) -> None:
    """A certificate that we have issued is no ticket for another voucher."""
    async with wired(tmp_path) as wire, wire.serving():
        device = wire.world.make_device()
        ldevid = await wire.onboard(device)
        body = device.request(wire.world.registrar_entity.certificate, nonce=bytes(16))
        octets = talk.request(REQUEST_VOUCHER, body, VOUCHER_CMS_JSON)
        reply = await talk.ask(*wire.pledges, octets, ldevid.chain, ldevid.private_key)
        assert reply is not None
        assert reply.status in (403, 404)
