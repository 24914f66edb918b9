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


@dataclass(frozen=True, slots=True, kw_only=True)
class Entries:
    """What a list has to say, in one look."""

    mark: int  # see ListEntries.mark
    octets: bytes  # DER, one behind the other


class ListEntries(Protocol):
    """Withdrawn certificates as lists have them. What an entry says is worked out once, so that a
    list of many is put together without reading their certificates again.
    """

    async def catch_up(self) -> None:
        """Work out the entries of what was withdrawn since, whoever did it; a few at a time, beside
        the requests.

        Raises:
            StateError: what the journal holds as a certificate is none.
        """

    async def adopt_superseded(self) -> None:
        """Withdraw, as superseded, certificates that were so before the journal kept withdrawals:
        since the next certificate of their device.
        """

    async def mark(self, issuer: bytes) -> int:
        """A number that grows with each revocation of a certificate of *issuer*, DER Name, that
        :meth:`catch_up` has seen; 0 while nothing has been revoked.
        """

    async def of(self, issuer: bytes, *, since: datetime, superseded: bool) -> Entries:
        """Those of *issuer*, DER Name, that end at *since* or later, the oldest first.

        Args:
            superseded: those that a renewal has replaced, too.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationList:
    """A CRL that is to be signed, or signed: written before the signature, completed after it."""

    number: int
    scope: bytes  # whose, see registrar_plugin.ca_backend.crl.CRLIssuer
    octets: bytes  # DER TBSCertList; empty once it is signed, since the result holds it
    mark: int  # of the withdrawals that it covers
    result: bytes | None  # DER CertificateList, once it is signed


@dataclass(frozen=True, slots=True, kw_only=True)
class Newest:
    """The largest numbers that there are of one CA's lists; 0 where there is none."""

    number: int  # signed or not
    signed: int


class RevocationLists(Protocol):
    """As :class:`Withdrawals`. One row of numbers for all CAs."""

    async def name_scopes(self) -> None:
        """Say of lists of an earlier program whose they are."""

    async def next_number(self) -> int:
        """Larger than that of any list of whichever CA."""

    async def newest(self, scope: bytes) -> Newest:
        """Cheap, for who looks every second."""

    async def get(self, number: int) -> RevocationList:
        """The list of that number.

        Raises:
            StateError: there is none.
        """

    async def intend(self, intended: RevocationList, event: Event) -> bool:
        """Make *intended* durable; False if its number has been taken meanwhile."""

    async def complete(self, number: int, result: bytes, event: Event) -> None:
        """Store the signed list, unless another process was first."""
