"""Point look-ups in an OEM database by key, as registrar, MASA and service need them.

A loader in another process may write meanwhile; each look-up sees what was committed before it
began. Statements and what is made of their rows stand here for every engine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from brski.idevid.record import DeviceRecord, Presentation
from oem_backend.database.marks import NO_CHUNK, Mark, MarkKind, Verdict, standing
from oem_backend.database.port import Row, Session

_FIND: Final = f"""
SELECT device.idevid_issuer, device.certificate, device.spki, device.presentation, device.chunk,
       device.bundle AS bundle, mark.number, mark.kind, mark.verdict, mark.reason
FROM device
JOIN bundle ON bundle.number = device.bundle
LEFT JOIN mark
    ON mark.digest IN (device.spki_sha256, device.certificate_sha256, bundle.batch_digest)
    AND mark.chunk IN ({NO_CHUNK}, device.chunk)
WHERE device.serial_number = :serial{{narrowed}}
ORDER BY device.idevid_issuer
"""  # noqa: S608 - a number of ours
_FIND_BY_SERIAL: Final = _FIND.format(narrowed="")
_FIND_BY_PAIR: Final = _FIND.format(narrowed=" AND device.idevid_issuer = :issuer")

BUNDLE: Final = """
SELECT derivation_profile, batch_digest, generation, issuing_chain FROM bundle
WHERE number = :bundle
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
{_MARK} WHERE bundle IS NULL AND (:all OR digest = :batch) ORDER BY number
"""
_HOLDER: Final = "SELECT serial_number FROM device WHERE spki_sha256 = :key AND superseded = 0"
_BUNDLES_OF_BATCH: Final = "SELECT count(*) FROM bundle WHERE batch_digest = :batch"
CHAIN: Final = """
SELECT certificate FROM issuing_certificate WHERE issuing_chain = :chain ORDER BY position
"""


@dataclass(frozen=True, slots=True)
class Origin:
    """What all devices of one bundle share; never changes once it is committed."""

    derivation_profile: str
    batch_digest: bytes
    generation: int
    intermediates: tuple[bytes, ...]


class Reader:
    """One directory, read-only.

    Args:
        session: closed with the reader; from :func:`oem_backend.database.opening.open_reader`.

    Threads may share it where they may share the session.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._origins: dict[int, Origin] = {}

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
        rows = self._session.rows(
            find_statement(idevid_issuer), {"serial": serial_number, "issuer": idevid_issuer}
        )
        for bundle in {row[5] for row in rows} - self._origins.keys():
            self._origins[bundle] = self._read_origin(bundle)
        return records_of(serial_number, rows, self._origins)

    def holder_of(self, spki_sha256: bytes) -> str | None:
        """The serial number of the device with this key; None where there is none.

        Args:
            spki_sha256: SHA-256 of its SubjectPublicKeyInfo, 32 octets.

        Raises:
            Unavailable, StateError: as :meth:`find`.
        """
        found = self._session.rows(_HOLDER, {"key": spki_sha256})
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
        return self._marks(_MARKS_OF_PERSONS, {"all": batch_digest is None, "batch": batch_digest})

    def bundles_of(self, batch_digest: bytes) -> int:
        """How many bundles of a seed batch are loaded.

        Raises:
            Unavailable, StateError: as :meth:`find`.
        """
        ((count,),) = self._session.rows(_BUNDLES_OF_BATCH, {"batch": batch_digest})
        return int(count)

    def version(self) -> int:
        """A number that changes when anything in the file has: a load, or a mark.

        Taken before a look-up, it tells afterwards whether what was found may still be used.

        Raises:
            Unavailable: the file cannot be read now, or was closed.
        """
        return self._session.version()

    def close(self) -> None:
        """Close the session. Calling it again does nothing."""
        self._session.close()

    def _read_origin(self, bundle: int) -> Origin:
        (row,) = self._session.rows(BUNDLE, {"bundle": bundle})
        chain = self._session.rows(CHAIN, {"chain": row[3]})
        return origin_of(row, [certificate for (certificate,) in chain])

    def _marks(self, statement: str, values: Mapping[str, object]) -> tuple[Mark, ...]:
        return tuple(_mark(row) for row in self._session.rows(statement, values))


def find_statement(idevid_issuer: bytes | None) -> str:
    """The look-up of ``:serial``, narrowed to ``:issuer`` where there is one."""
    return _FIND_BY_SERIAL if idevid_issuer is None else _FIND_BY_PAIR


def origin_of(row: Row, chain: Sequence[bytes]) -> Origin:
    """What all devices of a bundle share.

    Args:
        row: from :data:`BUNDLE`.
        chain: from :data:`CHAIN`, root last.
    """
    derivation_profile, batch_digest, generation, _ = row
    return Origin(derivation_profile, batch_digest, generation, tuple(chain[:-1]))


def records_of(
    serial_number: str, rows: Sequence[Row], origins: Mapping[int, Origin]
) -> tuple[DeviceRecord, ...]:
    """The records that :func:`find_statement` has found, by ascending issuer.

    Args:
        origins: of every bundle that *rows* name.
    """
    return tuple(_record(serial_number, each, origins) for each in _by_issuer(rows))


def _record(serial_number: str, rows: Sequence[Row], origins: Mapping[int, Origin]) -> DeviceRecord:
    idevid_issuer, certificate, spki, presentation, chunk, bundle, *_ = rows[0]
    origin = origins[bundle]
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


def _mark(row: Row) -> Mark:
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


def _by_issuer(found: Sequence[Row]) -> list[list[Row]]:
    """Rows of one device, one for each of its marks, brought together."""
    devices: dict[bytes, list[Row]] = {}
    for row in found:
        devices.setdefault(row[0], []).append(row)
    return list(devices.values())
