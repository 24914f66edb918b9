"""What the MASA remembers: every voucher and every refusal, on disk before the answer leaves.

The entry is written with the octets to be signed before the key is used, and completed with the
voucher after it. An entry that was never completed counts: a voucher may have been signed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, and_, bindparam, func, insert, select, update

from brski.edge.sql_writer import Writer
from brski.telemetry.audit_log import AuditEvent
from brski.voucher.model import Assertion
from masa_stub.ownership import Pinning
from masa_stub.store.schema import ENTRIES, PINS, REFUSALS, microseconds, moment

_ALL = select(ENTRIES, PINS.c.spki_sha256, PINS.c.signer_sha256).select_from(
    ENTRIES.outerjoin(PINS, PINS.c.entry == ENTRIES.c.id)
)
_BY_DIGEST = _ALL.where(ENTRIES.c.request_digest == bindparam("digest"))
_OF_DEVICE = _ALL.where(
    and_(
        ENTRIES.c.idevid_issuer == bindparam("issuer"),
        ENTRIES.c.serial_number == bindparam("serial"),
    )
).order_by(ENTRIES.c.id)
_OF_SERIAL_NUMBER = _ALL.where(ENTRIES.c.serial_number == bindparam("serial")).order_by(
    ENTRIES.c.id
)
_KEYS_OF_DOMAIN = (
    select(PINS.c.spki_sha256).where(PINS.c.domain_id == bindparam("domain")).distinct().limit(2)
)
_PUT = insert(ENTRIES)
_PUT_PIN = insert(PINS)
_RENEW = (
    update(ENTRIES)
    .where(ENTRIES.c.id == bindparam("entry_id"))
    .values(unsigned=bindparam("octets"))
)
_RENEW_PIN = (
    update(PINS).where(PINS.c.entry == bindparam("entry_id")).values(signer_sha256=bindparam("key"))
)
_COMPLETE = (
    update(ENTRIES).where(ENTRIES.c.id == bindparam("entry_id")).values(voucher=bindparam("octets"))
)
_REFUSE = insert(REFUSALS)
_REFUSALS_KEPT: Final = 10_000  # anybody can cause one, so they must not fill the disk
_FORGET_REFUSALS = REFUSALS.delete().where(
    REFUSALS.c.id <= select(func.max(REFUSALS.c.id)).scalar_subquery() - _REFUSALS_KEPT
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One voucher, issued or about to be."""

    at: datetime
    idevid_issuer: bytes  # 20-octet keyIdentifier
    serial_number: str
    domain_id: bytes
    nonce: str | None
    assertion: Assertion
    request_digest: bytes  # SHA-256 of the registrar's request as received
    unsigned: bytes  # as the serialization encodes it
    spki_sha256: bytes | None  # of the pinned certificate; None in a file of version 1
    signer_sha256: bytes | None  # of the SPKI that signs it; likewise
    voucher: bytes | None = None  # as signed
    id: int = 0

    def event(self) -> AuditEvent:
        """The entry as the audit log shows it."""
        return AuditEvent(
            date=self.at, domain_id=self.domain_id, nonce=self.nonce, assertion=self.assertion
        )

    def pinning(self) -> Pinning:
        """The entry as far as ownership goes."""
        return Pinning(at=self.at, domain_id=self.domain_id, spki_sha256=self.spki_sha256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One request that got no voucher."""

    at: datetime
    serial_number: str  # as asked; empty when the request could not be read
    code: str
    reason: str


class AuditStore:
    """The durable log.

    Args:
        writer: of :func:`masa_stub.store.schema.open_store`; closed by who opened it.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def begin(self, entry: Entry) -> Entry:
        """Write *entry*, or return the one that the same request has, completed or not.

        One that an earlier run began for a key that is no longer ours is laid out anew.
        """

        def work(db: Connection) -> Entry:
            standing = db.execute(_BY_DIGEST, {"digest": entry.request_digest}).one_or_none()
            if standing is None:
                _put(db, entry)
            elif standing.voucher is None and standing.signer_sha256 != entry.signer_sha256:
                db.execute(_RENEW, {"entry_id": standing.id, "octets": entry.unsigned})
                db.execute(_RENEW_PIN, {"entry_id": standing.id, "key": entry.signer_sha256})
            return _entry(db.execute(_BY_DIGEST, {"digest": entry.request_digest}).one())

        return await self._writer.run(work)

    async def complete(self, entry: Entry, voucher: bytes) -> None:
        """Put the signed voucher to its entry."""
        await self._writer.run(_executes(_COMPLETE, {"entry_id": entry.id, "octets": voucher}))

    async def refuse(self, refusal: Refusal) -> None:
        """Write down a refusal; the oldest beyond a bound are forgotten."""
        row = {
            "at": microseconds(refusal.at),
            "serial_number": refusal.serial_number,
            "code": refusal.code,
            "reason": refusal.reason,
        }

        def work(db: Connection) -> None:
            db.execute(_REFUSE, row)
            db.execute(_FORGET_REFUSALS)

        await self._writer.run(work)

    def of_device(self, idevid_issuer: bytes, serial_number: str) -> tuple[Entry, ...]:
        """Every entry of a device, oldest first."""
        values = {"issuer": idevid_issuer, "serial": serial_number}
        return self._writer.read(
            lambda db: tuple(_entry(row) for row in db.execute(_OF_DEVICE, values))
        )

    def keys_of_domain(self, domain_id: bytes) -> frozenset[bytes]:
        """SHA-256 of the SPKIs pinned under a domainID; two of them are enough to tell."""
        values = {"domain": domain_id}
        return self._writer.read(
            lambda db: frozenset(row.spki_sha256 for row in db.execute(_KEYS_OF_DOMAIN, values))
        )

    async def of_serial_number(self, serial_number: str) -> tuple[Entry, ...]:
        """Every entry of every device with this serial number, oldest first."""
        values = {"serial": serial_number}
        return await self._writer.read_aside(
            lambda db: tuple(_entry(row) for row in db.execute(_OF_SERIAL_NUMBER, values))
        )

    async def last(self, limit: int) -> tuple[Entry, ...]:
        """The last *limit* entries of all devices, oldest first."""
        query = _ALL.order_by(ENTRIES.c.id.desc()).limit(limit)
        return await self._writer.read_aside(
            lambda db: tuple(_entry(row) for row in reversed(list(db.execute(query))))
        )

    async def last_refusals(self, limit: int) -> tuple[Refusal, ...]:
        """The last *limit* refusals, oldest first."""
        query = select(REFUSALS).order_by(REFUSALS.c.id.desc()).limit(limit)
        return await self._writer.read_aside(
            lambda db: tuple(_refusal(row) for row in reversed(list(db.execute(query))))
        )

    async def reset(self) -> None:
        """Forget every voucher and refusal; for laboratories. The sales data stay."""

        def work(db: Connection) -> None:
            for table in (PINS, ENTRIES, REFUSALS):
                db.execute(table.delete())

        await self._writer.run(work)


def _put(db: Connection, entry: Entry) -> None:
    written = db.execute(
        _PUT,
        {
            "at": microseconds(entry.at),
            "idevid_issuer": entry.idevid_issuer,
            "serial_number": entry.serial_number,
            "domain_id": entry.domain_id,
            "nonce": entry.nonce,
            "assertion": entry.assertion.value,
            "request_digest": entry.request_digest,
            "unsigned": entry.unsigned,
            "voucher": None,
        },
    )
    (number,) = written.inserted_primary_key or (None,)
    db.execute(
        _PUT_PIN,
        {
            "entry": number,
            "domain_id": entry.domain_id,
            "spki_sha256": entry.spki_sha256,
            "signer_sha256": entry.signer_sha256,
        },
    )


def _executes(statement: Any, values: dict[str, object]) -> Callable[[Connection], None]:
    def work(db: Connection) -> None:
        db.execute(statement, values)

    return work


def _entry(row: Row[Any]) -> Entry:
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


def _refusal(row: Row[Any]) -> Refusal:
    return Refusal(
        at=moment(row.at),
        serial_number=row.serial_number,
        code=row.code,
        reason=row.reason,
    )
