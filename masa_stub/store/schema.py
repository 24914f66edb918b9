"""The tables of the MASA's file: the log of vouchers, the refusals, the sales data."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

from brski.edge.sql_writer import Writer

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_METADATA: Final = MetaData()
_VERSION: Final = 2
_GROWN_FROM: Final = 1  # had entries and refusals alone

ENTRIES: Final = Table(
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

PINS: Final = Table(
    "pins",  # whose key an entry pins, and which of ours signs it
    _METADATA,
    Column("entry", Integer, ForeignKey("entries.id"), primary_key=True),
    Column("domain_id", LargeBinary, nullable=False),
    Column("spki_sha256", LargeBinary(32), nullable=False),
    Column("signer_sha256", LargeBinary(32), nullable=False),
    Index("pins_of_domain", "domain_id", "spki_sha256"),
)

REFUSALS: Final = Table(
    "refusals",
    _METADATA,
    Column("id", Integer, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("serial_number", String(64), nullable=False),
    Column("code", String(48), nullable=False),
    Column("reason", Text, nullable=False),
)

SALES: Final = Table(
    "sales",  # only ever added to; the newest of a device counts
    _METADATA,
    Column("id", Integer, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("idevid_issuer", LargeBinary(20), nullable=False),
    Column("serial_number", String(64), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("buyer", String(128), nullable=False),
    Index("sales_of_device", "serial_number", "idevid_issuer"),
)


def open_store(path: Path) -> Writer:
    """Open the file, made when missing; one of an older version gets the tables that it lacks.

    Raises:
        StateError, Unavailable, FileUnusable: as :class:`brski.edge.sql_writer.Writer`.
    """
    return Writer(path, _METADATA, version=_VERSION, grown_from=_GROWN_FROM)


def microseconds(at: datetime) -> int:
    """*at*, aware, as the tables have it."""
    return (at - _EPOCH) // timedelta(microseconds=1)


def moment(count: int) -> datetime:
    """The other way; aware UTC."""
    return _EPOCH + timedelta(microseconds=count)
