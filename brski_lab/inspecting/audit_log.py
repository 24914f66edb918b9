"""A MASA's audit log of one device (RFC 8995 §5.8)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final

from brski.errors import OnboardingError
from brski.telemetry.audit_log import decode_audit_log
from brski_lab.inspecting.content import Content
from brski_lab.inspecting.description import Description, Facts, Finding, placed, refusal, shown
from brski_lab.inspecting.kind import Kind
from brski_lab.inspecting.status_report import fact_of

_EVENT_MEMBERS: Final = frozenset({"date", "domainID", "nonce", "assertion", "truncated"})
_COUNTERS: Final = ("nonced duplicates", "nonceless duplicates", "arbitrary")
_MOST_EVENTS: Final = 1024  # that are shown
_MOST_MEMBERS: Final = 32
_SECTION: Final = "RFC 8995 §5.8.1"


def recognises(content: Content) -> bool:
    """A JSON object with a list of events."""
    return isinstance(content.members.get("events"), list)


def describe(content: Content) -> Description:
    """Each event, and the counters of what is left out."""
    members = content.members
    events = _list_of(members.get("events"))
    truncation = members.get("truncation")
    counters = truncation if isinstance(truncation, dict) else {}
    facts: Facts = {
        "version": fact_of(members.get("version")),
        "events": [_event(event) for event in events],
        "truncation": {
            shown(name): fact_of(value) for name, value in islice(counters.items(), _MOST_MEMBERS)
        },
    }
    findings = [*_odd_log(members, counters)]
    for number, event in enumerate(events, 1):
        if isinstance(event, dict):
            findings += placed(f"event {number}", _odd_event(event))
    try:
        decode_audit_log(content.octets)
    except OnboardingError as err:
        findings.append(refusal(err))
    read = content.json
    return Description(
        kind=KIND.name,
        facts=facts,
        findings=tuple(findings),
        stop=read.stop if read is not None else None,
    )


def _list_of(value: object) -> list[object]:
    return value[:_MOST_EVENTS] if isinstance(value, list) else []


def _event(event: object) -> Facts:
    if not isinstance(event, dict):
        return {"no object": fact_of(event)}
    return {shown(name): fact_of(value) for name, value in islice(event.items(), _MOST_MEMBERS)}


def _odd_log(members: Mapping[str, object], counters: Mapping[str, object]) -> Iterator[Finding]:
    if isinstance(members.get("version"), str):
        yield Finding(text="version is text and not a number", section=_SECTION)
    for name in _COUNTERS:
        if isinstance(counters.get(name), str):
            yield Finding(text=f"counter {name!r} is text and not a number", section=_SECTION)
    if any(str(value) not in ("0", "") for value in counters.values()):
        yield Finding(text="the log leaves events out", section=_SECTION)
    for name in islice(members, _MOST_MEMBERS):
        if name not in ("version", "events", "truncation"):
            yield Finding(text=f"{name[:64]!a} is not known", section=_SECTION)


def _odd_event(event: Mapping[str, object]) -> Iterator[Finding]:
    if isinstance(event.get("truncated"), str):
        yield Finding(text="counter 'truncated' is text and not a number", section=_SECTION)
    if "nonce" not in event:
        yield Finding(text="no nonce, not even null", section=_SECTION)
    elif event["nonce"] is None:
        yield Finding(
            text="a voucher without nonce: its domain can use it again", section="RFC 8995 §5.8.3"
        )
    for name in islice(event, _MOST_MEMBERS):
        if name not in _EVENT_MEMBERS:
            yield Finding(text=f"{name[:64]!a} is not known", section=_SECTION)


KIND: Final = Kind(name="audit log", recognises=recognises, describe=describe)
