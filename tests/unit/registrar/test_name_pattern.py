"""Which names a pattern stands for; two that could meet are always seen to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registrar_plugin.enrollment.name_pattern import parse_pattern

NAMES = st.text("ab.-", max_size=6)
PATTERNS = st.text("ab.-*", min_size=1, max_size=6).filter(
    lambda text: text.count("*") <= 1 and text != "*"
)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("printer-7", ["printer-7"]),
        ("gw-*", ["gw-7", "gw-a_B-9", "gw--"]),
        ("gw-*.east", ["gw-7.east", "gw-gw-.east"]),
        ("*.east", ["a.east"]),
        ("aa*aa", ["aabaa", "aaaaa"]),
    ],
)
def test_what_a_pattern_stands_for(pattern: str, names: list[str]) -> None:
    """And its text is what was read."""
    assert all(map(parse_pattern(pattern).matches, names))
    assert str(parse_pattern(pattern)) == pattern


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("printer-7", ["printer-70", "xprinter-7", "Printer-7", "printer-7\n", ""]),
        ("gw-*", ["gw-", "gw", "GW-7", "gw-a.b", "xgw-7", "gw-7 ", "gw-7\n", "gw-\u0667", "gw-*"]),
        ("gw-*.east", ["gw-.east", "gw-7.west", "gw-7xeast", "gw-a.b.east", "gw-7.east.west"]),
        ("*.east", [".east", "a.b.east", "east"]),
        ("aa*aa", ["aaa", "aaaa", "aa"]),
    ],
)
def test_what_it_does_not(pattern: str, names: list[str]) -> None:
    """Neither longer, nor shorter, nor across a dot."""
    assert not any(map(parse_pattern(pattern).matches, names))


@pytest.mark.parametrize("text", ["", "*", "a**", "*a*", "a b", "a:b", "ä", "[a]", "a?", "a\n"])
def test_what_is_no_pattern(text: str) -> None:
    """Nor one that stands for everybody."""
    with pytest.raises(ValueError, match="name"):
        parse_pattern(text)


@given(PATTERNS, PATTERNS, NAMES)
def test_two_that_share_a_name_are_seen_to(one: str, other: str, name: str) -> None:
    """The other way round may be said of some that do not."""
    both = parse_pattern(one), parse_pattern(other)
    if all(pattern.matches(name) for pattern in both):
        assert both[0].may_meet(both[1])
    assert both[0].may_meet(both[1]) == both[1].may_meet(both[0])


@pytest.mark.parametrize(
    ("one", "other"),
    [("gw-*.east", "gw-*.west"), ("a*", "b*"), ("a", "b"), ("a*", "b"), ("*a", "b")],
)
def test_two_that_cannot_meet(one: str, other: str) -> None:
    """Different ends, or beginnings."""
    assert not parse_pattern(one).may_meet(parse_pattern(other))


@pytest.mark.parametrize(
    ("one", "other"), [("gw-*", "GW-*"), ("gw-1", "GW-*"), ("GW-1", "gw-1"), ("*.East", "a.*ast")]
)
def test_case_keeps_no_two_apart(one: str, other: str) -> None:
    """One RA's GW-1 would be another's gw-1 to whoever compares names as RFC 5280 has it."""
    assert parse_pattern(one).may_meet(parse_pattern(other))
    assert not parse_pattern("gw-*").matches("GW-1")
