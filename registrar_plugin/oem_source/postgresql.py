"""Device records from a copy of the OEM database in PostgreSQL, on this site's own server."""

from __future__ import annotations

import asyncio
from typing import Self

from brski.errors import LocalError, Unavailable
from brski.idevid.record import DeviceRecord
from oem_backend.database.engine_settings import EngineSettings
from oem_backend.database.opening import place_of
from oem_backend.database.port import Place, Records


class PostgreSQLSource:
    """One PostgreSQL database as a
    :class:`~registrar_plugin.oem_source.port.DeviceRecordSource`; connected when it is first asked.
    """

    Settings = EngineSettings

    is_local = True

    def __init__(self, place: Place) -> None:
        self._place = place
        self._opening = asyncio.Lock()
        self._records: Records | None = None

    @classmethod
    def open(cls, settings: EngineSettings) -> Self:
        """Build it from its table ``[manufacturer.source]``.

        Raises:
            SettingsError: the extra ``[postgresql]`` is not installed.
        """
        return cls(place_of(settings))

    async def find(
        self,
        idevid_issuer: bytes | None,
        serial_number: str,
        *,
        spki_sha256: bytes,  # noqa: ARG002 - the port's; a local copy has no stranger to refuse
    ) -> tuple[DeviceRecord, ...]:
        """Look the serial number up; the key's digest is not needed.

        Raises:
            Unavailable: the database cannot be read now.
        """
        try:
            return await (await self._opened()).find(idevid_issuer, serial_number)
        except LocalError as err:
            raise Unavailable(f"the local device records cannot be read: {err.reason}") from err

    async def _opened(self) -> Records:
        async with self._opening:
            if self._records is None:
                self._records = await self._place.open_records()
            return self._records

    async def close(self) -> None:
        """Close the connections."""
        if self._records is not None:
            await self._records.close()
            self._records = None
