"""How often a registrar may ask, and how often in vain (RFC 8995 §11.1).

Anybody can make a registrar's certificate, so its address counts beside it. Refusals have a budget
of their own: who has used it up is not heard at all, since an answer to some questions would be an
answer to all.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from brski.errors import TooManyRequests
from brski.rates import Rate, TokenBuckets

_REMEMBERED: Final = 4096  # ours: of addresses, and of domains


class RegistrarRates:
    """The budgets of every address and of every domain.

    Args:
        clock: seconds, monotonic.
        requests: of one domain, and of one address.
        refusals: likewise, of answers that say no.
    """

    def __init__(self, clock: Callable[[], float], *, requests: Rate, refusals: Rate) -> None:
        self._clock = clock
        self._requests = TokenBuckets(requests, remembered=2 * _REMEMBERED)
        self._refusals = TokenBuckets(refusals, remembered=2 * _REMEMBERED)

    def admit(self, whose: str | bytes) -> None:
        """Count a request of an address (text) or of a domain (SHA-256 of its key).

        Raises:
            TooManyRequests: it has had its share of requests, or of refusals.
        """
        at = self._clock()
        wait = self._refusals.wait(whose, at) or self._requests.take(whose, at)
        if wait:
            raise TooManyRequests("this registrar asks too often", retry_after_s=math.ceil(wait))

    def refused(self, whose: str | bytes | None) -> None:
        """Count an answer that says no; None is not known and has no budget."""
        if whose is not None:
            self._refusals.take(whose, self._clock())
