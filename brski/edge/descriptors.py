"""How many files and sockets this process may have open, and how many of them peers may take."""

from __future__ import annotations

import resource
from contextlib import suppress
from typing import Final

_WANTED: Final = 16_384  # ours: a server's worth of connections
_RESERVE: Final = 128  # ours: for journal, logs and our own questions to others


def raise_limit() -> None:
    """Raise the soft limit of descriptors to what a server needs, as far as the hard one lets it.

    The usual soft limit is for programs that call select(2); no program of ours does.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED if hard == resource.RLIM_INFINITY else min(_WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # then it stays as it is
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def room_for_peers() -> int:
    """How many connections peers may have open, so that enough is left for the process itself."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _WANTED
    return max(soft - _RESERVE, soft // 2)
