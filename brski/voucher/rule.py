"""One rule about a document, ready to be checked: so that each can be named before it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule and the values that it is about.

    Who decides calls :attr:`check` of each in turn, and stops where one raises. Who explains can
    tell of all of them, those that hold and those that follow included.
    """

    name: str
    section: str
    found: str  # for people, as is the next
    wanted: str
    check: Callable[[], None]  # raises unless the rule holds
    judged: bool = True  # False: what the rule needs is not known, so that check has nothing to do
