"""Revocation lists in the journal's SQLite file, through its writer."""

from __future__ import annotations

import sqlite3
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    LargeBinary,
    Table,
    bindparam,
    func,
    select,
    update,
)
from sqlalchemy.dialects.sqlite import insert

from brski.edge.sql import sql_of
from brski.edge.sql_writer import Writer
from registrar_plugin.store.append import append_events
from registrar_plugin.store.revocation import RevocationList
from registrar_plugin.store.rows import microseconds
from registrar_plugin.store.schema import METADATA
from registrar_plugin.telemetry.events import Event

CRLS: Final = Table(
    "crls",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False),
    Column("octets", LargeBinary, nullable=False),
    Column("mark", Integer, nullable=False),
    Column("result", LargeBinary),
)

_l = CRLS.c
_ALL: Final = select(_l.number, _l.octets, _l.mark, _l.result)
_SIGNED: Final = _l.result.is_not(None)
_NUMBER: Final = select(func.max(_l.number))
_LAST: Final = sql_of(_ALL.where(_l.number == _NUMBER.correlate(None).scalar_subquery()))
_LAST_SIGNED: Final = sql_of(
    _ALL.where(_l.number == _NUMBER.where(_SIGNED).correlate(None).scalar_subquery())
)
_PUT: Final = sql_of(insert(CRLS).on_conflict_do_nothing())
_GET: Final = sql_of(select(_l.result).where(_l.number == bindparam("which")))
_SET: Final = sql_of(
    update(CRLS)
    .where(_l.number == bindparam("which"), _l.result.is_(None))
    .values(result=bindparam("signed"))
)


class SQLiteRevocationLists:
    """Implements :class:`~registrar_plugin.store.revocation.RevocationLists`.

    Args:
        writer: the journal's (:attr:`registrar_plugin.store.sqlite.SQLiteJournal.writer`).
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def last(self) -> RevocationList | None:
        """See :meth:`~registrar_plugin.store.revocation.RevocationLists.last`."""
        return _list_of(self._writer.look_up(_LAST, {}))

    async def last_signed(self) -> RevocationList | None:
        """See :meth:`~registrar_plugin.store.revocation.RevocationLists.last_signed`."""
        return _list_of(self._writer.look_up(_LAST_SIGNED, {}))

    async def intend(self, intended: RevocationList, event: Event) -> bool:
        """See :meth:`~registrar_plugin.store.revocation.RevocationLists.intend`."""

        def work(db: sqlite3.Connection) -> bool:
            row = {
                "number": intended.number,
                "at": microseconds(event.at),
                "octets": intended.octets,
                "mark": intended.mark,
                "result": None,
            }
            is_new = bool(db.execute(_PUT, row).rowcount)
            if is_new:
                append_events(db, (event,))
            return is_new

        return await self._writer.change(work)

    async def complete(self, number: int, result: bytes, event: Event) -> bytes:
        """See :meth:`~registrar_plugin.store.revocation.RevocationLists.complete`."""

        def work(db: sqlite3.Connection) -> bytes:
            if db.execute(_SET, {"which": number, "signed": result}).rowcount:
                append_events(db, (event,))
                return result
            (standing,) = db.execute(_GET, {"which": number}).fetchone()
            return bytes(standing)

        return await self._writer.change(work)


def _list_of(row: tuple[Any, ...] | None) -> RevocationList | None:
    if row is None:
        return None
    number, octets, mark, result = row
    return RevocationList(number=number, octets=octets, mark=mark, result=result)
