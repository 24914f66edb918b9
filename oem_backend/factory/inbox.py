"""The folder that demands lie in. Others write there: nothing in it is believed, or followed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from brski.edge.atomic_file import file_error
from brski.errors import PeerError
from brski.idevid.demand import MOST_OCTETS, SUFFIX, Demand, is_demand_name, parse_demand

MOST_FILES: Final = 10_000  # of one look; the others' turn comes with the next


class Inbox:
    """An existing folder of demands.

    Whoever writes there writes under another name and renames; names that begin with a dot are
    passed over.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> list[str]:
        """The demands that lie there now, in the order of their names.

        Raises:
            FileUnusable, Unavailable: the folder cannot be read.
        """
        try:
            with os.scandir(self._folder) as found:
                return sorted(islice(_demands(found), MOST_FILES))
        except OSError as err:
            raise file_error(err, self._folder, "read") from err

    def read(self, name: str) -> Demand | None:
        """The demand in a file; None if it is none, is no plain file, or is gone.

        Raises:
            Unavailable: the disk.
        """
        if not is_demand_name(name):
            return None
        octets = self._read_plain(name)
        try:
            return None if octets is None else parse_demand(octets, name)
        except PeerError:
            return None

    def remove(self, name: str) -> None:
        """Remove a file, or a link itself; one that is gone is no fault.

        Raises:
            FileUnusable, Unavailable: it cannot be removed.
        """
        path = self._folder / name
        try:
            path.unlink(missing_ok=True)
        except OSError as err:
            raise file_error(err, path, "removed") from err

    def _read_plain(self, name: str) -> bytes | None:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            descriptor = os.open(self._folder / name, flags)
        except OSError:
            return None
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None
            return os.read(descriptor, MOST_OCTETS + 1)
        except OSError as err:
            raise file_error(err, self._folder / name, "read") from err
        finally:
            os.close(descriptor)


def _demands(found: Iterator[os.DirEntry[str]]) -> Iterator[str]:
    return (
        entry.name
        for entry in found
        if entry.name.endswith(SUFFIX)
        and not entry.name.startswith(".")
        and not entry.is_dir(follow_symlinks=False)
    )
