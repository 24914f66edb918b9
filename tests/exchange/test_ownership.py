"""Whose a device is: renewal, claims of others, transfer, release."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest

from brski.errors import (
    CreatedOnOutOfWindow,
    DomainNotTrusted,
    PriorRequestRefused,
    Unavailable,
    VoucherExpired,
)
from brski.pki.extensions import domain_id
from brski.registry import VOUCHER_CMS_JSON
from brski.voucher.cms import CMS
from brski.voucher.model import Assertion
from brski.voucher.yang_types import encode_nonce
from masa_stub.masa import MASA
from masa_stub.ownership import BuyerKind, Unsold
from masa_stub.store.log import AuditStore
from masa_stub.store.sales import SalesBook
from masa_stub.store.schema import open_store
from masa_stub.store.values import Basis, Entry
from tests.kit import pki
from tests.kit.masa_desk import CUSTOMER, OWNER, REGISTRAR, STRANGER, desk

LIFE = timedelta(minutes=20)


# -- renewal


@pytest.mark.requirement("MASA-15", "MASA-12")
async def test_the_same_domain_renews_by_itself(tmp_path: Path) -> None:
    """Nothing was ever sold; the log says whose the last voucher was. Each renewal is logged."""
    async with desk(tmp_path) as masa:
        nonce = bytes(range(16))
        prior = masa.device.request(REGISTRAR.certificate, nonce=nonce)
        leaves: dict[str, Any] = {
            "nonce": encode_nonce(nonce),
            "prior_signed_voucher_request": prior,
        }
        assert (await masa.voucher(**leaves)).assertion is Assertion.PROXIMITY
        masa.world.clock.forward(days=30)
        renewed = await masa.voucher()
        assert renewed.assertion is Assertion.LOGGED
        first, second = await masa.world.masa_store.last(5)
        assert (first.nonce, second.nonce) == (encode_nonce(nonce), None)
        await masa.refusal(DomainNotTrusted, by=STRANGER)


@pytest.mark.requirement("MASA-15", "VR-21")
async def test_the_former_voucher_asks_for_its_renewal(tmp_path: Path) -> None:
    """Enclosed where a pledge's request would be, it is told by its top member."""
    async with desk(tmp_path) as masa:
        await masa.world.sell(masa.device, CUSTOMER.name)
        former = await masa.ask(masa.request())
        masa.world.clock.forward(days=1)
        renewed = await masa.voucher(prior_signed_voucher_request=former)
        assert renewed.assertion is Assertion.VERIFIED
        assert renewed.expires_on == masa.world.clock() + LIFE
        assert len(await masa.world.masa_store.last(5)) == 2


@pytest.mark.requirement("VR-21")
async def test_a_voucher_that_is_not_this_devices_renews_nothing(tmp_path: Path) -> None:
    """Nor does one that another MASA has signed."""
    async with desk(tmp_path) as masa:
        other = masa.world.make_device("SN-2")
        for device in (masa.device, other):
            await masa.world.sell(device, CUSTOMER.name)
        foreign = await masa.ask(masa.request(device=other))
        await masa.refusal(PriorRequestRefused, prior_signed_voucher_request=foreign)
        ours = CMS.open(await masa.ask(masa.request()))
        forged = CMS.sign(
            ours.payload, STRANGER.signer, certificates=STRANGER.chain, signing_time=pki.NOW
        )
        await masa.refusal(PriorRequestRefused, prior_signed_voucher_request=forged)


async def test_the_same_request_is_no_renewal(tmp_path: Path) -> None:
    """It has its voucher as long as that lives, and one line in the log."""
    async with desk(tmp_path) as masa:
        await masa.world.sell(masa.device, CUSTOMER.name)
        body = masa.request()
        assert await masa.ask(body) == await masa.ask(body)
        assert len(await masa.world.masa_store.last(5)) == 1
        masa.world.clock.forward(minutes=20)
        with pytest.raises(VoucherExpired):
            await masa.ask(body)
        await masa.voucher()


# -- a device changes hands


@pytest.mark.requirement("MASA-8")
async def test_another_domains_claim_of_a_sold_device_is_refused(tmp_path: Path) -> None:
    """Even with a device that signs for it: it was carried off."""
    async with desk(tmp_path) as masa:
        await masa.world.sell(masa.device, CUSTOMER.name)
        nonce = bytes(range(16))
        for registrar, error in ((STRANGER, DomainNotTrusted), (REGISTRAR, None)):
            prior = masa.device.request(registrar.certificate, nonce=nonce)
            leaves: dict[str, Any] = {
                "nonce": encode_nonce(nonce),
                "prior_signed_voucher_request": prior,
            }
            if error is None:
                voucher = await masa.voucher(by=registrar, **leaves)
                assert voucher.assertion is Assertion.PROXIMITY
            else:
                await masa.refusal(error, by=registrar, **leaves)


