"""A device's folder and a registrar that does as it is told, for the pledge over real TLS."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from brski.idevid.record import Presentation
from device_client import outcome as onboarding
from device_client.keystore.files import FileKeystore
from device_client.onboard import onboard
from device_client.outcome import Outcome, Step
from device_client.pledge.origin import Origin
from device_client.pledge.states import (
    Answer,
)
from device_client.renew import renew
from device_client.transport.http import Limits
from tests.kit import pki
from tests.kit.device import World
from tests.kit.stub_registrar import StubRegistrar

WORLD = World.make()
OTHER = World.make()
LIMITS = Limits(progress_s=2, answer_s=5)
REFUSED_404 = Answer(status=404, body=b"not here\n", media_type="text/plain")
NOBODY = Origin("127.0.0.1", 1)
ALL = ["requestvoucher", "voucher_status", "cacerts", "csrattrs", "simpleenroll", "enrollstatus"]


@dataclass
class Desk:
    """One device on a test's desk."""

    directory: Path
    presentation: Presentation = Presentation.ASSERTED
    steps: list[Step] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)
    clock: Any = lambda: pki.NOW
    sleep: Callable[[float], Awaitable[object]] | None = None
    link: Callable[[], object] | None = None

    @property
    def keystore(self) -> FileKeystore:
        return FileKeystore(self.directory / "keystore")

    async def _slept(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def onboard(self, *registrars: StubRegistrar | Origin, **settings: Any) -> Outcome:
        origins = [r if isinstance(r, Origin) else r.origin for r in registrars]
        settings.setdefault("limits", LIMITS)
        settings.setdefault("keystore", self.keystore)
        return await onboard(
            WORLD.identity(self.presentation),
            origins,
            world=onboarding.World(
                clock=self.clock,
                sleep=self.sleep or self._slept,
                observer=self.steps.append,
                link=self.link,
            ),
            **settings,
        )

    async def renew(self, **settings: Any) -> Outcome:
        settings.setdefault("limits", LIMITS)
        settings.setdefault("keystore", self.keystore)
        return await renew(
            WORLD.identity(self.presentation),
            world=onboarding.World(
                clock=self.clock, sleep=self.sleep or self._slept, observer=self.steps.append
            ),
            **settings,
        )


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.fixture
def registrar() -> StubRegistrar:
    return StubRegistrar(WORLD)


async def really(_: float) -> None:
    await asyncio.sleep(0.3)
