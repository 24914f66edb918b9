"""The files that a CA was loaded from: whether the next start would find the same CA there."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TypeAlias

from brski.edge.signers.file import load_signer
from brski.errors import OnboardingError
from brski.pki.signer import Signer

_Marks: TypeAlias = tuple[tuple[int, ...] | None, ...]


class KeyFiles:
    """Looked at again only when one of them has changed.

    Args:
        key: PEM, 0600.
        chain: PEM.
        loaded: what was read from them.
    """

    def __init__(self, key: Path, chain: Path, loaded: Signer) -> None:
        self._key = key
        self._chain = chain
        self._loaded = loaded
        self._marks = self._look()
        self._said: str | None = None

    async def check(self) -> str | None:
        """What the next start would stumble over; the key in memory signs all the same."""
        marks = self._look()
        if marks != self._marks:
            self._said = await asyncio.to_thread(self._read)
            self._marks = marks
        return self._said

    def _look(self) -> _Marks:
        return tuple(map(_mark, (self._key, self._chain)))

    def _read(self) -> str | None:
        try:
            found = load_signer(self._key, self._chain, deterministic=True)
        except OnboardingError as err:
            return f"the next start would fail: {err.reason}"
        if found.chain != self._loaded.chain:
            return f"{self._chain} holds another chain than the one in use since the start"
        return None


def _mark(path: Path) -> tuple[int, ...] | None:
    try:
        seen = os.stat(path)  # noqa: PTH116 - beside the numbers of its result
    except OSError:
        return None
    return seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_mode
