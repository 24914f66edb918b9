"""What persons have decided of devices, and who waits for it (docs/approval.md): a room of the
journal with a port of its own.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.telemetry.events import Event


class Decision(enum.StrEnum):
    """Where a device stands with the persons of this domain."""

    WAITING = "waiting"
    APPROVED = "approved"
    DENIED = "denied"


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """One device that waits, or was decided on."""

    device: DeviceKey
    decision: Decision
    manufacturer: str = ""  # its name in the settings; empty when decided before the device came
    peer_address: str = ""  # that it first came from
    since: datetime  # its first request, or the decision where none came before
    decided_at: datetime | None = None
    decided_by: str = ""
    note: str = ""


class Approvals(Protocol):
    """Every method returns only when what it says is on disk."""

    async def of(self, device: DeviceKey) -> Approval | None:
        """Where *device* stands now, whichever process decided."""

    async def wait(
        self, approval: Approval, *, most: int, expired: datetime, event: Event
    ) -> Approval:
        """Enter a device that waits, with *event*, unless it is there already.

        Args:
            most: how many may wait.
            expired: who has waited since before this moment is dropped first.

        Returns:
            What stands of the device.

        Raises:
            TooManyRequests: *most* others wait.
        """

    async def drop(self, device: DeviceKey, event: Event) -> None:
        """Forget a device that waits, with *event*; one that was decided on stays."""

    async def decide(
        self, device: DeviceKey, decision: Decision, *, by: str, note: str, event: Event
    ) -> Approval:
        """Put a person's decision in place of what stood of *device*, with *event*."""

    async def find(self, serial_number: str) -> tuple[Approval, ...]:
        """All devices of this serial number that are on record here."""

    async def waiting(self) -> tuple[Approval, ...]:
        """Who waits, the longest first."""
