"""Workers as processes of this machine: started anew for each job, ended after it.

Each is a fresh interpreter, not a fork, so that none begins with a copy of the parent's memory, nor
with what the parent has imported. Core dumps are off. A worker is not wiped: it ends, and the
kernel clears its pages before it gives them away (docs/threat-model.md).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Generator, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import oem_backend
from brski import errors
from brski.errors import OnboardingError, TooManyRequests, Unavailable
from brski.idevid import fields
from brski.pki import cbor
from oem_backend.executors import worker
from oem_backend.executors.port import Task

_OURS: Final = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type)
    and issubclass(kind, OnboardingError)
    and not issubclass(kind, TooManyRequests)  # wants more than a reason; no worker counts
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Worker:
    process: subprocess.Popen[bytes]
    answer: IO[bytes]


class ProcessExecutor:
    """Implements :class:`oem_backend.executors.port.Executor`.

    Args:
        workers: at once; the machine's processors when None.
    """

    def __init__(self, workers: int | None = None) -> None:
        self._workers = workers or os.cpu_count() or 1

    def map(self, task: Task, jobs: Iterable[bytes]) -> Generator[bytes, None, None]:
        """See :meth:`oem_backend.executors.port.Executor.map`.

        While the caller looks at an answer, the other workers go on. When the caller stops asking,
        or something is raised, all of them are ended.
        """
        running: deque[_Worker] = deque()
        try:
            for job in jobs:
                running.append(_start(task, job))
                if len(running) == self._workers:
                    yield _answer_of(running)
            while running:
                yield _answer_of(running)
        finally:
            for left in running:
                left.process.kill()
                left.process.wait()
                left.answer.close()


def _start(task: Task, job: bytes) -> _Worker:
    # Files, not pipes: nobody has to feed a worker while the others are waited for. They have no
    # name, and what is in them is public.
    command = [sys.executable, "-P", "-m", worker.__name__]
    name = f"{task.__module__}:{task.__qualname__}"
    environment = os.environ | {"PYTHONPATH": _python_path()}
    try:
        with ExitStack() as opened:
            answer = opened.enter_context(tempfile.TemporaryFile())
            with tempfile.TemporaryFile() as given:
                given.write(job)
                given.seek(0)
                process = subprocess.Popen(  # noqa: S603 - this very interpreter and package
                    [*command, name], stdin=given, stdout=answer, env=environment
                )
            opened.pop_all()
    except OSError as err:
        raise Unavailable(f"a worker cannot be started: {err.strerror or err}") from err
    return _Worker(process=process, answer=answer)


def _python_path() -> str:
    """The folder of this package first: a worker runs the code that its parent runs."""
    ours = str(Path(oem_backend.__file__).parents[1])
    return os.pathsep.join(filter(None, (ours, os.environ.get("PYTHONPATH"))))


def _answer_of(running: deque[_Worker]) -> bytes:
    """Wait for the first of *running*; it stays among them until it has ended."""
    first = running[0]
    code = first.process.wait()
    running.popleft()
    with first.answer:
        first.answer.seek(0)
        status, octets = first.answer.read(1), first.answer.read()
    if code or not status:
        ended = f"by signal {-code}" if code < 0 else f"with code {code}"
        raise Unavailable(f"a worker ended {ended}, without an answer")
    if status == worker.DONE:
        return octets
    raise _error_of(octets)


def _error_of(octets: bytes) -> OnboardingError:
    items = fields.take_array(cbor.decode(octets), "a worker's error", least=3, most=3)
    name, reason, hint = (fields.take_text(item, "a worker's error") for item in items)
    kind = _OURS.get(name)
    if kind is None:
        return Unavailable(f"a worker failed: {name or reason}")
    return kind(reason, hint=hint)
