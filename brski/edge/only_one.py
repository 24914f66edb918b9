"""One process at a time, by a lock that ends with the process, however that ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from brski.edge.atomic_file import file_error
from brski.errors import StateError


@contextmanager
def only_one(path: Path, *, what: str) -> Iterator[None]:
    """Hold the lock of *path* while the block runs.

    Args:
        path: a file for this alone; made with mode 0600 when missing, and left there.
        what: would go wrong twice, for the message: ``"serves on this journal"``.

    Raises:
        StateError: another process holds it.
        Unavailable, FileUnusable: the file cannot be made.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as err:
        raise file_error(err, path, "written") from err
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as err:
        os.close(descriptor)
        said = f"another process {what} ({path})"
        raise StateError(said, hint="end it first; two would not see each other's work") from err
    try:
        yield
    finally:
        os.close(descriptor)
