"""Withdrawn certificates in the journal's SQLite file, through its writer."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
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
    literal_column,
    or_,
    select,
    update,
)

from brski.edge.sql import sql_of
from brski.edge.sql_writer import Writer
from brski.errors import LDevIDRevoked
from registrar_plugin.ca_backend.crl import Reason
from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.store.append import append_events
from registrar_plugin.store.revocation import Revocation
from registrar_plugin.store.rows import datetime_of, microseconds
from registrar_plugin.store.schema import CERTIFICATES, INTENTS, METADATA, ONBOARDINGS
from registrar_plugin.telemetry.events import Event

REVOCATIONS: Final = Table(
    "revocations",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("idevid_issuer", LargeBinary(20), nullable=False),
    Column("serial_number", String(64), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("reason", String(32), nullable=False),
    Column("by", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("request_digest", LargeBinary(32)),  # of the onboarding that it ended
    Column("last_intent", Integer, nullable=False),  # intents up to this one are ended, too
    Index("revocations_of_device", "serial_number", "idevid_issuer"),
)
WITHDRAWALS: Final = Table(
    "withdrawals",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("certificate_sha256", LargeBinary(32), nullable=False, unique=True),
    Column("at", BigInteger, nullable=False),
    Column("reason", String(32), nullable=False),
    sqlite_autoincrement=True,  # a number is never given twice: marks grow
)

_r, _w, _c, _i, _o = REVOCATIONS.c, WITHDRAWALS.c, CERTIFICATES.c, INTENTS.c, ONBOARDINGS.c


def _of_device(columns: Any) -> Any:
    return and_(
        columns.idevid_issuer == bindparam("issuer"), columns.serial_number == bindparam("serial")
    )


_ZERO: Final[ColumnElement[int]] = literal_column("0")
_REVOKED: Final[ColumnElement[str]] = literal_column("'revoked'")
_SUPERSEDED: Final[ColumnElement[str]] = literal_column(f"'{Reason.SUPERSEDED}'")
_earlier: Final = REVOCATIONS.alias("earlier").c
_LAST: Final = select(REVOCATIONS).where(
    _r.id == select(func.max(_earlier.id)).where(_of_device(_earlier)).scalar_subquery()
)
_GET_LAST: Final = sql_of(_LAST)
_PUT: Final = sql_of(insert(REVOCATIONS))
_WITHDRAW: Final = sql_of(insert(WITHDRAWALS))
_ONBOARDING: Final = sql_of(select(_o.request_digest).where(_of_device(_o)))
_LAST_INTENT: Final = sql_of(select(func.coalesce(func.max(_i.id), _ZERO)))
_GOOD: Final = sql_of(select(_c.sha256).where(_of_device(_c), _c.state != _REVOKED))
_IS_ACTIVE: Final = _c.state == literal_column("'active'")
_ACTIVE: Final = sql_of(select(_c.sha256).where(_of_device(_c), _IS_ACTIVE))
_FORGET_SUPERSESSION: Final = (
    "DELETE FROM withdrawals WHERE certificate_sha256 = :certificate_sha256"
)
_SET_REVOKED: Final = sql_of(update(CERTIFICATES).where(_of_device(_c)).values(state=_REVOKED))
_SUPERSEDE: Final = sql_of(
    insert(WITHDRAWALS).from_select(
        ["certificate_sha256", "at", "reason"],
        select(_c.sha256, bindparam("at"), _SUPERSEDED).where(_of_device(_c), _IS_ACTIVE),
    )
)
_last = _LAST.subquery("last")
_ENDED: Final = sql_of(
    select(_last.c.at)
    .select_from(
        _last.outerjoin(
            ONBOARDINGS,
            and_(
                _o.idevid_issuer == _last.c.idevid_issuer,
                _o.serial_number == _last.c.serial_number,
            ),
        )
    )
    .where(
        or_(
            _o.request_digest == _last.c.request_digest,
            bindparam("intent") <= _last.c.last_intent,
        )
    )
)


class SQLiteWithdrawals:
    """Implements :class:`~registrar_plugin.store.revocation.Withdrawals`.

    Args:
        writer: the journal's (:attr:`registrar_plugin.store.sqlite.SQLiteJournal.writer`).
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def revoke(self, revocation: Revocation, event: Event) -> int:
        """See :meth:`~registrar_plugin.store.revocation.Withdrawals.revoke`."""
        return await self._writer.change(lambda db: revoke(db, revocation, event))

    async def of(self, device: DeviceKey) -> Revocation | None:
        """See :meth:`~registrar_plugin.store.revocation.Withdrawals.of`."""
        row = self._writer.look_up(_GET_LAST, _key(device))
        return None if row is None else _revocation_of(row)


