"""Which schema a PostgreSQL database has, and bringing it up to date."""

from __future__ import annotations

import importlib
import re
from typing import Any, Final

from brski.errors import StateError
from oem_backend.database.engine.postgresql.terms import LOCK
from oem_backend.database.schema import VERSION

_VERSION: Final = "SELECT version_num FROM schema_version"
_STEPS: Final = re.compile(r"[0-9]{1,9}")
_CHANGED: Final = """
SELECT (SELECT coalesce(max(number), 0) FROM bundle) + (SELECT coalesce(max(number), 0) FROM mark)
"""


async def schema_version(connection: Any) -> int | None:
    """The schema's version; None where there is none of ours.

    Raises:
        StateError: the table of that name is somebody else's.
    """
    if await connection.fetchval("SELECT to_regclass('schema_version')") is None:
        return None
    found = await connection.fetchval(_VERSION)
    if not _STEPS.fullmatch(str(found)):
        raise StateError(f"the table schema_version says {str(found)[:40]!r}: no OEM database")
    return int(found)


async def bring_up_to_date(connection: Any, place: object) -> None:
    """Take the steps that lack, under the lock; of two programs at once one takes them.

    Raises:
        StateError: a newer program wrote it.
    """
    async with connection.transaction():
        await connection.execute(f"SELECT pg_advisory_xact_lock({LOCK})")
        version = await schema_version(connection)  # another program may have been at it
        if version is not None and version > VERSION:
            raise StateError(
                f"{place} has schema version {version}, this program knows {VERSION}",
                hint="a newer version of this program wrote it",
            )
        if version != VERSION:
            # by name: alembic and SQLAlchemy take a quarter of a second, and are needed once
            run = importlib.import_module("oem_backend.database.migrations.run")
            await connection.execute(run.script_for_postgresql(version))


async def check_version(connection: Any, place: object) -> None:
    """Raise StateError unless the database is a directory of the version that we read."""
    version = await schema_version(connection)
    if version is None:
        raise StateError(f"{place} is no OEM database", hint="brski-oem database load makes one")
    if version != VERSION:
        raise StateError(
            f"{place} has schema version {version}, this program reads {VERSION}",
            hint="brski-oem database load brings an older one up to date",
        )


async def content_version(connection: Any) -> int:
    """Bundles and marks are only ever added, under one lock, so their numbers only ever grow."""
    return int(await connection.fetchval(_CHANGED))
