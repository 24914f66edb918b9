"""Point look-ups in an OEM database by key, as registrar, MASA and service need them.

Inline and without a pool: a look-up takes less time than handing it to a thread would. A loader in
another process may write meanwhile; each look-up sees what was committed before it began.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from brski.edge.sqlite import database_error
from brski.errors import Unavailable
from brski.idevid.record import SUPERSEDED, DeviceRecord, DeviceStatus, Presentation
from oem_backend.database.schema import data_version, open_to_read

_FIND: Final = """
SELECT device.idevid_issuer, device.certificate, device.spki, device.presentation, device.chunk,
       device.bundle, mark.number, mark.status, mark.reason
FROM device
LEFT JOIN mark ON mark.digest IN (device.spki_sha256, device.certificate_sha256)
WHERE device.serial_number = ?{narrowed}
ORDER BY device.idevid_issuer
"""
_FIND_BY_SERIAL: Final = _FIND.format(narrowed="")
_FIND_BY_PAIR: Final = _FIND.format(narrowed=" AND device.idevid_issuer = ?")

_BUNDLE: Final = """
SELECT derivation_profile, batch_digest, generation, issuing_chain FROM bundle WHERE number = ?
"""
_MARKS: Final = """
SELECT status, reason, kind, digest, marked_at FROM mark
WHERE digest IN (?, ?) OR (serial_number = ? AND idevid_issuer = ?)
ORDER BY number
"""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What was once said of a device, for ever."""

    status: DeviceStatus
    reason: str
    kind: str  # "key": a person's; "certificate": a re-issue's
    digest: bytes  # SHA-256 of that key or certificate
    marked_at: datetime  # aware UTC


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

    def marks(self, record: DeviceRecord) -> tuple[Mark, ...]:
        """Every mark on the record's key or certificate, or made for its issuer and serial number.

        Those of an earlier key of the pair are among them; what counts, the record's status says.

        Raises:
            Unavailable, StateError: as :meth:`find`.
        """
        key = hashlib.sha256(record.spki).digest()
        certificate = hashlib.sha256(record.certificate).digest()
        rows = self._rows(_MARKS, (key, certificate, record.serial_number, record.idevid_issuer))
        return tuple(
            Mark(
                status=DeviceStatus(status),
                reason=reason,
                kind=kind,
                digest=digest,
                marked_at=datetime.fromtimestamp(marked_at, UTC),
            )
            for status, reason, kind, digest, marked_at in rows
        )

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
        status, reason = _standing(row[6:] for row in rows)
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

    def _rows(self, statement: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
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


def _by_issuer(found: list[tuple[Any, ...]]) -> list[list[tuple[Any, ...]]]:
    """Rows of one device, one for each of its marks, brought together."""
    devices: dict[bytes, list[tuple[Any, ...]]] = {}
    for row in found:
        devices.setdefault(row[0], []).append(row)
    return list(devices.values())


def _standing(marks: Iterable[tuple[Any, ...]]) -> tuple[DeviceStatus, str]:
    """The gravest of a device's marks; of equals a person's before a re-issue's, then the first."""
    judged = [
        (status != DeviceStatus.REVOKED, reason == SUPERSEDED, number, DeviceStatus(status), reason)
        for number, status, reason in marks
        if number is not None  # the one row of a device without marks
    ]
    if not judged:
        return DeviceStatus.ACTIVE, ""
    *_, standing, reason = min(judged)
    return standing, reason
