"""Marks on batches and chunks too, by whom, and lifted again."""

from __future__ import annotations

from typing import Final

from oem_backend.database.migrations.script import changed_freely, only_ever_added, run_script

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TABLES: Final = """
DROP INDEX mark_by_device;
ALTER TABLE mark RENAME TO mark_before;

CREATE TABLE mark (
    number NUMBERED,          -- a later entry has a higher one
    digest OCTETS NOT NULL,                -- SHA-256 of the key or certificate; batch digest
    kind TEXT NOT NULL CHECK (kind IN ('key', 'certificate', 'chunk', 'batch')),
    chunk INTEGER NOT NULL,              -- of the batch, from 0; -1 where it is not on a chunk
    idevid_issuer OCTETS NOT NULL,         -- whom it was made for; empty on batches and chunks
    serial_number TEXT NOT NULL,         -- likewise
    verdict TEXT NOT NULL CHECK (verdict IN ('revoked', 'flagged', 'lifted')),
    reason TEXT NOT NULL,
    marked_by TEXT NOT NULL,             -- a person's name; empty for a bundle's
    bundle INTEGER REFERENCES bundle (number),    -- that made it; NULL: a person
    marked_at INTEGER NOT NULL,
    CHECK ((kind = 'chunk') = (chunk >= 0)),
    CHECK (kind <> 'certificate' OR verdict = 'revoked')
);
INSERT INTO mark
SELECT number, digest, kind, -1, idevid_issuer, serial_number, status, reason, '', bundle,
    marked_at
FROM mark_before;
DROP TABLE mark_before;

CREATE INDEX mark_by_subject ON mark (digest, chunk);
CREATE INDEX mark_by_device ON mark (serial_number, idevid_issuer);
CREATE UNIQUE INDEX certificate_marked_once ON mark (digest) WHERE kind = 'certificate';
"""


def upgrade() -> None:
    """Marks get more columns; those that stand keep their numbers."""
    changed_freely("mark")
    run_script(TABLES)
    only_ever_added("mark")
