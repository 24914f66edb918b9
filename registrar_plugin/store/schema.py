"""The journal's tables. SQL is kept portable; times are microseconds since 1970, UTC.

A room of the journal that came later keeps its table in its adapter's module, registered with
:data:`METADATA`; whoever opens the file with that room makes the table (docs/journal.md).
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

VERSION: Final = 3  # 3 added tables and changed none
GROWN_FROM: Final = 2
METADATA: Final = MetaData()

EVENTS: Final = Table(
    "events",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("outcome", String(8), nullable=False),
    Column("idevid_issuer", LargeBinary(20)),
    Column("serial_number", String(64), nullable=False),  # asserted where the issuer is null
    Column("reason", Text, nullable=False),
    Column("code", String(48), nullable=False),
    Column("peer_address", String(64), nullable=False),
    Column("details", Text, nullable=False),  # a JSON object of strings
    Index("events_of_device", "serial_number", "idevid_issuer"),
    Index("alarms", "id", sqlite_where=text("kind = 'alarm'")),  # few among very many
)

ONBOARDINGS: Final = Table(
    "onboardings",
    METADATA,
    Column("idevid_issuer", LargeBinary(20), primary_key=True),
    Column("serial_number", String(64), primary_key=True),
    Column("idevid_spki_sha256", LargeBinary(32), nullable=False, unique=True),
    Column("manufacturer", Text, nullable=False),
    Column("masa_url", Text, nullable=False),
    Column("presentation", String(8), nullable=False),
    Column("idevid_chain", LargeBinary, nullable=False),  # concatenated DER, leaf first
    Column("request_digest", LargeBinary(32), nullable=False),  # leads to the intent, too
    Column("pledge_request_id", Integer, nullable=False),  # an artifact's
    Column("voucher_id", Integer),  # likewise
    Column("voucher_media_type", Text, nullable=False),
    Column("voucher_status", Boolean),
    Column("audit_verdict", Boolean),
    Column("audit_reason", Text, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
)

INTENTS: Final = Table(
    "intents",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("idevid_issuer", LargeBinary(20), nullable=False),
    Column("serial_number", String(64), nullable=False),
    Column("request_digest", LargeBinary(32), nullable=False),
    Column("octets", LargeBinary, nullable=False),
    Column("result", LargeBinary),
    UniqueConstraint("kind", "idevid_issuer", "serial_number", "request_digest"),
    Index("open_intents", "id", sqlite_where=text("result IS NULL")),
)

CERTIFICATES: Final = Table(
    "certificates",
    METADATA,
    Column("sha256", LargeBinary(32), primary_key=True),
    Column("idevid_issuer", LargeBinary(20), nullable=False),
    Column("serial_number", String(64), nullable=False),
    Column("certificate", LargeBinary, nullable=False),
    Column("csr_digest", LargeBinary(32), nullable=False),
    Column("spki_sha256", LargeBinary(32), nullable=False),
    Column("state", String(16), nullable=False),
    Column("issued_at", BigInteger, nullable=False),
    UniqueConstraint("idevid_issuer", "serial_number", "csr_digest"),
    # one device, one accepted LDevID: decides races
    Index(
        "one_active_certificate",
        "idevid_issuer",
        "serial_number",
        unique=True,
        sqlite_where=text("state = 'active'"),
        postgresql_where=text("state = 'active'"),
    ),
)

ARTIFACTS: Final = Table(
    "artifacts",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("idevid_issuer", LargeBinary(20), nullable=False),
    Column("serial_number", String(64), nullable=False),
    Column("octets", LargeBinary, nullable=False),
    Index("artifacts_of_device", "serial_number", "idevid_issuer"),
)
