"""The ledger's file: opened, brought up to date, and its rooms."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

from brski.edge.sqlite import connect, database_error, migrate, transaction
from oem_backend.factory.ledger.at_work import AtWork
from oem_backend.factory.ledger.batches import Batches
from oem_backend.factory.ledger.contradictions import Contradictions
from oem_backend.factory.ledger.given_out import GivenOut
from oem_backend.factory.ledger.lists import BuildLists
from oem_backend.factory.ledger.schema import SCHEMA
from oem_backend.factory.ledger.summary import summarize
from oem_backend.factory.ledger.waiting import Waiting


class Ledger:
    """The open ledger; from :func:`open_ledger`. Each room asks and enters one kind of thing."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self.batches = Batches(connection)
        self.lists = BuildLists(connection)
        self.at_work = AtWork(connection)
        self.contradictions = Contradictions(connection)
        self.given_out = GivenOut(connection)
        self.waiting = Waiting(connection)

    def writing(self) -> AbstractContextManager[object]:
        """A block whose changes are all on record after it, or none of them."""
        return transaction(self._db)

    def summary(self) -> dict[str, object]:
        """How much is on record, and how far each vendor and product has come."""
        return summarize(self._db)


@contextmanager
def open_ledger(path: Path) -> Iterator[Ledger]:
    """The ledger at *path*, made when missing.

    Raises:
        StateError: the file is something else, or damaged, which may show later, too.
        Unavailable: locked or a failing disk.
    """
    with _translated(path), closing(connect(path)) as connection:
        migrate(connection, SCHEMA)
        yield Ledger(connection)


@contextmanager
def look_into_ledger(path: Path) -> Iterator[Ledger]:
    """The ledger at *path* to be read, also while another process writes to it.

    Raises:
        StateError: there is none, the file is something else, or damaged.
        Unavailable: a failing disk.
    """
    with _translated(path), closing(connect(path, read_only=True)) as connection:
        yield Ledger(connection)


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as err:
        raise database_error(err, path) from err
