"""Device records from a copy of the OEM database, in a file or on a server of this site.

Read-only point look-ups by key; in a file they are inline, shorter than a hop to a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from brski.edge.settings import ExistingFile, Settings
from brski.errors import LocalError, Unavailable
from brski.idevid.record import DeviceRecord
from oem_backend.database.engine.sqlite import InlineRecords, SQLitePlace
from oem_backend.database.engine_settings import EngineSettings
from oem_backend.database.opening import open_reader, place_of
from oem_backend.database.port import Records


class DatabaseSourceSettings(Settings):
    """The table ``[manufacturer.source]`` with ``kind = "database"``."""

    kind: str = "database"
    path: ExistingFile


@contextmanager
def _unavailable() -> Iterator[None]:
    """A copy that is damaged or gone is one that does not answer."""
    try:
        yield
    except LocalError as err:
        raise Unavailable(f"the local device records cannot be read: {err.reason}") from err


class _LocalSource:
    """A copy that is this site's own, as a
    :class:`~registrar_plugin.oem_source.port.DeviceRecordSource`.

    Args:
        connect: opens it, when it is first asked.
    """

    is_local = True

    def __init__(self, connect: Callable[[], Awaitable[Records]]) -> None:
        self._connect = connect
        self._records: Records | None = None
        self._connecting = asyncio.Lock()

    async def find(
        self,
        idevid_issuer: bytes | None,
        serial_number: str,
        *,
        spki_sha256: bytes | None,  # noqa: ARG002 - the port's; a local copy has no stranger to refuse
    ) -> tuple[DeviceRecord, ...]:
        """Look the serial number up; the key's digest is not needed.

        Raises:
            Unavailable: the copy cannot be read now.
        """
        with _unavailable():
            records = self._records or await self._connected()
            return await records.find(idevid_issuer, serial_number)

    async def check(self) -> None:
        """See :class:`registrar_plugin.health.port.Checkable`: whether it can be read."""
        with _unavailable():
            records = self._records or await self._connected()
            await records.version()

    async def _connected(self) -> Records:
        async with self._connecting:
            if self._records is None:
                self._records = await self._connect()
            return self._records

    async def close(self) -> None:
        """Close it, if it was opened."""
        if self._records is not None:
            await self._records.close()


class DatabaseSource(_LocalSource):
    """One SQLite file.

    Args:
        path: what ``brski-oem database load`` wrote.

    Raises:
        LocalError: there is no such file, or it is no OEM database.
    """

    Settings = DatabaseSourceSettings

    def __init__(self, path: Path) -> None:
        super().__init__(SQLitePlace(path).open_records)
        self._records = InlineRecords(open_reader(path))  # so that a wrong file shows at once

    @classmethod
    def open(cls, settings: DatabaseSourceSettings) -> Self:
        """Build it from its table; raises as the class does."""
        return cls(settings.path)


class PostgreSQLSource(_LocalSource):
    """One PostgreSQL database; connected when it is first asked."""

    Settings = EngineSettings

    @classmethod
    def open(cls, settings: EngineSettings) -> Self:
        """Build it from its table ``[manufacturer.source]``.

        Raises:
            SettingsError: the extra ``[postgresql]`` is not installed.
        """
        return cls(place_of(settings).open_records)
