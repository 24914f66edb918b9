"""What the registrar writes down of a device's reports (RFC 8995 §5.7, §5.9.4)."""

from __future__ import annotations

from pathlib import Path

import pytest

from brski.errors import NotAuthenticated, WrongOrder
from brski.telemetry.status import Status
from registrar_plugin.telemetry.events import EventKind, Outcome
from tests.kit.world import make_world


@pytest.mark.requirement("REG-20", "TEL-1")
async def test_a_report_of_a_later_version_is_taken_and_told_to_a_person(tmp_path: Path) -> None:
    """Logged with what was not understood, and an alarm; the flow goes on."""
    report = Status(
        status=True, version=2, unknown_members=("mood", "Reason"), reason_context={"a": 1}
    )
    async with make_world(tmp_path) as world:
        device = world.make_device()
        await world.voucher(device)
        await world.registrar.voucher_status(report, world.connection(device.shown))
        await world.enroll(device)
        (line,) = await world.journal.events(kind=EventKind.VOUCHER_STATUS)
        assert line.outcome is Outcome.DONE
        assert line.details == {
            "version": "2",
            "unknown_members": "mood, Reason",
            "reason_context": '{"a": 1}',
        }
        (alarm,) = await world.journal.events(kind=EventKind.ALARM)
        assert alarm.code == "newer-report"
        assert "version 2, understood is 1" in alarm.reason


@pytest.mark.requirement("REG-20", "TEL-2")
async def test_a_failure_without_a_reason_is_taken_too(tmp_path: Path) -> None:
    """What is worth knowing is that it failed; no alarm for what version 1 has."""
    async with make_world(tmp_path) as world:
        device = world.make_device()
        await world.voucher(device)
        report = Status(status=False, unknown_members=("mood",))
        await world.registrar.voucher_status(report, world.connection(device.shown))
        (line,) = await world.journal.events(kind=EventKind.VOUCHER_STATUS)
        assert (line.outcome, line.reason) == (Outcome.REFUSED, "")
        assert line.details == {"unknown_members": "mood"}
        assert await world.journal.events(kind=EventKind.ALARM) == ()


@pytest.mark.requirement("REG-23", "TEL-7")
async def test_what_an_enrollment_report_came_over_is_written_down(tmp_path: Path) -> None:
    """The LDevID for success, the IDevID for a failure; nobody else is heard."""
    async with make_world(tmp_path) as world:
        device = world.make_device()
        issued = await world.onboard(device)
        over_idevid, over_ldevid = world.connection(device.shown), world.connection([issued])
        await world.reports.enroll_status(Status(status=False, reason="no"), over_idevid)
        await world.reports.enroll_status(Status(status=True, version=3), over_ldevid)
        with pytest.raises(WrongOrder):
            await world.reports.enroll_status(Status(status=True), over_idevid)
        stranger = world.make_device("SN-2", listed=False)
        with pytest.raises(NotAuthenticated):
            await world.reports.enroll_status(Status(status=True), world.connection(stranger.shown))
        lines = await world.journal.events(kind=EventKind.ENROLL_STATUS)
        assert [line.details.get("client_certificate") for line in lines] == [
            "idevid",
            "ldevid",
            None,
            None,
        ]
        (alarm,) = await world.journal.events(kind=EventKind.ALARM)
        assert alarm.code == "newer-report"
