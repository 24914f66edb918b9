"""Revocation lists in the journal's SQLite file, through its writer."""

from __future__ import annotations

import sqlite3
from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    Table,
    bindparam,
    func,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects.sqlite import insert

from brski.edge.sql import driver_of, sql_of
from brski.edge.sql_writer import Writer
from brski.errors import StateError
from registrar_plugin.ca_backend.crl import scope_of_tbs
from registrar_plugin.store.append import append_events
from registrar_plugin.store.revocation import Newest, RevocationList
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

CRL_SCOPES: Final = Table(  # whose each of them is; none of lists of an earlier program
    "crl_scopes",
    METADATA,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("scope", LargeBinary(32), nullable=False),
    Index("crls_of_scope", "scope", "number"),
)

_l, _s = CRLS.c, CRL_SCOPES.c
_SIGNED: Final = select(_l.result).where(_l.number == _s.number, _l.result.is_not(None)).exists()
_OF_SCOPE: Final = select(func.max(_s.number)).where(_s.scope == bindparam("scope"))
_NEWEST: Final = sql_of(_OF_SCOPE)
_NEWEST_SIGNED: Final = sql_of(_OF_SCOPE.where(_SIGNED))
_LAST_NUMBER: Final = sql_of(select(func.max(_l.number)))
_GET: Final = sql_of(
    select(_l.number, _s.scope, _l.octets, _l.mark, _l.result)
    .join(CRL_SCOPES, _s.number == _l.number)
    .where(_l.number == bindparam("which"))
)
_UNNAMED: Final = sql_of(
    select(_l.number, _l.octets).where(~select(_s.number).where(_s.number == _l.number).exists())
)
_AT_ONCE: Final = 16  # ours: lists of an earlier program looked into before others get their turn
_PUT: Final = sql_of(insert(CRLS).on_conflict_do_nothing())
_NAME: Final = sql_of(insert(CRL_SCOPES).on_conflict_do_nothing())
_SET: Final = sql_of(
    update(CRLS)
    .where(_l.number == bindparam("which"), _l.result.is_(None))
    .values(result=bindparam("signed"), octets=literal_column("x''"))
)


class SQLiteRevocationLists:
    """Implements :class:`~registrar_plugin.store.revocation.RevocationLists`.

    Args:
        writer: the journal's (:attr:`registrar_plugin.store.sqlite.SQLiteJournal.writer`).
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def name_scopes(self) -> None:
        """See :meth:`~registrar_plugin.store.revocation.RevocationLists.name_scopes`."""
        while rows := await self._writer.read_aside(_unnamed):

            def work(db: sqlite3.Connection, rows: list[dict[str, object]] = rows) -> None:
                db.executemany(_NAME, rows)

            await self._writer.change(work)

    async def next_number(self) -> int:
        """See :meth:`~registrar_plugin.store.revocation.RevocationLists.next_number`."""
        return self._number(_LAST_NUMBER, {}) + 1

    async def newest(self, scope: bytes) -> Newest:
        """See :meth:`~registrar_plugin.store.revocation.RevocationLists.newest`."""
        values: dict[str, object] = {"scope": scope}
        signed = self._number(_NEWEST_SIGNED, values)  # first: who signs between is seen next time
        return Newest(number=max(signed, self._number(_NEWEST, values)), signed=signed)

    async def get(self, number: int) -> RevocationList:
        """See :meth:`~registrar_plugin.store.revocation.RevocationLists.get`."""
        values = {"which": number}
        row = await self._writer.read_aside(
            lambda db: driver_of(db).execute(_GET, values).fetchone()
        )
        if row is None:
            raise StateError(f"the journal has no revocation list {number}")
        number, scope, octets, mark, result = row
        return RevocationList(number=number, scope=scope, octets=octets, mark=mark, result=result)

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
                db.execute(_NAME, {"number": intended.number, "scope": intended.scope})
                append_events(db, (event,))
            return is_new

        return await self._writer.change(work)

    async def complete(self, number: int, result: bytes, event: Event) -> None:
        """See :meth:`~registrar_plugin.store.revocation.RevocationLists.complete`."""

        def work(db: sqlite3.Connection) -> None:
            if db.execute(_SET, {"which": number, "signed": result}).rowcount:
                append_events(db, (event,))

        await self._writer.change(work)

    def _number(self, query: str, values: dict[str, object]) -> int:
        row = self._writer.look_up(query, values)
        return (row and row[0]) or 0


def _unnamed(connection: Connection) -> list[dict[str, object]]:
    rows = driver_of(connection).execute(_UNNAMED, {}).fetchmany(_AT_ONCE)
    return [{"number": number, "scope": scope_of_tbs(octets)} for number, octets in rows]
