"""What the MASA remembers: every voucher and every refusal, on disk before the answer leaves.

The entry is written with the octets to be signed before the key is used, and completed with the
voucher after it. An entry that was never completed counts: a voucher may have been signed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Row,
    String,
    Table,
    Text,
    and_,
    bindparam,
    func,
    insert,
    select,
    update,
)

from brski.edge.sql_writer import Writer
from brski.telemetry.audit_log import AuditEvent
from brski.voucher.model import Assertion

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_METADATA: Final = MetaData()
_VERSION: Final = 1

_ENTRIES: Final = Table(
    "entries",
    _METADATA,
    Column("id", Integer, primary_key=True),
    Column("at", BigInteger, nullable=False),  # microseconds since 1970, UTC
    Column("idevid_issuer", LargeBinary(20), nullable=False),
    Column("serial_number", String(64), nullable=False),
    Column("domain_id", LargeBinary, nullable=False),
    Column("nonce", Text),
    Column("assertion", String(16), nullable=False),
    Column("request_digest", LargeBinary(32), nullable=False, unique=True),
    Column("unsigned", LargeBinary, nullable=False),
    Column("voucher", LargeBinary),
    Index("entries_of_device", "serial_number", "idevid_issuer"),
)

_REFUSALS: Final = Table(
    "refusals",
    _METADATA,
    Column("id", Integer, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("serial_number", String(64), nullable=False),
    Column("code", String(48), nullable=False),
    Column("reason", Text, nullable=False),
)

_BY_DIGEST = select(_ENTRIES).where(_ENTRIES.c.request_digest == bindparam("digest"))
_OF_DEVICE = (
    select(_ENTRIES)
    .where(
        and_(
            _ENTRIES.c.idevid_issuer == bindparam("issuer"),
            _ENTRIES.c.serial_number == bindparam("serial"),
        )
    )
    .order_by(_ENTRIES.c.id)
)
_OF_SERIAL_NUMBER = (
    select(_ENTRIES).where(_ENTRIES.c.serial_number == bindparam("serial")).order_by(_ENTRIES.c.id)
)
_PUT = insert(_ENTRIES)
_COMPLETE = (
    update(_ENTRIES)
    .where(_ENTRIES.c.id == bindparam("entry_id"))
    .values(voucher=bindparam("octets"))
)
_REFUSE = insert(_REFUSALS)
_REFUSALS_KEPT: Final = 10_000  # anybody can cause one, so they must not fill the disk
_FORGET_REFUSALS = _REFUSALS.delete().where(
    _REFUSALS.c.id <= select(func.max(_REFUSALS.c.id)).scalar_subquery() - _REFUSALS_KEPT
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
    voucher: bytes | None = None  # as signed
    id: int = 0

    def event(self) -> AuditEvent:
        """The entry as the audit log shows it."""
        return AuditEvent(
            date=self.at, domain_id=self.domain_id, nonce=self.nonce, assertion=self.assertion
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One request that got no voucher."""

    at: datetime
    serial_number: str  # as asked; empty when the request could not be read
    code: str
    reason: str


class AuditStore:
    """The durable log in one SQLite file.

    Raises:
        StateError, Unavailable: as :class:`brski.edge.sql_writer.Writer`.
    """

    def __init__(self, path: Path) -> None:
        self._writer = Writer(path, _METADATA, version=_VERSION)

    async def begin(self, entry: Entry) -> Entry:
        """Write *entry*, or return the one that the same request has, completed or not."""

        def work(db: Connection) -> Entry:
            standing = db.execute(_BY_DIGEST, {"digest": entry.request_digest}).one_or_none()
            if standing is not None:
                return _entry(standing)
            db.execute(
                _PUT,
                {
                    "at": _microseconds(entry.at),
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
            return _entry(db.execute(_BY_DIGEST, {"digest": entry.request_digest}).one())

        return await self._writer.run(work)

    async def complete(self, entry: Entry, voucher: bytes) -> None:
        """Put the signed voucher to its entry."""
        await self._writer.run(_executes(_COMPLETE, {"entry_id": entry.id, "octets": voucher}))

    async def refuse(self, refusal: Refusal) -> None:
        """Write down a refusal; the oldest beyond a bound are forgotten."""
        row = {
            "at": _microseconds(refusal.at),
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

    async def of_serial_number(self, serial_number: str) -> tuple[Entry, ...]:
        """Every entry of every device with this serial number, oldest first."""
        values = {"serial": serial_number}
        return await self._writer.read_aside(
            lambda db: tuple(_entry(row) for row in db.execute(_OF_SERIAL_NUMBER, values))
        )

    async def last(self, limit: int) -> tuple[Entry, ...]:
        """The last *limit* entries of all devices, oldest first."""
        query = select(_ENTRIES).order_by(_ENTRIES.c.id.desc()).limit(limit)
        return await self._writer.read_aside(
            lambda db: tuple(_entry(row) for row in reversed(list(db.execute(query))))
        )

    async def last_refusals(self, limit: int) -> tuple[Refusal, ...]:
        """The last *limit* refusals, oldest first."""
        query = select(_REFUSALS).order_by(_REFUSALS.c.id.desc()).limit(limit)
        return await self._writer.read_aside(
            lambda db: tuple(_refusal(row) for row in reversed(list(db.execute(query))))
        )

    async def reset(self) -> None:
        """Forget everything; for laboratories."""

        def work(db: Connection) -> None:
            db.execute(_ENTRIES.delete())
            db.execute(_REFUSALS.delete())

        await self._writer.run(work)

    async def close(self) -> None:
        """Finish what is queued and close the file."""
        await self._writer.close()


def _executes(statement: Any, values: dict[str, object]) -> Callable[[Connection], None]:
    def work(db: Connection) -> None:
        db.execute(statement, values)

    return work


def _microseconds(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1)


def _entry(row: Row[Any]) -> Entry:
    return Entry(
        id=row.id,
        at=_EPOCH + timedelta(microseconds=row.at),
        idevid_issuer=row.idevid_issuer,
        serial_number=row.serial_number,
        domain_id=row.domain_id,
        nonce=row.nonce,
        assertion=Assertion(row.assertion),
        request_digest=row.request_digest,
        unsigned=row.unsigned,
        voucher=row.voucher,
    )


def _refusal(row: Row[Any]) -> Refusal:
    return Refusal(
        at=_EPOCH + timedelta(microseconds=row.at),
        serial_number=row.serial_number,
        code=row.code,
        reason=row.reason,
    )
