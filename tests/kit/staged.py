"""What devices and programs of the lab's stage do, and what stands in their files."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Final

from brski_lab.stage import Stage
from device_client.identity.from_seed import SeedIdentity, load_fuse
from device_client.keystore.files import FileKeystore
from device_client.onboard import onboard
from device_client.outcome import Outcome
from device_client.pledge.origin import Origin
from device_client.pledge.policy import Policy
from tests.kit.kill import Step, served

JOURNAL: Final = "registrar_plugin.store.sqlite:SQLiteJournal"  # where the registrar's steps are
ISSUANCES: Final = "registrar_plugin.store.sqlite_issuances:SQLiteIssuances"


def registrar_of(stage: Stage) -> Origin:
    """Where the stage's registrar listens."""
    return Origin(host="127.0.0.1", port=stage.registrar_port)


async def join(
    stage: Stage, serial_number: str, origin: Origin | None = None, *, policy: Policy | None = None
) -> Outcome:
    """A device of *stage* tries to join, at *origin* or at the stage's own registrar."""
    return await onboard(
        SeedIdentity(load_fuse(stage.fuse_path(serial_number))),
        [origin or registrar_of(stage)],
        FileKeystore(stage.keystore_path(serial_number)),
        policy=policy,
    )


@asynccontextmanager
async def registrar(stage: Stage, at: Step | None = None) -> AsyncIterator[Origin]:
    """The stage's registrar started anew, on a socket of its own; killed *at* a step."""
    settings = stage.registrar_settings
    async with served("registrar_plugin.cli", settings, "--listen", at=at) as (port,):
        yield Origin(host="127.0.0.1", port=port)


def rows(path: Path, query: str, *values: object) -> list[tuple[bytes, ...]]:
    """What a program's database holds."""
    with closing(sqlite3.connect(path)) as db:
        return db.execute(query, values).fetchall()
