"""Two products of one MASA with the same serial number (RFC 8366bis §6.2)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from brski.errors import DeviceAmbiguous, DeviceUnknown, DomainNotTrusted
from brski.idevid.record import DeviceStatus
from brski.pki.extensions import decode_idevid_issuer, encode_idevid_issuer
from brski.registry import VOUCHER_CMS_JSON
from tests.kit.masa_desk import CUSTOMER, STRANGER, Desk, desk
from tests.kit.world import Device

FORMS: dict[int, Callable[[bytes], bytes]] = {
    26: encode_idevid_issuer,
    24: lambda issuer: encode_idevid_issuer(issuer)[2:],
    20: bytes,
}


@asynccontextmanager
async def namesakes(folder: Path) -> AsyncIterator[tuple[Desk, Device, Device]]:
    """One is sold to the known owner, the other to a stranger."""
    async with desk(folder) as masa:
        one = masa.device
        other = masa.world.make_device(one.serial_number, issuer=masa.world.other_oem)
        await masa.world.sell(one, CUSTOMER.name)
        await masa.world.sell(other, STRANGER.issuers[0])
        yield masa, one, other


@pytest.mark.requirement("MASA-18", "VR-13", "VR-11", "E2E-7")
@pytest.mark.parametrize("octets", FORMS)
async def test_the_issuer_says_which_is_meant(tmp_path: Path, octets: int) -> None:
    """In each form that is met; the voucher says so, too, in the one that is written."""
    async with namesakes(tmp_path) as (masa, one, _):
        issuer = FORMS[octets](one.issuer)
        assert len(issuer) == octets
        voucher = await masa.voucher(idevid_issuer=issuer)
        assert voucher.idevid_issuer is not None
        assert len(voucher.idevid_issuer) == 26
        assert decode_idevid_issuer(voucher.idevid_issuer) == one.issuer


@pytest.mark.requirement("MASA-18", "VR-13")
async def test_without_an_issuer_neither_is_meant(tmp_path: Path) -> None:
    """Nor with one that neither has; a single device needs none, and its voucher has none."""
    async with namesakes(tmp_path) as (masa, _, other):
        await masa.refusal(DeviceAmbiguous, idevid_issuer=None)
        await masa.refusal(DeviceUnknown, idevid_issuer=encode_idevid_issuer(bytes(20)))
        masa.world.other_records.records.clear()
        assert (await masa.voucher(idevid_issuer=None)).idevid_issuer is None
        await masa.refusal(DeviceUnknown, device=other)


@pytest.mark.requirement("E2E-7", "AUD-10")
async def test_what_is_true_of_one_is_not_of_the_other(tmp_path: Path) -> None:
    """Sales, logs and revocations go by serial number and issuer."""
    async with namesakes(tmp_path) as (masa, one, other):
        await masa.refusal(DomainNotTrusted, device=other)
        await masa.refusal(DomainNotTrusted, device=one, by=STRANGER)
        await masa.voucher(device=one)
        await masa.voucher(device=other, by=STRANGER)
        for device in (one, other):
            key = (device.issuer, device.serial_number)
            assert len(await masa.world.masa_store.of_device(*key)) == 1
        ask = masa.world.wire.masa.audit_log
        assert len((await ask(masa.request(device=one), VOUCHER_CMS_JSON)).events) == 1
        with pytest.raises(DeviceUnknown):
            await ask(masa.request(device=other), VOUCHER_CMS_JSON)
        masa.world.other_records.change(other.serial_number, status=DeviceStatus.REVOKED)
        voucher = await masa.voucher(device=one)
        assert voucher.idevid_issuer is not None
