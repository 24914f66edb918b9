"""The MASA's audit log of one device: every voucher that was ever issued for it (RFC 8995 §5.8).

Owns the JSON, the types in it and how a long log is abbreviated. Must not know which domains are
acceptable: that is the registrar's verdict (RFC 8995 §5.8.3).
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from brski.errors import LocalError, Malformed
from brski.pki import strict_json
from brski.voucher.model import Assertion
from brski.voucher.yang_types import decode_date, encode_date

VERSION: Final = 1  # the one that this module knows
AUDIT_LOG_OCTETS: Final = 256 * 1024  # ours: some 1500 events
COUNT_CEILING: Final = 1024  # RFC 8995 §5.8.1: a counter may rest here
NONCE_CHARACTERS: Final = 256  # ours: a nonce is echoed, not decoded; 32 octets need 44
DOMAIN_ID_OCTETS: Final = (1, 64)  # ours: SHA-1 or SHA-256 as a rule, but a key identifier is free

_COUNT_LIMIT: Final = 2**32  # ours: CDDL says uint
_DIGITS: Final = re.compile(r"0|[1-9][0-9]{0,9}")
_LOG_MEMBERS: Final = frozenset({"version", "events", "truncation"})
_EVENT_MEMBERS: Final = frozenset({"date", "domainID", "nonce", "assertion", "truncated"})
_TRUNCATION_MEMBERS: Final = frozenset({"nonced duplicates", "nonceless duplicates", "arbitrary"})
_ASSERTIONS: Final = frozenset(Assertion)
_SECTION: Final = "RFC 8995 §5.8.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEvent:
    """One voucher that the MASA issued for the device."""

    date: datetime  # aware
    domain_id: bytes  # of the pinned certificate; see brski.pki.extensions.domain_id
    nonce: str | None  # as in the voucher; None for a nonceless one
    assertion: Assertion
    truncated: int = 0  # how many events of this domain stand behind this one


@dataclass(frozen=True, slots=True, kw_only=True)
class Truncation:
    """How many events the log leaves out; 1024 means that many or more."""

    nonced_duplicates: int = 0
    nonceless_duplicates: int = 0
    arbitrary: int = 0  # events that were dropped for length, without an event to stand for them


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditLog:
    """What a MASA says of a device; at least one event."""

    events: tuple[AuditEvent, ...]  # in the log's order; ours writes the newest first
    truncation: Truncation = Truncation()
    version: int = VERSION
    unknown_members: tuple[str, ...] = ()  # such as "events.location", each once


def abbreviate(events: Iterable[AuditEvent], *, most: int | None = None) -> AuditLog:
    """Return the log of *events*, the newest first, with one event for each domain and kind.

    Of the nonced and of the nonceless events of a domain only the newest stays; it counts the
    others in ``truncated``. Counters rest at 1024.

    Args:
        events: everything on record of one device, in any order, each with ``truncated`` 0.
        most: at most so many events stay, 1 or more; what is cut then is the oldest, and is
            counted as arbitrary. None cuts nothing.

    Raises:
        LocalError: no event at all (such a device has no log: 404, RFC 8995 §5.8), or *most* is
            not positive.

    RFC 8995 §5.8.1.
    """
    if most is not None and most < 1:
        raise LocalError(f"an audit log of at most {most} events says nothing")
    groups: dict[tuple[bytes, bool], list[AuditEvent]] = {}  # by domain, and nonced or not
    for event in sorted(events, key=lambda event: event.date, reverse=True):
        groups.setdefault((event.domain_id, event.nonce is not None), []).append(event)
    if not groups:
        raise LocalError("an audit log has at least one event", section=_SECTION)
    newest = [replace(group[0], truncated=_rest(len(group) - 1)) for group in groups.values()]
    return AuditLog(
        events=tuple(newest[:most]),
        truncation=Truncation(
            nonced_duplicates=_rest(sum(len(g) - 1 for (_, nonced), g in groups.items() if nonced)),
            nonceless_duplicates=_rest(
                sum(len(g) - 1 for (_, nonced), g in groups.items() if not nonced)
            ),
            arbitrary=_rest(len(newest) - len(newest[:most])),
        ),
    )


def encode_audit_log(log: AuditLog) -> bytes:
    """Return the JSON text (UTF-8) of *log*: counters as integers, as the CDDL has them.

    A nonceless event carries ``null``. ``truncated`` of zero and a ``truncation`` of nothing but
    zeros are left out. ``unknown_members`` are not sent.

    Raises:
        LocalError: no event, or a date that is not aware.

    RFC 8995 §5.8.1.
    """
    if not log.events:
        raise LocalError("an audit log has at least one event", section=_SECTION)
    document: dict[str, object] = {
        "version": log.version,
        "events": [_event_document(event) for event in log.events],
    }
    counters = {
        "nonced duplicates": log.truncation.nonced_duplicates,
        "nonceless duplicates": log.truncation.nonceless_duplicates,
        "arbitrary": log.truncation.arbitrary,
    }
    if any(counters.values()):
        document["truncation"] = counters
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def decode_audit_log(octets: bytes) -> AuditLog:
    """Read a MASA's answer to ``requestauditlog``.

    The RFC's CDDL has integers where its example has strings: version and counters are taken
    either way. A greater version parses, since versions only add members (RFC 8995 §5.8.1); what
    was not understood is in ``unknown_members``, for an operator to decide on.

    A missing nonce is refused: whether a voucher had one decides what the log means, and only
    ``null`` says "nonceless".

    Args:
        octets: the JSON text, UTF-8.

    Raises:
        Malformed: not one strict JSON object, a member missing or of another type, no event.
        TooLarge: more than 256 KiB, or nested too deep.

    RFC 8995 §5.8.1.
    """
    document = strict_json.loads(octets, max_octets=AUDIT_LOG_OCTETS, max_depth=8)
    if not isinstance(document, dict):
        raise Malformed("audit log is not a JSON object", section=_SECTION)
    version = _count_of(document, "version")
    if version < 1:
        raise Malformed("audit log version is not 1 or greater", section=_SECTION)
    events = document.get("events")
    if not isinstance(events, list) or not events:
        raise Malformed("audit log has no list of events", section=_SECTION)
    unknown = dict.fromkeys(name for name in document if name not in _LOG_MEMBERS)
    return AuditLog(
        version=version,
        events=tuple(_event_of(event, unknown) for event in events),
        truncation=_truncation_of(document.get("truncation", {}), unknown),
        unknown_members=tuple(unknown),
    )


def _rest(count: int) -> int:
    return min(count, COUNT_CEILING)


def _event_document(event: AuditEvent) -> dict[str, object]:
    document: dict[str, object] = {
        "date": encode_date(event.date),
        "domainID": base64.b64encode(event.domain_id).decode(),
        "nonce": event.nonce,
        "assertion": event.assertion.value,
    }
    if event.truncated:
        document["truncated"] = event.truncated
    return document


def _event_of(event: object, unknown: dict[str, None]) -> AuditEvent:
    if not isinstance(event, dict):
        raise Malformed("audit event is not a JSON object", section=_SECTION)
    unknown.update(dict.fromkeys(f"events.{name}" for name in event if name not in _EVENT_MEMBERS))
    return AuditEvent(
        date=_date_of(event.get("date")),
        domain_id=_domain_id_of(event.get("domainID")),
        nonce=_nonce_of(event),
        assertion=_assertion_of(event.get("assertion")),
        truncated=_count_of(event, "truncated", default=0),
    )


def _truncation_of(truncation: object, unknown: dict[str, None]) -> Truncation:
    if not isinstance(truncation, dict):
        raise Malformed("audit log truncation is not a JSON object", section=_SECTION)
    unknown.update(
        dict.fromkeys(
            f"truncation.{name}" for name in truncation if name not in _TRUNCATION_MEMBERS
        )
    )
    return Truncation(
        nonced_duplicates=_count_of(truncation, "nonced duplicates", default=0),
        nonceless_duplicates=_count_of(truncation, "nonceless duplicates", default=0),
        arbitrary=_count_of(truncation, "arbitrary", default=0),
    )


def _count_of(document: dict[str, object], name: str, *, default: int | None = None) -> int:
    value = document.get(name, default)
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    if type(value) is not int or not 0 <= value < _COUNT_LIMIT:
        raise Malformed(f"audit log {name!r} is not an unsigned integer", section=_SECTION)
    return value


def _date_of(value: object) -> datetime:
    if not isinstance(value, str):
        raise Malformed("audit event has no date", section=_SECTION)
    return decode_date(value)


def _domain_id_of(value: object) -> bytes:
    least, most = DOMAIN_ID_OCTETS
    try:
        domain_id = binascii.a2b_base64(value, strict_mode=True) if isinstance(value, str) else b""
    except ValueError as err:
        raise Malformed("audit event domainID is not base64", section="RFC 8995 §5.8.2") from err
    if base64.b64encode(domain_id).decode() != value or not least <= len(domain_id) <= most:
        raise Malformed("audit event has no domainID in base64", section="RFC 8995 §5.8.2")
    return domain_id


def _nonce_of(event: dict[str, object]) -> str | None:
    nonce = event.get("nonce", "")
    if nonce is not None and not (isinstance(nonce, str) and 0 < len(nonce) <= NONCE_CHARACTERS):
        raise Malformed("audit event nonce is neither text nor null", section=_SECTION)
    return nonce


def _assertion_of(value: object) -> Assertion:
    if not isinstance(value, str) or value not in _ASSERTIONS:
        raise Malformed("audit event assertion is none of RFC 8366's", section=_SECTION)
    return Assertion(value)
