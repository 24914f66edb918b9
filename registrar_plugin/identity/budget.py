"""How often strangers may ask: token buckets, for each address and in all.

Owns no clock: the caller gives one, or the time itself. Unknown peers cost bounded memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from brski.errors import TooManyRequests
from brski.rates import Rate, TokenBucket, TokenBuckets, subnet_of

PER_ADDRESS: Final = Rate(per_s=50, burst=200)
IN_ALL: Final = Rate(per_s=200, burst=400)


class RateBudget:
    """Voucher-requests for each address, and in all.

    Args:
        clock: seconds, best monotonic.
        per_address: the share of one address; a join proxy is one address to many pledges.
        in_all: of all addresses together.
        addresses: how many are remembered; the one unseen for longest is forgotten, and *in_all*
            still holds.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        per_address: Rate = PER_ADDRESS,
        in_all: Rate = IN_ALL,
        addresses: int = 4096,
    ) -> None:
        self._clock = clock
        self._per_address = TokenBuckets(per_address, remembered=addresses)
        self._in_all = TokenBucket(in_all, at=clock())

    def take(self, address: str) -> None:
        """Count one request from *address*.

        Args:
            address: IPv4 or IPv6, a scope allowed; empty when it is not known, which counts in all
                alone.

        Raises:
            TooManyRequests: the address's budget, or the one in all, is used up. A request over its
                address's budget takes nothing from the others.
        """
        at = self._clock()
        if address and (wait := self._per_address.take(subnet_of(address), at)):
            raise TooManyRequests(
                "too many voucher-requests from this address", retry_after_s=math.ceil(wait)
            )
        if wait := self._in_all.take(at):
            raise TooManyRequests("too many voucher-requests in all", retry_after_s=math.ceil(wait))
