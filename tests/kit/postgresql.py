"""A PostgreSQL server of one's own, on a Unix socket in a temporary folder."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg

from tests.kit.programs import require_file

_PROGRAMS = "/usr/lib/postgresql"


@dataclass(frozen=True, slots=True)
class Server:
    """A server that is running; each test takes a database of its own."""

    folder: Path
    user: str
    _numbers: Any = field(default_factory=count)

    def url(self, database: str) -> str:
        """How a client finds one of its databases."""
        return f"postgresql://{self.user}@/{database}?host={quote(str(self.folder), safe='')}"

    def new_database(self) -> str:
        """The URL of an empty database."""
        name = f"directory{next(self._numbers)}"
        self.run(f"CREATE DATABASE {name}", "postgres")
        return self.url(name)

    def run(self, statement: str, database: str) -> list[Any]:
        """One statement, as somebody else's client."""

        async def run() -> list[Any]:
            connection = await asyncpg.connect(self.url(database))
            try:
                return list(await connection.fetch(statement))
            finally:
                await connection.close()

        with asyncio.Runner() as runner:
            return runner.run(run())


@contextmanager
def postgresql_server() -> Iterator[Server]:
    """Start a server and end it; it runs as ``postgres`` where the tests run as root."""
    bin_folder = require_file(_PROGRAMS, "*/bin/initdb", package="postgresql").parent
    user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    as_root = os.geteuid() == 0
    other: dict[str, Any] = {"user": user, "group": user, "extra_groups": []} if as_root else {}
    folder = Path(tempfile.mkdtemp(prefix="brski-pg-"))
    try:
        if as_root:
            shutil.chown(folder, user, user)
        data = folder / "data"
        subprocess.run(
            [bin_folder / "initdb", "-D", data, "-U", user, "-A", "trust", "--no-sync"],
            check=True,
            capture_output=True,
            cwd=folder,
            **other,
        )
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [
                    *(bin_folder / "postgres", "-D", data, "-k", folder),
                    *("-c", "listen_addresses=", "-c", "fsync=off"),
                ],
                stdout=log,
                stderr=log,
                cwd=folder,
                **other,
            )
        try:
            _wait_until_ready(bin_folder, folder)
            yield Server(folder, user)
        finally:
            process.terminate()
            process.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_ready(bin_folder: Path, folder: Path) -> None:
    for _ in range(300):
        ready = subprocess.run([bin_folder / "pg_isready", "-q", "-h", folder], check=False)
        if ready.returncode == 0:
            return
        time.sleep(0.1)
    raise RuntimeError((folder / "log").read_text())
