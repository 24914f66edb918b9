"""A worker's whole life: one job from standard input, one answer to standard output, the end.

Started by :mod:`oem_backend.executors.processes` as a program of its own, with the task's name for
argument. It knows no task by itself, and of what went wrong it tells what an error of ours says of
itself, and of any other error the type alone: its message could hold what must not leave.
"""

from __future__ import annotations

import ctypes
import os
import pkgutil
import signal
import sys
from contextlib import suppress
from typing import Final

from brski.edge.cli import harden_process
from brski.errors import OnboardingError
from brski.pki import cbor
from oem_backend.executors.port import Task

DONE: Final = b"\x01"  # the task's answer follows
FAILED: Final = b"\x00"  # CBOR follows: type, reason and hint; no type where nobody foresaw it

_PR_SET_PDEATHSIG: Final = 1  # prctl(2)


def main() -> int:
    """Do the one job.

    Returns:
        0: there is an answer, good or bad. Anything else: there is none.
    """
    harden_process()
    _end_with_parent()
    task: Task = pkgutil.resolve_name(sys.argv[1])
    answer = os.fdopen(os.dup(1), "wb")
    _silence()
    with answer, os.fdopen(0, "rb") as job:
        answer.write(_answer(task, job.read()))
    return 0


def _answer(task: Task, job: bytes) -> bytes:
    try:
        done = task(job)
    except OnboardingError as err:
        return FAILED + cbor.encode([type(err).__name__, err.reason, err.hint])
    except BaseException as err:  # the last resort of a process that holds seeds
        return FAILED + cbor.encode(["", type(err).__name__, ""])
    return DONE + done


def _end_with_parent() -> None:
    """Have the kernel end this process when the one that started it is gone (Linux)."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _silence() -> None:
    """From here on nothing that is printed gets anywhere: there will be secrets."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


if __name__ == "__main__":
    sys.exit(main())
