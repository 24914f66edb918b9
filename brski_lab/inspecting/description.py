"""What an inspection comes to: facts as a tree, findings, and where reading stopped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from brski.errors import OnboardingError

Fact: TypeAlias = "str | int | bool | list[Fact] | dict[str, Fact] | None"
Facts: TypeAlias = dict[str, Fact]

SHOWN_CHARACTERS: Final = 4096  # of one text; the rest is left out, and said to be


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is odd about an artifact; being odd is not always being wrong."""

    text: str
    section: str = ""  # of the rule, such as "RFC 8366 §5.4"
    place: str = ""  # which part of the artifact, such as "certificate 2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Where an artifact could not be read on."""

    offset: int  # octet, from the first one of the (unwrapped) artifact
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """One artifact."""

    kind: str
    facts: Mapping[str, Fact]
    findings: tuple[Finding, ...] = ()
    stop: Stop | None = None

    def as_part(self, place: str) -> tuple[Facts, tuple[Finding, ...]]:
        """Return facts and findings for the artifact that holds this one at *place*."""
        facts: Facts = {"kind": self.kind, **self.facts}
        if self.stop is not None:
            facts["stopped"] = f"at octet {self.stop.offset}: {self.stop.reason}"
        return facts, placed(place, self.findings)


def placed(place: str, findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return *findings* as those of a part that is called *place*."""
    return tuple(
        replace(each, place=f"{place}, {each.place}" if each.place else place) for each in findings
    )


def refusal(error: OnboardingError) -> Finding:
    """A finding that repeats what one of the programs' own readers says."""
    return Finding(text=error.reason, section=error.section)


def shown(text: str) -> str:
    """*text*, cut if it is very long."""
    if len(text) <= SHOWN_CHARACTERS:
        return text
    return f"{text[:SHOWN_CHARACTERS]}… ({len(text)} characters)"
