"""When which registrar is tried again."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_client.pledge.backoff import LONGEST_S, Attempts, between_s, choose, delay_s, failed


@pytest.mark.requirement("PL-33")
def test_delay_doubles_up_to_an_hour() -> None:
    """5, 10, 20 … and never more than 3600 s, however often it failed."""
    delays = [delay_s(n, first_s=5) for n in range(14)]
    assert delays[:5] == [0, 5, 10, 20, 40]
    assert delays[-1] == LONGEST_S
    assert delay_s(10**6, first_s=5) == LONGEST_S


@pytest.mark.requirement("PL-33")
@given(st.floats(allow_nan=False))
def test_pause_between_registrars_is_3_to_5_seconds(spread: float) -> None:
    """Whatever the random number, the pause stays within what RFC 8995 §4.1 says."""
    assert 3 <= between_s(spread) <= 5


def test_without_registrars_there_is_no_choice() -> None:
    """The caller has to give one."""
    with pytest.raises(ValueError, match="empty"):
        choose([], last=None, now_s=0, first_s=5, spread=0)


@pytest.mark.requirement("PL-27", "PL-33")
def test_another_registrar_comes_before_the_one_that_failed() -> None:
    """After a failure the one never tried is due at once, save for the pause between two."""
    attempts = [failed(Attempts(), now_s=100), Attempts()]
    choice = choose(attempts, last=0, now_s=100, first_s=60, spread=0.5)
    assert (choice.index, choice.wait_s) == (1, 4)


@pytest.mark.requirement("PL-33")
def test_back_offs_are_independent() -> None:
    """One registrar's failures do not delay another's next attempt."""
    often = Attempts(failures=9, ended_at_s=100)
    once = Attempts(failures=1, ended_at_s=99)
    choice = choose([often, once], last=0, now_s=100, first_s=5, spread=0)
    assert choice.index == 1
    assert choice.wait_s == 4  # due at 104, and the pause of 3 s is over by then


def test_the_same_registrar_waits_its_own_delay_only() -> None:
    """With one registrar there is no pause between different ones."""
    choice = choose([failed(Attempts(), now_s=50)], last=0, now_s=50, first_s=5, spread=1)
    assert (choice.index, choice.wait_s) == (0, 5)


def test_the_least_recent_of_several_due_is_tried() -> None:
    """RFC 8995 §5.1: the one that was communicated with least recently."""
    attempts = [Attempts(failures=1, ended_at_s=30), Attempts(failures=1, ended_at_s=10)]
    assert choose(attempts, last=None, now_s=1000, first_s=5, spread=0).index == 1


def test_retry_after_is_honoured_up_to_an_hour() -> None:
    """A registrar that nobody vouched for cannot send the pledge away for a year."""
    polite = failed(Attempts(), now_s=0, retry_after_s=120)
    greedy = failed(Attempts(), now_s=0, retry_after_s=10**9)
    assert choose([polite], last=0, now_s=0, first_s=5, spread=0).wait_s == 120
    assert choose([greedy], last=0, now_s=0, first_s=5, spread=0).wait_s == LONGEST_S


@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=5),
    st.floats(0, 10**6),
    st.floats(0, 1),
)
def test_every_registrar_is_tried_again(failures: list[int], now_s: float, spread: float) -> None:
    """Whatever went before, 64 attempts reach every registrar, and no wait is beyond an hour."""
    attempts = [Attempts(failures=n, ended_at_s=now_s) for n in failures]
    last: int | None = None
    seen = set()
    for _ in itertools.repeat(None, 64):
        choice = choose(attempts, last=last, now_s=now_s, first_s=5, spread=spread)
        assert 0 <= choice.wait_s <= LONGEST_S + 1e-6  # sums of floats
        now_s += choice.wait_s
        last = choice.index
        seen.add(last)
        attempts[last] = failed(attempts[last], now_s=now_s)
    assert seen == set(range(len(failures)))
