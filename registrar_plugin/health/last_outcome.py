"""A part that says nothing of itself is judged by how its last work went."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from brski.errors import LocalError, OnboardingError, Unavailable

HELD_S: Final = 30.0  # ours: then it is given another chance, since nobody tries it otherwise


class LastOutcome:
    """Of one part.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failure: OnboardingError | None = None
        self._failed_at = 0.0

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Around its work: remember whether it failed, unless somebody else was at fault."""
        try:
            yield
        except (Unavailable, LocalError) as failure:
            self._failure, self._failed_at = failure, self._clock()
            raise
        self._failure = None

    async def check(self) -> None:
        """Raise if its last work failed, for a while.

        Raises:
            OnboardingError: how it failed.
        """
        if self._failure is not None and self._clock() - self._failed_at < HELD_S:
            raise type(self._failure)(self._failure.reason)
