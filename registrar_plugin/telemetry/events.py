"""The journal's entries as values: what can happen in an onboarding, and how it is written down."""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from brski.errors import OnboardingError
from brski.telemetry.status import VERSION, Status
from registrar_plugin.identity.model import DeviceKey

_TOLD: Final = 1000  # ours: characters of a peer's own words in a line


class EventKind(enum.StrEnum):
    """Every line that a journal may hold, in the order of an onboarding."""

    VOUCHER_REQUEST = "voucher-request"  # a pledge asked (RFC 8995 §5.2)
    IDENTITY = "identity"  # who is it
    ADMISSION = "admission"  # may it
    APPROVAL = "approval"  # a person is to decide, or has decided
    REGISTRAR_VOUCHER_REQUEST = "registrar-voucher-request"  # signed, to the MASA (§5.5)
    VOUCHER = "voucher"  # the MASA's answer (§5.6)
    STORED_VOUCHER = "stored-voucher"  # one without nonce, fetched before the device came (§5.5)
    VOUCHER_STATUS = "voucher-status"  # what the pledge said of it (§5.7)
    AUDIT_LOG = "audit-log"  # what the registrar judged of the MASA's log (§5.8)
    ENROLL = "enroll"  # a certificate request (§5.9)
    REENROLL = "reenroll"  # a renewal (RFC 7030 §4.2.2)
    SERVER_KEY = "server-key"  # a key to be made for a client (RFC 7030 §4.4)
    LDEVID_INTENT = "ldevid-intent"  # about to be signed
    LDEVID = "ldevid"  # issued
    ENROLL_STATUS = "enroll-status"  # what the pledge said of it (§5.9.4)
    REVOCATION = "revocation"  # a person withdrew a device's certificates
    CRL = "crl"  # a revocation list is to be signed, or was
    RESTART = "restart"  # an intent of an earlier run was completed
    ALARM = "alarm"  # a person should look


class Outcome(enum.StrEnum):
    """How the step ended."""

    DONE = "done"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of the journal."""

    at: datetime
    kind: EventKind
    outcome: Outcome = Outcome.DONE
    device: DeviceKey | None = None  # None while the device is not known
    asserted_serial_number: str = ""  # what a peer claims, when *device* is None
    reason: str = ""  # for the operator
    code: str = ""  # OnboardingError.code of a refusal
    peer_address: str = ""
    details: dict[str, str] = field(default_factory=dict)


def refusal_details(refusal: OnboardingError) -> dict[str, str]:
    """What a line says of a refusal beyond its reason and code, for who has to explain it."""
    told = {
        "section": refusal.section,
        "hint": refusal.hint,
        "found": refusal.found,
        "wanted": refusal.wanted,
    }
    return {name: value[:_TOLD] for name, value in told.items() if value}


def status_details(status: Status) -> dict[str, str]:
    """What a line says of a status report beyond its outcome and reason.

    Members that are not understood are named and change nothing (RFC 8995 §5.7, §5.9.4).
    """
    details = {}
    if status.version != VERSION:
        details["version"] = str(status.version)
    if status.unknown_members:
        details["unknown_members"] = ", ".join(status.unknown_members)[:_TOLD]
    if status.reason_context is not None:
        details["reason_context"] = json.dumps(status.reason_context, sort_keys=True)[:_TOLD]
    return details
