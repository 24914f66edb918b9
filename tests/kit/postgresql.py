"""A PostgreSQL server for tests; needs Debian's postgresql."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from brski_lab.postgresql import PROGRAMS, Server, postgresql_server
from tests.kit.programs import require_file


@contextmanager
def server() -> Iterator[Server]:
    """One that forgets what it has when the machine stops: nobody wants it then."""
    programs = require_file(str(PROGRAMS), "*/bin/initdb", package="postgresql").parent
    with postgresql_server(programs, "fsync=off") as running:
        yield running
