"""What a build list at work runs into, of all that the ledger remembers.

Asked as queries here, and said as refusals in :mod:`oem_backend.factory.build_lists`.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Final

from oem_backend.factory.ledger.at_work import REPLACED
from oem_backend.factory.looks import look_of

# Where an entry of a list at work runs into a certificate. CROSS: SQLite keeps to this order.
_KNOWN: Final = """
SELECT entry.chip_id, entry.serial_number, certificate.chip_id, certificate.serial_number,
    build_list.created
FROM entry CROSS JOIN certificate
JOIN build_list ON build_list.number = certificate.build_list
WHERE entry.build_list = :list AND {condition}
ORDER BY entry.place, certificate.rowid DESC LIMIT 1
"""
_ALIKE: Final = f"""
SELECT min(serial_number), max(serial_number) FROM entry WHERE build_list = ?
GROUP BY {look_of("serial_number")} HAVING count(*) > 1 ORDER BY min(place) LIMIT 1
"""  # noqa: S608 - of this module's constants
# CROSS: SQLite keeps to this order, and takes the index.
_ALIKE_IN_USE: Final = f"""
SELECT entry.serial_number, certificate.serial_number
FROM entry CROSS JOIN certificate
    ON {look_of("certificate.serial_number")} = {look_of("entry.serial_number")}
    AND certificate.idevid_issuer = :issuer
WHERE EXISTS (SELECT 1 FROM certificate)  -- seen once, before a million entries
    AND entry.build_list = :list AND certificate.ended_by IS NULL
    AND certificate.serial_number <> entry.serial_number
    AND certificate.rowid NOT IN (SELECT ended FROM ({REPLACED}))
ORDER BY entry.place LIMIT 1
"""  # noqa: S608 - of this module's constants


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownCertificate:
    """A certificate that was given out, and the entry at work that runs into it."""

    chip_id: bytes  # of the entry
    serial_number: str  # of the entry
    certified_chip_id: bytes
    certified_as: str
    created: int  # seconds since 1970: the notBefore of the certificate


class Contradictions:
    """Each method gives the first entry, by serial number, or None."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    def entry_of_no_batch(self, number: int) -> tuple[bytes, str] | None:
        """Chip id and serial number of the first entry whose chip no batch has brought."""
        row = self._db.execute(
            "SELECT chip_id, serial_number FROM entry WHERE build_list = ? AND batch IS NULL "
            "ORDER BY place",
            (number,),
        ).fetchone()
        return None if row is None else (row[0], row[1])

    def certified_chip(self, number: int) -> KnownCertificate | None:
        """The first entry without ``replace`` whose chip was certified before."""
        condition = "certificate.chip_id = entry.chip_id AND NOT entry.replaces"
        return self._known(condition, list=number)

    def certified_number(self, number: int, idevid_issuer: bytes) -> KnownCertificate | None:
        """The first entry without ``replace`` whose serial number the issuer gave before."""
        return self._known(
            "certificate.serial_number = entry.serial_number "
            "AND certificate.idevid_issuer = :issuer AND NOT entry.replaces",
            list=number,
            issuer=idevid_issuer,
        )

    def alike(self, number: int) -> tuple[str, str] | None:
        """Two serial numbers of a list at work that a person could take for one another."""
        row = self._db.execute(_ALIKE, (number,)).fetchone()
        return None if row is None else (row[0], row[1])

    def alike_in_use(self, number: int, idevid_issuer: bytes) -> tuple[str, str] | None:
        """A serial number of a list at work, and one that looks like it, is in use under the
        issuer, and is not ended by this list.
        """
        names = {"list": number, "issuer": idevid_issuer}
        row = self._db.execute(_ALIKE_IN_USE, names).fetchone()
        return None if row is None else (row[0], row[1])

    def not_later(self, number: int, idevid_issuer: bytes, created: int) -> KnownCertificate | None:
        """The first entry whose chip and serial number have a certificate of *created* or later."""
        return self._known(
            "certificate.chip_id = entry.chip_id "
            "AND certificate.serial_number = entry.serial_number "
            "AND certificate.idevid_issuer = :issuer AND build_list.created >= :created",
            list=number,
            issuer=idevid_issuer,
            created=created,
        )

    def _known(self, condition: str, **values: object) -> KnownCertificate | None:
        row = self._db.execute(_KNOWN.format(condition=condition), values).fetchone()
        if row is None:
            return None
        chip_id, serial_number, certified_chip_id, certified_as, created = row
        return KnownCertificate(
            chip_id=chip_id,
            serial_number=serial_number,
            certified_chip_id=certified_chip_id,
            certified_as=certified_as,
            created=created,
        )
