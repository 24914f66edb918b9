"""What a device says of its enrollment, taken down (RFC 8995 §5.9.4)."""

from __future__ import annotations

from brski.errors import WrongOrder
from brski.telemetry.status import Status
from registrar_plugin.clerk import Clerk
from registrar_plugin.connection import PledgeConnection
from registrar_plugin.known_devices import KnownDevices
from registrar_plugin.store.port import Journal
from registrar_plugin.telemetry.events import EventKind


class EnrollmentReports:
    """The end of an onboarding, as the device tells it."""

    def __init__(self, *, devices: KnownDevices, journal: Journal, clerk: Clerk) -> None:
        self._devices = devices
        self._journal = journal
        self._clerk = clerk

    async def enroll_status(self, status: Status, connection: PledgeConnection) -> None:
        """Take down what the device says of its enrollment.

        Success is believed only over the LDevID itself; a failure may come over the IDevID.

        Raises:
            NotAuthenticated, WrongOrder: the connection is not that of a device of ours.

        RFC 8995 §5.9.4.
        """
        async with self._clerk.refusals(EventKind.ENROLL_STATUS, connection):
            device, over_ldevid = await self._devices.device_of(connection)
            if status.status and not over_ldevid:
                raise WrongOrder(
                    "success must be reported over the new certificate", section="RFC 8995 §5.9.4"
                )
        shown = {"client_certificate": "ldevid" if over_ldevid else "idevid"}
        await self._journal.record(
            *self._clerk.report(EventKind.ENROLL_STATUS, device, connection, status, shown)
        )
