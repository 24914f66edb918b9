"""Every way in which a MASA can misbehave, met by the real registrar over real TLS.

Nothing bad may come of it: the pledge hears 502, 503 or 403, or refuses by itself, and no LDevID is
made. Once the MASA behaves again, the same device enrolls.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from brski.edge.tls_client import https_client_context
from device_client.pledge.states import Result
from masa_stub.faults.kinds import INSTEAD, OF_AUDIT_LOGS, ON_THE_WAY, Fault
from masa_stub.faults.plan import Arm, FaultPlan, parse_rates
from registrar_plugin.masa_link.http import HTTPMASALink, MASAAccess
from tests.exchange.test_pledge import Altering, Exchange
from tests.kit.masa_site import ROOT, Site, masa_site
from tests.kit.world import Device, World, make_world

SILENT = frozenset({Fault.HALF_OPEN, Fault.SLOW})  # the registrar has to give up by itself
JUDGED = frozenset(  # logs that say something, which is bad
    {Fault.AUDIT_STRANGER, Fault.AUDIT_NONCELESS, Fault.AUDIT_CUT, Fault.AUDIT_NONE}
)
UNSIGNED = frozenset({Fault.GARBLED})  # a log has no signature: TLS alone keeps it whole
HARMLESS = frozenset({Fault.EXTRA_CERTIFICATES})  # hints beside the chain: nobody believes them


@dataclass
class Lab:
    """A registrar whose MASA is at the other end of a TLS connection."""

    world: World
    plan: FaultPlan
    site: Site

    def device(self, serial_number: str = "SN-1", *, asserting: bool = False) -> Device:
        """One whose IDevID names that MASA."""
        return self.world.make_device(
            serial_number, asserting=asserting, masa_url=f"localhost:{self.site.port}"
        )

    async def has_ldevid(self, device: Device) -> bool:
        return await self.world.journal.active_certificate(device.key) is not None


@asynccontextmanager
async def lab(
    folder: Path, plan: FaultPlan | None = None, *, fault: Fault | None = None
) -> AsyncIterator[Lab]:
    """The registrar waits ten seconds for its MASA; half of one where *fault* is silence."""
    plan = plan or FaultPlan("a seed")
    async with (
        make_world(folder) as world,
        masa_site(world.wire.masa, folder, plan=plan) as site,
    ):
        access = MASAAccess(
            context=https_client_context([ROOT.certificate]),
            hosts=frozenset({f"localhost:{site.port}"}),
            timeout_s=0.5 if fault in SILENT else 10.0,
        )
        world.wire.link = HTTPMASALink({"acme": access, "bolt": access})
        try:
            yield Lab(world=world, plan=plan, site=site)
        finally:
            await world.wire.link.close()


@pytest.mark.requirement("MASA-1", "E2E-1")
@pytest.mark.parametrize("asserting", [False, True])
async def test_a_masa_that_behaves(tmp_path: Path, asserting: bool) -> None:
    """Over HTTPS, at the address that the IDevID names."""
    async with lab(tmp_path) as masa:
        exchange = Exchange(masa.world, masa.device(asserting=asserting))
        assert (await exchange.run()).result is Result.ENROLLED
        assert await masa.has_ldevid(exchange.device)


@pytest.mark.parametrize("fault", sorted(frozenset(Fault) - OF_AUDIT_LOGS))
async def test_a_fault_at_requestvoucher(
    tmp_path: Path, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    """As often as the pledge asks; then the MASA behaves, and the device enrolls."""
    async with lab(tmp_path, fault=fault) as masa:
        device = masa.device()
        masa.plan.arm(Arm(fault=fault, left=1000, serial_number=device.serial_number))
        with caplog.at_level(logging.WARNING):
            exchange = Exchange(masa.world, device)
            verdict = await exchange.run()
        assert "misbehaving on purpose" in caplog.text
        assert not any(record.exc_info for record in caplog.records)
        if fault in HARMLESS:
            assert verdict.result is Result.ENROLLED
            return
        assert verdict.result is not Result.ENROLLED
        assert exchange.received[0].status in {200, 403, 502, 503}
        if exchange.received[0].status == 200:  # the pledge itself was not content, and said so
            assert exchange.sent[1].path.endswith("/voucher_status")
            assert b'"status":false' in exchange.sent[1].body.replace(b" ", b"")
        assert not await masa.has_ldevid(device)
        masa.plan.disarm()
        again = Exchange(masa.world, device, nonces=7)
        assert (await again.run()).result is Result.ENROLLED


def arming(plan: FaultPlan, arm: Arm) -> Altering:
    """Passes everything on; once the voucher is there, the fault is armed."""

    def down(path: str, octets: bytes) -> bytes:
        if path == "requestvoucher":
            plan.arm(arm)
        return octets

    return down


@pytest.mark.parametrize("fault", sorted((OF_AUDIT_LOGS | INSTEAD | ON_THE_WAY) - UNSIGNED))
async def test_a_fault_at_requestauditlog(
    tmp_path: Path, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    """The pledge has its voucher, and no certificate: for good where the log was read and is bad,
    else until it can be read.
    """
    async with lab(tmp_path, fault=fault) as masa:
        with caplog.at_level(logging.WARNING):
            exchange = Exchange(masa.world, masa.device())
            exchange.down = arming(masa.plan, Arm(fault=fault, left=2))
            verdict = await exchange.run()
        assert not any(record.exc_info for record in caplog.records)
        statuses = [
            answer.status
            for request, answer in zip(exchange.sent, exchange.received, strict=True)
            if request.path.endswith("/simpleenroll")
        ]
        if fault in JUDGED:
            assert set(statuses) == {403}
            assert verdict.result is not Result.ENROLLED
            assert not await masa.has_ldevid(exchange.device)
        else:
            *before, last = statuses
            assert before
            assert set(before) <= {502, 503}
            assert (last, verdict.result) == (200, Result.ENROLLED)


async def test_the_same_seed_repeats_a_run_of_many_devices(tmp_path: Path) -> None:
    """What became of each device, and what the MASA has in its log."""
    runs = []
    for name in ("first", "again"):
        (tmp_path / name).mkdir()
        plan = FaultPlan("20261124", parse_rates("retry-after=30%,wrong-nonce=20%,html=10%"))
        async with lab(tmp_path / name, plan) as masa:
            exchanges = [Exchange(masa.world, masa.device(f"SN-{n}")) for n in range(6)]
            verdicts = await asyncio.gather(*(exchange.run() for exchange in exchanges))
            statuses = [[answer.status for answer in e.received] for e in exchanges]
            vouchers = sorted(e.serial_number for e in await masa.world.masa_store.last(100))
            runs.append(([v.result for v in verdicts], statuses, vouchers))
    assert runs[0] == runs[1]
    assert len(set(runs[0][0])) > 1
