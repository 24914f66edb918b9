"""The directory: bundles, the devices that they brought, and what was said of these."""

from __future__ import annotations

from typing import Final

from oem_backend.database.migrations.script import mark_file, only_ever_added, run_script

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES: Final = """
CREATE TABLE issuing_chain (
    number NUMBERED,
    digest OCTETS NOT NULL UNIQUE,         -- SHA-256 of the SHA-256 of each certificate
    idevid_issuer OCTETS NOT NULL          -- SubjectKeyIdentifier of the first, 20 octets
);
CREATE TABLE issuing_certificate (
    issuing_chain INTEGER NOT NULL REFERENCES issuing_chain (number),
    position INTEGER NOT NULL,           -- 0 issued the devices' certificates; the last is root
    certificate OCTETS NOT NULL,           -- DER
    PRIMARY KEY (issuing_chain, position)
);
CREATE TABLE bundle (
    number NUMBERED,
    digest OCTETS NOT NULL UNIQUE,
    factory TEXT NOT NULL,
    product TEXT NOT NULL,
    generation INTEGER NOT NULL,
    batch_digest OCTETS NOT NULL,
    build_list_digest OCTETS NOT NULL,
    derivation_profile TEXT NOT NULL,
    issuing_chain INTEGER NOT NULL REFERENCES issuing_chain (number),
    record_count INTEGER NOT NULL,
    revocation_count INTEGER NOT NULL,
    created_at INTEGER NOT NULL,         -- the build list's; seconds since 1970, UTC
    loaded_at INTEGER NOT NULL           -- by our clock; likewise
);
CREATE INDEX bundle_by_product ON bundle (product, generation);

-- one row a device: the certificate that stands for it now
CREATE TABLE device (
    serial_number TEXT NOT NULL,
    idevid_issuer OCTETS NOT NULL,         -- keyIdentifier, 20 octets
    certificate OCTETS NOT NULL,           -- DER
    certificate_sha256 OCTETS NOT NULL,
    spki OCTETS NOT NULL,                  -- cut from the certificate's DER
    spki_sha256 OCTETS NOT NULL,
    presentation TEXT NOT NULL CHECK (presentation IN ('carried', 'asserted')),
    chunk INTEGER NOT NULL,
    bundle INTEGER NOT NULL REFERENCES bundle (number),
    superseded INTEGER NOT NULL CHECK (superseded IN (0, 1)),
    PRIMARY KEY (serial_number, idevid_issuer)
);
-- a key is one device's, but for certificates that a re-issue has replaced
CREATE UNIQUE INDEX device_by_key ON device (spki_sha256) WHERE superseded = 0;

CREATE TABLE mark (
    number NUMBERED,
    digest OCTETS NOT NULL,                -- SHA-256 of the key or of the certificate it is on
    kind TEXT NOT NULL CHECK (kind IN ('key', 'certificate')),
    idevid_issuer OCTETS NOT NULL,         -- whom it was made for
    serial_number TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('revoked', 'flagged')),
    reason TEXT NOT NULL,
    bundle INTEGER REFERENCES bundle (number),    -- that made it; NULL: a person
    marked_at INTEGER NOT NULL,
    UNIQUE (digest, status, reason)
);
CREATE INDEX mark_by_device ON mark (serial_number, idevid_issuer);
"""


def upgrade() -> None:
    """Lay the tables out."""
    mark_file()
    run_script(TABLES)
    only_ever_added("mark")
