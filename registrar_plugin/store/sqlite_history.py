"""The journal's lines on a serial number, whoever claimed it, read from its SQLite file."""

from __future__ import annotations

from typing import Final

from sqlalchemy import select

from brski.edge.sql_writer import Writer
from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.store.rows import event_of
from registrar_plugin.store.schema import EVENTS
from registrar_plugin.telemetry.events import Event

_e: Final = EVENTS.c


class SQLiteHistory:
    """For who has to explain what happened.

    Args:
        writer: the journal's (:attr:`registrar_plugin.store.sqlite.SQLiteJournal.writer`).
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def devices(self, serial_number: str) -> tuple[DeviceKey, ...]:
        """Every verified device of this serial number of which there is a line; a device that waits
        or was refused has no onboarding.
        """
        query = (
            select(_e.idevid_issuer)
            .where(_e.serial_number == serial_number, _e.idevid_issuer.is_not(None))
            .distinct()
        )
        rows = await self._writer.read_aside(lambda db: list(db.execute(query)))
        return tuple(sorted(DeviceKey(issuer, serial_number) for (issuer,) in rows))

    async def of_serial_number(
        self, serial_number: str, *, most: int, claims: int
    ) -> tuple[Event, ...]:
        """What happened under a serial number, oldest first.

        Args:
            most: so many of the last events of verified devices.
            claims: so many of those who merely said that they have it. Counted apart: strangers
                cannot push out what a device did.
        """
        found = select(EVENTS).where(_e.serial_number == serial_number).order_by(_e.id.desc())
        queries = (
            found.where(_e.idevid_issuer.is_not(None)).limit(most),
            found.where(_e.idevid_issuer.is_(None)).limit(claims),
        )
        rows = await self._writer.read_aside(
            lambda db: [row for query in queries for row in db.execute(query)]
        )
        return tuple(event_of(row) for row in sorted(rows, key=lambda row: row.id))
