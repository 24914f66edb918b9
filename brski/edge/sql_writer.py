"""One writer thread for one SQLite file: changes are grouped, durable, all or nothing for each.

A commit waits for the disk; a disk that takes 5 ms for one flush still keeps thousands of promises
a second when the calls that wait for it share it. So every change is a function over a connection,
handed to :class:`Writer`: calls that come while a flush is under way run together in the next
transaction, and none is answered before that is durable. If one of them fails, the transaction is
begun again with each behind its own savepoint, so that it alone is undone. A flush also costs more
CPU than the calls in it, so while several share one, the next may wait a little for more to come
(``pace_s``); a caller that is alone never waits.

A function may ask for SQLAlchemy's connection or, on the way of every request, for the driver's
own, where a statement costs a third; its text is still made from the one schema
(:func:`brski.edge.sql.sql_of`).
"""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from sqlalchemy import Connection, MetaData
from sqlalchemy.exc import DBAPIError, IntegrityError

from brski.edge.sql import driver_of, prepare_schema, sqlite_engine, translated
from brski.edge.sqlite import BUSY_TIMEOUT_S, database_error
from brski.errors import StateError, Unavailable

log = logging.getLogger(__name__)

T = TypeVar("T")

BACKLOG: Final = 4096  # ours: calls that may wait for the writer before new ones are turned away
GROUP: Final = 256  # ours: calls in one transaction, so that none waits for a crowd behind it


@dataclass(slots=True)
class _Job(Generic[T]):
    function: Callable[[Any], T]  # over the connection that it asked for
    connection: Any
    done: Callable[[T], None] | None
    future: asyncio.Future[T]
    result: T | None = None
    error: BaseException | None = None

    def tell(self) -> None:
        if self.done is None or self.error is not None:
            return
        try:
            self.done(self.result)  # type: ignore[arg-type]  # None only if T has it
        except Exception:  # a thread that ends here would leave its callers waiting
            log.exception("what a call had to tell when it was done failed")

    def settle(self) -> None:
        if self.future.cancelled():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)  # type: ignore[arg-type]  # None only if T has it


class _TransactionLost(Exception):
    """SQLite has rolled the whole transaction back by itself (full disk, failing disk)."""


