"""A folder whose files change together, or not at all, also when the power fails.

::

    DIR/                0700
      lock              held while somebody changes it
      current           symbolic link to generations/N: the one thing that is switched
      generations/N/    0700, its files 0600, never changed once `current` names it

A change writes a whole new generation, flushes it, and renames a new link over `current`. Before
that rename the former state holds, after it the new one; what a crash leaves beside is removed at
the next change. Secret files are overwritten before they are removed. Knows nothing of what is in
the files.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from brski.edge.atomic_file import (
    erase_file,
    file_error,
    read_file,
    remove_leftovers,
    sync_folder,
    write_atomically,
)
from brski.errors import FileUnusable, StateError, Unavailable

_GENERATIONS: Final = "generations"
_LINK: Final = re.compile(rf"{_GENERATIONS}/([0-9]{{8}})")


class Generations:
    """The folder.

    Args:
        directory: made when it is missing (its parent must be there), mode 0700.
        secret: names of files that are overwritten before they are removed.
    """

    def __init__(self, directory: Path, secret: frozenset[str] = frozenset()) -> None:
        self._directory = directory
        self._secret = secret

    @property
    def directory(self) -> Path:
        """Where it is."""
        return self._directory

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the folder, made if it is missing, and cleared of what crashes left.

        Raises:
            StateError: another process holds it.
            Unavailable, FileUnusable: it cannot be made or locked.
        """
        self._make_folders()
        lock = self._directory / "lock"
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as err:
            raise file_error(err, lock, "opened") from err
        try:
            _lock(descriptor, self._directory)
            self._remove_remains()
            yield
        finally:
            os.close(descriptor)

    def read(self) -> dict[str, bytes] | None:
        """All files by name; None where nothing has been written.

        Raises:
            StateError: `current` leads to something else than a generation.
            Unavailable, FileUnusable: it cannot be read.
        """
        number = self._current()
        if number == 0:
            return None
        folder = self._generation(number)
        try:
            names = sorted(entry.name for entry in folder.iterdir())
        except OSError as err:
            raise StateError(f"{folder} cannot be listed") from err
        return {name: read_file(folder / name) for name in names}

    def write(self, files: Mapping[str, bytes]) -> None:
        """Make *files* the state: a new generation, flushed; then the switch.

        Raises:
            Unavailable, FileUnusable: it cannot be written; the former state holds.
        """
        number = self._current() + 1
        folder = self._generation(number)
        try:
            if folder.exists():  # from a crash between the folder and the switch
                self._remove(folder)
            folder.mkdir(mode=0o700)
            for name, data in files.items():
                write_atomically(folder / name, data)
            sync_folder(folder.parent)
            self._switch(number)
        except OSError as err:
            raise file_error(err, folder, "written") from err
        self._remove_remains()

    def clear(self) -> None:
        """Hold no state any more, durably; then remove every generation.

        Raises:
            Unavailable, FileUnusable: something cannot be removed; there is no state all the same,
                unless it is `current` itself.
        """
        current = self._directory / "current"
        try:
            current.unlink(missing_ok=True)
            sync_folder(self._directory)
        except OSError as err:
            raise file_error(err, current, "removed") from err
        self._remove_remains(must=True)

    def _make_folders(self) -> None:
        for folder in (self._directory, self._directory / _GENERATIONS):
            try:
                folder.mkdir(mode=0o700, exist_ok=True)
            except OSError as err:
                raise file_error(err, folder, "made") from err

    def _current(self) -> int:
        """The number of the generation that holds; 0 for none."""
        try:
            target = os.readlink(self._directory / "current")  # noqa: PTH115 - text, as written
        except FileNotFoundError:
            return 0
        except OSError as err:
            raise file_error(err, self._directory / "current", "read") from err
        match = _LINK.fullmatch(target)
        if match is None:
            raise StateError(f"{self._directory}/current leads to {target!r}")
        return int(match[1])

    def _switch(self, number: int) -> None:
        draft = self._directory / f".current.{secrets.token_hex(8)}.tmp"
        draft.symlink_to(f"{_GENERATIONS}/{number:08}")
        draft.replace(self._directory / "current")
        sync_folder(self._directory)

    def _generation(self, number: int) -> Path:
        return self._directory / _GENERATIONS / f"{number:08}"

    def _remove_remains(self, *, must: bool = False) -> None:
        """Remove what no `current` names: former generations, and what crashes left.

        What cannot be removed is tried again at the next change, unless it *must* go now.
        """
        remove_leftovers(self._directory)
        keep = self._generation(self._current())
        for folder in (self._directory / _GENERATIONS).iterdir():
            if folder == keep:
                continue
            try:
                self._remove(folder)
            except (FileUnusable, Unavailable):
                if must:
                    raise
            except OSError as err:
                if must:
                    raise file_error(err, folder, "removed") from err

    def _remove(self, folder: Path) -> None:
        for name in self._secret:
            if (folder / name).exists():
                erase_file(folder / name)
        for draft in folder.glob(".*.tmp"):  # a secret file that a crash left half written
            erase_file(draft)
        shutil.rmtree(folder)


def _lock(descriptor: int, directory: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as err:
        if err.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise file_error(err, directory, "locked") from err
        raise StateError(
            f"another process is onboarding with {directory}", section="RFC 8995 §5"
        ) from err
