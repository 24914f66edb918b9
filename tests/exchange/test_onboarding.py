"""A whole onboarding in memory, both ways of saying who one is."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from brski.errors import WrongOrder
from brski.pki.extensions import (
    authority_key_identifier,
    decode_idevid_issuer,
    encode_idevid_issuer,
)
from brski.pki.keys import certificate_der
from brski.telemetry.status import Status
from brski.voucher.cms import CMS
from brski.voucher.yang_json import decode_voucher, decode_voucher_request
from masa_stub.issue import IssuePolicy
from masa_stub.pin import Pin
from registrar_plugin.registrar import VoucherAnswer
from tests.kit.world import make_world


@pytest.mark.parametrize("asserting", [False, True])
async def test_a_device_ends_with_a_certificate(tmp_path: Path, asserting: bool) -> None:
    """Voucher, status, audit log, CSR, certificate: each step of the real flow."""
    async with make_world(tmp_path) as world:
        device = world.make_device(asserting=asserting)
        issued = await world.onboard(device)
        await world.reports.enroll_status(Status(status=True), world.connection([issued]))
        assert authority_key_identifier(issued) is not None
        kinds = [event.kind.value for event in await world.journal.events(device=device.key)]
        assert kinds == [
            "voucher-request",
            "registrar-voucher-request",
            "voucher",
            "voucher-status",
            "audit-log",
            "ldevid-intent",
            "ldevid",
            "enroll-status",
        ]


@pytest.mark.requirement("SEC-9", "MASA-18", "VR-13", "E2E-7")
@pytest.mark.parametrize("asserting", [False, True])
async def test_two_devices_with_one_serial_number_at_once(tmp_path: Path, asserting: bool) -> None:
    """Two manufacturers have made an SN-1; both join at the same time, and nothing is mixed up."""
    async with make_world(tmp_path) as world:
        ours = world.make_device(asserting=asserting)
        theirs = world.make_device(asserting=asserting, issuer=world.other_oem)
        first, second = await asyncio.gather(world.onboard(ours), world.onboard(theirs))
        assert first.subject != second.subject
        for device, issued in ((ours, first), (theirs, second)):
            active = await world.journal.active_certificate(device.key)
            assert active is not None
            assert active.certificate == certificate_der(issued)
            onboarding = await world.journal.onboarding(device.key)
            assert onboarding is not None
            assert onboarding.voucher is not None
            voucher = decode_voucher(CMS.open(onboarding.voucher).payload)
            assert voucher.idevid_issuer is not None
            assert decode_idevid_issuer(voucher.idevid_issuer) == device.issuer


async def test_a_voucher_names_no_issuer_where_one_device_has_the_number(tmp_path: Path) -> None:
    """The nearest other case: the leaf is left out unless it is needed (RFC 8366bis §6.2)."""
    async with make_world(tmp_path) as world:
        answer = await world.voucher(world.make_device())
        assert decode_voucher(CMS.open(answer.body).payload).idevid_issuer is None


@pytest.mark.requirement("REG-15", "REG-17")
async def test_the_same_request_gets_the_same_voucher(tmp_path: Path) -> None:
    """Repeated, after a lost answer and at once: the MASA is asked once, the log has one entry."""
    async with make_world(tmp_path) as world:
        device = world.make_device()
        first, second = await asyncio.gather(world.voucher(device), world.voucher(device))
        third = await world.voucher(device)
        assert first == second == third
        assert len(world.wire.sent) == 1
        assert len(await world.masa_store.last(10)) == 1


@pytest.mark.requirement("REG-15")
async def test_a_new_nonce_gets_a_new_voucher(tmp_path: Path) -> None:
    """A voucher with a nonce answers one request and no other."""
    async with make_world(tmp_path) as world:
        device = world.make_device()
        first = await world.voucher(device)
        second = await world.voucher(device, nonce=bytes(16))
        assert first.body != second.body
        assert len(world.wire.sent) == 2


async def test_the_same_csr_gets_the_same_certificate(tmp_path: Path) -> None:
    """At once and again: one certificate to the octet; another key supersedes it."""
    async with make_world(tmp_path) as world:
        device = world.make_device()
        await world.voucher(device)
        await world.accept(device)
        csr = world.csr(device)
        issued = await asyncio.gather(*(world.enroll(device, csr=csr) for _ in range(4)))
        assert len(set(issued)) == 1
        other = await world.enroll(device)
        assert other not in issued
        with pytest.raises(WrongOrder):
            await world.enroll(device, csr=csr)


@pytest.mark.requirement("REG-14", "REG-9", "VR-9", "VR-10", "VR-14", "VR-15", "VR-19")
async def test_what_goes_to_the_masa_and_comes_back(tmp_path: Path) -> None:
    """The registrar's request holds the pledge's as received, names the issuer in 26 octets, and
    leaves proximity out; the voucher passes byte for byte, its nonce as the pledge wrote it.
    """
    async with make_world(tmp_path) as world:
        device = world.make_device(asserting=True)
        answer = await world.voucher(device)
        request = decode_voucher_request(CMS.open(world.wire.sent[0]).payload)
        prior = request.prior_signed_voucher_request
        assert prior is not None
        pledges = decode_voucher_request(CMS.open(prior).payload)
        onboarding = await world.journal.onboarding(device.key)
        assert onboarding is not None
        assert prior == onboarding.pledge_request
        assert request.idevid_issuer == encode_idevid_issuer(device.issuer)
        assert request.proximity_registrar_cert is None
        assert (request.serial_number, request.nonce) == (pledges.serial_number, pledges.nonce)
        assert answer.body == world.wire.answers[0]
        assert decode_voucher(CMS.open(answer.body).payload).nonce == pledges.nonce


@pytest.mark.requirement("REG-30", "CMS-8", "REG-24")
@pytest.mark.parametrize("enclosed", [1, 2, None])
async def test_how_much_of_our_chain_the_masa_gets(tmp_path: Path, enclosed: int | None) -> None:
    """Fewer certificates ask for a more specific pin; each of them leads to what we show."""
    issue = IssuePolicy(pin=Pin.HIGHEST_CA)
    async with make_world(tmp_path, enclosed=enclosed, issue=issue) as world:
        chain = world.registrar_entity.chain
        answer = await world.voucher(world.make_device())
        assert isinstance(answer, VoucherAnswer)
        sent = CMS.open(world.wire.sent[0]).certificates
        assert set(sent) == set(chain[:enclosed])
        pinned = CMS.open(answer.body).voucher().pinned_domain_cert
        assert pinned == certificate_der(chain[:enclosed][-1])