async def test_a_transfer_ends_the_former_owners_right(tmp_path: Path) -> None:
    """And the new one's begins with it."""
    async with desk(tmp_path) as masa:
        await masa.world.sell(masa.device, CUSTOMER.name)
        await masa.voucher()
        masa.world.clock.forward(days=1)
        await masa.world.sell(masa.device, STRANGER.issuers[0])
        await masa.refusal(DomainNotTrusted)
        await masa.voucher(by=STRANGER)
        await masa.world.sales.add(masa.world.sale(masa.device, BuyerKind.NOBODY))
        await masa.refusal(DomainNotTrusted, by=STRANGER)


async def test_a_released_device_is_nobodys(tmp_path: Path) -> None:
    """Its past gives no title any more; whoever meets it may claim it."""
    async with desk(tmp_path, allow_logged=True, unsold=Unsold.FIRST) as masa:
        await masa.world.sell(masa.device, CUSTOMER.name)
        await masa.voucher()
        masa.world.clock.forward(days=1)
        await masa.world.sales.add(masa.world.sale(masa.device, BuyerKind.ANYBODY))
        await masa.refusal(DomainNotTrusted)
        masa.world.clock.forward(days=1)
        await masa.voucher(by=STRANGER, nonce=encode_nonce(bytes(16)))
        await masa.refusal(DomainNotTrusted, nonce=encode_nonce(bytes(16)))
        masa.world.clock.forward(days=1)
        await masa.world.sales.add(masa.world.sale(masa.device, BuyerKind.ANYBODY))
        masa.world.clock.forward(days=1)
        await masa.voucher(nonce=encode_nonce(bytes(16)))


async def test_an_unsold_device_is_nobodys_to_claim_by_policy(tmp_path: Path) -> None:
    """Only what was sold leaves the manufacturer's hands."""
    async with desk(tmp_path, allow_logged=True, unsold=Unsold.NOBODY) as masa:
        await masa.refusal(DomainNotTrusted, nonce=encode_nonce(bytes(16)))
        await masa.world.sell(masa.device, OWNER.certificate)
        await masa.voucher(nonce=encode_nonce(bytes(16)))


async def test_of_two_that_claim_at_once_one_is_the_first(tmp_path: Path) -> None:
    """However their requests are interleaved."""
    async with desk(tmp_path, allow_logged=True, unsold=Unsold.FIRST) as masa:
        nonce = encode_nonce(bytes(16))
        claims = [masa.ask(masa.request(by=by, nonce=nonce)) for by in (REGISTRAR, STRANGER) * 2]
        answers = await asyncio.gather(*claims, return_exceptions=True)
        assert sorted(isinstance(answer, DomainNotTrusted) for answer in answers) == [
            False,
            False,
            True,
            True,
        ]
        assert len({entry.domain_id for entry in await masa.world.masa_store.last(9)}) == 1


async def test_a_claim_in_another_process_comes_first(tmp_path: Path) -> None:
    """Two MASAs on one file: what was judged before the other's entry is judged once more."""
    async with desk(tmp_path, allow_logged=True, unsold=Unsold.FIRST) as masa:
        ours, nonce = masa.world.wire.masa, encode_nonce(bytes(16))
        writer = open_store(tmp_path / "masa.db")
        theirs = MASA(
            records=ours._records,
            store=AuditStore(writer),
            sales=SalesBook(writer),
            signers=ours._signers,
            serializations=ours.reception._serializations,
            policy=ours._policy,
            clock=masa.world.clock,
        )
        genuine, turns = masa.world.masa_store.begin, 0

        async def begin(entry: Entry, basis: Basis) -> Entry | None:
            nonlocal turns
            turns += 1
            if turns == 1:
                await theirs.request_voucher(
                    masa.request(by=STRANGER, nonce=nonce), VOUCHER_CMS_JSON
                )
            return await genuine(entry, basis)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(masa.world.masa_store, "begin", begin)
            await masa.refusal(DomainNotTrusted, nonce=nonce)
        assert turns == 1  # the second judgement does not come as far as an entry
        (entry,) = await masa.world.masa_store.last(9)
        assert entry.domain_id == domain_id(STRANGER.chain[1])
        await masa.voucher(by=STRANGER, nonce=nonce)
        await writer.close()


async def test_claims_without_end_are_put_off(tmp_path: Path) -> None:
    """A file in which something else stands each time: 503, and nothing is entered."""
    async with desk(tmp_path, allow_logged=True) as masa:
        outdated = AsyncMock(return_value=None)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(masa.world.masa_store, "begin", outdated)
            await masa.refusal(Unavailable, nonce=encode_nonce(bytes(16)))
        assert outdated.await_count == 16
        assert await masa.world.masa_store.last(9) == ()


@pytest.mark.parametrize(("ahead", "taken"), [(299, True), (301, False)])
async def test_a_request_of_tomorrow_is_refused(tmp_path: Path, ahead: int, taken: bool) -> None:
    """Its maker's clock is wrong, or somebody has made it for later."""
    async with desk(tmp_path) as masa:
        await masa.world.sell(masa.device, CUSTOMER.name)
        made = masa.world.clock() + timedelta(seconds=ahead)
        if taken:
            await masa.voucher(created_on=made)
        else:
            await masa.refusal(CreatedOnOutOfWindow, created_on=made)
