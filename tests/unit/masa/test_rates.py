"""How often a registrar may ask, and how often in vain."""

from __future__ import annotations

import pytest

from brski.errors import DeviceUnknown, TooManyRequests
from brski.rates import Rate, TokenBuckets
from masa_stub.rates import RegistrarRates
from masa_stub.web.access import place_of
from masa_stub.web.locations import KEPT_S, Locations


class Seconds:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


def rates(clock: Seconds) -> RegistrarRates:
    return RegistrarRates(
        clock, requests=Rate(per_s=10, burst=5), refusals=Rate(per_s=0.1, burst=2)
    )


def test_who_asks_too_often_waits() -> None:
    """It is told how long; others do not notice."""
    clock = Seconds()
    budget = rates(clock)
    for _ in range(5):
        budget.admit("192.0.2.1")
    with pytest.raises(TooManyRequests) as refused:
        budget.admit("192.0.2.1")
    assert refused.value.retry_after_s == 1
    budget.admit("192.0.2.2")
    clock.at = 0.1
    budget.admit("192.0.2.1")


def test_who_is_refused_too_often_is_not_heard_at_all() -> None:
    """Else what is not refused would tell which of its guesses were right."""
    clock = Seconds()
    budget = rates(clock)
    for _ in range(2):
        budget.admit("192.0.2.1")
        budget.refused("192.0.2.1")
        budget.refused(b"domain")
        budget.refused(None)
    for whose in ("192.0.2.1", b"domain"):
        with pytest.raises(TooManyRequests) as refused:
            budget.admit(whose)
        assert refused.value.retry_after_s == 10
    clock.at = 10.0
    budget.admit("192.0.2.1")


def test_looking_at_a_bucket_takes_nothing() -> None:
    """And remembers nobody."""
    buckets = TokenBuckets(Rate(per_s=1, burst=1), remembered=1)
    assert buckets.wait("a", 0.0) == 0.0
    assert buckets.take("a", 0.0) == 0.0
    assert buckets.wait("b", 0.0) == 0.0
    assert buckets.wait("a", 0.0) == 1.0
    assert buckets.wait("a", 0.5) == 0.5
    assert buckets.take("a", 1.0) == 0.0


@pytest.mark.parametrize(
    ("address", "whose"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::9", "2001:db8:1:3::/64"),
        ("", ""),
    ],
)
def test_a_network_of_ones_own_is_one_address(address: str, whose: str) -> None:
    """Else one host would have as many budgets as it likes."""
    assert place_of(address) == whose


@pytest.mark.requirement("AUD-9")
def test_an_address_is_for_who_was_told_it_and_for_a_while() -> None:
    """Unguessable, bound to the client's key where there was one, and the same each time."""
    clock = Seconds()
    places = Locations(clock)
    slug, other = places.put(b"log", b"key"), places.put(b"log", b"")
    assert slug != other
    assert len(slug) == 43  # 256 bits
    assert places.get(slug, b"key") == places.get(slug, b"key") == b"log"
    assert places.get(other, b"") == b"log"
    for wrong, client in ((slug, b""), (slug, b"yek"), (slug[:-1], b"key"), ("", b"")):
        with pytest.raises(DeviceUnknown):
            places.get(wrong, client)
    clock.at = KEPT_S + 1
    with pytest.raises(DeviceUnknown):
        places.get(slug, b"key")


def test_addresses_are_bounded() -> None:
    """Who asks for ever more loses the first."""
    places = Locations(Seconds())
    first = places.put(b"first", b"")
    for _ in range(1024):
        last = places.put(b"later", b"")
    with pytest.raises(DeviceUnknown):
        places.get(first, b"")
    assert places.get(last, b"") == b"later"
