"""What stands in an OEM database file, and how it is opened (docs/oem-database.md).

What only SQLite has stands here: pragmas, triggers, its file. Statements elsewhere are SQL that
PostgreSQL also takes, up to the mark for a parameter.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from brski.edge.sqlite import connect, database_error, migrate
from brski.errors import StateError

APPLICATION_ID: Final = 0x6F656D64  # "oemd": tells this file from every other SQLite file

BUSY_TIMEOUT_S: Final = 60.0  # a writer waits for another one: merging a million rows takes 20 s
_READER_TIMEOUT_S: Final = 1.0  # a reader waits only while a crash is being mended
_READER_CACHE_KIB: Final = 16 * 1024
_WRITER_CACHE_KIB: Final = 64 * 1024

# Steps once released are never changed, only followed by others.
STEPS: Final = (
    f"""
    PRAGMA application_id = {APPLICATION_ID};

    CREATE TABLE issuing_chain (
        number INTEGER PRIMARY KEY,
        digest BLOB NOT NULL UNIQUE,         -- SHA-256 of the SHA-256 of each certificate
        idevid_issuer BLOB NOT NULL          -- SubjectKeyIdentifier of the first, 20 octets
    );
    CREATE TABLE issuing_certificate (
        issuing_chain INTEGER NOT NULL REFERENCES issuing_chain (number),
        position INTEGER NOT NULL,           -- 0 issued the devices' certificates; the last is root
        certificate BLOB NOT NULL,           -- DER
        PRIMARY KEY (issuing_chain, position)
    );
    CREATE TABLE bundle (
        number INTEGER PRIMARY KEY,
        digest BLOB NOT NULL UNIQUE,
        factory TEXT NOT NULL,
        product TEXT NOT NULL,
        generation INTEGER NOT NULL,
        batch_digest BLOB NOT NULL,
        build_list_digest BLOB NOT NULL,
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
        idevid_issuer BLOB NOT NULL,         -- keyIdentifier, 20 octets
        certificate BLOB NOT NULL,           -- DER
        certificate_sha256 BLOB NOT NULL,
        spki BLOB NOT NULL,                  -- cut from the certificate's DER
        spki_sha256 BLOB NOT NULL,
        presentation TEXT NOT NULL CHECK (presentation IN ('carried', 'asserted')),
        chunk INTEGER NOT NULL,
        bundle INTEGER NOT NULL REFERENCES bundle (number),
        superseded INTEGER NOT NULL CHECK (superseded IN (0, 1)),
        PRIMARY KEY (serial_number, idevid_issuer)
    );
    -- a key is one device's, but for certificates that a re-issue has replaced
    CREATE UNIQUE INDEX device_by_key ON device (spki_sha256) WHERE superseded = 0;

    CREATE TABLE mark (
        number INTEGER PRIMARY KEY,
        digest BLOB NOT NULL,                -- SHA-256 of the key or of the certificate it is on
        kind TEXT NOT NULL CHECK (kind IN ('key', 'certificate')),
        idevid_issuer BLOB NOT NULL,         -- whom it was made for
        serial_number TEXT NOT NULL,
        status TEXT NOT NULL CHECK (status IN ('revoked', 'flagged')),
        reason TEXT NOT NULL,
        bundle INTEGER REFERENCES bundle (number),    -- that made it; NULL: a person
        marked_at INTEGER NOT NULL,
        UNIQUE (digest, status, reason)
    );
    CREATE INDEX mark_by_device ON mark (serial_number, idevid_issuer);
    CREATE TRIGGER mark_unchanged BEFORE UPDATE ON mark
    BEGIN
        SELECT RAISE(ABORT, 'marks are only ever added');
    END;
    CREATE TRIGGER mark_undeleted BEFORE DELETE ON mark
    BEGIN
        SELECT RAISE(ABORT, 'marks are only ever added');
    END;
    """,
    # marks on batches and chunks, by whom, and lifted again
    """
    DROP INDEX mark_by_device;
    ALTER TABLE mark RENAME TO mark_before;

    CREATE TABLE mark (
        number INTEGER PRIMARY KEY,          -- a later entry has a higher one
        digest BLOB NOT NULL,                -- SHA-256 of the key or certificate; batch digest
        kind TEXT NOT NULL CHECK (kind IN ('key', 'certificate', 'chunk', 'batch')),
        chunk INTEGER NOT NULL,              -- of the batch, from 0; -1 where it is not on a chunk
        idevid_issuer BLOB NOT NULL,         -- whom it was made for; empty on batches and chunks
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
    CREATE TRIGGER mark_unchanged BEFORE UPDATE ON mark
    BEGIN
        SELECT RAISE(ABORT, 'marks are only ever added');
    END;
    CREATE TRIGGER mark_undeleted BEFORE DELETE ON mark
    BEGIN
        SELECT RAISE(ABORT, 'marks are only ever added');
    END;
    """,
)


def open_to_read(path: Path) -> sqlite3.Connection:
    """Open an OEM database that exists; threads may share the connection, taking turns.

    Raises:
        StateError: no such file, not an OEM database, or one of another version.
        Unavailable: it cannot be read now.
    """
    connection = connect(path, read_only=True, busy_timeout_s=_READER_TIMEOUT_S, any_thread=True)
    with _closed_on_error(connection, path):
        _check_application(connection, path)
        version = _schema_version(connection)
        if version != len(STEPS):
            raise StateError(
                f"{path} has schema version {version}, this program reads {len(STEPS)}",
                hint="brski-oem database load brings an older file up to date",
            )
        connection.execute(f"PRAGMA cache_size = -{_READER_CACHE_KIB}")
    return connection


def open_to_write(path: Path) -> sqlite3.Connection:
    """Open an OEM database; a missing or empty file becomes one, mode 0600.

    Raises:
        StateError: another program's file, or one of a later version.
        Unavailable: locked, read-only, no space.
        FileUnusable: the folder is missing or the file not permitted.
    """
    connection = connect(path, busy_timeout_s=BUSY_TIMEOUT_S)
    with _closed_on_error(connection, path):
        if _schema_version(connection) or _has_tables(connection):
            _check_application(connection, path)
        if _schema_version(connection) != len(STEPS):
            migrate(connection, STEPS)
        connection.execute(f"PRAGMA cache_size = -{_WRITER_CACHE_KIB}")
        connection.execute(f"PRAGMA temp.cache_size = -{_WRITER_CACHE_KIB}")
    return connection


def data_version(connection: sqlite3.Connection) -> int:
    """A number that changes when another connection has committed anything."""
    return int(connection.execute("PRAGMA data_version").fetchone()[0])


def empty_log(connection: sqlite3.Connection) -> None:
    """Bring a long write-ahead log into the file and give its space back, if nobody is reading."""
    with suppress(sqlite3.Error):  # the next commit does it
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@contextmanager
def _closed_on_error(connection: sqlite3.Connection, path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as err:
        connection.close()
        raise database_error(err, path) from err
    except BaseException:
        connection.close()
        raise


def _check_application(connection: sqlite3.Connection, path: Path) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application != APPLICATION_ID:
        raise StateError(f"{path} is no OEM database", hint="brski-oem database load makes one")


def _schema_version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def _has_tables(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is not None
