"""By which certificates EST clients came, in the journal's file."""

from __future__ import annotations

import sqlite3
from typing import Final

from cryptography import x509
from sqlalchemy import Column, LargeBinary, String, Table, and_, bindparam, select
from sqlalchemy.dialects.sqlite import insert

from brski.edge.sql import sql_of
from brski.edge.sql_writer import Writer
from brski.pki.keys import certificate_der
from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.store.client_certificates import Path
from registrar_plugin.store.rows import split_certificates
from registrar_plugin.store.schema import METADATA

CLIENT_CERTIFICATES: Final = Table(
    "client_certificates",
    METADATA,
    Column("idevid_issuer", LargeBinary(20), primary_key=True),
    Column("serial_number", String(64), primary_key=True),
    Column("path", LargeBinary, nullable=False),  # concatenated DER, leaf first
)

_c = CLIENT_CERTIFICATES.c
_new: Final = insert(CLIENT_CERTIFICATES)
_PUT: Final = sql_of(
    _new.on_conflict_do_update(
        index_elements=["idevid_issuer", "serial_number"], set_={"path": _new.excluded.path}
    )
)
_GET: Final = sql_of(
    select(_c.path).where(
        and_(_c.idevid_issuer == bindparam("issuer"), _c.serial_number == bindparam("serial"))
    )
)


class SQLiteClientCertificates:
    """A :class:`~registrar_plugin.store.client_certificates.ClientCertificates`.

    Args:
        writer: the journal's (:attr:`registrar_plugin.store.sqlite.SQLiteJournal.writer`).
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def keep(self, client: DeviceKey, path: Path) -> None:
        """See :meth:`~registrar_plugin.store.client_certificates.ClientCertificates.keep`."""
        row = {
            "idevid_issuer": client.idevid_issuer,
            "serial_number": client.serial_number,
            "path": b"".join(map(certificate_der, path)),
        }

        def work(db: sqlite3.Connection) -> None:
            db.execute(_PUT, row)

        await self._writer.change(work)

    async def of(self, client: DeviceKey) -> Path | None:
        """See :meth:`~registrar_plugin.store.client_certificates.ClientCertificates.of`."""
        values = {"issuer": client.idevid_issuer, "serial": client.serial_number}
        row = self._writer.look_up(_GET, values)
        if row is None:
            return None
        return tuple(map(x509.load_der_x509_certificate, split_certificates(row[0])))
