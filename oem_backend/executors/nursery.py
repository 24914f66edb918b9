"""Where workers come from: a process that has loaded the code, has seen no secret, and forks.

Started by :mod:`oem_backend.executors.processes` as a program of its own, with the task's name for
argument, so that it begins with nothing of the factory's memory. It knows no job: it forks a worker
for each, and the worker takes its job from a file that the two programs share, answers into
another, and ends. The nursery never reads either; what a worker held is gone with the worker.
"""

from __future__ import annotations

import ctypes
import gc
import os
import pkgutil
import signal
import sys
from contextlib import suppress
from typing import Final

from brski.edge.cli import harden_process
from oem_backend.executors import answers
from oem_backend.executors.port import Task

START: Final = b"s"  # an order, followed by one octet: fork a worker for that desk
WAIT: Final = b"w"  # likewise: wait until that desk's worker has ended; the exit code comes back
CODE_OCTETS: Final = 4  # big-endian, signed: negative by a signal
MOST_DESKS: Final = 256

_PR_SET_PDEATHSIG: Final = 1  # prctl(2)


def main() -> int:
    """Take orders from standard input until it ends; report on standard output.

    Arguments: the task's name, then two file descriptors for each desk: its job and its answer.

    Returns:
        0: nobody wants anything any more.
    """
    harden_process()
    _end_with_parent()
    task: Task = pkgutil.resolve_name(sys.argv[1])
    descriptors = [int(argument) for argument in sys.argv[2:]]
    desks = list(zip(descriptors[::2], descriptors[1::2], strict=True))
    orders, reports = os.fdopen(0, "rb", buffering=0), os.fdopen(os.dup(1), "wb", buffering=0)
    _silence()
    gc.freeze()  # a worker's collector does not touch, and so copy, what all of them share
    workers: dict[int, int] = {}
    signal.signal(signal.SIGTERM, lambda *_: _end_all(workers))
    reports.write(b"\x00" * CODE_OCTETS)  # the task is there
    while order := orders.read(2):
        desk = order[1]
        if order[:1] == START:
            workers[desk] = _fork(task, *desks[desk])
            continue
        _, status = os.waitpid(workers[desk], 0)
        del workers[desk]
        code = os.waitstatus_to_exitcode(status)
        reports.write(code.to_bytes(CODE_OCTETS, "big", signed=True))
    return 0


def _fork(task: Task, job: int, answer: int) -> int:
    """The worker's process id; the worker itself never returns."""
    worker = os.fork()
    if worker:
        return worker
    code = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _end_with_parent()
        os.lseek(job, 0, os.SEEK_SET)
        os.lseek(answer, 0, os.SEEK_SET)
        with os.fdopen(job, "rb") as given, os.fdopen(answer, "wb") as told:
            told.write(answers.answer(task, given.read()))
        code = 0
    finally:
        os._exit(code)


def _end_all(workers: dict[int, int]) -> None:
    """Nobody wants their answers: end them, and be gone only when they are."""
    for worker in workers.values():
        with suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)
    for worker in workers.values():
        with suppress(ChildProcessError):
            os.waitpid(worker, 0)
    os._exit(0)


def _end_with_parent() -> None:
    """Have the kernel end this process when the one that started it is gone (Linux)."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _silence() -> None:
    """From here on nothing that is printed gets anywhere: there will be secrets."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)


if __name__ == "__main__":
    sys.exit(main())
