"""How often somebody may: token buckets, one alone or one for each of many; and who counts as one.

Owns no clock: the caller gives the time. Strangers cost bounded memory.
"""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from brski.errors import SettingsError

_SUBNET_BITS: Final = 64  # whoever has one IPv6 address of a subnet has them all
_ADDRESS_CHARACTERS: Final = 64
_ADDRESSES: Final = 1024  # ours: whose subnet is remembered; one connects and asks several times


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

    def wait(self, at: float) -> float:
        """The seconds until a token is there, 0 if one is; takes none."""
        filled = self._tokens + max(0.0, at - self._at) * self._rate.per_s
        return max(0.0, 1.0 - filled) / self._rate.per_s


class TokenBuckets:
    """The same rate for each of many, whom nobody has to announce.

    Args:
        rate: of each; a new one starts full.
        remembered: how many; the one unheard of for longest is forgotten, and starts full again.
    """

    __slots__ = ("_buckets", "_rate", "_remembered")

    def __init__(self, rate: Rate, *, remembered: int) -> None:
        self._rate = rate
        self._remembered = remembered
        self._buckets: OrderedDict[Hashable, TokenBucket] = OrderedDict()

    def take(self, whose: Hashable, at: float) -> float:
        """Take one of *whose* tokens; see :meth:`TokenBucket.take`."""
        bucket = self._buckets.get(whose)
        if bucket is None:
            bucket = self._buckets[whose] = TokenBucket(self._rate, at=at)
            if len(self._buckets) > self._remembered:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(whose)
        return bucket.take(at)

    def wait(self, whose: Hashable, at: float) -> float:
        """See :meth:`TokenBucket.wait`; who asks it is not remembered for that."""
        bucket = self._buckets.get(whose)
        return 0.0 if bucket is None else bucket.wait(at)


@lru_cache(maxsize=_ADDRESSES)
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
