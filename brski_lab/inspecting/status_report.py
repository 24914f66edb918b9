"""Telemetry: voucher_status and enrollstatus (RFC 8995 §5.7, §5.9.4)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final

from brski.errors import OnboardingError
from brski.telemetry.status import decode_status
from brski_lab.inspecting.content import Content
from brski_lab.inspecting.description import Description, Fact, Facts, Finding, refusal, shown
from brski_lab.inspecting.kind import Kind

_MEMBERS: Final = frozenset({"version", "status", "reason", "reason-context"})
_MOST_MEMBERS: Final = 64
_SECTION: Final = "RFC 8995 §5.7"


def recognises(content: Content) -> bool:
    """A JSON object with "version" and "status", however they are capitalised."""
    names = {name.lower() for name in islice(content.members, _MOST_MEMBERS)}
    return {"version", "status"} <= names


def describe(content: Content) -> Description:
    """Facts and findings of a report."""
    members = dict(islice(content.members.items(), _MOST_MEMBERS))
    facts: Facts = {shown(name): fact_of(value) for name, value in members.items()}
    findings = list(_odd(members))
    try:
        decode_status(content.octets)
    except OnboardingError as err:
        findings.append(refusal(err))
    read = content.json
    return Description(
        kind=KIND.name,
        facts=facts,
        findings=tuple(findings),
        stop=read.stop if read is not None else None,
    )


def fact_of(value: object) -> Fact:
    """A JSON value as a fact; what is nested stays JSON text."""
    if value is None or isinstance(value, bool | int):
        return value
    return shown(value if isinstance(value, str) else json.dumps(value, ensure_ascii=True))


def _odd(members: Mapping[str, object]) -> Iterator[Finding]:
    for name in members:
        if name not in _MEMBERS and name.lower() in _MEMBERS:
            yield Finding(
                text=f"{name!a} is written {name.lower()!r}; as it is, it is not known",
                section=_SECTION,
            )
        elif name not in _MEMBERS:
            yield Finding(text=f"{name[:64]!a} is not known", section=_SECTION)
    if members.get("status") is False and not members.get("reason"):
        yield Finding(text="a failure without a reason", section=_SECTION)


KIND: Final = Kind(name="status report", recognises=recognises, describe=describe)
