"""Stored vouchers in the journal's SQLite file, through its writer."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    and_,
    bindparam,
    func,
    insert,
    or_,
    select,
    update,
)

from brski.edge.sql import sql_of
from brski.edge.sql_writer import Writer
from brski.errors import WrongOrder
from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.store.append import append_events
from registrar_plugin.store.rows import datetime_of, microseconds
from registrar_plugin.store.schema import METADATA
from registrar_plugin.store.vouchers import Errand, VoucherDrop
from registrar_plugin.telemetry.events import Event

STORED_VOUCHERS: Final = Table(
    "stored_vouchers",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("idevid_issuer", LargeBinary(20), nullable=False),
    Column("serial_number", String(64), nullable=False),
    Column("manufacturer", Text, nullable=False),
    Column("masa_url", Text, nullable=False),
    Column("media_type", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("unsigned", LargeBinary, nullable=False),
    Column("request", LargeBinary),
    Column("voucher", LargeBinary),
    Column("assertion", Text, nullable=False),
    Column("expires_on", BigInteger),
    Column("last_renewal_date", BigInteger),
    Column("refused", Text, nullable=False),
    Index("stored_vouchers_of_device", "serial_number", "idevid_issuer", "id"),
)

VOUCHER_DROPS: Final = Table(
    "voucher_drops",
    METADATA,
    Column("last_errand", Integer, primary_key=True, autoincrement=False),  # of the device, so far
    Column("idevid_issuer", LargeBinary(20), nullable=False),
    Column("serial_number", String(64), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("by", Text, nullable=False),
    Column("note", Text, nullable=False),
    Index("voucher_drops_of_device", "serial_number", "idevid_issuer", "last_errand"),
)

_v = STORED_VOUCHERS.c
_CHANGED: Final = (
    "request",
    "voucher",
    "assertion",
    "expires_on",
    "last_renewal_date",
    "refused",
)
_n, _d = STORED_VOUCHERS.alias("n").c, VOUCHER_DROPS.c
_OF_DEVICE: Final = and_(
    _n.idevid_issuer == bindparam("issuer"), _n.serial_number == bindparam("serial")
)


def _stands(errand: Any) -> Any:
    """Whether it came after the last drop of its device."""
    dropped = select(_d.last_errand).where(
        _d.serial_number == errand.serial_number,
        _d.idevid_issuer == errand.idevid_issuer,
        _d.last_errand >= errand.id,
    )
    return ~dropped.exists()


_NEWEST: Final = select(func.max(_n.id)).where(_OF_DEVICE, _stands(_n))
_LATEST: Final = sql_of(select(STORED_VOUCHERS).where(_v.id == _NEWEST.scalar_subquery()))
_CURRENT: Final = sql_of(
    select(STORED_VOUCHERS).where(_v.id == _NEWEST.where(_n.voucher.is_not(None)).scalar_subquery())
)
_NEWEST_EACH: Final = select(STORED_VOUCHERS).where(
    _v.id.in_(
        select(func.max(_n.id))
        .where(_n.voucher.is_not(None), _stands(_n))
        .group_by(_n.idevid_issuer, _n.serial_number)
    )
)
_PUT: Final = sql_of(insert(STORED_VOUCHERS))
_DROP: Final = sql_of(insert(VOUCHER_DROPS))
_STANDS: Final = sql_of(select(_n.id).where(_n.id == bindparam("errand"), _stands(_n)))
_LAST_STANDING: Final = sql_of(_NEWEST)
_CHANGE: Final = sql_of(
    update(STORED_VOUCHERS)
    .where(_v.id == bindparam("errand"))
    .values({name: bindparam(f"new_{name}") for name in _CHANGED})
)


class SQLiteStoredVouchers:
    """Implements :class:`~registrar_plugin.store.vouchers.StoredVouchers`.

    Args:
        writer: the journal's (:attr:`registrar_plugin.store.sqlite.SQLiteJournal.writer`).
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def intend(self, errand: Errand, event: Event, *, renews: int | None = None) -> Errand:
        """See :meth:`~registrar_plugin.store.vouchers.StoredVouchers.intend`."""

        def work(db: sqlite3.Connection) -> int:
            if renews is not None and not db.execute(_STANDS, {"errand": renews}).fetchone():
                raise WrongOrder("the voucher to be renewed was dropped")
            row = _row(errand)
            number = db.execute(_PUT, row).lastrowid
            append_events(db, (event,))
            return number or 0

        return replace(errand, id=await self._writer.change(work))

    async def change(self, errand: Errand, event: Event) -> None:
        """See :meth:`~registrar_plugin.store.vouchers.StoredVouchers.change`."""

        def work(db: sqlite3.Connection) -> None:
            row = _row(errand)
            values = {f"new_{name}": row[name] for name in _CHANGED}
            db.execute(_CHANGE, {**values, "errand": errand.id})
            append_events(db, (event,))

        await self._writer.change(work)

    async def drop(self, drop: VoucherDrop, event: Event) -> bool:
        """See :meth:`~registrar_plugin.store.vouchers.StoredVouchers.drop`."""
        device = drop.device

        def work(db: sqlite3.Connection) -> bool:
            (last,) = db.execute(_LAST_STANDING, _key(device)).fetchone()
            if last is None:
                return False
            db.execute(
                _DROP,
                {
                    "last_errand": last,
                    "idevid_issuer": device.idevid_issuer,
                    "serial_number": device.serial_number,
                    "at": microseconds(drop.at),
                    "by": drop.by,
                    "note": drop.note,
                },
            )
            append_events(db, (event,))
            return True

        return await self._writer.change(work)

    async def latest(self, device: DeviceKey) -> Errand | None:
        """See :meth:`~registrar_plugin.store.vouchers.StoredVouchers.latest`."""
        return self._one(_LATEST, device)

    async def current(self, device: DeviceKey) -> Errand | None:
        """See :meth:`~registrar_plugin.store.vouchers.StoredVouchers.current`."""
        return self._one(_CURRENT, device)

    async def all_current(self) -> tuple[Errand, ...]:
        """See :meth:`~registrar_plugin.store.vouchers.StoredVouchers.all_current`."""
        return await self._list(_NEWEST_EACH.order_by(_v.serial_number, _v.id))

    async def ending(
        self, before: datetime, *, most: int, after: Errand | None = None
    ) -> tuple[Errand, ...]:
        """See :meth:`~registrar_plugin.store.vouchers.StoredVouchers.ending`."""
        query = _NEWEST_EACH.where(_v.expires_on < microseconds(before))
        if after is not None and after.expires_on is not None:
            had = microseconds(after.expires_on)
            query = query.where(
                or_(_v.expires_on > had, and_(_v.expires_on == had, _v.id > after.id))
            )
        return await self._list(query.order_by(_v.expires_on, _v.id).limit(most))

    async def devices(self, serial_number: str) -> tuple[DeviceKey, ...]:
        """See :meth:`~registrar_plugin.store.vouchers.StoredVouchers.devices`."""
        query = select(_v.idevid_issuer).where(_v.serial_number == serial_number).distinct()
        rows = await self._writer.read_aside(lambda db: list(db.execute(query)))
        return tuple(sorted(DeviceKey(issuer, serial_number) for (issuer,) in rows))

    async def _list(self, query: Any) -> tuple[Errand, ...]:
        rows = await self._writer.read_aside(lambda db: list(db.execute(query)))
        return tuple(_errand_of(row) for row in rows)

    def _one(self, query: str, device: DeviceKey) -> Errand | None:
        row = self._writer.look_up(query, _key(device))
        return None if row is None else _errand_of(row)


