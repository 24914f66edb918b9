"""Workers as processes of this machine: forked for one job, ended after it.

They are forked by a nursery (:mod:`oem_backend.executors.nursery`), an interpreter that this one
starts afresh: so none begins with a copy of this process's memory, nor of another worker's, and
none has to load the code anew. Core dumps are off. A worker is not wiped: it ends, and the kernel
clears its pages before it gives them away (docs/threat-model.md).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Final, Literal

from pydantic import Field

import oem_backend
from brski.edge.settings import Settings
from brski.errors import Unavailable
from oem_backend.executors import nursery
from oem_backend.executors.answers import parse_answer
from oem_backend.executors.port import Task


class ProcessSettings(Settings):
    """``[factory.executor]`` of kind ``"processes"``."""

    kind: Literal["processes"]
    workers: int | None = Field(default=None, ge=1, le=nursery.MOST_DESKS)


class ProcessExecutor:
    """Implements :class:`oem_backend.executors.port.Executor`.

    Args:
        workers: at once, 256 at most; the machine's processors when None.
    """

    trusted: Final = True

    Settings = ProcessSettings

    @classmethod
    def open(cls, settings: ProcessSettings) -> ProcessExecutor:
        """Build it from its settings table."""
        return cls(settings.workers)

    def __init__(self, workers: int | None = None) -> None:
        self._workers = min(workers or os.cpu_count() or 1, nursery.MOST_DESKS)

    def map(self, task: Task, jobs: Iterable[bytes]) -> Generator[bytes, None, None]:
        """See :meth:`oem_backend.executors.port.Executor.map`.

        While the caller looks at an answer, the other workers go on. When the caller stops asking,
        or something is raised, all of them are ended.
        """
        with _open_nursery(task, self._workers) as workers:
            running: deque[int] = deque()
            for number, job in enumerate(jobs):
                desk = number % self._workers
                workers.start(desk, job)
                running.append(desk)
                if len(running) == self._workers:
                    yield workers.answer_of(running.popleft())
            while running:
                yield workers.answer_of(running.popleft())


class _Nursery:
    """The process that forks; each desk has a file for a job and one for its answer.

    Files, not pipes: nobody has to feed a worker while the others are waited for. They have no
    name, and what is in them is public.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], desks: Sequence[tuple[IO[bytes], IO[bytes]]]
    ) -> None:
        self._process = process
        self._desks = desks
        self._report()

    def start(self, desk: int, job: bytes) -> None:
        given, answer = self._desks[desk]
        for file in (given, answer):
            file.seek(0)
            file.truncate()
        given.write(job)
        given.flush()
        self._order(nursery.START, desk)

    def answer_of(self, desk: int) -> bytes:
        """Wait for the desk's worker to end."""
        self._order(nursery.WAIT, desk)
        code = self._report()
        _, answer = self._desks[desk]
        answer.seek(0)
        octets = answer.read()
        if code or not octets:
            raise _ended("a worker", code)
        return parse_answer(octets)

    def _order(self, order: bytes, desk: int) -> None:
        assert self._process.stdin is not None  # noqa: S101 - it was started with pipes
        try:
            self._process.stdin.write(order + bytes((desk,)))
        except OSError as err:
            raise _ended("the workers' nursery", self._process.wait()) from err

    def _report(self) -> int:
        assert self._process.stdout is not None  # noqa: S101 - it was started with pipes
        code = self._process.stdout.read(nursery.CODE_OCTETS)
        if len(code) < nursery.CODE_OCTETS:
            raise _ended("the workers' nursery", self._process.wait())
        return int.from_bytes(code, "big", signed=True)


@contextmanager
def _open_nursery(task: Task, desks: int) -> Generator[_Nursery, None, None]:
    """To be left when the last answer is there, or none is wanted: the workers end then."""
    with ExitStack() as stack:
        try:
            files = [
                (
                    stack.enter_context(tempfile.TemporaryFile()),
                    stack.enter_context(tempfile.TemporaryFile()),
                )
                for _ in range(desks)
            ]
            process = _start(task, [file.fileno() for desk in files for file in desk])
        except OSError as err:
            raise Unavailable(f"workers cannot be started: {err.strerror or err}") from err
        stack.enter_context(process)
        stack.callback(process.terminate)  # it ends those that it has forked
        yield _Nursery(process, files)


def _start(task: Task, descriptors: list[int]) -> subprocess.Popen[bytes]:
    name = f"{task.__module__}:{task.__qualname__}"
    return subprocess.Popen(  # noqa: S603 - this very interpreter and package
        [sys.executable, "-P", "-m", nursery.__name__, name, *map(str, descriptors)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        pass_fds=descriptors,
        env=os.environ | {"PYTHONPATH": _python_path()},
    )


def _python_path() -> str:
    """The folder of this package first: a worker runs the code that its parent runs."""
    ours = str(Path(oem_backend.__file__).parents[1])
    return os.pathsep.join(filter(None, (ours, os.environ.get("PYTHONPATH"))))


def _ended(who: str, code: int) -> Unavailable:
    ended = f"by signal {-code}" if code < 0 else f"with code {code}"
    return Unavailable(f"{who} ended {ended}, without an answer")
