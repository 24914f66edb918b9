"""The garbage collector of a server process: it looks less often, and not at what never goes away.

What a request leaves behind is freed by reference counts; cycles are rare (a traceback, a closed
connection). With CPython's defaults the collector runs at every 700 new objects and goes through
all that the program loaded at its start again and again: an eighth of a registrar's CPU.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

YOUNG: Final = 20_000  # ours: new objects between two looks; a few MB of cycles at most


@contextmanager
def rare_collections() -> Iterator[None]:
    """While the block runs: what exists at its start is never looked at, the rest rarely.

    For the whole process, so only a program's own main part may use it.
    """
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