def revoke(db: sqlite3.Connection, revocation: Revocation, event: Event) -> int:
    """See :meth:`~registrar_plugin.store.revocation.Withdrawals.revoke`; inside the writer's
    transaction, as those that follow.
    """
    device = _key(revocation.device)
    standing = db.execute(_ONBOARDING, device).fetchone()
    (last_intent,) = db.execute(_LAST_INTENT).fetchone()
    db.execute(
        _PUT,
        {
            "idevid_issuer": revocation.device.idevid_issuer,
            "serial_number": revocation.device.serial_number,
            "at": microseconds(revocation.at),
            "reason": revocation.reason.value,
            "by": revocation.by,
            "note": revocation.note,
            "request_digest": None if standing is None else standing[0],
            "last_intent": last_intent,
        },
    )
    good = db.execute(_GOOD, device).fetchall()
    for (digest,) in good:
        _withdraw(db, digest, revocation)
    db.execute(_SET_REVOKED, device)
    append_events(db, (event,))
    return len(good)


def has_active(db: sqlite3.Connection, device: DeviceKey) -> bool:
    """Whether *device* has an LDevID that is accepted."""
    return db.execute(_ACTIVE, _key(device)).fetchone() is not None


def supersede(db: sqlite3.Connection, device: DeviceKey, at: datetime) -> None:
    """Take down that the active certificate of *device* is about to be superseded."""
    db.execute(_SUPERSEDE, {**_key(device), "at": microseconds(at)})


def is_ended(db: sqlite3.Connection, device: DeviceKey, intent: int) -> bool:
    """Whether a revocation forbids a certificate to *device*.

    Args:
        intent: the number of the intent that it would complete.
    """
    return db.execute(_ENDED, {**_key(device), "intent": intent}).fetchone() is not None


def check_not_ended(db: sqlite3.Connection, device: DeviceKey, intent: int) -> None:
    """Raise if a revocation forbids a certificate to *device*.

    Raises:
        LDevIDRevoked: it does.
    """
    if is_ended(db, device, intent):
        raise LDevIDRevoked(
            "the device's certificates were revoked; it has to be onboarded anew",
            section="RFC 7030 §4.2",
        )


def withdraw_at_birth(
    db: sqlite3.Connection, device: DeviceKey, certificate_sha256: bytes, at: datetime
) -> None:
    """A certificate whose intent a revocation has ended was signed all the same: into the lists."""
    last = _revocation_of(db.execute(_GET_LAST, _key(device)).fetchone())
    db.execute(
        _WITHDRAW,
        {
            "certificate_sha256": certificate_sha256,
            "at": microseconds(at),
            "reason": last.reason.value,
        },
    )


def _withdraw(db: sqlite3.Connection, digest: bytes, revocation: Revocation) -> None:
    db.execute(_FORGET_SUPERSESSION, {"certificate_sha256": digest})
    db.execute(
        _WITHDRAW,
        {
            "certificate_sha256": digest,
            "at": microseconds(revocation.at),
            "reason": revocation.reason.value,
        },
    )


def _key(device: DeviceKey) -> dict[str, object]:
    return {"issuer": device.idevid_issuer, "serial": device.serial_number}


def _revocation_of(row: Sequence[Any]) -> Revocation:
    _, issuer, serial_number, at, reason, by, note, _, _ = row
    return Revocation(
        device=DeviceKey(issuer, serial_number),
        at=datetime_of(at),
        reason=Reason(reason),
        by=by,
        note=note,
    )
