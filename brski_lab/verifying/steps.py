"""A verdict step by step: each rule with its section, what came of it, and the two values."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, TypeVar

from brski.errors import OnboardingError
from brski.voucher.rule import Rule

T = TypeVar("T")


class Outcome(enum.StrEnum):
    """What came of a rule."""

    OK = "ok"
    FAILED = "failed"
    NOT_JUDGED = "not judged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One rule."""

    name: str
    section: str
    outcome: Outcome
    found: str = ""
    wanted: str = ""
    reason: str = ""  # why it failed, or was not judged


@dataclass(frozen=True, slots=True)
class Unknown:
    """A value that could not be had; the rules that need it are not judged."""

    why: str


class Steps:
    """Gathers steps; what one of them yields is handed on, or known to be missing."""

    def __init__(self) -> None:
        self.taken: list[Step] = []

    def attempt(
        self, name: str, section: str, act: Callable[[], T], *, found: str = "", wanted: str = ""
    ) -> T | Unknown:
        """Do one thing that may be refused.

        Args:
            act: returns what later steps need, or raises what is the matter.

        Returns:
            What *act* returned, or that it is not there.
        """
        try:
            result = act()
        except OnboardingError as err:
            self.taken.append(
                Step(
                    name=name,
                    section=err.section or section,
                    outcome=Outcome.FAILED,
                    found=err.found or found,
                    wanted=err.wanted or wanted,
                    reason=err.reason,
                )
            )
            return Unknown(f"{name} failed")
        self.taken.append(
            Step(name=name, section=section, outcome=Outcome.OK, found=found, wanted=wanted)
        )
        return result

    def judge(self, rules: Iterable[Rule]) -> None:
        """Check each rule, also after one that fails."""
        for rule in rules:
            if rule.judged:
                self.attempt(
                    rule.name, rule.section, rule.check, found=rule.found, wanted=rule.wanted
                )
            else:
                self.skip(rule.name, rule.section, "there is no clock", found=rule.found)

    def skip(self, name: str, section: str, why: str, *, found: str = "") -> None:
        """Say that a rule was not judged."""
        self.taken.append(
            Step(name=name, section=section, outcome=Outcome.NOT_JUDGED, found=found, reason=why)
        )

    def verdict(self) -> Verdict:
        """All of them."""
        return Verdict(steps=tuple(self.taken))


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the steps come to."""

    steps: tuple[Step, ...]

    @property
    def accepted(self) -> bool:
        """Whether no rule failed; some may not have been judged."""
        return all(step.outcome is not Outcome.FAILED for step in self.steps)

    def as_document(self) -> dict[str, object]:
        """As plain values, for JSON."""
        return {
            "verdict": "accepted" if self.accepted else "refused",
            "steps": [
                {
                    "rule": step.name,
                    "section": step.section,
                    "outcome": step.outcome.value,
                    "found": step.found,
                    "wanted": step.wanted,
                    "reason": step.reason,
                }
                for step in self.steps
            ],
        }


THE_MESSAGE: Final = "the message is read"
THE_SIGNATURE: Final = "signature"
THE_DOCUMENT: Final = "the document is read"
