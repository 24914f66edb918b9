"""Device records from a copy of the OEM database on this machine, for a site without a line out.

Read-only point look-ups by key, inline: they are shorter than a hop to a thread.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

from brski.edge.settings import ExistingFile, Settings
from brski.errors import LocalError, Unavailable
from brski.idevid.record import DeviceRecord
from oem_backend.database.engine.sqlite import InlineRecords
from oem_backend.database.opening import open_reader


class DatabaseSourceSettings(Settings):
    """The table ``[manufacturer.source]`` with ``kind = "database"``."""

    kind: str = "database"
    path: ExistingFile


class DatabaseSource:
    """One database file as a :class:`~registrar_plugin.oem_source.port.DeviceRecordSource`.

    Args:
        path: what ``brski-oem database load`` wrote.

    Raises:
        LocalError: there is no such file, or it is no OEM database.
    """

    Settings = DatabaseSourceSettings

    is_local = True

    def __init__(self, path: Path) -> None:
        self._records = InlineRecords(open_reader(path))

    @classmethod
    def open(cls, settings: DatabaseSourceSettings) -> Self:
        """Build it from its table; raises as the class does."""
        return cls(settings.path)

    async def find(
        self,
        idevid_issuer: bytes | None,
        serial_number: str,
        *,
        spki_sha256: bytes,  # noqa: ARG002 - the port's; a local copy has no stranger to refuse
    ) -> tuple[DeviceRecord, ...]:
        """Look the serial number up; the key's digest is not needed.

        Raises:
            Unavailable: the file cannot be read now.
        """
        try:
            return await self._records.find(idevid_issuer, serial_number)
        except LocalError as err:
            raise Unavailable(f"the local device records cannot be read: {err.reason}") from err

    async def close(self) -> None:
        """Close the file."""
        await self._records.close()
