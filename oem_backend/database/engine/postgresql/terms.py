"""Our statements in PostgreSQL's terms, and what it says in ours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Final

import asyncpg

from brski.errors import StateError, Unavailable

LOCK: Final = 0x6F656D64  # "oemd": whoever brings the schema up to date, or writes, holds it
CONNECT_S: Final = 10.0

_NAME: Final = re.compile(r"(?<!:):([a-z_]+)\b")
# The internal error is what asyncpg comes to when a server ends in the middle of its conversation.
NO_CONNECTION: Final = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
# SQLSTATE classes: connection, transaction rolled back, resources, operator, system; and who may
_MAY_PASS: Final = frozenset({"08", "40", "53", "55", "57", "58", "28"})


def own(statement: str) -> str:
    """*statement* with this engine's type for byte strings."""
    return statement.replace("OCTETS", "BYTEA")


@lru_cache(maxsize=256)
def numbered(statement: str) -> tuple[str, tuple[str, ...]]:
    """*statement* with ``$1`` for ``:name``, and the names in the order of their numbers."""
    names: list[str] = []

    def number(found: re.Match[str]) -> str:
        if found[1] not in names:
            names.append(found[1])
        return f"${names.index(found[1]) + 1}"

    return _NAME.sub(number, own(statement)), tuple(names)


@contextmanager
def translated(place: object) -> Iterator[None]:
    """Say in our terms what PostgreSQL, its client or the network said.

    Args:
        place: named by its ``str``.
    """
    try:
        yield
    except asyncpg.PostgresError as err:
        may_pass = err.sqlstate is not None and err.sqlstate[:2] in _MAY_PASS
        kind = Unavailable if may_pass else StateError
        raise kind(f"database {place}: {err}") from err
    except NO_CONNECTION as err:
        raise Unavailable(f"database {place}: {str(err) or type(err).__name__}") from err