def _key(device: DeviceKey) -> dict[str, object]:
    return {"issuer": device.idevid_issuer, "serial": device.serial_number}


def _row(errand: Errand) -> dict[str, object]:
    return {
        "idevid_issuer": errand.device.idevid_issuer,
        "serial_number": errand.device.serial_number,
        "manufacturer": errand.manufacturer,
        "masa_url": errand.masa_url,
        "media_type": errand.media_type,
        "at": microseconds(errand.at),
        "unsigned": errand.unsigned,
        "request": errand.request,
        "voucher": errand.voucher,
        "assertion": errand.assertion,
        "expires_on": _stamp(errand.expires_on),
        "last_renewal_date": _stamp(errand.last_renewal_date),
        "refused": errand.refused,
    }


def _stamp(at: datetime | None) -> int | None:
    return None if at is None else microseconds(at)


def _moment(at: int | None) -> datetime | None:
    return None if at is None else datetime_of(at)


def _errand_of(row: Sequence[Any]) -> Errand:
    number, issuer, serial_number, manufacturer, masa_url, media_type, at, unsigned = row[:8]
    request, voucher, assertion, expires_on, last_renewal_date, refused = row[8:]
    return Errand(
        id=number,
        device=DeviceKey(issuer, serial_number),
        manufacturer=manufacturer,
        masa_url=masa_url,
        media_type=media_type,
        at=datetime_of(at),
        unsigned=unsigned,
        request=request,
        voucher=voucher,
        assertion=assertion,
        expires_on=_moment(expires_on),
        last_renewal_date=_moment(last_renewal_date),
        refused=refused,
    )
