"""A directory in a PostgreSQL database, by asyncpg (extra ``[postgresql]``)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from brski.edge.atomic_file import read_file
from brski.edge.signers.file import check_private_mode
from brski.errors import FileUnusable
from oem_backend.database.engine.postgresql.pool import LOOK_UP_S, PooledRecords
from oem_backend.database.engine.postgresql.session import COMMAND_S, PostgreSQLSession
from oem_backend.database.engine.postgresql.terms import CONNECT_S, translated
from oem_backend.database.engine.postgresql.versions import (
    bring_up_to_date,
    check_version,
    schema_version,
)
from oem_backend.database.engine_settings import EngineSettings
from oem_backend.database.schema import VERSION


@dataclass(frozen=True, slots=True)
class PostgreSQLPlace:
    """Implements :class:`oem_backend.database.port.Place`."""

    url: str
    password_file: Path | None = None
    pool: int = 8

    @classmethod
    def open(cls, settings: EngineSettings) -> PostgreSQLPlace:
        """Build it from its settings table; connects to nothing yet."""
        return cls(settings.url, settings.password_file, settings.pool)

    def open_to_read(self) -> PostgreSQLSession:
        """See the port."""
        return self._open(read_only=True)

    def open_to_write(self) -> PostgreSQLSession:
        """See the port."""
        return self._open(read_only=False)

    async def open_records(self) -> PooledRecords:
        """See the port."""
        with translated(self):
            pool = await asyncpg.create_pool(
                self.url,
                password=self._password(),
                min_size=1,
                max_size=self.pool,
                timeout=CONNECT_S,
                command_timeout=LOOK_UP_S,
                server_settings={"default_transaction_read_only": "on"},
            )
        records = PooledRecords(pool, self)
        try:
            with translated(self):
                async with pool.acquire() as connection:
                    await check_version(connection, self)
        except BaseException:
            await records.close()
            raise
        return records

    def _open(self, *, read_only: bool) -> PostgreSQLSession:
        runner = asyncio.Runner()
        try:
            connection = runner.run(self._connect(read_only=read_only))
        except BaseException:
            runner.close()
            raise
        return PostgreSQLSession(runner, connection, self)

    async def _connect(self, *, read_only: bool) -> Any:
        with translated(self):
            connection = await asyncpg.connect(
                self.url,
                password=self._password(),
                timeout=CONNECT_S,
                command_timeout=COMMAND_S,
                server_settings={"default_transaction_read_only": "on" if read_only else "off"},
            )
        try:
            with translated(self):
                if not read_only and await schema_version(connection) != VERSION:
                    await bring_up_to_date(connection, self)
                await check_version(connection, self)
        except BaseException:
            connection.terminate()
            raise
        return connection

    def _password(self) -> str | None:
        if self.password_file is None:
            return None
        check_private_mode(self.password_file)
        try:
            return read_file(self.password_file).decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError:  # which would show a part of it
            raise FileUnusable(f"{self.password_file} is not UTF-8") from None

    def __str__(self) -> str:
        parts = urlsplit(self.url)
        return f"postgresql://{parts.netloc}{parts.path}"
