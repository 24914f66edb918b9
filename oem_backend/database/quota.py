"""How often each registrar may ask. Owns no clock."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final

from brski.errors import SettingsError, TooManyRequests

_REMEMBERED: Final = 4096  # ours: registrars; the one unheard of for longest is forgotten


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


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

    __slots__ = ("_buckets", "_burst", "_clock", "_per_s", "_remembered")

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        per_s: float,
        burst: float,
        remembered: int = _REMEMBERED,
    ) -> None:
        if not (0 < per_s < math.inf and 1 <= burst < math.inf):
            raise SettingsError(f"a quota of {per_s} a second, {burst} at once, is none")
        self._clock = clock
        self._per_s = per_s
        self._burst = burst
        self._remembered = remembered
        self._buckets: OrderedDict[Hashable, _Bucket] = OrderedDict()

    def take(self, registrar: Hashable) -> None:
        """Count one query of *registrar*'s.

        Raises:
            TooManyRequests: it has had its share; a refused query does not count.
        """
        at = self._clock()
        bucket = self._buckets.get(registrar)
        if bucket is None:
            bucket = self._buckets[registrar] = _Bucket(self._burst, at)
            if len(self._buckets) > self._remembered:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(registrar)
        filled = bucket.tokens + max(0.0, at - bucket.at) * self._per_s
        bucket.tokens, bucket.at = min(self._burst, filled), at
        if bucket.tokens < 1:
            wait = math.ceil((1 - bucket.tokens) / self._per_s)
            raise TooManyRequests("this registrar's quota is used up", retry_after_s=wait)
        bucket.tokens -= 1
