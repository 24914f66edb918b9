"""The pledge over real TLS: several registrars, in turn."""

from __future__ import annotations

import asyncio

import pytest

from brski.voucher.cms import CMS
from brski.voucher.yang_json import decode_voucher_request
from device_client.pledge.origin import Origin
from device_client.pledge.states import (
    Answer,
    Result,
)
from device_client.transport.http import Limits
from tests.integration.pledge_desk import (
    ALL,
    NOBODY,
    OTHER,
    REFUSED_404,
    WORLD,
    Desk,
    desk,
    registrar,
)
from tests.kit.scripted import Script, Server, Wire, scripted
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


def nonces(*registrars: StubRegistrar) -> list[str | None]:
    return [
        decode_voucher_request(CMS.open(heard.body).payload).nonce
        for registrar in registrars
        for heard in registrar.heard
        if heard.path == "requestvoucher"
    ]


@pytest.mark.requirement("SEC-1", "PL-7")
async def test_each_attempt_has_a_nonce_of_its_own(desk: Desk, registrar: StubRegistrar) -> None:
    """At one registrar again, and at another: so a voucher answers one of them only."""
    refusing = StubRegistrar(OTHER)
    refusing.script("requestvoucher", *[REFUSED_404] * 3)
    registrar.script("requestvoucher", REFUSED_404)
    async with registrar.serving(), refusing.serving():
        outcome = await desk.onboard(refusing, registrar, rounds=3, first_delay_s=0.1)
    assert outcome.result is Result.ENROLLED
    said = nonces(refusing, registrar)
    assert len(said) >= 3
    assert None not in said
    assert len(set(said)) == len(said)


@pytest.mark.requirement("PL-27")
async def test_after_a_pin_that_does_not_fit_the_next_is_tried(
    desk: Desk, registrar: StubRegistrar
) -> None:
    """The voucher is genuine and pins somebody else: this connection ends, another begins."""

    def pinning_another(body: bytes) -> Answer:
        request = decode_voucher_request(CMS.open(body).payload)
        return WORLD.voucher_answer(request, pinned_domain_cert=OTHER.owner_root.der)

    between = StubRegistrar(WORLD)
    between.script("requestvoucher", pinning_another)
    async with registrar.serving(), between.serving():
        outcome = await desk.onboard(between, registrar)
    assert (outcome.result, outcome.registrar) == (Result.ENROLLED, registrar.origin)
    assert between.paths() == ["requestvoucher", "voucher_status"]
    assert registrar.paths() == ALL
    assert ("voucher", "refused") in [(s.name.value, s.status.value) for s in desk.steps]


async def stalling(_: Server, wire: Wire) -> None:
    """A registrar that begins to answer, and goes silent."""
    await wire.request()
    wire.say(b"HTTP/1.1 200 OK\r\nContent-Type: application/voucher-cms+json\r\n")
    await wire.reader.read()


async def dribbling(_: Server, wire: Wire) -> None:
    """A registrar that says an octet now and then, for ever."""
    await wire.request()
    wire.say(b"HTTP/1.1 200 OK\r\nX: ")
    while not wire.reader.at_eof():
        wire.say(b"x")
        await asyncio.sleep(0.05)


@pytest.mark.requirement("PL-34")
@pytest.mark.parametrize(("script", "code"), [(stalling, "slow-peer"), (dribbling, "unavailable")])
async def test_a_slow_registrar_is_left_for_the_next(
    desk: Desk, registrar: StubRegistrar, script: Script, code: str
) -> None:
    """Who stalls within an answer costs the progress deadline, who dribbles that of an answer."""
    limits = Limits(progress_s=0.5, answer_s=1.5)
    async with registrar.serving(), scripted(script) as slow:
        alone = await desk.onboard(Origin("127.0.0.1", slow.port), limits=limits)
        outcome = await desk.onboard(Origin("127.0.0.1", slow.port), registrar, limits=limits)
    assert (alone.result, alone.code) == (Result.RETRY, code)
    assert (outcome.result, outcome.registrar) == (Result.ENROLLED, registrar.origin)


@pytest.mark.requirement("PL-33")
async def test_a_change_of_the_link_ends_the_back_off(desk: Desk, registrar: StubRegistrar) -> None:
    """A registrar asks for an hour; the cable is moved, and it is asked at once."""
    registrar.script("requestvoucher", Answer(status=503, retry_after_s=3600))
    carrier = [1]

    async def wait(seconds: float) -> None:
        desk.slept.append(seconds)
        if len(desk.slept) == 3:
            carrier[0] += 1

    desk.sleep = wait
    desk.link = lambda: carrier[0]
    async with registrar.serving():
        outcome = await desk.onboard(registrar, rounds=2)
    assert outcome.result is Result.ENROLLED
    assert desk.slept == [5, 5, 5]


@pytest.mark.requirement("ESTC-4")
@pytest.mark.parametrize(
    "path", ["requestvoucher", "cacerts", "csrattrs", "simpleenroll", "enrollstatus"]
)
async def test_a_challenge_is_not_answered(desk: Desk, registrar: StubRegistrar, path: str) -> None:
    """Neither before nor after the voucher: a 401 is a refusal, whatever it asks for."""
    registrar.script(path, Answer(status=401))
    async with registrar.serving():
        outcome = await desk.onboard(registrar)
    asked = [heard for heard in registrar.heard if heard.path == path]
    assert len(asked) == 1
    assert {heard.authorization for heard in registrar.heard} == {""}
    assert (outcome.result is Result.ENROLLED) is (path == "enrollstatus")
