"""Demands for the factory: which are written down, how often, and that it is remembered.

A demand is a file in the spool; that it was made stands in a SQLite file beside it, so that neither
a restart nor a second service asks more often than the settings say (docs/on-demand.md, section 4).
"""

from __future__ import annotations

import enum
import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from brski.edge.atomic_file import file_error, write_atomically
from brski.edge.sqlite import connect, database_error, migrate, transaction
from brski.idevid.demand import Demand

BOOK_NAME: Final = ".demands.db"  # in the spool; no reader of demands looks at names with a dot
DAY_S: Final = 86_400

_STEPS: Final = (
    """
    CREATE TABLE demand (
        digest BLOB PRIMARY KEY,             -- of the demand's octets
        registrar BLOB NOT NULL,             -- SHA-256 of its key, of the one that asked last
        asked_at INTEGER NOT NULL            -- seconds since 1970, UTC
    );
    CREATE INDEX demand_by_registrar ON demand (registrar, asked_at);
    CREATE INDEX demand_by_time ON demand (asked_at);
    """,
)
_STANDING: Final = "SELECT 1 FROM demand WHERE digest = ? AND asked_at > ?"
_COUNTED: Final = """
SELECT count(*), coalesce(sum(registrar = ?), 0) FROM demand WHERE asked_at > ?
"""
_ENTER: Final = """
INSERT INTO demand VALUES (?, ?, ?)
ON CONFLICT (digest) DO UPDATE SET registrar = excluded.registrar, asked_at = excluded.asked_at
"""


class Asked(enum.StrEnum):
    """What became of a question that could be a demand; the registrar is not told."""

    DEMANDED = "demanded"
    BEFORE = "demanded-before"
    QUOTA = "demand-quota"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemandLimits:
    """How often strangers' questions may become demands."""

    per_registrar_and_day: int = 100
    per_day: int = 1000
    again_s: int = 3600  # so long one and the same demand is not written again


class DemandBook:
    """Writes demands into a spool folder.

    Args:
        spool: made when missing, 0770: the factory's user removes files there.

    Raises:
        StateError, FileUnusable, Unavailable: the folder or the file beside it.

    Threads may share it; they take turns.
    """

    def __init__(self, spool: Path, limits: DemandLimits) -> None:
        self._spool = spool
        self._limits = limits
        self._lock = threading.Lock()
        try:
            spool.mkdir(mode=0o770, parents=True, exist_ok=True)
        except OSError as err:
            raise file_error(err, spool, "made") from err
        self._path = spool / BOOK_NAME
        self._connection = connect(self._path, any_thread=True)
        try:
            migrate(self._connection, _STEPS)
        except BaseException:
            self._connection.close()
            raise

    def demand(self, demand: Demand, registrar: bytes, *, now_s: int) -> Asked:
        """Write *demand* down, unless it stands already or a limit is reached.

        Args:
            registrar: SHA-256 of its key, 32 octets.
            now_s: seconds since 1970.

        Raises:
            Unavailable: locked, full or failing disk; the next question may do it.
            FileUnusable, StateError: the spool, or the file beside it.
        """
        with self._lock:
            try:
                if self._stands(demand, now_s):
                    return Asked.BEFORE
                with transaction(self._connection):
                    return self._judge_and_write(demand, registrar, now_s)
            except sqlite3.Error as err:
                raise database_error(err, self._path) from err

    def close(self) -> None:
        """Close the file. Calling it again does nothing."""
        with self._lock:
            self._connection.close()

    def _stands(self, demand: Demand, now_s: int) -> bool:
        values = (demand.digest, now_s - self._limits.again_s)
        return self._connection.execute(_STANDING, values).fetchone() is not None

    def _judge_and_write(self, demand: Demand, registrar: bytes, now_s: int) -> Asked:
        execute, limits = self._connection.execute, self._limits
        if self._stands(demand, now_s):  # by another process, meanwhile
            return Asked.BEFORE
        in_all, its_own = execute(_COUNTED, (registrar, now_s - DAY_S)).fetchone()
        if in_all >= limits.per_day or its_own >= limits.per_registrar_and_day:
            return Asked.QUOTA
        execute("DELETE FROM demand WHERE asked_at <= ?", (now_s - max(DAY_S, limits.again_s),))
        execute(_ENTER, (demand.digest, registrar, now_s))
        # Before the commit: a demand that is cut off here is written again, none is lost.
        write_atomically(self._spool / demand.file_name, demand.encode(), mode=0o640)
        return Asked.DEMANDED
