"""Look-ups of a service, over a pool of connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg

from brski.idevid.record import DeviceRecord
from oem_backend.database.engine.postgresql.terms import (
    CONNECT_S,
    NO_CONNECTION,
    numbered,
    translated,
)
from oem_backend.database.engine.postgresql.versions import content_version
from oem_backend.database.reader import (
    BUNDLE,
    CHAIN,
    Origin,
    find_statement,
    origin_of,
    records_of,
)

LOOK_UP_S: Final = 5.0


class PooledRecords:
    """Implements :class:`oem_backend.database.port.Records`."""

    def __init__(self, pool: Any, place: object) -> None:
        self._pool = pool
        self._place = place
        self._origins: dict[int, Origin] = {}

    async def find(
        self, idevid_issuer: bytes | None, serial_number: str
    ) -> tuple[DeviceRecord, ...]:
        """See the port."""
        text, names = numbered(find_statement(idevid_issuer))
        values = {"serial": serial_number, "issuer": idevid_issuer}
        async with self._acquired() as connection:
            rows = await connection.fetch(text, *(values[name] for name in names))
            for row in rows:
                if row["bundle"] not in self._origins:
                    self._origins[row["bundle"]] = await self._origin(connection, row["bundle"])
        return records_of(serial_number, [tuple(row) for row in rows], self._origins)

    async def _origin(self, connection: Any, bundle: int) -> Origin:
        row = await connection.fetchrow(numbered(BUNDLE)[0], bundle)
        chain = await connection.fetch(numbered(CHAIN)[0], row["issuing_chain"])
        return origin_of(tuple(row), [each["certificate"] for each in chain])

    async def version(self) -> int:
        """See the port."""
        async with self._acquired() as connection:
            return await content_version(connection)

    async def close(self) -> None:
        """See the port."""
        try:
            async with asyncio.timeout(CONNECT_S):
                await self._pool.close()
        except (asyncpg.PostgresError, *NO_CONNECTION):
            self._pool.terminate()  # nobody is there to be told

    @asynccontextmanager
    async def _acquired(self) -> AsyncIterator[Any]:
        with translated(self._place):
            async with self._pool.acquire(timeout=LOOK_UP_S) as connection:
                yield connection
