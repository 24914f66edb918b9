"""Which requirement is shown by which test: docs/requirements.toml against the marks of the tests.

Knows files and marks, not pytest; :mod:`tests.kit.traceability_plugin` brings both together.
"""

from __future__ import annotations

import enum
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_ID: Final = re.compile(r"\b[A-Z0-9]+-[0-9]+\b")
_NAMED: Final = 4  # tests of one requirement that the page names

_HEAD: Final = """\
# Conformance

Written by `make conformance` after a run of every test. Each requirement stands in
[requirements.toml](requirements.toml) in our own words.

* *shown*: a test that is marked with it passed, and none failed;
* *diverges*: [divergences](divergences.md) says why it is not done, or done otherwise;
* *later*: not this version's.

"""


class Outcome(enum.StrEnum):
    """How a test ended, the worst of its parameters; skipped if all were."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One line of a standard, in our words."""

    id: str
    level: str
    section: str
    text: str
    later: bool


def load_requirements(path: Path) -> tuple[Requirement, ...]:
    """Read docs/requirements.toml, in its order.

    Raises:
        ValueError: a table lacks something, or has something else.
    """
    return tuple(
        _requirement(id_, table)
        for id_, table in tomllib.loads(path.read_text(encoding="utf-8")).items()
    )


def _requirement(id_: str, table: dict[str, str]) -> Requirement:
    scope = table.pop("scope", "now")
    if set(table) != {"level", "section", "text"} or scope not in {"now", "later"}:
        raise ValueError(f"{id_} has level, section and text, and may have scope = 'later'")
    return Requirement(id=id_, later=scope == "later", **table)


def explained(divergences: str) -> frozenset[str]:
    """The ids that docs/divergences.md names."""
    return frozenset(_ID.findall(divergences))


def faults(
    requirements: Iterable[Requirement], marked: Iterable[str], explained: frozenset[str]
) -> list[str]:
    """What is wrong between requirements and marks, a line each."""
    known = {requirement.id: requirement for requirement in requirements}
    seen = set(marked)
    return [
        *(f"{id_}: a test is marked with it, but no requirement has this id"
          for id_ in sorted(seen - set(known))),
        *(f"{id_}: neither a test nor a line in docs/divergences.md: {known[id_].text}"
          for id_ in known
          if not known[id_].later and id_ not in seen and id_ not in explained),
    ]  # fmt: skip


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """The outcome of a test whose parameters ended so."""
    ended = set(outcomes)
    if Outcome.FAILED in ended:
        return Outcome.FAILED
    return Outcome.PASSED if Outcome.PASSED in ended else Outcome.SKIPPED


def page(
    requirements: tuple[Requirement, ...],
    shown: Mapping[str, Mapping[str, Outcome]],
    explained: frozenset[str],
) -> str:
    """docs/conformance.md.

    Args:
        shown: by requirement, how each of its tests ended.
    """
    lines = [_line(each, shown.get(each.id, {}), explained) for each in requirements]
    return _HEAD + _summary(requirements, shown, explained) + "".join(lines)


def _result(
    requirement: Requirement, tests: Mapping[str, Outcome], explained: frozenset[str]
) -> str:
    if tests:
        ended = worst(tests.values())
        return "shown" if ended is Outcome.PASSED else ended.value
    if requirement.later:
        return "later"
    return "diverges" if requirement.id in explained else "not shown"


def _line(requirement: Requirement, tests: Mapping[str, Outcome], explained: frozenset[str]) -> str:
    names = sorted(tests)
    cell = "<br>".join(f"`{name}`" for name in names[:_NAMED])
    if len(names) > _NAMED:
        cell += f"<br>and {len(names) - _NAMED} more"
    result = _result(requirement, tests, explained)
    return (
        f"| {requirement.id} | {requirement.level} | {requirement.section} | {requirement.text} "
        f"| {cell} | {result} |\n"
    )


def _summary(
    requirements: tuple[Requirement, ...],
    shown: Mapping[str, Mapping[str, Outcome]],
    explained: frozenset[str],
) -> str:
    now = [each for each in requirements if not each.later]
    done = sum(_result(each, shown.get(each.id, {}), explained) == "shown" for each in now)
    return (
        f"Of {len(now)} requirements in scope, {done} are shown by tests "
        f"({100 * done // len(now)} %); {len(requirements) - len(now)} are for later.\n\n"
        "| id | level | section | requirement | shown by | result |\n"
        "|---|---|---|---|---|---|\n"
    )
