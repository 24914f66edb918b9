"""What a device says of its voucher and of its enrollment (RFC 8995 §5.7, §5.9.4).

One JSON object serves ``voucher_status`` and ``enrollstatus``. Owns its members and their types;
must not know what a registrar makes of it. The sender ignores the answer (RFC 8995 §5.7).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from brski.errors import LocalError, Malformed
from brski.pki import strict_json

VERSION: Final = 1  # the one that this module knows
STATUS_OCTETS: Final = 8 * 1024  # ours: a reason is a sentence, its context a few members
_VERSION_LIMIT: Final = 2**32  # ours: CDDL says uint, and a log wants a number that fits
_MEMBERS: Final = frozenset({"version", "status", "reason", "reason-context"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A ``voucher_status`` or ``enrollstatus`` body."""

    status: bool
    reason: str | None = None  # for a person; says nothing that helps an attacker
    reason_context: Mapping[str, object] | None = None  # a JSON object
    version: int = VERSION
    unknown_members: tuple[str, ...] = ()  # names received and not understood, as they came


def encode_status(status: Status) -> bytes:
    """Return the JSON text (UTF-8) of *status*; ``unknown_members`` are not sent.

    Raises:
        LocalError: a failure without a reason, or a context that JSON cannot carry.

    RFC 8995 §5.7, §5.9.4.
    """
    if not status.status and not status.reason:
        raise LocalError("a failure is reported with its reason", section="RFC 8995 §5.7")
    document: dict[str, object] = {"version": status.version, "status": status.status}
    if status.reason is not None:
        document["reason"] = status.reason
    if status.reason_context is not None:
        document["reason-context"] = dict(status.reason_context)
    try:
        text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode()
    except (TypeError, ValueError, RecursionError) as err:
        raise LocalError(f"status cannot be written as JSON: {err}") from err


def decode_status(octets: bytes) -> Status:
    """Read a ``voucher_status`` or ``enrollstatus`` body.

    Member names are compared as they are: ``"Status"`` is an unknown member. A greater version
    parses, since versions only add members; the caller logs it with ``unknown_members``. A failure
    without a reason parses too: the rule is a SHOULD, and the failure itself is worth knowing.

    Args:
        octets: the JSON text, UTF-8.

    Raises:
        Malformed: not one strict JSON object, ``version`` or ``status`` missing, a member of
            another type; ``"true"`` and 1 are no booleans, ``"1"`` and 1.0 no integers.
        TooLarge: more than 8 KiB, or nested too deep.

    RFC 8995 §5.7, §5.9.4.
    """
    document = strict_json.loads(octets, max_octets=STATUS_OCTETS, max_depth=8)
    if not isinstance(document, dict):
        raise Malformed("status is not a JSON object", section="RFC 8995 §5.7")
    return Status(
        version=_version_of(document),
        status=_status_of(document),
        reason=_reason_of(document),
        reason_context=_reason_context_of(document),
        unknown_members=tuple(name for name in document if name not in _MEMBERS),
    )


def _version_of(document: dict[str, object]) -> int:
    version = document.get("version")
    if type(version) is not int or not 1 <= version < _VERSION_LIMIT:
        raise Malformed("status has no version, an integer from 1", section="RFC 8995 §5.7")
    return version


def _status_of(document: dict[str, object]) -> bool:
    status = document.get("status")
    if not isinstance(status, bool):
        raise Malformed("status has no status, true or false", section="RFC 8995 §5.7")
    return status


def _reason_of(document: dict[str, object]) -> str | None:
    if "reason" not in document:
        return None
    reason = document["reason"]
    if not isinstance(reason, str):
        raise Malformed("status has a reason that is no text", section="RFC 8995 §5.7")
    return reason


def _reason_context_of(document: dict[str, object]) -> dict[str, object] | None:
    if "reason-context" not in document:
        return None
    context = document["reason-context"]
    if not isinstance(context, dict):
        raise Malformed("status has a reason-context that is no object", section="RFC 8995 §5.7")
    return context
