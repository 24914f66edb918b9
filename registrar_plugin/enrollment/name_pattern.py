"""Which names a registration authority may ask for, as the settings say it.

A pattern is a name in which one ``*`` may stand for one or more letters, digits, hyphens and
underscores, never for a dot. No regular expression: in one, a dot that is meant as a dot is easily
every character, and some take for ever.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_WILD: Final = re.compile(r"[A-Za-z0-9_-]+\Z")
_FIXED: Final = re.compile(r"[A-Za-z0-9._-]*\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class NamePattern:
    """A name, or all those that begin with *head*, end with *tail* and have something between."""

    head: str
    tail: str | None  # None: *head* is the whole name

    def matches(self, name: str) -> bool:
        """Whether *name*, the whole of it and as it is written, is one of these."""
        if self.tail is None:
            return name == self.head
        between = name[len(self.head) : len(name) - len(self.tail)]
        return name == self.head + between + self.tail and _WILD.match(between) is not None

    def may_meet(self, other: NamePattern) -> bool:
        """Whether a name could be of both; may say so of two that just fail to meet.

        Whatever the case: readers of names do not tell GW-1 from gw-1 (RFC 5280 §7.1).
        """
        return self._in_lower_case()._may_meet(other._in_lower_case())

    def _in_lower_case(self) -> NamePattern:
        return NamePattern(
            head=self.head.lower(), tail=None if self.tail is None else self.tail.lower()
        )

    def _may_meet(self, other: NamePattern) -> bool:
        if self.tail is None:
            return other.matches(self.head)
        if other.tail is None:
            return self.matches(other.head)
        return _one_begins(self.head, other.head) and _one_begins(self.tail[::-1], other.tail[::-1])

    def __str__(self) -> str:
        return self.head if self.tail is None else f"{self.head}*{self.tail}"


def parse_pattern(text: str) -> NamePattern:
    """Read a pattern.

    Raises:
        ValueError: more than one ``*``, nothing but it, or another character than ``A-Z a-z 0-9
            . _ -``.
    """
    head, star, tail = text.partition("*")
    if not (_FIXED.match(head) and _FIXED.match(tail)):
        raise ValueError(f"{text!r} is not a name of A-Z a-z 0-9 . _ - with one * in it at most")
    if not head + tail:
        raise ValueError(f"{text!r} names nobody, or everybody; say what the names have in common")
    return NamePattern(head=head, tail=tail if star else None)


def _one_begins(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)
