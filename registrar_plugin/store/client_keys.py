"""Which keys EST clients that are no devices have had certified, in the journal's file.

Such a client and a device never share a key, else one could speak for the other: what is shown in
TLS is looked up by key. Two devices are not compared here: a device's IDevID key is unique
(:data:`~registrar_plugin.store.schema.ONBOARDINGS`).
"""

from __future__ import annotations

import hashlib
import sqlite3
from typing import Final

from sqlalchemy import (
    Column,
    LargeBinary,
    String,
    Table,
    bindparam,
    func,
    insert,
    literal_column,
    or_,
    select,
)

from brski.edge.sql import sql_of
from brski.errors import CSRMismatch
from registrar_plugin.identity.clients import client_kind
from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.store.port import IntentKind
from registrar_plugin.store.schema import CERTIFICATES, INTENTS, METADATA, ONBOARDINGS

CLIENT_KEYS: Final = Table(
    "client_keys",
    METADATA,
    Column("spki_sha256", LargeBinary(32), primary_key=True),
    Column("idevid_issuer", LargeBinary(20), nullable=False),
    Column("serial_number", String(64), nullable=False),
)

_k, _o, _c, _i = CLIENT_KEYS.c, ONBOARDINGS.c, CERTIFICATES.c, INTENTS.c
_GET: Final = sql_of(
    select(_k.idevid_issuer, _k.serial_number).where(_k.spki_sha256 == bindparam("digest"))
)
_PUT: Final = sql_of(insert(CLIENT_KEYS))
_OF_IDEVID: Final = sql_of(
    select(_o.serial_number).where(_o.idevid_spki_sha256 == bindparam("digest"))
)
_OF_ANOTHER_CERTIFICATE: Final = sql_of(
    select(_c.serial_number).where(
        _c.spki_sha256 == bindparam("digest"),
        or_(_c.idevid_issuer != bindparam("issuer"), _c.serial_number != bindparam("serial")),
    )
)
_OF_ANOTHER_INTENT: Final = sql_of(  # open ones are few, and have an index of their own
    select(_i.serial_number).where(
        _i.result.is_(None),
        _i.kind == literal_column(f"'{IntentKind.LDEVID}'"),
        or_(_i.idevid_issuer != bindparam("issuer"), _i.serial_number != bindparam("serial")),
        func.instr(_i.octets, bindparam("spki")) > literal_column("0"),
    )
)
_BY_KEY: Final = (  # made for the first such client: a registrar of devices alone does without
    "CREATE INDEX IF NOT EXISTS certificates_by_key ON certificates (spki_sha256)"
)


def claim_key(db: sqlite3.Connection, device: DeviceKey, spki: bytes) -> None:
    """Take down whose key this is to be; inside the writer's transaction, before the intent counts.

    Args:
        spki: DER.

    Raises:
        CSRMismatch: *device* is a device and the key a client's, or *device* is no device and the
            key anybody else's, in an IDevID, a certificate or an open intent.
    """
    values = {"digest": hashlib.sha256(spki).digest()}
    holder = db.execute(_GET, values).fetchone()
    if holder is not None and DeviceKey(*holder) != device:
        raise _taken()
    if holder is not None or client_kind(device) is None:
        return
    db.execute(_BY_KEY)
    row = {"issuer": device.idevid_issuer, "serial": device.serial_number, "spki": spki, **values}
    for query in (_OF_IDEVID, _OF_ANOTHER_CERTIFICATE, _OF_ANOTHER_INTENT):
        if db.execute(query, row).fetchone() is not None:
            raise _taken()
    db.execute(
        _PUT,
        {
            "spki_sha256": values["digest"],
            "idevid_issuer": device.idevid_issuer,
            "serial_number": device.serial_number,
        },
    )


def _taken() -> CSRMismatch:
    return CSRMismatch("this key is another client's or device's", section="RFC 7030 §4.2.1")
