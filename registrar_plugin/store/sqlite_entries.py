"""What revocation lists say of withdrawn certificates, in the journal's SQLite file."""

from __future__ import annotations

import hashlib
import sqlite3
from datetime import datetime
from typing import Final, TypeAlias

from cryptography import x509
from sqlalchemy import (
    BigInteger,
    Boolean,
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
)
from sqlalchemy.dialects.sqlite import insert

from brski.edge.sql import driver_of, sql_of
from brski.edge.sql_writer import Writer
from brski.errors import StateError
from registrar_plugin.ca_backend.crl import Reason, RevokedCertificate, encode_entry
from registrar_plugin.store.revocation import Entries
from registrar_plugin.store.rows import datetime_of, microseconds
from registrar_plugin.store.schema import CERTIFICATES, METADATA
from registrar_plugin.store.sqlite_revocation import WITHDRAWALS

CRL_ENTRIES: Final = Table(
    "crl_entries",
    METADATA,
    Column("withdrawal_id", Integer, primary_key=True, autoincrement=False),
    Column("issuer_sha256", LargeBinary(32), nullable=False),  # of its DER Name
    Column("superseded", Boolean, nullable=False),
    Column("not_after", BigInteger, nullable=False),
    Column("entry", LargeBinary, nullable=False),
    Index("crl_entries_of_issuer", "issuer_sha256", "superseded", "withdrawal_id"),
)

AT_ONCE: Final = 256  # ours: certificates read before others get their turn
_Row: TypeAlias = dict[str, object]

_e, _w, _c = CRL_ENTRIES.c, WITHDRAWALS.c, CERTIFICATES.c
_next = CERTIFICATES.alias("next").c
_SEEN: Final = select(
    func.coalesce(func.max(_e.withdrawal_id), literal_column("0"))
).scalar_subquery()
_UNSEEN: Final = sql_of(  # in the order of their numbers, which grow
    select(_w.id, _w.at, _w.reason, _c.certificate)
    .join(CERTIFICATES, _c.sha256 == _w.certificate_sha256)
    .where(_w.id > _SEEN)
    .order_by(_w.id)
)
_IS_UNSEEN: Final = sql_of(select(func.max(_w.id) > _SEEN))
_PUT: Final = sql_of(insert(CRL_ENTRIES).on_conflict_do_nothing())
_MARK: Final = sql_of(
    select(func.max(_e.withdrawal_id)).where(
        _e.issuer_sha256 == bindparam("issuer"), _e.superseded == literal_column("0")
    )
)
_OF_ISSUER: Final = sql_of(
    select(_e.entry)
    .where(
        _e.issuer_sha256 == bindparam("issuer"),
        _e.superseded <= bindparam("with_superseded"),
        _e.not_after >= bindparam("since"),
        select(_w.id).where(_w.id == _e.withdrawal_id).exists(),  # else revoked after all
    )
    .order_by(_e.withdrawal_id)
)
_LOST: Final = sql_of(  # superseded, and no withdrawal says so
    select(
        _c.sha256,
        select(func.min(_next.issued_at))
        .where(
            _next.idevid_issuer == _c.idevid_issuer,
            _next.serial_number == _c.serial_number,
            _next.issued_at > _c.issued_at,
        )
        .scalar_subquery(),
        _c.issued_at,
    ).where(
        _c.state == literal_column("'superseded'"),
        ~select(_w.id).where(_w.certificate_sha256 == _c.sha256).exists(),
    )
)
_ADOPT: Final = sql_of(insert(WITHDRAWALS).on_conflict_do_nothing())


class SQLiteListEntries:
    """Implements :class:`~registrar_plugin.store.revocation.ListEntries`.

    Args:
        writer: the journal's (:attr:`registrar_plugin.store.sqlite.SQLiteJournal.writer`).
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def catch_up(self) -> None:
        """See :meth:`~registrar_plugin.store.revocation.ListEntries.catch_up`."""
        while self._writer.look_up(_IS_UNSEEN, {}) == (1,):
            rows = await self._writer.read_aside(_work_out)
            if not rows:
                return

            def work(db: sqlite3.Connection, rows: list[_Row] = rows) -> None:
                db.executemany(_PUT, rows)

            await self._writer.change(work)

    async def adopt_superseded(self) -> None:
        """See :meth:`~registrar_plugin.store.revocation.ListEntries.adopt_superseded`."""
        rows = await self._writer.read_aside(_lost)
        if rows:
            await self._writer.change(lambda db: db.executemany(_ADOPT, rows) and None)

    async def mark(self, issuer: bytes) -> int:
        """See :meth:`~registrar_plugin.store.revocation.ListEntries.mark`."""
        row = self._writer.look_up(_MARK, {"issuer": hashlib.sha256(issuer).digest()})
        return (row and row[0]) or 0

    async def of(self, issuer: bytes, *, since: datetime, superseded: bool) -> Entries:
        """See :meth:`~registrar_plugin.store.revocation.ListEntries.of`."""
        values = {
            "issuer": hashlib.sha256(issuer).digest(),
            "with_superseded": int(superseded),
            "since": microseconds(since),
        }

        def read(connection: Connection) -> Entries:
            with connection.begin():  # one snapshot of both
                db = driver_of(connection)
                (mark,) = db.execute(_MARK, values).fetchone()
                octets = b"".join(entry for (entry,) in db.execute(_OF_ISSUER, values))
            return Entries(mark=mark or 0, octets=octets)

        return await self._writer.read_aside(read)


def _work_out(connection: Connection) -> list[_Row]:
    rows = driver_of(connection).execute(_UNSEEN, {}).fetchmany(AT_ONCE)
    return [_entry(*row) for row in rows]


def _entry(number: int, at: int, reason: str, octets: bytes) -> _Row:
    try:
        certificate = x509.load_der_x509_certificate(octets)
    except ValueError as err:
        raise StateError("what the journal holds as an LDevID is no certificate") from err
    withdrawn = RevokedCertificate(
        serial=certificate.serial_number, at=datetime_of(at), reason=Reason(reason)
    )
    return {
        "withdrawal_id": number,
        "issuer_sha256": hashlib.sha256(certificate.issuer.public_bytes()).digest(),
        "superseded": withdrawn.reason is Reason.SUPERSEDED,
        "not_after": microseconds(certificate.not_valid_after_utc),
        "entry": encode_entry(withdrawn),
    }


def _lost(connection: Connection) -> list[_Row]:
    rows = driver_of(connection).execute(_LOST, {}).fetchall()
    return [
        {"certificate_sha256": digest, "at": at or issued_at, "reason": Reason.SUPERSEDED.value}
        for digest, at, issued_at in rows
    ]
