"""Certificates that are no longer good, and the lists that say so (docs/ca.md): two rooms of the
journal, each with a port of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from registrar_plugin.ca_backend.crl import Reason
from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.telemetry.events import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation:
    """That a person has withdrawn every certificate of a device."""

    device: DeviceKey
    at: datetime
    reason: Reason
    by: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawnCertificate:
    """One certificate that a person has revoked, or that the next one has superseded."""

    certificate: bytes  # DER
    at: datetime
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawn:
    """All of them, in one look."""

    mark: int  # grows with each revocation
    certificates: tuple[WithdrawnCertificate, ...]


class Withdrawals(Protocol):
    """Every method returns only when what it says is on disk, or reads what is there, whichever
    process wrote it.
    """

    async def revoke(self, revocation: Revocation, event: Event) -> int:
        """Withdraw all certificates of the device, and end the onboarding that stands: until the
        next one no certificate is issued to it, not even for a request that is under way.

        Returns:
            How many certificates were not revoked before.
        """

    async def of(self, device: DeviceKey) -> Revocation | None:
        """The last one of *device*."""

    async def mark(self) -> int:
        """See :class:`Withdrawn`; 0 while nothing has been revoked."""

    async def all(self) -> Withdrawn:
        """What stands, superseded certificates included, the oldest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationList:
    """A CRL that is to be signed, or signed: written before the signature, completed after it."""

    number: int
    octets: bytes  # DER TBSCertList
    mark: int  # of the withdrawals that it covers
    result: bytes | None  # DER CertificateList, once it is signed


class RevocationLists(Protocol):
    """As :class:`Withdrawals`."""

    async def last(self) -> RevocationList | None:
        """The one with the largest number, signed or not."""

    async def last_signed(self) -> RevocationList | None:
        """The one with the largest number among those that are signed."""

    async def intend(self, intended: RevocationList, event: Event) -> bool:
        """Make *intended* durable; False if its number has been taken meanwhile."""

    async def complete(self, number: int, result: bytes, event: Event) -> bytes:
        """Store the signed list; returns the one that stands, when another process was first."""
