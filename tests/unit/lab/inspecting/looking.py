"""Inspecting octets in tests: the one artifact, and what was found odd about it."""

from __future__ import annotations

from brski_lab.inspecting.description import Description, Fact
from brski_lab.inspecting.inspection import Inspection, inspect


def look(octets: bytes) -> Inspection:
    """All of a file."""
    return inspect(octets, size=len(octets))


def the_artifact(octets: bytes) -> Description:
    """The only thing in a file."""
    (only,) = look(octets).artifacts
    return only


def odd(octets: bytes) -> str:
    """Every finding of a file, one a line, with place and section."""
    inspection = look(octets)
    found = [*inspection.findings, *(f for each in inspection.artifacts for f in each.findings)]
    return "\n".join(f"{each.place}: {each.text} ({each.section})" for each in found)


def fact(described: Description, *path: str | int) -> Fact:
    """The fact at *path*."""
    at: Fact = dict(described.facts)
    for step in path:
        if isinstance(step, int):
            assert isinstance(at, list)
            at = at[step]
        else:
            assert isinstance(at, dict)
            at = at[step]
    return at
