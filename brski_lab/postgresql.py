"""A PostgreSQL server of one's own, on a Unix socket in a folder; for tests and measurements."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from brski.errors import Unavailable

PROGRAMS: Final = Path("/usr/lib/postgresql")  # Debian's: VERSION/bin below it
_USER: Final = "postgres"  # a server does not run as root
_READY_S: Final = 30


@dataclass(frozen=True, slots=True)
class Server:
    """A server that is running."""

    folder: Path
    user: str
    programs: Path
    _numbers: Any = field(default_factory=count)

    def url(self, database: str) -> str:
        """How a client of this machine finds one of its databases."""
        return f"postgresql://{self.user}@/{database}?host={quote(str(self.folder), safe='')}"

    def new_database(self) -> str:
        """The URL of an empty database."""
        name = f"directory{next(self._numbers)}"
        subprocess.run(  # noqa: S603 - PostgreSQL's own program
            [self.programs / "createdb", "-h", self.folder, "-U", self.user, name], check=True
        )
        return self.url(name)


def find_programs() -> Path | None:
    """The folder of the newest server that is installed, or None."""
    found = sorted(PROGRAMS.glob("*/bin/initdb"))
    return found[-1].parent if found else None


@contextmanager
def postgresql_server(programs: Path, *settings: str) -> Iterator[Server]:
    """Start a server and end it; it runs as ``postgres`` where we are root.

    Args:
        programs: from :func:`find_programs`.
        settings: such as ``"fsync=off"``.

    Raises:
        Unavailable: it does not start.
    """
    as_root = os.geteuid() == 0
    user = _USER if as_root else pwd.getpwuid(os.geteuid()).pw_name
    other: dict[str, Any] = {"user": user, "group": user, "extra_groups": []} if as_root else {}
    folder = Path(tempfile.mkdtemp(prefix="brski-pg-"))
    try:
        if as_root:
            shutil.chown(folder, user, user)
        data = folder / "data"
        initdb: list[str | Path] = [programs / "initdb", "-D", data, "-U", user, "-A", "trust"]
        subprocess.run(  # noqa: S603 - PostgreSQL's own program
            [*initdb, "--no-sync"], check=True, capture_output=True, cwd=folder, **other
        )
        options = [word for setting in ("listen_addresses=", *settings) for word in ("-c", setting)]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(  # noqa: S603 - PostgreSQL's own program
                [programs / "postgres", "-D", data, "-k", folder, *options],
                stdout=log,
                stderr=log,
                cwd=folder,
                **other,
            )
        try:
            _wait_until_ready(programs, folder)
            yield Server(folder, user, programs)
        finally:
            process.send_signal(signal.SIGINT)  # SIGTERM would wait for each client to go
            process.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_ready(programs: Path, folder: Path) -> None:
    asking: list[str | Path] = [programs / "pg_isready", "-q", "-h", folder]
    for _ in range(10 * _READY_S):
        if subprocess.run(asking, check=False).returncode == 0:  # noqa: S603
            return
        time.sleep(0.1)
    raise Unavailable(f"PostgreSQL does not start: {(folder / 'log').read_text()[-500:]}")
