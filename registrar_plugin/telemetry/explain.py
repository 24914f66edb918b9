"""What the journal's lines say of one device: where it stands, and why it does not go on
(docs/explain.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from registrar_plugin.identity.clients import client_kind
from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.telemetry.advice import advice_on
from registrar_plugin.telemetry.events import Event, EventKind, Outcome

_MOST_CLAIMS: Final = 10

_ASIDE: Final = frozenset({EventKind.ALARM, EventKind.RESTART, EventKind.CRL})
"""Lines that are no steps of a device's."""

_DONE: Final[dict[EventKind, str]] = {
    EventKind.VOUCHER_REQUEST: "its voucher-request was taken; the MASA is to be asked",
    EventKind.REGISTRAR_VOUCHER_REQUEST: "its request was signed for the MASA, whose answer is not "
    "there yet",
    EventKind.VOUCHER: "it got its voucher, and has not said yet whether it accepts it",
    EventKind.STORED_VOUCHER: "a voucher is fetched for it ahead; it has not come since",
    EventKind.VOUCHER_STATUS: "it accepted its voucher; the audit log is to be judged",
    EventKind.AUDIT_LOG: "its history was accepted; it may ask for its certificate",
    EventKind.LDEVID_INTENT: "its certificate is to be signed; the CA's answer is not there yet",
    EventKind.LDEVID: "its certificate was issued; it has not reported on it yet",
    EventKind.ENROLL_STATUS: "it is enrolled",
    EventKind.REVOCATION: "a person has withdrawn its certificates",
    EventKind.APPROVAL: "a person has approved it; it may ask again",
}
_DONE_BY_CLIENT: Final = _DONE | {  # of EST clients that are no devices
    EventKind.LDEVID: "its certificate was issued",
    EventKind.REVOCATION: "a person has withdrawn its certificates; it may ask for another",
}
_WAITS: Final = "it waits for a person: brski-registrar approve or deny"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A refusal or an alarm, with all that helps to understand it."""

    at: datetime
    step: str
    rule: str  # the error's code
    section: str  # where the rule stands
    reason: str
    found: str  # the two values that differ
    wanted: str
    peer_address: str
    advice: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Of one device, or of a serial number that no verified device has."""

    serial_number: str
    idevid_issuer: bytes | None
    client: str | None  # the kind of an EST client that is no device
    standing: str
    refusal: Finding | None
    claims: tuple[Finding, ...]
    alarms: tuple[Finding, ...]


def explain(serial_number: str, device: DeviceKey | None, events: Sequence[Event]) -> Explanation:
    """Say what *events* mean for *device*.

    Args:
        device: None while none of that serial number has been verified.
        events: of that serial number, oldest first; those of other devices are left out.
    """
    own = [event for event in events if device is not None and event.device == device]
    client = None if device is None else client_kind(device)
    steps = [event for event in own if event.kind not in _ASIDE]
    claims = [
        event for event in events if event.device is None and event.outcome is Outcome.REFUSED
    ]
    return Explanation(
        serial_number=serial_number,
        idevid_issuer=None if device is None else device.idevid_issuer,
        client=client,
        standing=_standing(steps, _DONE if client is None else _DONE_BY_CLIENT),
        refusal=_refusal(steps),
        claims=tuple(_finding(e) for e in _newest(claims) if e.kind is not EventKind.ALARM)[
            :_MOST_CLAIMS
        ],
        alarms=tuple(_finding(e) for e in _newest([*own, *claims]) if e.kind is EventKind.ALARM),
    )


def _newest(events: Sequence[Event]) -> list[Event]:
    return sorted(events, key=lambda event: event.at, reverse=True)


def _standing(steps: Sequence[Event], done: Mapping[EventKind, str]) -> str:
    if not steps:
        return "no device of this serial number has been verified here"
    last = steps[-1]
    if last.outcome is Outcome.REFUSED:
        return f"its last step, {last.kind}, was refused"
    if last.kind is EventKind.APPROVAL and last.details.get("decision") == "waiting":
        return _WAITS
    return done.get(last.kind, f"its last step was {last.kind}")


def _refusal(steps: Sequence[Event]) -> Finding | None:
    """The last refusal, unless the same kind of step has been done since."""
    done: set[EventKind] = set()
    for event in reversed(steps):
        if event.outcome is Outcome.REFUSED:
            return None if _is_over(event, done) else _finding(event)
        done.add(event.kind)
    return None


def _is_over(refusal: Event, done: set[EventKind]) -> bool:
    followed = _FOLLOWS.get(refusal.kind, frozenset())
    return refusal.kind in done or bool(followed & done)


_FOLLOWS: Final[dict[EventKind, frozenset[EventKind]]] = {
    # a step that leaves no line of its own when it passes, and what shows that it has
    EventKind.IDENTITY: frozenset({EventKind.VOUCHER_REQUEST, EventKind.VOUCHER}),
    EventKind.ADMISSION: frozenset({EventKind.VOUCHER_REQUEST, EventKind.VOUCHER}),
    EventKind.ENROLL: frozenset({EventKind.LDEVID}),
    EventKind.REENROLL: frozenset({EventKind.LDEVID}),
    EventKind.SERVER_KEY: frozenset({EventKind.LDEVID}),
}


def _finding(event: Event) -> Finding:
    told = event.details
    section = told.get("section", "")
    return Finding(
        at=event.at,
        step=event.kind.value,
        rule=event.code,
        section=section,
        reason=event.reason.removesuffix(f" ({section})"),
        found=told.get("found", ""),
        wanted=told.get("wanted", ""),
        peer_address=event.peer_address,
        advice="; ".join(filter(None, (advice_on(event.code), told.get("hint", "")))),
    )
