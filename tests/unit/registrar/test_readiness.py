"""Whether the registrar could carry an onboarding to its end, and what of it is remembered."""

from __future__ import annotations

import asyncio
import logging

import pytest

from brski.errors import KeyUnusable, NonceMismatch, OnboardingError, Unavailable
from registrar_plugin.health import readiness
from registrar_plugin.health.last_outcome import HELD_S, LastOutcome
from registrar_plugin.health.readiness import KEPT_S, Readiness


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Part:
    """Something that can be checked."""

    def __init__(self, failure: OnboardingError | None = None) -> None:
        self.failure = failure
        self.warning: str | None = None
        self.asked = 0

    async def check(self) -> str | None:
        self.asked += 1
        if self.failure is not None:
            raise self.failure
        return self.warning


async def test_each_part_is_told_by_itself() -> None:
    """One that fails takes nothing from the others; one can be left out."""
    good, bad = Part(), Part(KeyUnusable("key gone"))
    asked = Readiness({"good": good.check, "bad": bad.check}, clock=Time())
    found = {finding.name: finding for finding in await asked.findings()}
    assert found["good"].is_ready
    assert not found["bad"].is_ready
    assert (found["bad"].code, found["bad"].reason) == ("key-unusable", "key gone")
    assert [finding.name for finding in await asked.findings(exclude=["bad"])] == ["good"]


async def test_an_unforeseen_fault_is_one_parts_alone(caplog: pytest.LogCaptureFixture) -> None:
    """It is red, the log has the traceback, the answer has not, and the other parts are told."""

    async def broken() -> None:
        raise KeyError("secret")

    asked = Readiness({"broken": broken, "good": Part().check}, clock=Time())
    found = {finding.name: finding for finding in await asked.findings()}
    assert found["good"].is_ready
    assert found["broken"].code == "state-error"
    assert "secret" not in found["broken"].reason
    assert "Traceback" in caplog.text


async def test_who_asks_often_costs_little() -> None:
    """Many at once and within a second: one check; after it, another."""
    time, part = Time(), Part()
    asked = Readiness({"part": part.check}, clock=time)
    await asyncio.gather(*(asked.findings() for _ in range(50)))
    await asked.findings()
    assert part.asked == 1
    time.now += KEPT_S
    await asked.findings()
    assert part.asked == 2


async def test_silence_counts_as_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """And who asked has an answer in time."""
    monkeypatch.setattr(readiness, "DEADLINE_S", 0.01)

    async def silent() -> None:
        await asyncio.Event().wait()

    (found,) = await Readiness({"part": silent}, clock=Time()).findings()
    assert (found.code, found.reason) == ("unavailable", "no answer within 0.01 s")


async def test_a_change_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """Not each time that somebody asks."""
    time, part = Time(), Part()
    asked = Readiness({"part": part.check}, clock=time)
    with caplog.at_level(logging.INFO, logger="registrar_plugin.health.readiness"):
        for failure in (None, Unavailable("a"), Unavailable("a"), None, None):
            part.failure = failure
            await asked.findings()
            time.now += KEPT_S
    assert [record.getMessage() for record in caplog.records] == ["not ready", "ready again"]


async def test_a_warning_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    """It is ready, it says what will become of that, and the log has it once."""
    time, part = Time(), Part()
    asked = Readiness({"part": part.check}, clock=time)
    with caplog.at_level(logging.INFO, logger="registrar_plugin.health.readiness"):
        for warning in (None, "ends soon", "ends soon", None):
            part.warning = warning
            (found,) = await asked.findings()
            assert (found.is_ready, found.warning) == (True, warning or "")
            time.now += KEPT_S
    assert [record.getMessage() for record in caplog.records] == ["needs attention"]


async def test_closing_stops_what_is_under_way() -> None:
    """Nobody waits for a check any longer."""
    entered = asyncio.Event()

    async def silent() -> None:
        entered.set()
        await asyncio.Event().wait()

    asked = Readiness({"part": silent}, clock=Time())
    waiting = asyncio.create_task(asked.findings())
    await entered.wait()
    await asked.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await Readiness({}, clock=Time()).close()


async def test_last_outcome_is_held_for_a_while() -> None:
    """A failure of ours or silence; success clears it, and so does time."""
    time = Time()
    outcome = LastOutcome(time)
    await outcome.check()
    for failure in (Unavailable("token pulled"), KeyUnusable("token pulled")):
        with pytest.raises(type(failure)), outcome.watched():
            raise failure
        with pytest.raises(type(failure), match="token pulled"):
            await outcome.check()
    time.now += HELD_S
    await outcome.check()
    with pytest.raises(Unavailable), outcome.watched():
        raise Unavailable("again")
    with outcome.watched():
        pass
    await outcome.check()


async def test_a_peers_fault_is_not_ours() -> None:
    """What a device did wrong says nothing of the CA."""
    outcome = LastOutcome(Time())
    with pytest.raises(NonceMismatch), outcome.watched():
        raise NonceMismatch("theirs")
    await outcome.check()
