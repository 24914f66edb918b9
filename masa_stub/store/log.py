"""What the MASA remembers: every voucher and every refusal, on disk before the answer leaves.

The entry is written with the octets to be signed before the key is used, and completed with the
voucher after it. An entry that was never completed counts: a voucher may have been signed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import Connection, CursorResult, and_, bindparam, func, insert, select, update

from brski.edge.sql_writer import Writer
from masa_stub.store.schema import ENTRIES, PINS, REFUSALS, SALES, microseconds
from masa_stub.store.values import Basis, Entry, Logged, Refusal, entry_of, logged_of, refusal_of

_ALL = select(ENTRIES, PINS.c.spki_sha256, PINS.c.signer_sha256).select_from(
    ENTRIES.outerjoin(PINS, PINS.c.entry == ENTRIES.c.id)
)
_BY_DIGEST = _ALL.where(ENTRIES.c.request_digest == bindparam("digest"))
_THIS_DEVICE = and_(
    ENTRIES.c.idevid_issuer == bindparam("issuer"), ENTRIES.c.serial_number == bindparam("serial")
)
_PAST = (  # without the octets, which are a hundred times as much
    select(
        ENTRIES.c.id,
        ENTRIES.c.at,
        ENTRIES.c.domain_id,
        ENTRIES.c.nonce,
        ENTRIES.c.assertion,
        PINS.c.spki_sha256,
    )
    .select_from(ENTRIES.outerjoin(PINS, PINS.c.entry == ENTRIES.c.id))
    .where(_THIS_DEVICE)
)
_OF_DEVICE = _PAST.order_by(ENTRIES.c.id)
_NEWEST_OF_DEVICE = _PAST.order_by(ENTRIES.c.id.desc()).limit(1)
_OF_VOUCHER = _PAST.where(ENTRIES.c.voucher == bindparam("voucher")).limit(1)
_OF_SERIAL_NUMBER = _ALL.where(ENTRIES.c.serial_number == bindparam("serial")).order_by(
    ENTRIES.c.id
)
_OF_ANOTHER_KEY = [  # two ranges of the index, so that a domain's own many entries cost nothing
    select(PINS.c.entry).where(and_(PINS.c.domain_id == bindparam("domain"), beside)).limit(1)
    for beside in (
        PINS.c.spki_sha256 < bindparam("key"),
        PINS.c.spki_sha256 > bindparam("key"),
    )
]
_NEWEST_ID = select(func.max(ENTRIES.c.id)).where(_THIS_DEVICE)
_COUNT_SALES = select(func.count()).where(
    and_(SALES.c.idevid_issuer == bindparam("issuer"), SALES.c.serial_number == bindparam("serial"))
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


class AuditStore:
    """The durable log.

    Args:
        writer: of :func:`masa_stub.store.schema.open_store`; closed by who opened it.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def begin(self, entry: Entry, basis: Basis) -> Entry | None:
        """Write *entry*, or return the one that the same request has, completed or not.

        One that an earlier run began for a key that is no longer ours is laid out anew.

        Args:
            basis: what *entry* was judged on.

        Returns:
            The entry that stands now; None if *basis* stands no more, and nothing was written.
        """

        def work(db: Connection) -> Entry | None:
            standing = db.execute(_BY_DIGEST, {"digest": entry.request_digest}).one_or_none()
            if standing is None:
                if _basis_of(db, entry) != basis:
                    return None
                _put(db, entry)
            elif standing.voucher is None and standing.signer_sha256 != entry.signer_sha256:
                db.execute(_RENEW, {"entry_id": standing.id, "octets": entry.unsigned})
                db.execute(_RENEW_PIN, {"entry_id": standing.id, "key": entry.signer_sha256})
            return entry_of(db.execute(_BY_DIGEST, {"digest": entry.request_digest}).one())

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

    async def of_device(self, idevid_issuer: bytes, serial_number: str) -> tuple[Logged, ...]:
        """Every voucher of a device, oldest first."""
        values = {"issuer": idevid_issuer, "serial": serial_number}
        return await self._writer.read_aside(
            lambda db: tuple(logged_of(row) for row in db.execute(_OF_DEVICE, values))
        )

    def newest_of_device(self, idevid_issuer: bytes, serial_number: str) -> Logged | None:
        """The last voucher of a device."""
        values = {"issuer": idevid_issuer, "serial": serial_number}
        return self._writer.read(lambda db: _one(db.execute(_NEWEST_OF_DEVICE, values)))

    def of_voucher(self, idevid_issuer: bytes, serial_number: str, voucher: bytes) -> Logged | None:
        """The entry that *voucher*, as signed, was issued by, if it is that device's."""
        values = {"issuer": idevid_issuer, "serial": serial_number, "voucher": voucher}
        return self._writer.read(lambda db: _one(db.execute(_OF_VOUCHER, values)))

    def is_anothers(self, domain_id: bytes, spki_sha256: bytes) -> bool:
        """Whether another key than this one was pinned under a domainID."""
        return self._writer.read(lambda db: _is_anothers(db, domain_id, spki_sha256))

    async def of_serial_number(self, serial_number: str) -> tuple[Entry, ...]:
        """Every entry of every device with this serial number, oldest first."""
        values = {"serial": serial_number}
        return await self._writer.read_aside(
            lambda db: tuple(entry_of(row) for row in db.execute(_OF_SERIAL_NUMBER, values))
        )

    async def last(self, limit: int) -> tuple[Entry, ...]:
        """The last *limit* entries of all devices, oldest first."""
        query = _ALL.order_by(ENTRIES.c.id.desc()).limit(limit)
        return await self._writer.read_aside(
            lambda db: tuple(entry_of(row) for row in reversed(list(db.execute(query))))
        )

    async def last_refusals(self, limit: int) -> tuple[Refusal, ...]:
        """The last *limit* refusals, oldest first."""
        query = select(REFUSALS).order_by(REFUSALS.c.id.desc()).limit(limit)
        return await self._writer.read_aside(
            lambda db: tuple(refusal_of(row) for row in reversed(list(db.execute(query))))
        )

    async def reset(self) -> None:
        """Forget every voucher and refusal; for laboratories. The sales data stay."""

        def work(db: Connection) -> None:
            for table in (PINS, ENTRIES, REFUSALS):
                db.execute(table.delete())

        await self._writer.run(work)


def _basis_of(db: Connection, entry: Entry) -> Basis:
    device = {"issuer": entry.idevid_issuer, "serial": entry.serial_number}
    return Basis(
        newest=db.execute(_NEWEST_ID, device).scalar_one() or 0,
        sales=db.execute(_COUNT_SALES, device).scalar_one(),
        is_anothers=_is_anothers(db, entry.domain_id, entry.spki_sha256),
    )


def _is_anothers(db: Connection, domain_id: bytes, spki_sha256: bytes | None) -> bool:
    values = {"domain": domain_id, "key": spki_sha256}
    return any(db.execute(query, values).first() for query in _OF_ANOTHER_KEY)


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


def _one(found: CursorResult[Any]) -> Logged | None:
    row = found.one_or_none()
    return None if row is None else logged_of(row)
