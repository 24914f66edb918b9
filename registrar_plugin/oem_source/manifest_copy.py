"""The registrar's local copy of what a manufacturer's manifests say (docs/manifest.md, section 3).

One SQLite file for each manufacturer. An order's records are replaced as a whole; its generation
and every mark are kept for ever. Times are given by the caller.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from brski.edge.sqlite import connect, database_error, migrate, transaction
from brski.errors import ManifestRefused, StateError
from brski.idevid.manifest import Manifest
from brski.idevid.record import SUPERSEDED, DeviceRecord, DeviceStatus, Presentation
from brski.pki import cbor

APPLICATION_ID: Final = 0x6D616E69  # "mani": tells this file from every other SQLite file

_STEPS: Final = (
    f"""
    PRAGMA application_id = {APPLICATION_ID};

    -- one row an order: the manifest that was loaded last
    CREATE TABLE manifest (
        number INTEGER PRIMARY KEY,
        order_name TEXT NOT NULL UNIQUE,
        generation INTEGER NOT NULL,
        digest BLOB NOT NULL,
        created_at INTEGER NOT NULL,         -- seconds since 1970, UTC
        expires_at INTEGER NOT NULL,
        loaded_at INTEGER NOT NULL
    );
    CREATE TABLE device (
        serial_number TEXT NOT NULL,
        idevid_issuer BLOB NOT NULL,
        manifest INTEGER NOT NULL REFERENCES manifest (number),
        certificate BLOB NOT NULL,
        certificate_sha256 BLOB NOT NULL,
        spki BLOB NOT NULL,
        spki_sha256 BLOB NOT NULL,
        intermediates BLOB NOT NULL,         -- CBOR, an array of DER
        presentation TEXT NOT NULL,
        derivation_profile TEXT NOT NULL,
        batch_digest BLOB NOT NULL,
        chunk INTEGER NOT NULL,
        generation INTEGER NOT NULL,
        PRIMARY KEY (serial_number, idevid_issuer, manifest)
    );
    CREATE INDEX device_of_manifest ON device (manifest);
    CREATE TABLE mark (
        number INTEGER PRIMARY KEY,
        digest BLOB NOT NULL,                -- SHA-256 of the key or of the certificate it is on
        status TEXT NOT NULL CHECK (status IN ('revoked', 'flagged')),
        reason TEXT NOT NULL,
        marked_at INTEGER NOT NULL,
        UNIQUE (digest, status, reason)
    );
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
_FIND: Final = """
SELECT device.idevid_issuer, certificate, spki, intermediates, presentation, derivation_profile,
    batch_digest, chunk, device.generation, certificate_sha256, spki_sha256
FROM device JOIN manifest ON manifest.number = device.manifest
WHERE serial_number = :serial AND expires_at > :now
    AND (:issuer IS NULL OR device.idevid_issuer = :issuer)
ORDER BY device.idevid_issuer, manifest.created_at, manifest.number
"""
_MARKS: Final = """
SELECT status, reason FROM mark WHERE digest IN (?, ?)
ORDER BY status <> 'revoked', reason = ?, number
"""
_INSERT: Final = "INSERT INTO device VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_MARK: Final = """
INSERT INTO mark (digest, status, reason, marked_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING
"""


class Loaded(StrEnum):
    """What became of a manifest that was not refused."""

    LOADED = "loaded"
    ALREADY = "already-loaded"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedManifest:
    """What a load has done."""

    outcome: Loaded
    records: int
    marks: int  # that are new


def load_manifest(path: Path, manifest: Manifest, *, now: datetime) -> LoadedManifest:
    """Bring a verified manifest into the copy at *path*: whole or not at all.

    Args:
        path: made when missing, mode 0600.
        manifest: from :func:`brski.idevid.manifest.open_manifest`.
        now: aware; remembered, judged by nothing.

    Raises:
        ManifestRefused: stale, or another one of its generation was loaded.
        Malformed, SerialNumberMismatch, IDevIDIssuerMismatch, KeyNotAllowed: one of its records.
        Unavailable: locked, full or failing disk.
        StateError, FileUnusable: *path* is another program's file, or cannot be opened.

    Whatever is raised, nothing has changed.

    docs/manifest.md.
    """
    with closing(_open(path)) as connection, transaction(connection):
        if _is_loaded(connection, manifest):
            return LoadedManifest(outcome=Loaded.ALREADY, records=manifest.record_count, marks=0)
        marks = _replace_order(connection, manifest, int(now.timestamp()))
    return LoadedManifest(outcome=Loaded.LOADED, records=manifest.record_count, marks=marks)


def _is_loaded(connection: sqlite3.Connection, manifest: Manifest) -> bool:
    terms = manifest.terms
    row = connection.execute(
        "SELECT generation, digest FROM manifest WHERE order_name = ?", (terms.order,)
    ).fetchone()
    if row is None or row[0] < terms.generation:
        return False
    generation, digest = row
    if generation > terms.generation:
        raise ManifestRefused(
            f"manifest of generation {terms.generation}, order {terms.order!r} is at {generation}"
        )
    if digest != manifest.digest:
        raise ManifestRefused(
            f"another manifest of generation {generation} of order {terms.order!r} was loaded",
            hint="ask the manufacturer which is true",
        )
    return True


def _replace_order(connection: sqlite3.Connection, manifest: Manifest, now: int) -> int:
    terms = manifest.terms
    (number,) = connection.execute(
        "INSERT INTO manifest "
        "(order_name, generation, digest, created_at, expires_at, loaded_at) "
        "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (order_name) DO UPDATE SET "
        "generation = excluded.generation, digest = excluded.digest, "
        "created_at = excluded.created_at, expires_at = excluded.expires_at, "
        "loaded_at = excluded.loaded_at RETURNING number",
        (
            *(terms.order, terms.generation, manifest.digest),
            *(int(terms.created_at.timestamp()), int(terms.expires_at.timestamp()), now),
        ),
    ).fetchone()
    connection.execute("DELETE FROM device WHERE manifest = ?", (number,))
    connection.executemany(_INSERT, (_row(record, number) for record in manifest.records()))
    return connection.executemany(_MARK, _marks(manifest.records(), now)).rowcount


def _row(record: DeviceRecord, manifest: int) -> tuple[object, ...]:
    return (
        *(record.serial_number, record.idevid_issuer, manifest),
        *(record.certificate, hashlib.sha256(record.certificate).digest()),
        *(record.spki, hashlib.sha256(record.spki).digest()),
        *(cbor.encode(record.intermediates), record.presentation.value),
        *(record.derivation_profile, record.batch_digest, record.chunk, record.generation),
    )


def _marks(records: Iterable[DeviceRecord], now: int) -> Iterator[tuple[object, ...]]:
    """A certificate that was replaced is marked by itself; for every other reason, its key is."""
    for record in records:
        if record.status is DeviceStatus.ACTIVE:
            continue
        replaced = record.status_reason == SUPERSEDED
        marked = hashlib.sha256(record.certificate if replaced else record.spki).digest()
        yield marked, record.status.value, record.status_reason, now


class ManifestCopy:
    """The copy at *path*, to be asked; an empty one is made when it is missing.

    Threads may share it; their look-ups take turns.

    Raises:
        StateError, FileUnusable, Unavailable: as :func:`load_manifest`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._connection = _open(path)

    def find(
        self, idevid_issuer: bytes | None, serial_number: str, *, now: datetime
    ) -> tuple[DeviceRecord, ...]:
        """All records of *serial_number*, marked ones too, of manifests that are alive at *now*.

        Args:
            idevid_issuer: 20-octet keyIdentifier that narrows the search, or None.

        Raises:
            Unavailable: the file cannot be read now.
            StateError: the file is damaged.
        """
        names = {
            "serial": serial_number,
            "issuer": idevid_issuer,
            "now": int(now.timestamp()),
        }
        with self._reading() as connection:
            rows = connection.execute(_FIND, names).fetchall()
            latest = {row[0]: row for row in rows}  # of one issuer, what was created last
            return tuple(
                _record(serial_number, row, _standing(connection, row)) for row in latest.values()
            )

    def ended(self, *, now: datetime) -> tuple[int, tuple[str, ...]]:
        """How many manifests are alive at *now*, and the orders whose manifest has ended.

        Raises:
            Unavailable, StateError: as :meth:`find`.
        """
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT order_name, expires_at > ? FROM manifest ORDER BY order_name",
                (int(now.timestamp()),),
            ).fetchall()
        return sum(alive for _, alive in rows), tuple(order for order, alive in rows if not alive)

    def close(self) -> None:
        """Close the file. Calling it again does nothing."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                yield self._connection
            except sqlite3.Error as err:
                raise database_error(err, self._path) from err


def _standing(connection: sqlite3.Connection, row: tuple[Any, ...]) -> tuple[DeviceStatus, str]:
    """The gravest of a device's marks, a re-issue's last of equals; see docs/oem-database.md."""
    found = connection.execute(_MARKS, (*row[-2:], SUPERSEDED)).fetchone()
    return (DeviceStatus.ACTIVE, "") if found is None else (DeviceStatus(found[0]), found[1])


def _record(
    serial_number: str, row: tuple[Any, ...], standing: tuple[DeviceStatus, str]
) -> DeviceRecord:
    issuer, certificate, spki, intermediates, presentation, profile, batch, chunk, generation = row[
        :9
    ]
    status, reason = standing
    return DeviceRecord(
        idevid_issuer=issuer,
        serial_number=serial_number,
        certificate=certificate,
        spki=spki,
        intermediates=_octets(intermediates),
        presentation=Presentation(presentation),
        derivation_profile=profile,
        batch_digest=batch,
        chunk=chunk,
        generation=generation,
        status=status,
        status_reason=reason,
    )


def _octets(encoded: bytes) -> tuple[bytes, ...]:
    items = cbor.decode(encoded)
    if not isinstance(items, list):
        raise StateError("the local copy of a manifest is damaged")
    return tuple(item for item in items if isinstance(item, bytes))


def _open(path: Path) -> sqlite3.Connection:
    connection = connect(path, any_thread=True)
    try:
        _make_ours(connection, path)
    except sqlite3.Error as err:
        connection.close()
        raise database_error(err, path) from err
    except BaseException:
        connection.close()
        raise
    return connection


def _make_ours(connection: sqlite3.Connection, path: Path) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    has_tables = connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
    if has_tables and application != APPLICATION_ID:
        raise StateError(f"{path} is no copy of manifests", hint="it is another program's file")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != len(_STEPS):
        migrate(connection, _STEPS)
