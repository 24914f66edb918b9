"""Abuse case 29: the MASA is slow, half-open, cut off, elsewhere, or says something else.

Each fault lies on the network before the MASA, or in its answer. The pledge is told 503 with
Retry-After within a bounded time, no redirect is followed, a silent MASA is given up and tried
again; when the fault has gone, the same request goes on, without a restart and without loss.
"""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path

import pytest
from aiohttp import web

from brski.edge.http import circuit
from brski.registry import VOUCHER_CMS_JSON
from brski_lab.faults import FAIR, End, Faults, Weather
from registrar_plugin.health import readiness
from registrar_plugin.telemetry.events import EventKind, Outcome
from tests.kit import pki
from tests.kit.wired import TIMEOUT_S, VOUCHER_STATUS, Wired, wired

SILENT = Weather(up=Faults(after=0, end=End.STALL))
WEATHERS = {
    "refused": Weather(refuse=1.0),
    "half-open": SILENT,
    "answer-lost": Weather(down=Faults(after=3000, end=End.LOSE)),
    "cut-in-handshake": Weather(down=Faults(after=100)),
    "cut-in-answer": Weather(down=Faults(after=3000)),
    "trickle": Weather(down=Faults(octets_per_s=200)),
}
SLACK_S = 5.0  # of a busy machine, beyond what was promised


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(circuit, "PAUSE_S", 0.2)


@pytest.mark.parametrize("weather", WEATHERS)
async def test_masa_that_does_not_answer(tmp_path: Path, weather: str) -> None:
    """503 with Retry-After in bounded time; alive, not ready; then the same request succeeds."""
    async with wired(tmp_path) as wire, wire.serving():
        device = wire.world.make_device()
        wire.masa.weather = WEATHERS[weather]
        for _ in range(4):
            began = time.monotonic()
            reply = await wire.voucher(device)
            assert time.monotonic() - began < TIMEOUT_S + SLACK_S
            assert (reply.status, reply.body) == (503, b"")
            assert 1 <= reply.retry_after_s <= 60
        assert await wire.red_checks() == {"masa acme"}
        wire.masa.weather = FAIR
        await wire.until_ready()
        await wire.onboard(device)


async def test_given_up_masa_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After three silences the fourth pledge is answered at once, and nobody is connected to."""
    monkeypatch.setattr(circuit, "PAUSE_S", 60.0)
    async with wired(tmp_path) as wire, wire.serving():
        wire.masa.weather = SILENT
        for number in range(3):
            assert (await wire.voucher(wire.world.make_device(f"SN-{number}"))).status == 503
        connections = wire.masa.counts.connections
        for number in range(3, 20):
            reply = await wire.voucher(wire.world.make_device(f"SN-{number}"))
            assert reply.status == 503
            assert 30 <= reply.retry_after_s <= 90
        assert wire.masa.counts.connections == connections


ELSEWHERE = {"Location": "https://localhost/.well-known/brski/requestvoucher"}
WORDS = {
    "redirect": lambda: web.Response(status=307, headers=ELSEWHERE),
    "500": lambda: web.Response(status=500),
    "503": lambda: web.Response(status=503, headers={"Retry-After": "7"}),
    "202": lambda: web.Response(status=202, headers={"Retry-After": "7"}),
    "html": lambda: web.Response(text="<b>hello</b>", content_type="text/html"),
    "no-cms": lambda: web.Response(body=b"hello", content_type=VOUCHER_CMS_JSON),
}


@pytest.mark.parametrize("word", WORDS)
async def test_masa_that_says_something_else(tmp_path: Path, word: str) -> None:
    """503 with Retry-After, no second request anywhere; and the MASA is not given up for it: one
    device's request that makes it stumble takes it from nobody else.
    """
    async with wired(tmp_path) as wire, wire.serving():
        device, other = wire.world.make_device("SN-1"), wire.world.make_device("SN-2")
        wire.instead.extend(WORDS[word]() for _ in range(4))
        for count in range(1, 5):
            reply = await wire.voucher(device)
            assert (reply.status, len(wire.asked)) == (503, count)
            assert reply.retry_after_s == (7 if word in ("503", "202") else 10)
        assert await wire.red_checks() == set()
        await wire.onboard(other)
        await wire.onboard(device)


async def test_masa_with_another_certificate(tmp_path: Path) -> None:
    """Nothing is said to it, not even the request."""
    async with wired(tmp_path) as wire:
        (tmp_path / "masa-tls-root.pem").write_bytes(pki.make_root("Another").chain_pem)
        async with wire.serving():
            reply = await wire.voucher(wire.world.make_device())
            assert reply.status == 503
            assert wire.asked == []


async def test_audit_log_that_does_not_come(tmp_path: Path) -> None:
    """The status report is taken, the certificate waits: 503, and the same CSR later gets it."""
    async with wired(tmp_path) as wire, wire.serving():
        device = wire.world.make_device()
        assert (await wire.voucher(device)).status == 200
        wire.masa.weather = SILENT
        await wire.masa.break_all()
        assert (await wire.report(device, VOUCHER_STATUS)).status == 200
        csr = wire.world.csr(device)
        reply = await wire.enroll(device, csr)
        assert (reply.status, reply.retry_after_s >= 1) == (503, True)
        wire.masa.weather = FAIR
        await wire.until_ready()
        assert (await wire.enroll(device, csr)).status == 200


async def test_every_silence_is_in_the_journal(tmp_path: Path) -> None:
    """I8: refused, with its reason; I4: what was signed for the MASA stays, and is sent again."""
    async with wired(tmp_path) as wire, wire.serving():
        device = wire.world.make_device()
        wire.masa.weather = Weather(refuse=1.0)
        assert (await wire.voucher(device)).status == 503
        wire.masa.weather = FAIR
        assert (await wire.voucher(device)).status == 200
        found = await events(wire, device.serial_number)
        assert [(kind, outcome) for kind, outcome, _ in found] == [
            (EventKind.VOUCHER_REQUEST, Outcome.DONE),
            (EventKind.REGISTRAR_VOUCHER_REQUEST, Outcome.DONE),
            (EventKind.VOUCHER, Outcome.REFUSED),
            (EventKind.VOUCHER, Outcome.DONE),
        ]


async def events(wire: Wired, serial_number: str) -> list[tuple[EventKind, Outcome, str]]:
    """Kind, outcome and code of what the journal has of a device."""
    return [
        (event.kind, event.outcome, event.code)
        for event in await wire.events()
        if event.device is not None and event.device.serial_number == serial_number
    ]


@pytest.mark.parametrize("weather", ["refused", "half-open", "cut-in-handshake"])
async def test_a_dead_masa_is_seen_before_a_device_comes(
    tmp_path: Path, weather: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks whether the registrar is ready has it looked at: by connections alone, and after
    three in vain it is red; ready again by itself.
    """
    monkeypatch.setattr(readiness, "KEPT_S", 0.1)
    async with wired(tmp_path, timeout_s=0.3) as wire, wire.serving():
        wire.masa.weather = WEATHERS[weather]
        async with asyncio.timeout(30):
            while await wire.red_checks() != {"masa acme"}:
                await asyncio.sleep(0.1)
        wire.masa.weather = FAIR
        await wire.until_ready()
        assert wire.asked == []


