"""Writes the journal's lines: one for each step, and one for each refusal before it goes out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from types import TracebackType
from typing import Final

from brski.errors import OnboardingError, PasswordNeeded, VoucherRejected
from brski.telemetry.status import VERSION, Status
from registrar_plugin.connection import PledgeConnection
from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.identity.presented import claimed_serial_number
from registrar_plugin.store.port import Journal
from registrar_plugin.telemetry.events import (
    Event,
    EventKind,
    Outcome,
    refusal_details,
    status_details,
)

log = logging.getLogger("registrar_plugin.audit")

NEWER_REPORT: Final = "newer-report"  # the code of an alarm


class Refusals:
    """Around one step: ``async with``. A class, since a generator costs each request of each device
    more than its step's own bookkeeping.
    """

    __slots__ = ("_clerk", "_connection", "_device", "_kind")

    def __init__(
        self, clerk: Clerk, kind: EventKind, connection: PledgeConnection, device: DeviceKey | None
    ) -> None:
        self._clerk = clerk
        self._kind = kind
        self._connection = connection
        self._device = device

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, OnboardingError):
            await self._clerk.write_refusal(error, self._kind, self._connection, self._device)


class Clerk:
    """Knows the time and the journal.

    Args:
        clock: aware UTC.
    """

    def __init__(self, journal: Journal, clock: Callable[[], datetime]) -> None:
        self._journal = journal
        self.now = clock

    def event(
        self,
        kind: EventKind,
        device: DeviceKey | None,
        connection: PledgeConnection | None = None,
        *,
        outcome: Outcome = Outcome.DONE,
        reason: str = "",
        code: str = "",
        details: dict[str, str] | None = None,
    ) -> Event:
        """A line that says what happened now."""
        return Event(
            at=self.now(),
            kind=kind,
            outcome=outcome,
            device=device,
            asserted_serial_number=(
                "" if device or not connection else claimed_serial_number(connection.peer_chain)
            ),
            reason=reason,
            code=code,
            peer_address=connection.address if connection else "",
            details=details or {},
        )

    def report(
        self,
        kind: EventKind,
        device: DeviceKey,
        connection: PledgeConnection,
        status: Status,
        details: dict[str, str] | None = None,
    ) -> tuple[Event, ...]:
        """The line of a status report; and an alarm if its version says more than is understood
        (RFC 8995 §5.7: log it, and tell a person).
        """
        rejected = kind is EventKind.VOUCHER_STATUS and not status.status
        code = VoucherRejected("").code if rejected else ""
        line = self.event(
            kind,
            device,
            connection,
            outcome=Outcome.DONE if status.status else Outcome.REFUSED,
            reason=status.reason or "",
            code=code,
            details=status_details(status) | (details or {}),
        )
        if status.version <= VERSION:
            return (line,)
        why = f"a {kind} report has version {status.version}, understood is {VERSION}"
        return line, replace(line, kind=EventKind.ALARM, reason=why, code=NEWER_REPORT)

    def refusals(
        self, kind: EventKind, connection: PledgeConnection, device: DeviceKey | None = None
    ) -> Refusals:
        """Write down why the step within was refused, then let the refusal go on."""
        return Refusals(self, kind, connection, device)

    async def write_refusal(
        self,
        refusal: OnboardingError,
        kind: EventKind,
        connection: PledgeConnection,
        device: DeviceKey | None,
    ) -> None:
        """Write down why *kind* of step was refused."""
        line = self.event(
            kind,
            device,
            connection,
            outcome=Outcome.REFUSED,
            reason=str(refusal),
            code=refusal.code,
            details=refusal_details(refusal),
        )
        if isinstance(refusal, PasswordNeeded) and refusal.claimed:
            line = replace(line, asserted_serial_number=refusal.claimed)
        log.warning(
            "refused",
            extra={
                "step": kind.value,
                "code": refusal.code,
                "reason": str(refusal),
                "serial_number": device.serial_number if device else line.asserted_serial_number,
                "peer_address": connection.address,
            },
        )
        alarm = (replace(line, kind=EventKind.ALARM),) if refusal.alarm else ()
        await self._journal.record(line, *alarm)
