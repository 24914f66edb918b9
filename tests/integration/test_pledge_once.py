"""The pledge over real TLS: cut off at each step, it bootstraps once and not again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brski.errors import SettingsError, StateError
from device_client.keystore.files import FileKeystore
from device_client.onboard import onboard
from device_client.pledge.states import (
    Answer,
    Enrollment,
    Phase,
    Result,
)
from tests.integration.pledge_desk import ALL, NOBODY, OTHER, WORLD, Desk, desk, registrar
from tests.kit import pki
from tests.kit.stub_registrar import StubRegistrar

__all__ = ["desk", "registrar"]


@pytest.mark.requirement("PL-1")
async def test_an_enrolled_device_stays_silent(desk: Desk, registrar: StubRegistrar) -> None:
    """Started again, nothing leaves the device."""
    async with registrar.serving():
        first = await desk.onboard(registrar)
        registrar.heard.clear()
        again = await desk.onboard(registrar)
        assert registrar.heard == []
    assert (again.result, again.code) == (Result.ENROLLED, "already-enrolled")
    assert again.artifacts.ldevid_chain == first.artifacts.ldevid_chain


class CutOff(BaseException):
    """The power fails."""


class FailingKeystore(FileKeystore):
    """Loses power right after one of its changes, or right before."""

    def __init__(self, directory: Path, at: str, *, before: bool) -> None:
        super().__init__(directory)
        self.at = at
        self.before = before

    def cut(self, name: str, change: Callable[[], Any]) -> Any:
        if name != self.at:
            return change()
        if not self.before:
            change()
        raise CutOff(name)

    def request_for(self, purpose: Any, **makers: Any) -> bytes:
        ask = super().request_for
        csr: bytes = self.cut("request", lambda: ask(purpose, **makers))
        return csr

    def keep_enrollment(self, enrollment: Enrollment) -> None:
        keep = super().keep_enrollment
        self.cut("enrollment", lambda: keep(enrollment))

    def keep_reported(self) -> None:
        self.cut("reported", super().keep_reported)


@pytest.mark.requirement("PL-1")
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("at", ["request", "enrollment", "reported"])
async def test_cut_off_at_each_durable_step_it_ends_enrolled(
    desk: Desk, registrar: StubRegistrar, at: str, before: bool
) -> None:
    """The next start goes on from what is on disk: the same CSR, one LDevID, one report."""
    failing = FailingKeystore(desk.keystore.directory, at, before=before)
    async with registrar.serving():
        with pytest.raises(CutOff):
            await desk.onboard(registrar, keystore=failing)
        registrar_saw = len(registrar.heard)
        outcome = await desk.onboard(registrar)
        assert outcome.result is Result.ENROLLED
        assert desk.keystore.load().phase is Phase.ENROLLED
    csrs = {heard.body for heard in registrar.heard if heard.path == "simpleenroll"}
    assert len(csrs) == 1
    afterwards = registrar.paths()[registrar_saw:]
    match (at, before):
        case ("request", _) | ("enrollment", True):
            assert afterwards == ALL
        case ("enrollment", False) | ("reported", True):
            assert afterwards == ["enrollstatus"]
        case ("reported", False):
            assert afterwards == []


async def test_success_that_could_not_be_told_is_told_at_the_next_start(
    desk: Desk, registrar: StubRegistrar
) -> None:
    """The device is enrolled, and does not bootstrap for that."""
    registrar.script("enrollstatus", Answer(status=503))
    async with registrar.serving():
        outcome = await desk.onboard(registrar)
        assert (outcome.result, outcome.code) == (Result.ENROLLED, "enrolled-unreported")
        assert not outcome.reported
        assert desk.keystore.load().phase is Phase.UNREPORTED
        registrar.heard.clear()
        again = await desk.onboard(NOBODY)  # it goes to the registrar that it knows
    assert again.reported
    assert registrar.paths() == ["enrollstatus"]


@pytest.mark.requirement("PL-30", "ESTC-2")
async def test_success_is_not_told_to_a_stranger(desk: Desk, registrar: StubRegistrar) -> None:
    """Who took the registrar's place gets no status under the LDevID."""
    registrar.script("enrollstatus", Answer(status=503))
    async with registrar.serving():
        await desk.onboard(registrar)
    stranger = StubRegistrar(OTHER, port=registrar.port)
    async with stranger.serving():
        outcome = await desk.onboard(stranger)
    assert stranger.heard == []
    assert outcome.code == "enrolled-unreported"


async def test_another_devices_keystore_is_refused(desk: Desk, registrar: StubRegistrar) -> None:
    """One keystore, one device."""
    async with registrar.serving():
        await desk.onboard(registrar)
    with pytest.raises(StateError, match="another device"):
        await onboard(_Other(WORLD.identity()), [NOBODY], desk.keystore)


class _Other:
    """The same claims under another key."""

    def __init__(self, identity: Any) -> None:
        self._identity = identity
        self._signer = pki.KeySigner(pki.make_key(), identity.client_chain)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._identity, name)

    def signer(self) -> Any:
        return self._signer


async def test_a_keystore_in_use_is_refused(desk: Desk) -> None:
    """A device that is being configured does not start another bootstrap."""
    with desk.keystore.exclusive(), pytest.raises(StateError, match="another process"):
        await desk.onboard(NOBODY)


async def test_without_registrars_there_is_nothing_to_do(desk: Desk) -> None:
    """It is the settings' fault."""
    with pytest.raises(SettingsError):
        await desk.onboard()
