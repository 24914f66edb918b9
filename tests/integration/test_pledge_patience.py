"""The pledge over real TLS: it comes again when it is told to, with the same octets."""

from __future__ import annotations

import asyncio

import pytest

from device_client.pledge.policy import Policy
from device_client.pledge.states import (
    Answer,
    Result,
)
from tests.integration.pledge_desk import WORLD, Desk, desk, really, registrar
from tests.kit import pki
from tests.kit.stub_registrar import StubRegistrar

__all__ = ["desk", "registrar"]


@pytest.mark.requirement("PL-12", "PL-13", "E2E-3")
async def test_202_is_waited_out_with_the_same_octets(desk: Desk, registrar: StubRegistrar) -> None:
    """On the same connection, the wait capped at a minute."""
    registrar.script(
        "requestvoucher",
        Answer(status=202, retry_after_s=2),
        Answer(status=202, retry_after_s=3600),
    )
    async with registrar.serving():
        outcome = await desk.onboard(registrar)
    assert outcome.result is Result.ENROLLED
    assert desk.slept == [2, 60]
    assert len({heard.body for heard in registrar.heard[:3]}) == 1
    assert len({heard.connection for heard in registrar.heard[:3]}) == 1


@pytest.mark.requirement("PL-14", "DIS-8")
async def test_patience_has_an_end_and_then_the_next_is_tried(
    desk: Desk, registrar: StubRegistrar
) -> None:
    """A registrar that asks for a minute again and again: the time is the device's own count."""
    patient = StubRegistrar(WORLD)
    patient.script("requestvoucher", *[Answer(status=202, retry_after_s=60)] * 12)
    async with registrar.serving(), patient.serving():
        outcome = await desk.onboard(patient, registrar, policy=Policy(voucher_wait_s=600))
    assert (outcome.result, outcome.registrar) == (Result.ENROLLED, registrar.origin)
    assert desk.slept[:10] == [60] * 10
    assert len(desk.slept) == 11
    assert len({heard.body for heard in patient.heard}) == 1
    assert len(patient.heard) == 11


@pytest.mark.requirement("PL-12", "PL-31")
@pytest.mark.parametrize("path", ["requestvoucher", "simpleenroll"])
async def test_a_connection_closed_meanwhile_is_opened_again(
    desk: Desk, registrar: StubRegistrar, path: str
) -> None:
    """The server's keep-alive ran out: the same certificate there, the same octets again."""
    registrar.script(path, Answer(status=202, retry_after_s=1))
    desk.sleep = really
    async with registrar.serving(keepalive_s=0.1):
        outcome = await desk.onboard(registrar)
    assert outcome.result is Result.ENROLLED
    first, second = (heard for heard in registrar.heard if heard.path == path)
    assert first.body == second.body
    assert first.connection != second.connection
    assert first.client_chain == second.client_chain


@pytest.mark.requirement("PL-31")
async def test_another_certificate_on_the_second_connection_gets_nothing(
    desk: Desk, registrar: StubRegistrar
) -> None:
    """Whoever answers it is not whom the voucher-request names."""
    registrar.script("requestvoucher", Answer(status=202, retry_after_s=1))
    stranger = StubRegistrar(WORLD, certificate=pki.make_registrar(WORLD.owner))
    taken_over = asyncio.Event()
    asleep = asyncio.Event()

    async def nap(_: float) -> None:
        asleep.set()
        await taken_over.wait()

    desk.sleep = nap
    async with registrar.serving():
        running = asyncio.create_task(desk.onboard(registrar))
        await asleep.wait()
    stranger.port = registrar.port
    async with stranger.serving():
        taken_over.set()
        outcome = await running
    assert (outcome.result, outcome.code) == (Result.REFUSED, "chain-invalid")
    assert stranger.heard == []
