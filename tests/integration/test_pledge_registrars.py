"""The pledge over real TLS: several registrars, in turn."""

from __future__ import annotations

import asyncio

import pytest

from device_client.pledge.origin import Origin
from device_client.pledge.states import (
    Answer,
    Result,
)
from device_client.transport.http import Limits
from tests.integration.pledge_desk import NOBODY, OTHER, REFUSED_404, WORLD, Desk, desk, registrar
from tests.kit.stub_registrar import StubRegistrar

__all__ = ["desk", "registrar"]


@pytest.mark.requirement("PL-27", "PL-33", "DIS-8")
async def test_the_next_registrar_is_tried(desk: Desk, registrar: StubRegistrar) -> None:
    """One is silent, one refuses, the third enrolls; a few seconds pass between."""
    refusing = StubRegistrar(OTHER)
    refusing.script("requestvoucher", REFUSED_404)
    async with registrar.serving(), refusing.serving():
        outcome = await desk.onboard(NOBODY, refusing, registrar)
    assert outcome.result is Result.ENROLLED
    assert outcome.registrar == registrar.origin
    assert len(desk.slept) == 2
    assert all(3 <= pause <= 5 for pause in desk.slept)


async def test_silence_weighs_more_than_a_refusal(desk: Desk) -> None:
    """Trying again may help: the silent registrar may be the right one."""
    refusing = StubRegistrar(WORLD)
    for order in (True, False):
        refusing.script("requestvoucher", REFUSED_404)
        async with refusing.serving():
            pair: list[StubRegistrar | Origin] = [refusing, NOBODY]
            outcome = await desk.onboard(*(pair if order else reversed(pair)))
        assert (outcome.result, outcome.code) == (Result.RETRY, "unavailable")


@pytest.mark.requirement("PL-33")
async def test_one_registrar_is_tried_again_after_its_back_off(
    desk: Desk, registrar: StubRegistrar
) -> None:
    """Doubling, and never before what it asked for."""
    registrar.script(
        "requestvoucher",
        Answer(status=500),
        Answer(status=503, retry_after_s=30),
        Answer(status=500),
    )
    async with registrar.serving():
        outcome = await desk.onboard(registrar, rounds=4, first_delay_s=10)
    assert outcome.result is Result.ENROLLED
    assert [round(pause) for pause in desk.slept] == [10, 30, 40]


@pytest.mark.requirement("PL-34")
async def test_who_accepts_and_says_nothing_is_left(desk: Desk) -> None:
    """A TCP listener that never begins TLS costs the progress deadline and no more."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        origin = Origin("127.0.0.1", server.sockets[0].getsockname()[1])
        began = asyncio.get_running_loop().time()
        outcome = await desk.onboard(origin, limits=Limits(progress_s=0.3, answer_s=1))
        took = asyncio.get_running_loop().time() - began
    assert outcome.result is Result.RETRY
    assert took < 2
    assert [(s.name.value, s.status.value) for s in desk.steps] == [("connect", "failed")]