async def test_an_impostor_is_seen_before_a_device_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look is as strict as a request: chain and name of its certificate count."""
    monkeypatch.setattr(readiness, "KEPT_S", 0.1)
    async with wired(tmp_path) as wire:
        (tmp_path / "masa-tls-root.pem").write_bytes(pki.make_root("Another").chain_pem)
        async with wire.serving():
            async with asyncio.timeout(30):
                while await wire.red_checks() != {"masa acme"}:
                    await asyncio.sleep(0.1)
            _, said = await wire.health()
            assert "certificate" in said["checks"]["masa acme"]["reason"]


async def test_a_masa_in_use_is_not_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a minute of an answer nobody connects for the look's sake; after it, once."""
    monkeypatch.setattr(readiness, "KEPT_S", 0.0)
    async with wired(tmp_path) as wire, wire.serving():
        await wire.onboard(wire.world.make_device())
        connections = wire.masa.counts.connections
        for _ in range(5):
            assert await wire.red_checks() == set()
        assert wire.masa.counts.connections == connections


async def test_what_a_strangers_certificate_names_is_not_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No MASA in the settings: three devices in vain are what it takes, as ever."""
    monkeypatch.setattr(readiness, "KEPT_S", 0.0)
    async with wired(tmp_path) as wire:
        settings = wire.settings.read_text()
        wire.settings.write_text(re.sub(r"url = .*\nhosts = .*\n", "", settings))
        wire.masa.weather = WEATHERS["refused"]
        async with wire.serving():
            for _ in range(5):
                assert await wire.red_checks() == set()
        assert wire.masa.counts.connections == 0


async def test_an_address_that_may_not_be_is_told_and_not_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A MASA of the settings whose name leads into a network of ours: red, and no connection."""
    monkeypatch.setattr(readiness, "KEPT_S", 0.1)
    async with wired(tmp_path) as wire:
        settings = wire.settings.read_text()
        wire.settings.write_text(re.sub(r"hosts = \[.*\]\n", "", settings))
        async with wire.serving():
            async with asyncio.timeout(30):
                while await wire.red_checks() != {"masa acme"}:
                    await asyncio.sleep(0.1)
            _, said = await wire.health()
            assert "not a global address" in said["checks"]["masa acme"]["reason"]
        assert wire.masa.counts.connections == 0
