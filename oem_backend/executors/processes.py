"""Workers as processes of this machine: started anew for each job, ended after it.

They are spawned, not forked, so that none begins with a copy of the parent's memory. Core dumps are
off. A worker is not wiped: it ends, and the kernel clears its pages before it gives them away.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Final, TypeVar

from brski import errors
from brski.edge.cli import harden_process
from brski.errors import OnboardingError, Unavailable

J = TypeVar("J")
R = TypeVar("R")

_SPAWN: Final = multiprocessing.get_context("spawn")


class ProcessExecutor:
    """Implements :class:`oem_backend.executors.port.Executor`.

    Args:
        workers: at once; the machine's processors when None.
    """

    def __init__(self, workers: int | None = None) -> None:
        self._workers = workers or os.cpu_count() or 1

    def map(self, task: Callable[[J], R], jobs: Iterable[J]) -> Iterator[R]:
        """See :meth:`oem_backend.executors.port.Executor.map`."""
        running: deque[tuple[SpawnProcess, Connection]] = deque()
        waiting = iter(jobs)
        try:
            for job in waiting:
                running.append(_start(task, job))
                if len(running) == self._workers:
                    yield _result(*running.popleft())
            while running:
                yield _result(*running.popleft())
        finally:
            for process, connection in running:
                process.kill()
                process.join()
                connection.close()


def _start(task: Callable[[J], R], job: J) -> tuple[SpawnProcess, Connection]:
    ours, theirs = _SPAWN.Pipe(duplex=False)
    process = _SPAWN.Process(target=_work, args=(task, job, theirs), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def _work(task: Callable[[J], R], job: J, answer: Connection) -> None:
    """The whole life of a worker; nothing but plain values leaves it."""
    harden_process()
    try:
        answer.send((True, task(job)))
    except OnboardingError as err:
        answer.send((False, (type(err).__name__, err.reason)))
    except Exception as err:  # the type alone: a message could hold what must not leave
        answer.send((False, ("Unavailable", f"a worker failed: {type(err).__name__}")))
    finally:
        answer.close()


def _result(process: SpawnProcess, connection: Connection) -> R:  # type: ignore[type-var]  # by the task
    try:
        good, value = connection.recv()
    except EOFError:
        process.join()
        raise Unavailable(f"a worker ended with code {process.exitcode}") from None
    finally:
        connection.close()
    process.join()
    if good:
        result: R = value
        return result
    name, reason = value
    kind = getattr(errors, name, Unavailable)
    raise kind(reason)