class Writer:
    """The one way to change, and the near way to read, one SQLite database.

    Args:
        path: the file; made when missing.
        metadata: tables to create in a new file; None leaves the schema alone.
        version, grown_from: the schema's, see :func:`brski.edge.sql.prepare_schema`.
        backlog: waiting calls beyond which :meth:`run` raises at once.
        busy_timeout_s: how long to wait for another process's lock.
        pace_s: least time between two commits, as long as more than one call is in each: less CPU
            for longer answers.

    Raises:
        Unavailable, StateError, FileUnusable: the file cannot be opened or is not ours.

    Opening blocks; do it before serving. One instance for each file and process.
    """

    def __init__(
        self,
        path: Path,
        metadata: MetaData | None = None,
        *,
        version: int = 1,
        grown_from: int | None = None,
        backlog: int = BACKLOG,
        busy_timeout_s: float = BUSY_TIMEOUT_S,
        pace_s: float = 0.0,
    ) -> None:
        self._path = path
        self._backlog = backlog
        self._pace_s = pace_s
        self._closed = False
        engine = sqlite_engine(path, busy_timeout_s=busy_timeout_s)
        with translated(path):
            self._connection = engine.connect()
            try:
                if metadata is not None:
                    with self._connection.begin():
                        prepare_schema(
                            self._connection, metadata, version, path, grown_from=grown_from
                        )
                readers = sqlite_engine(path, read_only=True, busy_timeout_s=busy_timeout_s)
                self._near = readers.connect()
                self._far = readers.connect()
            except BaseException:
                self._connection.close()
                raise
        self._driver = driver_of(self._connection)
        self._near_lock = threading.Lock()
        self._far_thread = ThreadPoolExecutor(1, f"read {path.name}")
        self._queue: queue.SimpleQueue[_Job[Any] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=f"write {path.name}", daemon=True)
        self._thread.start()

    @property
    def path(self) -> Path:
        """The database file."""
        return self._path

    async def run(self, function: Callable[[Connection], T]) -> T:
        """Change the database by *function*, which gets SQLAlchemy's connection; else as
        :meth:`change`.
        """
        return await self._run(function, self._connection, None)

    async def change(
        self,
        function: Callable[[sqlite3.Connection], T],
        *,
        done: Callable[[T], None] | None = None,
    ) -> T:
        """Change the database by *function*; return its result once that is on the disk.

        *function* runs in the writer thread, after all calls made before it, inside a transaction
        that it must neither commit nor roll back. What it raises undoes what it did, nothing else,
        and is raised here, likewise only after the others' commit. A caller that is cancelled
        while it waits does not stop its call: it may be done or not.

        Args:
            function: short and without other effects than on the connection, since it is run again
                when a neighbour fails; returns plain values, no open results.
            done: told the result in the writer thread once it is durable and before anybody else
                hears of it, in the order of the calls; also when the caller has gone. Short; what
                it raises is logged, since the change is done.

        Raises:
            Unavailable: locked, full, read-only or failing disk, too many waiting calls, closed;
                then nothing of *function* is durable.
            StateError: the file is damaged, or a statement does not fit the schema.
            Exception: what *function* raised, ``IntegrityError`` included.
        """
        return await self._run(function, self._driver, done)

    async def _run(
        self, function: Callable[[Any], T], connection: Any, done: Callable[[T], None] | None
    ) -> T:
        if self._closed:
            raise Unavailable(f"database {self._path} is closed")
        if self._queue.qsize() >= self._backlog:
            raise Unavailable(f"database {self._path}: {self._backlog} calls wait already")
        job: _Job[T] = _Job(function, connection, done, asyncio.get_running_loop().create_future())
        self._queue.put(job)
        return await job.future

    def read(self, function: Callable[[Connection], T]) -> T:
        """Read by *function*, in the caller's thread, now: for look-ups by key.

        It sees what is durable, in one snapshot, and waits for no writer.

        Raises:
            Unavailable, StateError: as :meth:`run`; also when *function* tries to write.
        """
        with self._near_lock:
            return self._read_on(self._near, function)

    def look_up(self, statement: str, values: Mapping[str, object]) -> tuple[Any, ...] | None:
        """One row by key, straight from the driver, in the caller's thread: a fifth of what
        :meth:`read` costs, which counts where every request does it several times.

        Args:
            statement: a SELECT, see :func:`brski.edge.sql.sql_of`; ``:name`` for each of *values*.

        Returns:
            The row in the statement's columns, its values as SQLite has them (no booleans, no
            dates), or None when there is none.

        Raises:
            Unavailable, StateError: as :meth:`run`.
        """
        with self._near_lock:
            if self._near.closed:
                raise Unavailable(f"database {self._path} is closed")
            try:
                rows = driver_of(self._near).execute(statement, values).fetchall()
            except sqlite3.Error as err:
                raise database_error(err, self._path) from err
        return rows[0] if rows else None  # read to the end: no snapshot stays open

    async def read_aside(self, function: Callable[[Connection], T]) -> T:
        """Read by *function* in a thread of its own: for lists and sums. As :meth:`read`."""
        loop = asyncio.get_running_loop()
        try:
            reading = loop.run_in_executor(self._far_thread, self._read_on, self._far, function)
        except RuntimeError as err:  # the executor has been shut down
            raise Unavailable(f"database {self._path} is closed") from err
        return await reading

    async def close(self) -> None:
        """Finish the calls that wait, then close the file. Calling it again does nothing."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        await asyncio.to_thread(self._far_thread.shutdown)
        with self._near_lock:
            for connection in (self._near, self._far, self._connection):
                connection.close()

    def _read_on(self, connection: Connection, function: Callable[[Connection], T]) -> T:
        if connection.closed:
            raise Unavailable(f"database {self._path} is closed")
        with translated(self._path):
            try:
                return function(connection)
            finally:
                connection.rollback()

    # -- the writer thread ---------------------------------------------------------------------

    def _work(self) -> None:
        closing = False
        due_s = time.monotonic()  # when the next commit may be
        while not closing:
            group = [self._queue.get()]
            if (early_s := due_s - time.monotonic()) > 0:
                time.sleep(early_s)
            while len(group) < GROUP:
                try:
                    group.append(self._queue.get_nowait())
                except queue.Empty:
                    break
            jobs = [job for job in group if job is not None]
            closing = len(jobs) < len(group)  # run() puts nothing behind the end mark
            if jobs:
                self._commit(jobs)
                due_s = time.monotonic() + (self._pace_s if len(jobs) > 1 else 0.0)
                self._deliver(jobs)

    def _commit(self, jobs: list[_Job[Any]]) -> None:
        """Run *jobs* in one transaction; each has its result or error afterwards."""
        try:
            with translated(self._path):
                self._driver.execute("BEGIN IMMEDIATE")
                if not self._all_succeed(jobs):
                    self._begin_again()
                    for job in jobs:
                        self._attempt(job)
                self._driver.execute("COMMIT")
        except _TransactionLost as err:
            self._fail(jobs, _named(err.__cause__, self._path))
        except (
            BaseException
        ) as err:  # whatever it is: the callers must hear of it, here they cannot
            self._fail(jobs, err)
        self._connection.rollback()  # SQLAlchemy may believe in a transaction: there is none now

    def _all_succeed(self, jobs: list[_Job[Any]]) -> bool:
        """Run *jobs* without savepoints, since as a rule none fails; False: run them again."""
        try:
            for job in jobs:
                job.result = job.function(job.connection)
        except BaseException:  # its job will hear of it, if it fails again
            return False
        return True

    def _begin_again(self) -> None:
        self._connection.rollback()
        self._driver.rollback()
        self._driver.execute("BEGIN IMMEDIATE")

    def _attempt(self, job: _Job[Any]) -> None:
        """Run *job* behind a savepoint: what it raises undoes what it did, and nothing else."""
        driver = self._driver
        driver.execute("SAVEPOINT job")
        try:
            job.result = job.function(job.connection)
        except BaseException as err:  # a thread that ends here would leave its callers waiting
            if not driver.in_transaction:
                raise _TransactionLost from err
            driver.execute("ROLLBACK TO job")
            job.error = _named(err, self._path)
        driver.execute("RELEASE job")

    def _fail(self, jobs: list[_Job[Any]], cause: BaseException) -> None:
        with suppress(sqlite3.Error):
            self._driver.rollback()  # a transaction stays open when its COMMIT fails
        for job in jobs:
            match cause:  # one object for each caller, since tracebacks grow on what is raised
                case Unavailable():
                    job.error = Unavailable(cause.reason, retry_after_s=cause.retry_after_s)
                case StateError():
                    job.error = StateError(cause.reason, hint=cause.hint)
                case _:
                    job.error = RuntimeError("a call broke the transaction that it shared")
            job.error.__cause__ = cause

    def _deliver(self, jobs: list[_Job[Any]]) -> None:
        for job in jobs:
            job.tell()
        by_loop: dict[asyncio.AbstractEventLoop, list[_Job[Any]]] = {}
        for job in jobs:
            by_loop.setdefault(job.future.get_loop(), []).append(job)
        for loop, settled in by_loop.items():
            with suppress(RuntimeError):  # that loop has been closed: nobody waits
                loop.call_soon_threadsafe(_settle, settled)


def _settle(jobs: list[_Job[Any]]) -> None:
    for job in jobs:
        job.settle()


def _named(error: BaseException | None, path: Path) -> BaseException:
    """The error that a caller shall see for what its function raised."""
    match error:
        case None:
            return Unavailable(f"database {path}: transaction lost")
        case DBAPIError(orig=sqlite3.Error() as said) if not isinstance(error, IntegrityError):
            pass
        case sqlite3.Error() as said if not isinstance(error, sqlite3.IntegrityError):
            pass
        case _:
            return error
    named = database_error(said, path)
    named.__cause__ = error
    return named
