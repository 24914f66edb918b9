"""A voucher-signing key in wrong hands, and the update that ends it (RFC 8995 §11.6.2.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509

from brski.errors import ChainInvalid
from brski.pki.keys import certificate_der
from brski.voucher.cms import CMS
from brski.voucher.yang_json import encode_voucher
from brski.voucher.yang_types import encode_nonce
from device_client.pledge.judging import judge_voucher
from device_client.pledge.policy import Pledge
from tests.kit import pki
from tests.kit.masa_desk import REGISTRAR, STRANGER, Desk, desk

NONCE = bytes(range(16))


def judge(masa: Desk, octets: bytes, anchors: Sequence[x509.Certificate], by: pki.Entity) -> None:
    """As a device with *anchors* does at a registrar that shows *by*; raises if it refuses."""
    device = masa.device
    request = CMS.open(device.request(by.certificate, nonce=NONCE)).voucher_request()
    pledge = Pledge(
        serial_number=device.serial_number,
        idevid_issuer=device.issuer,
        signer=pki.KeySigner(device.entity.private_key, device.shown),
        idevid_chain=device.shown,
        voucher_anchors=tuple(anchors),
        serialization=CMS,
    )
    judge_voucher(octets, pledge=pledge, request=request, registrar_chain=by.chain, now=pki.NOW)


@pytest.mark.requirement("OEM-16")
async def test_an_update_without_the_lost_anchor_ends_it(tmp_path: Path) -> None:
    """Before it the thief's voucher convinces, after it the MASA's new one does and no other."""
    lost, new = (pki.make_masa_signer(pki.make_root(name)) for name in ("Lost", "New"))
    async with desk(tmp_path) as masa:
        prior = masa.device.request(REGISTRAR.certificate, nonce=NONCE)
        leaves = {"nonce": encode_nonce(NONCE), "prior_signed_voucher_request": prior}
        voucher = await masa.voucher(**leaves)  # type: ignore[arg-type]  # leaves of a request
        pin = certificate_der(STRANGER.root)
        forged = CMS.sign(
            encode_voucher(replace(voucher, pinned_domain_cert=pin)),
            lost.signer,
            certificates=lost.chain,
        )
        true = CMS.sign(encode_voucher(voucher), new.signer, certificates=new.chain)

        judge(masa, forged, [lost.root], STRANGER)
        judge(masa, forged, [lost.root, new.root], STRANGER)
        with pytest.raises(ChainInvalid):
            judge(masa, forged, [new.root], STRANGER)
        judge(masa, true, [new.root], REGISTRAR)
