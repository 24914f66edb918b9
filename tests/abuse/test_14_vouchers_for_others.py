"""Abuse case 14: a voucher that is not for this pledge, not of now, or pins somebody else.

Another serial number, another idevid-issuer, a weaker assertion, expires-on in the past, another
nonce, a pinned certificate that the TLS peer's chain does not lead to: the pledge refuses, says
status false without detail, closes the provisional connection, and asks for no certificate.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from brski.errors import (
    AssertionNotAcceptable,
    ChainInvalid,
    CreatedOnOutOfWindow,
    IDevIDIssuerMismatch,
    NonceMismatch,
    OnboardingError,
    PinMismatch,
    SerialNumberMismatch,
    VoucherExpired,
)
from brski.pki.extensions import encode_idevid_issuer
from brski.registry import EST_ROOT
from brski.telemetry.status import decode_status
from brski.voucher.cms import CMS
from brski.voucher.model import Assertion, Voucher
from brski.voucher.yang_json import decode_voucher, encode_voucher
from device_client.pledge.judging import judge_voucher
from device_client.pledge.policy import Policy
from device_client.pledge.states import Result
from tests.abuse.desk import PROXIMITY_ALONE, Desk
from tests.exchange.test_pledge import Exchange
from tests.kit import pki
from tests.kit.voucher import OTHER_NONCE
from tests.kit.world import make_world

STRANGER = pki.make_root("A Stranger's CA")

BENT: dict[str, tuple[dict[str, object], type[OnboardingError]]] = {
    "another serial number": ({"serial_number": "SN-2"}, SerialNumberMismatch),
    "serial number in lower case": ({"serial_number": "sn-1"}, SerialNumberMismatch),
    "another issuer": ({"idevid_issuer": encode_idevid_issuer(bytes(20))}, IDevIDIssuerMismatch),
    "assertion logged": ({"assertion": Assertion.LOGGED}, AssertionNotAcceptable),
    "another nonce": ({"nonce": OTHER_NONCE}, NonceMismatch),
    "no nonce": ({"nonce": None}, NonceMismatch),
    "expired": (
        {"nonce": None, "expires_on": pki.NOW - timedelta(seconds=1)},
        NonceMismatch,
    ),
    "made tomorrow": ({"created_on": pki.NOW + timedelta(days=1)}, CreatedOnOutOfWindow),
    "pins a stranger": ({"pinned_domain_cert": STRANGER.der}, PinMismatch),
}


async def _judge(desk: Desk, voucher: Voucher, signer: pki.Entity | None = None) -> None:
    signer = signer or desk.masa_signer
    message = CMS.sign(encode_voucher(voucher), signer.signer, certificates=signer.chain)
    await desk.give("pledge", message)


@pytest.mark.requirement("PL-16", "PL-17", "PL-18", "PL-20", "PL-21", "PL-26")
@pytest.mark.parametrize("name", BENT)
async def test_each_difference_has_its_refusal(desk: Desk, name: str) -> None:
    """The voucher beside it, which differs in that one thing, is accepted."""
    changes, error = BENT[name]
    await _judge(desk, desk.voucher)
    with pytest.raises(error):
        await _judge(desk, replace(desk.voucher, **changes))  # type: ignore[arg-type]  # its leaves


@pytest.mark.requirement("PL-22")
async def test_expired_where_vouchers_without_nonce_are_taken(desk: Desk) -> None:
    """By policy; then expires-on is what holds, to the second."""
    pledge = desk.pledge(policy=Policy(allow_nonceless=True))
    for expires_in, refused in ((1, False), (0, True), (-1, True)):
        voucher = replace(
            desk.voucher, nonce=None, expires_on=pki.NOW + timedelta(seconds=expires_in)
        )
        signer = desk.masa_signer
        message = CMS.sign(encode_voucher(voucher), signer.signer, certificates=signer.chain)

        def judge(octets: bytes = message) -> None:
            judge_voucher(
                octets,
                pledge=pledge,
                request=desk.request,
                registrar_chain=desk.world.registrar_entity.chain,
                now=pki.NOW,
            )

        if refused:
            with pytest.raises(VoucherExpired):
                judge()
        else:
            judge()


@pytest.mark.requirement("PL-16")
async def test_signed_under_another_anchor(desk: Desk) -> None:
    """Such as the owner's own CA, or a namesake of the MASA's."""
    for root in (desk.world.owner, pki.make_root("Example MASA Root")):
        with pytest.raises(ChainInvalid):
            await _judge(desk, desk.voucher, pki.make_masa_signer(root))


@pytest.mark.requirement("PL-27", "PL-28", "E2E-4")
@pytest.mark.parametrize("asserting", [False, True])
@pytest.mark.parametrize("name", [name for name in BENT if name != "made tomorrow"])
async def test_nothing_follows_a_refused_voucher(
    tmp_path: Path, name: str, asserting: bool
) -> None:
    """From a registrar that passes on what it likes: told, without detail, and no CSR is sent."""
    changes, error = BENT[name]
    async with make_world(tmp_path) as world:
        device = world.make_device(asserting=asserting)
        masa = world.wire.masa

        def bend(path: str, octets: bytes) -> bytes:
            if path != "requestvoucher":
                return octets
            voucher = replace(decode_voucher(CMS.open(octets).payload), **changes)  # type: ignore[arg-type]
            signer = masa._signers.of(voucher.nonce)
            return CMS.sign(encode_voucher(voucher), signer, certificates=signer.chain)

        exchange = Exchange(world=world, device=device, down=bend, policy=PROXIMITY_ALONE)
        verdict = await exchange.run()
        assert verdict.result is Result.REFUSED
        assert verdict.code == error("").code
        paths = [request.path for request in exchange.sent]
        assert not any(path.startswith(EST_ROOT) for path in paths)
        assert paths[-1].endswith("/voucher_status")
        status = decode_status(exchange.sent[-1].body or b"")
        assert not status.status
        assert status.reason == "voucher not accepted"
        assert status.reason_context is None
        assert await world.journal.active_certificate(device.key) is None
