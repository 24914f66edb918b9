"""A whole onboarding in memory, both ways of saying who one is."""

from __future__ import annotations

from pathlib import Path

import pytest

from brski.pki.extensions import authority_key_identifier
from brski.telemetry.status import Status
from tests.kit.world import make_world


@pytest.mark.parametrize("asserting", [False, True])
async def test_a_device_ends_with_a_certificate(tmp_path: Path, asserting: bool) -> None:
    """Voucher, status, audit log, CSR, certificate: each step of the real flow."""
    async with make_world(tmp_path) as world:
        device = world.make_device(asserting=asserting)
        issued = await world.onboard(device)
        await world.registrar.enroll_status(Status(status=True), world.connection([issued]))
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
