"""How often strangers may ask: token buckets, for each address and in all.

Owns no clock: the caller gives one, or the time itself. Unknown peers cost bounded memory.
"""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from brski.errors import SettingsError, TooManyRequests

_SUBNET_BITS: Final = 64  # whoever has one IPv6 address of a subnet has them all
_ADDRESS_CHARACTERS: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A steady rate, and how much of it may come at once.

    Raises:
        SettingsError: a rate that is not above 0, or a burst below 1.
    """

    per_s: float
    burst: float

    def __post_init__(self) -> None:
        if not (0 < self.per_s < math.inf and 1 <= self.burst < math.inf):
            raise SettingsError(f"a rate of {self.per_s} a second, {self.burst} at once, is none")


class TokenBucket:
    """One rate being used up.

    Args:
        rate: how fast it fills and how much it holds; it starts full.
        at: now, in seconds of whatever clock the callers of :meth:`take` use.
    """

    __slots__ = ("_at", "_rate", "_tokens")

    def __init__(self, rate: Rate, *, at: float) -> None:
        self._rate = rate
        self._tokens = rate.burst
        self._at = at

    def take(self, at: float, *, leave: float = 0.0) -> float:
        """Take one token, if *leave* and one more are there.

        A clock that was set back fills nothing; one that was set forward fills the bucket once.

        Args:
            at: now, in seconds.
            leave: tokens that this caller may not touch.

        Returns:
            0 if it was taken, else the seconds until it could be.
        """
        filled = self._tokens + max(0.0, at - self._at) * self._rate.per_s
        self._tokens = min(self._rate.burst, filled)
        self._at = at
        missing = 1.0 + leave - self._tokens
        if missing > 0:
            return missing / self._rate.per_s
        self._tokens -= 1.0
        return 0.0


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
        self._per_address = per_address
        self._in_all = TokenBucket(in_all, at=clock())
        self._limit = addresses
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

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
        if address and (wait := self._bucket(subnet_of(address), at).take(at)):
            raise TooManyRequests(
                "too many voucher-requests from this address", retry_after_s=math.ceil(wait)
            )
        if wait := self._in_all.take(at):
            raise TooManyRequests("too many voucher-requests in all", retry_after_s=math.ceil(wait))

    def _bucket(self, subnet: str, at: float) -> TokenBucket:
        bucket = self._buckets.get(subnet)
        if bucket is None:
            bucket = self._buckets[subnet] = TokenBucket(self._per_address, at=at)
            if len(self._buckets) > self._limit:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(subnet)
        return bucket


def subnet_of(address: str) -> str:
    """Whom a budget counts as one: an IPv4 address, an IPv6 /64, a link-local address.

    All pledges of a link share fe80::/64, so there the whole address counts; its scope does not.

    Args:
        address: text, as a socket gives it; what is no address counts as itself.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:_ADDRESS_CHARACTERS]
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    if parsed.is_link_local:
        return str(parsed)
    return str(ipaddress.IPv6Network((int(parsed), _SUBNET_BITS), strict=False))
