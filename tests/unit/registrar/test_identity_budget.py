"""How often strangers may ask."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brski.errors import SettingsError, TooManyRequests
from brski.rates import Rate, TokenBucket, subnet_of
from registrar_plugin.identity.budget import RateBudget


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def taken(bucket: TokenBucket, at: float, most: int = 100) -> int:
    """How many tokens are there at once."""
    return next(n for n in range(most) if bucket.take(at) > 0)


def test_bucket_starts_full_and_fills_at_its_rate() -> None:
    """Three at once, then two a second."""
    bucket = TokenBucket(Rate(per_s=2, burst=3), at=0.0)
    assert taken(bucket, 0.0) == 3
    assert taken(bucket, 1.0) == 2
    assert taken(bucket, 1000.0) == 3


def test_bucket_says_when_to_come_again() -> None:
    """The wait is exact: a moment earlier is too early."""
    bucket = TokenBucket(Rate(per_s=2, burst=1), at=0.0)
    assert bucket.take(0.0) == 0
    wait = bucket.take(0.0)
    assert wait == pytest.approx(0.5)
    assert bucket.take(0.4) > 0
    assert bucket.take(0.5) == 0


def test_reserve_is_left_for_those_who_may_touch_it() -> None:
    """Who must leave two gets one of three; who need not gets the rest."""
    bucket = TokenBucket(Rate(per_s=1, burst=3), at=0.0)
    assert bucket.take(0.0, leave=2) == 0
    assert bucket.take(0.0, leave=2) == pytest.approx(1.0)
    assert taken(bucket, 0.0) == 2


@given(st.lists(st.floats(min_value=-1e6, max_value=1e6), max_size=60))
def test_clock_that_jumps_gives_no_more_than_a_full_bucket_each_time(jumps: list[float]) -> None:
    """Set back it fills nothing, set forward the bucket once."""
    bucket = TokenBucket(Rate(per_s=1, burst=2), at=0.0)
    for at in jumps:
        assert taken(bucket, at) <= 2
    assert bucket.take(1e6, leave=1) == 0 or bucket.take(1e6 + 2) == 0


@pytest.mark.parametrize(
    ("per_s", "burst"), [(0, 1), (-1, 1), (math.inf, 1), (1, 0.5), (1, math.nan)]
)
def test_rate_that_is_none_is_refused(per_s: float, burst: float) -> None:
    """Nought is not "unlimited"."""
    with pytest.raises(SettingsError):
        Rate(per_s=per_s, burst=burst)


def test_address_over_its_budget_costs_the_others_nothing() -> None:
    """It is refused before the common budget is touched."""
    budget = RateBudget(
        clock=Clock(), per_address=Rate(per_s=1, burst=2), in_all=Rate(per_s=1, burst=4)
    )
    for _ in range(2):
        budget.take("192.0.2.1")
    for _ in range(100):
        with pytest.raises(TooManyRequests, match="this address"):
            budget.take("192.0.2.1")
    for _ in range(2):
        budget.take("192.0.2.2")
    with pytest.raises(TooManyRequests, match="in all"):
        budget.take("192.0.2.3")


def test_refusal_says_when_to_come_again_in_whole_seconds() -> None:
    """As Retry-After has it; then the address is served."""
    clock = Clock()
    budget = RateBudget(clock=clock, per_address=Rate(per_s=0.3, burst=1))
    budget.take("192.0.2.1")
    with pytest.raises(TooManyRequests) as refusal:
        budget.take("192.0.2.1")
    assert refusal.value.retry_after_s == 4
    clock.now += refusal.value.retry_after_s
    budget.take("192.0.2.1")


def test_unknown_address_counts_in_all_alone() -> None:
    """A host that does not know it still has the common budget."""
    budget = RateBudget(
        clock=Clock(), per_address=Rate(per_s=1, burst=1), in_all=Rate(per_s=1, burst=3)
    )
    for _ in range(3):
        budget.take("")
    with pytest.raises(TooManyRequests, match="in all"):
        budget.take("")


def test_memory_for_addresses_is_bounded_and_keeps_the_busy_ones() -> None:
    """Many addresses push out the ones unseen for longest; the common budget holds regardless."""
    budget = RateBudget(
        clock=Clock(),
        per_address=Rate(per_s=1, burst=1),
        in_all=Rate(per_s=1, burst=1000),
        addresses=3,
    )
    budget.take("192.0.2.1")
    for last in range(10, 40):
        budget.take(f"192.0.2.{last}")
        with pytest.raises(TooManyRequests):
            budget.take("192.0.2.1")
    budget.take("192.0.2.10")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("fe80::1%eth0", "fe80::1%eth1", True),
        ("fe80::1%eth0", "fe80::2%eth0", False),
        ("unix:", "unix:", True),
        ("x" * 100, "x" * 99, True),
    ],
)
def test_whom_a_budget_counts_as_one(one: str, other: str, same: bool) -> None:
    """A /64 is one neighbour; a link's pledges share fe80::/64 and are many."""
    assert (subnet_of(one) == subnet_of(other)) is same
