"""What stands in the MASA's log, as values, and how it is read from rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from brski.telemetry.audit_log import AuditEvent
from brski.voucher.model import Assertion
from masa_stub.ownership import Pinning
from masa_stub.store.schema import moment


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """One voucher of a device, as far as its past goes."""

    at: datetime
    domain_id: bytes
    nonce: str | None
    assertion: Assertion
    spki_sha256: bytes | None  # of the pinned certificate; None in a file of version 1
    id: int = 0  # greater than those before it

    def event(self) -> AuditEvent:
        """As the audit log shows it."""
        return AuditEvent(
            date=self.at, domain_id=self.domain_id, nonce=self.nonce, assertion=self.assertion
        )

    def pinning(self) -> Pinning:
        """As far as ownership goes."""
        return Pinning(at=self.at, domain_id=self.domain_id, spki_sha256=self.spki_sha256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry(Logged):
    """One voucher, issued or about to be, whole."""

    idevid_issuer: bytes  # 20-octet keyIdentifier
    serial_number: str
    request_digest: bytes  # SHA-256 of the registrar's request as received
    unsigned: bytes  # as the serialization encodes it
    signer_sha256: bytes | None  # of the SPKI that signs it; None in a file of version 1
    voucher: bytes | None = None  # as signed


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """What stood in the file when a request was judged. Nobody may have added to it by the time
    that its entry is written: another process serves from the same file, or a sale is noted.
    """

    newest: int  # id of the device's newest entry; 0 if there is none
    sales: int  # how many lines the sales data have of the device
    is_anothers: bool  # whether another key was pinned under the domainID


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One request that got no voucher."""

    at: datetime
    serial_number: str  # as asked; empty when the request could not be read
    code: str
    reason: str


def entry_of(row: Any) -> Entry:
    """From a row with all columns."""
    return Entry(
        id=row.id,
        at=moment(row.at),
        idevid_issuer=row.idevid_issuer,
        serial_number=row.serial_number,
        domain_id=row.domain_id,
        nonce=row.nonce,
        assertion=Assertion(row.assertion),
        request_digest=row.request_digest,
        unsigned=row.unsigned,
        spki_sha256=row.spki_sha256,
        signer_sha256=row.signer_sha256,
        voucher=row.voucher,
    )


def logged_of(row: Any) -> Logged:
    """From a row without the octets."""
    return Logged(
        id=row.id,
        at=moment(row.at),
        domain_id=row.domain_id,
        nonce=row.nonce,
        assertion=Assertion(row.assertion),
        spki_sha256=row.spki_sha256,
    )


def refusal_of(row: Any) -> Refusal:
    """From a row with all columns."""
    return Refusal(
        at=moment(row.at),
        serial_number=row.serial_number,
        code=row.code,
        reason=row.reason,
    )
