"""Certificates that were given out, and which of them stand."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CertifiedChip:
    """A chip with its certificate: where it came from, and in which bundle it went out."""

    serial_number: str
    chip_id: bytes
    batch_digest: bytes
    chunk: int
    build_list_digest: bytes


class GivenOut:
    """By serial number, and by chip."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    def chips(self, serial_numbers: Iterable[str]) -> tuple[CertifiedChip, ...]:
        """The chips that have a certificate under one of these numbers now, of any issuer."""
        return tuple(
            CertifiedChip(
                serial_number=serial_number,
                chip_id=chip_id,
                batch_digest=batch,
                chunk=chunk,
                build_list_digest=build_list,
            )
            for serial_number in serial_numbers
            for chip_id, batch, chunk, build_list in self._db.execute(
                "SELECT chip_id, batch.digest, chip.chunk, build_list.digest FROM certificate "
                "JOIN chip USING (chip_id) JOIN batch ON batch.number = chip.batch "
                "JOIN build_list ON build_list.number = certificate.build_list "
                "WHERE serial_number = ? AND ended_by IS NULL ORDER BY idevid_issuer",
                (serial_number,),
            )
        )

    def serial_number_of(self, chip_id: bytes) -> str | None:
        """The serial number that a chip is certified under now."""
        row = self._db.execute(
            "SELECT serial_number FROM certificate WHERE chip_id = ? AND ended_by IS NULL",
            (chip_id,),
        ).fetchone()
        return None if row is None else str(row[0])

    def chips_of_number(self, serial_number: str) -> tuple[tuple[bytes, bytes], ...]:
        """Issuer and chip of every standing certificate for a serial number."""
        rows = self._db.execute(
            "SELECT idevid_issuer, chip_id FROM certificate "
            "WHERE serial_number = ? AND ended_by IS NULL ORDER BY idevid_issuer",
            (serial_number,),
        )
        return tuple((issuer, chip_id) for issuer, chip_id in rows)
