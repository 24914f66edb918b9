"""Vouchers fetched before their devices come (docs/stored-vouchers.md): a room of the journal with
a port of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.telemetry.events import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """One request for a voucher without nonce, from its intent to what became of it."""

    id: int
    device: DeviceKey
    manufacturer: str
    masa_url: str
    media_type: str
    at: datetime
    unsigned: bytes  # as the serialization encodes it
    request: bytes | None = None  # as signed
    voucher: bytes | None = None  # as received
    assertion: str = ""
    expires_on: datetime | None = None
    last_renewal_date: datetime | None = None
    refused: str = ""  # the MASA's reason

    @property
    def is_open(self) -> bool:
        """Whether its answer is still to come."""
        return self.voucher is None and not self.refused


@dataclass(frozen=True, slots=True, kw_only=True)
class VoucherDrop:
    """That a person no longer wants what was fetched ahead for a device."""

    device: DeviceKey
    at: datetime
    by: str
    note: str = ""


class StoredVouchers(Protocol):
    """Every method returns only when what it says is on disk, or reads what is there, whichever
    process wrote it.
    """

    async def intend(self, errand: Errand, event: Event, *, renews: int | None = None) -> Errand:
        """Put down *errand*, unsigned; its ``id`` is given here.

        Args:
            renews: the errand that it is to take the place of, and of no other's.

        Raises:
            WrongOrder: that one was dropped.
        """

    async def change(self, errand: Errand, event: Event) -> None:
        """Put down how far *errand* has come."""

    async def drop(self, drop: VoucherDrop, event: Event) -> bool:
        """Drop every errand for the device until now, one that is under way included: it brings
        nothing any more, and is not taken up. They stay on record. A later one counts again.

        Returns:
            Whether there was any that was not dropped before; else nothing is written.
        """

    async def latest(self, device: DeviceKey) -> Errand | None:
        """The last errand for *device*, however it ended, unless it was dropped."""

    async def current(self, device: DeviceKey) -> Errand | None:
        """The last errand for *device* that brought a voucher, unless it was dropped."""

    async def all_current(self) -> tuple[Errand, ...]:
        """:meth:`current` of every device that has one."""

    async def ending(
        self, before: datetime, *, most: int, after: Errand | None = None
    ) -> tuple[Errand, ...]:
        """Those of :meth:`all_current` that end before a moment, the first to end first.

        Args:
            after: the last one of those that have been had already.
        """

    async def devices(self, serial_number: str) -> tuple[DeviceKey, ...]:
        """Every device of this serial number that an errand was for, dropped or not."""
