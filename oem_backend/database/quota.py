"""How often each registrar may ask."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from typing import Final

from brski.errors import TooManyRequests
from brski.rates import Rate, TokenBuckets

_REMEMBERED: Final = 4096  # ours: registrars; the one unheard of for longest is forgotten


class Quota:
    """A steady rate for each registrar, and how much of it may come at once.

    Args:
        clock: seconds, monotonic.
        per_s: queries a second.
        burst: queries at once, after a silence.
        remembered: registrars.

    Raises:
        SettingsError: a rate that is not above 0, or a burst below 1.
    """

    __slots__ = ("_buckets", "_clock")

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        per_s: float,
        burst: float,
        remembered: int = _REMEMBERED,
    ) -> None:
        self._clock = clock
        self._buckets = TokenBuckets(Rate(per_s=per_s, burst=burst), remembered=remembered)

    def take(self, registrar: Hashable) -> None:
        """Count one query of *registrar*'s.

        Raises:
            TooManyRequests: it has had its share; a refused query does not count.
        """
        wait = self._buckets.take(registrar, self._clock())
        if wait:
            raise TooManyRequests(
                "this registrar's quota is used up", retry_after_s=math.ceil(wait)
            )
