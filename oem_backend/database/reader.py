"""Point look-ups in an OEM database by key, as registrar, MASA and service need them.

Inline and without a pool: a look-up takes less time than handing it to a thread would. A loader in
another process may write meanwhile; each look-up sees what was committed before it began.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from brski.edge.sqlite import database_error
from brski.errors import Unavailable
from brski.idevid.record import DeviceRecord, Presentation
from oem_backend.database.marks import NO_CHUNK, Mark, MarkKind, Verdict, standing
from oem_backend.database.schema import data_version, open_to_read

_FIND: Final = f"""
SELECT device.idevid_issuer, device.certificate, device.spki, device.presentation, device.chunk,
       device.bundle, mark.number, mark.kind, mark.verdict, mark.reason
FROM device
JOIN bundle ON bundle.number = device.bundle
LEFT JOIN mark
    ON mark.digest IN (device.spki_sha256, device.certificate_sha256, bundle.batch_digest)
    AND mark.chunk IN ({NO_CHUNK}, device.chunk)
WHERE device.serial_number = ?{{narrowed}}
ORDER BY device.idevid_issuer
"""  # noqa: S608 - a number of ours
_FIND_BY_SERIAL: Final = _FIND.format(narrowed="")
_FIND_BY_PAIR: Final = _FIND.format(narrowed=" AND device.idevid_issuer = ?")

_BUNDLE: Final = """
SELECT derivation_profile, batch_digest, generation, issuing_chain FROM bundle WHERE number = ?
"""
_MARK: Final = """
SELECT number, verdict, reason, kind, digest, chunk, idevid_issuer, serial_number, marked_by,
    marked_at
FROM mark
"""
_MARKS: Final = f"""
{_MARK} WHERE digest IN (:key, :certificate)
    OR (digest = :batch AND chunk IN ({NO_CHUNK}, :chunk))
    OR (serial_number = :serial AND idevid_issuer = :issuer)
