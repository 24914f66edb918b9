"""The pledge over real TLS: what it refuses, and what it tells of that."""

from __future__ import annotations

from dataclasses import replace

import pytest

from brski import registry
from brski.voucher.cms import CMS
from brski.voucher.yang_json import decode_voucher_request
from device_client.pledge.states import (
    Answer,
    Phase,
    Result,
)
from tests.integration.pledge_desk import ALL, OTHER, REFUSED_404, WORLD, Desk, desk, registrar
from tests.kit import pki
from tests.kit.stub_registrar import StubRegistrar

__all__ = ["desk", "registrar"]


@pytest.mark.requirement("PL-27", "PL-28", "E2E-4")
async def test_a_refused_voucher_leaves_nothing_behind(
    desk: Desk, registrar: StubRegistrar
) -> None:
    """It is told without detail, and no certificate is asked for."""

    def forged(body: bytes) -> Answer:
        request = decode_voucher_request(CMS.open(body).payload)
        voucher = WORLD.signed(WORLD.voucher_for(request), OTHER.masa)
        return Answer(status=200, body=voucher, media_type=registry.VOUCHER_CMS_JSON)

    registrar.script("requestvoucher", forged)
    async with registrar.serving():
        outcome = await desk.onboard(registrar)
    assert (outcome.result, outcome.code) == (Result.REFUSED, "chain-invalid")
    assert registrar.paths() == ["requestvoucher", "voucher_status"]
    assert b'"status":false' in registrar.heard[1].body
    assert b"voucher not accepted" in registrar.heard[1].body
    assert desk.keystore.load().phase is Phase.FACTORY
    assert outcome.artifacts.voucher
    assert not outcome.artifacts.ldevid_chain


async def test_a_refused_request_says_so(desk: Desk, registrar: StubRegistrar) -> None:
    """With the registrar's own words."""
    registrar.script("requestvoucher", REFUSED_404)
    async with registrar.serving():
        outcome = await desk.onboard(registrar)
    assert (outcome.result, outcome.code) == (Result.REFUSED, "voucher-refused")
    assert "not here" in outcome.reason
    assert [(s.name.value, s.status.value) for s in desk.steps] == [
        ("connect", "ok"),
        ("voucher-request", "refused"),
    ]


@pytest.mark.requirement("PL-30")
async def test_a_failed_enrollment_is_told_where_it_failed(
    desk: Desk, registrar: StubRegistrar
) -> None:
    """On the very connection of the attempt, with the reason."""
    registrar.script("simpleenroll", Answer(status=403))
    async with registrar.serving():
        outcome = await desk.onboard(registrar)
    assert outcome.result is Result.REFUSED
    assert registrar.paths() == ALL
    assert registrar.heard[-1].connection == registrar.heard[0].connection
    assert b'"status":false' in registrar.heard[-1].body
    assert b"403" in registrar.heard[-1].body


@pytest.mark.requirement("PL-3")
async def test_a_chain_that_does_not_hang_together_is_refused(desk: Desk) -> None:
    """Before a word is said."""
    broken = replace(WORLD.registrar, issuers=OTHER.owner.chain)
    registrar = StubRegistrar(WORLD, certificate=broken)
    async with registrar.serving():
        outcome = await desk.onboard(registrar)
    assert outcome.code == "chain-invalid"
    assert registrar.heard == []


@pytest.mark.requirement("PL-3", "PL-26")
async def test_a_self_signed_registrar_may_be_vouched_for(desk: Desk) -> None:
    """The voucher pins the very certificate."""
    alone = pki.make_registrar(None)
    registrar = StubRegistrar(WORLD, certificate=alone)

    def pinning(body: bytes) -> Answer:
        request = decode_voucher_request(CMS.open(body).payload)
        return WORLD.voucher_answer(request, pinned_domain_cert=alone.der)

    registrar.script("requestvoucher", pinning)
    async with registrar.serving():
        outcome = await desk.onboard(registrar)
    assert outcome.result is Result.ENROLLED
    assert outcome.reported


@pytest.mark.requirement("PL-15")
async def test_a_redirection_leads_to_another_registrar(
    desk: Desk, registrar: StubRegistrar
) -> None:
    """Once; the second registrar sees a request that names its own certificate."""
    second = StubRegistrar(WORLD, certificate=pki.make_registrar(WORLD.owner))
    third = StubRegistrar(WORLD)
    async with registrar.serving(), second.serving(), third.serving():
        registrar.script(
            "requestvoucher",
            Answer(status=307, location=f"{second.origin}/elsewhere/requestvoucher"),
        )
        outcome = await desk.onboard(registrar)
        assert outcome.result is Result.ENROLLED
        assert outcome.registrar == second.origin
        desk.keystore.reset()
        for one, other in ((registrar, second), (second, third)):
            location = f"{other.origin}/elsewhere/requestvoucher"
            one.script("requestvoucher", Answer(status=307, location=location))
        outcome = await desk.onboard(registrar)
    assert outcome.code == "unexpected-response"
    assert third.heard == []
