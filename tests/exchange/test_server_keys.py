"""Keys made by the registrar for a client: what a restart and another kind of connection find."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509

from brski.errors import NotAuthenticated, Unavailable
from brski.pki.keys import certificate_der
from registrar_plugin.ca_backend.embedded import EmbeddedCA
from registrar_plugin.ca_backend.port import Pending
from registrar_plugin.enrollment.profile import EnrollmentProfile
from registrar_plugin.telemetry.events import EventKind, Outcome
from tests.kit import pki
from tests.kit.world import make_world

GENEROUS = EnrollmentProfile(server_keys=True)


class HalfACA(EmbeddedCA):
    """Prepares, and falls silent before it signs."""

    silent = False

    async def complete(self, intent: bytes) -> x509.Certificate | Pending:
        if self.silent:
            raise Unavailable("the CA does not answer")
        return await super().complete(intent)


async def test_a_key_that_died_with_its_process_is_not_certified(tmp_path: Path) -> None:
    """A restart closes that intent; the LDevID that the device can use stays the active one."""
    owner = pki.make_pki("Example Owner", not_after=pki.NOT_AFTER)
    ca = HalfACA(owner.signer)
    async with make_world(tmp_path, ca=ca, profile=GENEROUS) as world:
        device = world.make_device()
        ldevid = await world.onboard(device)
        ca.silent = True
        desk = world.est.desk("")
        assert desk is not None
        with pytest.raises(Unavailable):
            await desk.generating.generate(world.csr(device), world.connection(device.shown))
        assert len(await world.journal.open_intents()) == 1
    ca.silent = False
    async with make_world(tmp_path, ca=ca, profile=GENEROUS) as world:
        assert await world.journal.open_intents() == ()
        active = await world.journal.active_certificate(device.key)
        assert active is not None
        assert active.certificate == certificate_der(ldevid)
        lines = await world.journal.events(device=device.key, kind=EventKind.LDEVID_INTENT)
        assert lines[-1].outcome is Outcome.REFUSED
        assert "private key" in lines[-1].reason


async def test_who_is_nobody_gets_no_key(tmp_path: Path) -> None:
    """Neither without a certificate nor with one of its own; nor is a key made for it."""
    async with make_world(tmp_path, profile=GENEROUS) as world:
        device = world.make_device()
        desk = world.est.desk("")
        assert desk is not None
        for shown in ((), device.shown):
            with pytest.raises(NotAuthenticated):
                await desk.generating.generate(world.csr(device), world.connection(shown))
        kinds = {event.kind for event in await world.journal.events()}
        assert kinds == {EventKind.SERVER_KEY}