ORDER BY number
"""
_MARKS_OF_PERSONS: Final = f"""
{_MARK} WHERE bundle IS NULL AND (:batch IS NULL OR digest = :batch) ORDER BY number
"""
_HOLDER: Final = "SELECT serial_number FROM device WHERE spki_sha256 = ? AND superseded = 0"
_BUNDLES_OF_BATCH: Final = "SELECT count(*) FROM bundle WHERE batch_digest = ?"
_CHAIN: Final = """
SELECT certificate FROM issuing_certificate WHERE issuing_chain = ? ORDER BY position
"""


@dataclass(frozen=True, slots=True)
class _Origin:
    """What all devices of one bundle share; never changes once it is committed."""

    derivation_profile: str
    batch_digest: bytes
    generation: int
    intermediates: tuple[bytes, ...]


class Reader:
    """One OEM database file, read-only.

    Args:
        path: what ``brski-oem database load`` wrote.

    Raises:
        StateError: there is no such file, it is no OEM database, or one of another version.
        Unavailable: it cannot be read now.

    Threads may share it; their look-ups take turns.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._origins: dict[int, _Origin] = {}
        self._connection: sqlite3.Connection | None = open_to_read(path)

    def find(self, idevid_issuer: bytes | None, serial_number: str) -> tuple[DeviceRecord, ...]:
        """All records of *serial_number*, revoked and flagged ones too, each of another issuer.

        Args:
            idevid_issuer: 20-octet keyIdentifier that narrows the search, or None.
            serial_number: compared octet for octet.

        Returns:
            By ascending issuer; empty when there is none.

        Raises:
            Unavailable: the file cannot be read now, or was closed.
            StateError: the file is damaged.
        """
        if idevid_issuer is None:
            found = self._rows(_FIND_BY_SERIAL, (serial_number,))
        else:
            found = self._rows(_FIND_BY_PAIR, (serial_number, idevid_issuer))
        return tuple(self._record(serial_number, rows) for rows in _by_issuer(found))

    def holder_of(self, spki_sha256: bytes) -> str | None:
        """The serial number of the device with this key; None where there is none.

        Args:
            spki_sha256: SHA-256 of its SubjectPublicKeyInfo, 32 octets.

        Raises:
            Unavailable, StateError: as :meth:`find`.
        """
        found = self._rows(_HOLDER, (spki_sha256,))
        return str(found[0][0]) if found else None

    def marks(self, record: DeviceRecord) -> tuple[Mark, ...]:
        """Every entry on the record's key, certificate, chunk or batch, and every one made for its
        issuer and serial number, oldest first.

        Those of an earlier key of the pair are among them; what counts, the record's status says.

        Raises:
            Unavailable, StateError: as :meth:`find`.
        """
        return self._marks(
            _MARKS,
            {
                "key": hashlib.sha256(record.spki).digest(),
                "certificate": hashlib.sha256(record.certificate).digest(),
                "batch": record.batch_digest,
                "chunk": record.chunk,
                "serial": record.serial_number,
                "issuer": record.idevid_issuer,
            },
        )

    def marks_of_persons(self, batch_digest: bytes | None = None) -> tuple[Mark, ...]:
        """Every entry that a person made, oldest first.

        Args:
            batch_digest: only those on this batch or a chunk of it.

        Raises:
            Unavailable, StateError: as :meth:`find`.
        """
        return self._marks(_MARKS_OF_PERSONS, {"batch": batch_digest})

    def bundles_of(self, batch_digest: bytes) -> int:
        """How many bundles of a seed batch are loaded.

        Raises:
            Unavailable, StateError: as :meth:`find`.
        """
        ((count,),) = self._rows(_BUNDLES_OF_BATCH, (batch_digest,))
        return int(count)

    def version(self) -> int:
        """A number that changes when anything in the file has: a load, or a mark.

        Taken before a look-up, it tells afterwards whether what was found may still be used.

        Raises:
            Unavailable: the file cannot be read now, or was closed.
        """
        with self._reading() as connection:
            return data_version(connection)

    def close(self) -> None:
        """Close the file. Calling it again does nothing."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _record(self, serial_number: str, rows: list[tuple[Any, ...]]) -> DeviceRecord:
        idevid_issuer, certificate, spki, presentation, chunk, bundle, *_ = rows[0]
        origin = self._origins.get(bundle) or self._read_origin(bundle)
        status, reason = standing(row[6:] for row in rows if row[6] is not None)
        return DeviceRecord(
            idevid_issuer=idevid_issuer,
            serial_number=serial_number,
            certificate=certificate,
            spki=spki,
            intermediates=origin.intermediates,
            presentation=Presentation(presentation),
            derivation_profile=origin.derivation_profile,
            batch_digest=origin.batch_digest,
            chunk=chunk,
            generation=origin.generation,
            status=status,
            status_reason=reason,
        )

    def _read_origin(self, bundle: int) -> _Origin:
        ((profile, batch_digest, generation, chain),) = self._rows(_BUNDLE, (bundle,))
        certificates = [certificate for (certificate,) in self._rows(_CHAIN, (chain,))]
        origin = _Origin(profile, batch_digest, generation, tuple(certificates[:-1]))
        self._origins[bundle] = origin
        return origin

    def _marks(self, statement: str, values: Mapping[str, object]) -> tuple[Mark, ...]:
        return tuple(_mark(row) for row in self._rows(statement, values))

    def _rows(
        self, statement: str, values: tuple[object, ...] | Mapping[str, object]
    ) -> list[tuple[Any, ...]]:
        with self._reading() as connection:
            return connection.execute(statement, values).fetchall()

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._connection is None:
                raise Unavailable(f"database {self._path} is closed")
            try:
                yield self._connection
            except sqlite3.Error as err:
                raise database_error(err, self._path) from err


def _mark(row: tuple[Any, ...]) -> Mark:
    number, verdict, reason, kind, digest, chunk, issuer, serial_number, marked_by, at = row
    return Mark(
        number=number,
        verdict=Verdict(verdict),
        reason=reason,
        kind=MarkKind(kind),
        digest=digest,
        chunk=None if chunk == NO_CHUNK else chunk,
        idevid_issuer=issuer,
        serial_number=serial_number,
        marked_by=marked_by,
        marked_at=datetime.fromtimestamp(at, UTC),
    )


def _by_issuer(found: list[tuple[Any, ...]]) -> list[list[tuple[Any, ...]]]:
    """Rows of one device, one for each of its marks, brought together."""
    devices: dict[bytes, list[tuple[Any, ...]]] = {}
    for row in found:
        devices.setdefault(row[0], []).append(row)
    return list(devices.values())
