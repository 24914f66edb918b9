"""Audit logs that a registrar must not be content with."""

from __future__ import annotations

from dataclasses import replace

from brski.telemetry.audit_log import (
    AUDIT_LOG_OCTETS,
    AuditEvent,
    Truncation,
    decode_audit_log,
    encode_audit_log,
)
from brski.voucher.model import Assertion
from brski.voucher.yang_types import encode_nonce
from masa_stub.faults.kinds import Fault
from masa_stub.faults.plan import Struck


def bend_audit_log(octets: bytes, struck: Struck) -> bytes:
    """The JSON of a log like *octets* but for what *struck* names.

    Args:
        octets: the true log.
    """
    match struck.fault:
        case Fault.AUDIT_EMPTY:
            return b'{"version":1,"events":[]}'
        case Fault.AUDIT_TWICE:
            return octets.removesuffix(b"}") + b',"events":[]}'
        case Fault.AUDIT_HUGE:
            return octets + b" " * AUDIT_LOG_OCTETS
    log = decode_audit_log(octets)
    if struck.fault is Fault.AUDIT_CUT:
        return encode_audit_log(replace(log, truncation=Truncation(arbitrary=7)))
    nonce = None if struck.fault is Fault.AUDIT_NONCELESS else encode_nonce(struck.chance[:16])
    stranger = AuditEvent(
        date=log.events[0].date,
        domain_id=struck.chance[:20],
        nonce=nonce,
        assertion=Assertion.LOGGED,
    )
    return encode_audit_log(replace(log, events=(stranger, *log.events)))
