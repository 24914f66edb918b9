"""Whom the pledge tries when: registrars that were told and those that were found."""

from __future__ import annotations

from pathlib import Path

import pytest

from device_client.candidates import REMEMBERED_LIMIT, Candidates
from device_client.link import link_state
from device_client.pledge.origin import Origin

ONE, TWO, THREE = (Origin("192.0.2.7", port) for port in (1, 2, 3))


def following(candidates: Candidates, now_s: float = 0) -> tuple[Origin, float]:
    choice = candidates.next(now_s=now_s, spread=0.5)
    return choice.origin, choice.wait_s


@pytest.mark.requirement("PL-33")
def test_found_ones_are_tried_beside_those_that_were_told() -> None:
    """Each once, with a pause between two, and each with its own back-off."""
    candidates = Candidates([ONE, ONE], 10)
    candidates.find([TWO, ONE, TWO])
    assert len(candidates) == 2
    assert following(candidates) == (ONE, 0)
    candidates.failed(ONE, now_s=0, retry_after_s=0)
    assert following(candidates) == (TWO, 4)
    candidates.failed(TWO, now_s=4, retry_after_s=0)
    assert following(candidates, 4) == (ONE, 6)
    candidates.failed(ONE, now_s=10, retry_after_s=0)
    assert following(candidates, 10) == (TWO, 4)
    candidates.failed(TWO, now_s=14, retry_after_s=0)
    assert following(candidates, 14) == (ONE, 16)  # twice ten after the second failure


def test_who_comes_back_has_the_back_off_that_it_left_with() -> None:
    """Saying a farewell and announcing again is no way to be tried more often."""
    candidates = Candidates([], 10)
    candidates.find([ONE])
    candidates.failed(ONE, now_s=0, retry_after_s=0)
    candidates.find([TWO])
    assert following(candidates) == (TWO, 4)
    candidates.failed(TWO, now_s=1, retry_after_s=0)
    candidates.find([ONE])
    assert following(candidates, 1) == (ONE, 9)


def test_what_is_remembered_is_bounded() -> None:
    """However many names a stranger makes up."""
    candidates = Candidates([ONE], 10)
    candidates.failed(ONE, now_s=0, retry_after_s=0)
    for port in range(2, 2000):
        candidates.find([Origin("192.0.2.7", port)])
        candidates.failed(Origin("192.0.2.7", port), now_s=0, retry_after_s=0)
    candidates.find([])
    assert len(candidates._attempts) <= REMEMBERED_LIMIT + 2
    assert following(candidates, 0) == (ONE, 10)


@pytest.mark.requirement("PL-33")
def test_a_change_of_the_link_begins_anew() -> None:
    """No back-off, and no pause either."""
    candidates = Candidates([ONE, TWO], 10)
    for origin in (ONE, TWO, ONE, TWO):
        candidates.failed(origin, now_s=0, retry_after_s=3000)
    assert following(candidates)[1] == 3000
    candidates.begin_anew()
    assert following(candidates) == (ONE, 0)


def test_the_link_is_what_the_system_counts(tmp_path: Path) -> None:
    """A carrier that came or went, an interface that appeared; and nothing where there is none."""
    assert link_state(tmp_path / "none") == ()
    (tmp_path / "eth0").mkdir()
    before = link_state(tmp_path)
    (tmp_path / "eth0" / "carrier_changes").write_text("1\n")
    after = link_state(tmp_path)
    assert after != before
    assert link_state(tmp_path) == after
    (tmp_path / "eth0" / "carrier_changes").write_text("2\n")
    assert link_state(tmp_path) != after
    assert link_state() == link_state()
