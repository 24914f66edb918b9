"""Approvals in the journal's SQLite file, through its writer."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    LargeBinary,
    String,
    Table,
    Text,
    bindparam,
    delete,
    func,
    select,
)
from sqlalchemy.dialects.sqlite import insert

from brski.edge.sql import sql_of
from brski.edge.sql_writer import Writer
from brski.errors import TooManyRequests
from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.store.append import append_events
from registrar_plugin.store.approvals import Approval, Decision
from registrar_plugin.store.rows import datetime_of, microseconds
from registrar_plugin.store.schema import METADATA
from registrar_plugin.telemetry.events import Event

APPROVALS: Final = Table(
    "approvals",
    METADATA,
    Column("idevid_issuer", LargeBinary(20), primary_key=True),
    Column("serial_number", String(64), primary_key=True),
    Column("decision", String(8), nullable=False),
    Column("manufacturer", Text, nullable=False),
    Column("peer_address", String(64), nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("decided_at", BigInteger),
    Column("decided_by", Text, nullable=False),
    Column("note", Text, nullable=False),
    Index("approvals_by_decision", "decision", "since"),
    Index("approvals_of_serial_number", "serial_number"),
)

_RETRY_AFTER_S: Final = 60
_a = APPROVALS.c
_OF_DEVICE: Final = (
    _a.idevid_issuer == bindparam("issuer"),
    _a.serial_number == bindparam("serial"),
)
_WAITING: Final = _a.decision == Decision.WAITING.value
_GET: Final = sql_of(select(APPROVALS).where(*_OF_DEVICE))
_put: Final = insert(APPROVALS)
_PUT: Final = sql_of(
    _put.on_conflict_do_update(
        index_elements=["idevid_issuer", "serial_number"],
        set_={c.name: _put.excluded[c.name] for c in APPROVALS.columns if not c.primary_key},
    )
)
_IS_WAITING: Final = _a.decision == bindparam("waiting")
_EXPIRE: Final = sql_of(delete(APPROVALS).where(_IS_WAITING, _a.since < bindparam("expired")))
_COUNT: Final = sql_of(select(func.count()).select_from(APPROVALS).where(_IS_WAITING))
_DROP: Final = sql_of(delete(APPROVALS).where(*_OF_DEVICE, _IS_WAITING))


class SQLiteApprovals:
    """Implements :class:`~registrar_plugin.store.approvals.Approvals`.

    Args:
        writer: the journal's (:attr:`registrar_plugin.store.sqlite.SQLiteJournal.writer`).
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def of(self, device: DeviceKey) -> Approval | None:
        """See :meth:`~registrar_plugin.store.approvals.Approvals.of`."""
        row = self._writer.look_up(_GET, _key(device))
        return None if row is None else _approval_of(row)

    async def wait(
        self, approval: Approval, *, most: int, expired: datetime, event: Event
    ) -> Approval:
        """See :meth:`~registrar_plugin.store.approvals.Approvals.wait`."""

        def work(db: sqlite3.Connection) -> Approval:
            waiting = {"waiting": Decision.WAITING.value}
            db.execute(_EXPIRE, {**waiting, "expired": microseconds(expired)})
            standing = db.execute(_GET, _key(approval.device)).fetchone()
            if standing is not None:
                return _approval_of(standing)
            (count,) = db.execute(_COUNT, waiting).fetchone()
            if count >= most:
                raise TooManyRequests(
                    f"{count} devices wait for approval already, {most} may",
                    retry_after_s=_RETRY_AFTER_S,
                    section="RFC 8995 §5.6",
                )
            db.execute(_PUT, _row(approval))
            append_events(db, (event,))
            return approval

        return await self._writer.change(work)

    async def drop(self, device: DeviceKey, event: Event) -> None:
        """See :meth:`~registrar_plugin.store.approvals.Approvals.drop`."""

        def work(db: sqlite3.Connection) -> None:
            values = {**_key(device), "waiting": Decision.WAITING.value}
            if db.execute(_DROP, values).rowcount:
                append_events(db, (event,))

        await self._writer.change(work)

    async def decide(
        self, device: DeviceKey, decision: Decision, *, by: str, note: str, event: Event
    ) -> Approval:
        """See :meth:`~registrar_plugin.store.approvals.Approvals.decide`."""

        def work(db: sqlite3.Connection) -> Approval:
            row = db.execute(_GET, _key(device)).fetchone()
            standing = None if row is None else _approval_of(row)
            decided = Approval(
                device=device,
                decision=decision,
                manufacturer="" if standing is None else standing.manufacturer,
                peer_address="" if standing is None else standing.peer_address,
                since=event.at if standing is None else standing.since,
                decided_at=event.at,
                decided_by=by,
                note=note,
            )
            db.execute(_PUT, _row(decided))
            append_events(db, (event,))
            return decided

        return await self._writer.change(work)

    async def find(self, serial_number: str) -> tuple[Approval, ...]:
        """See :meth:`~registrar_plugin.store.approvals.Approvals.find`."""
        query = select(APPROVALS).where(_a.serial_number == serial_number)
        return await self._list(query.order_by(_a.idevid_issuer))

    async def waiting(self) -> tuple[Approval, ...]:
        """See :meth:`~registrar_plugin.store.approvals.Approvals.waiting`."""
        return await self._list(select(APPROVALS).where(_WAITING).order_by(_a.since))

    async def _list(self, query: Any) -> tuple[Approval, ...]:
        rows = await self._writer.read_aside(lambda db: list(db.execute(query)))
        return tuple(_approval_of(row) for row in rows)


def _key(device: DeviceKey) -> dict[str, object]:
    return {"issuer": device.idevid_issuer, "serial": device.serial_number}


def _row(approval: Approval) -> dict[str, object]:
    return {
        "idevid_issuer": approval.device.idevid_issuer,
        "serial_number": approval.device.serial_number,
        "decision": approval.decision.value,
        "manufacturer": approval.manufacturer,
        "peer_address": approval.peer_address,
        "since": microseconds(approval.since),
        "decided_at": None if approval.decided_at is None else microseconds(approval.decided_at),
        "decided_by": approval.decided_by,
        "note": approval.note,
    }


def _approval_of(row: Sequence[Any]) -> Approval:
    issuer, serial_number, decision, manufacturer, address, since, decided_at, by, note = row
    return Approval(
        device=DeviceKey(issuer, serial_number),
        decision=Decision(decision),
        manufacturer=manufacturer,
        peer_address=address,
        since=datetime_of(since),
        decided_at=None if decided_at is None else datetime_of(decided_at),
        decided_by=by,
        note=note,
    )
