"""The ways in which this MASA can misbehave, each by a name."""

from __future__ import annotations

import enum
from typing import Final


class Fault(enum.StrEnum):
    """One way; the values are what people write."""

    # instead of an answer: nothing is issued
    INTERNAL_ERROR = "500"
    UNAVAILABLE = "503"  # without Retry-After
    RETRY_AFTER = "retry-after"  # 503 with it
    TOO_MANY = "429"  # with it
    REDIRECT = "redirect"  # 307 to another host
    HTML = "html"  # 200, and a page
    # on the way of a true answer
    HALF_OPEN = "half-open"  # nothing comes, and the connection stays
    SLOW = "slow"  # a few octets a second
    TRUNCATED = "truncated"  # the connection ends in the middle
    GARBLED = "garbled"  # one octet is another
    # instead of the voucher that is in the log
    WRONG_NONCE = "wrong-nonce"
    NO_NONCE = "no-nonce"
    WRONG_SERIAL = "wrong-serial"
    WRONG_ISSUER = "wrong-issuer"  # idevid-issuer
    EXPIRED = "expired"
    WRONG_SIGNER = "wrong-signer"  # a key that no device knows
    OTHER_PIN = "other-pin"  # a domain that nobody knows
    EXTRA_CERTIFICATES = "extra-certificates"  # beside the chain
    # instead of the audit log
    AUDIT_STRANGER = "audit-stranger"  # a domain that nobody knows has had the device
    AUDIT_NONCELESS = "audit-nonceless"  # it has a voucher without nonce
    AUDIT_CUT = "audit-cut"  # events are missing
    AUDIT_EMPTY = "audit-empty"
    AUDIT_TWICE = "audit-twice"  # the member "events" twice
    AUDIT_HUGE = "audit-huge"
    AUDIT_NONE = "audit-none"  # 404


INSTEAD: Final = frozenset(
    {
        Fault.INTERNAL_ERROR,
        Fault.UNAVAILABLE,
        Fault.RETRY_AFTER,
        Fault.TOO_MANY,
        Fault.REDIRECT,
        Fault.HTML,
    }
)
ON_THE_WAY: Final = frozenset({Fault.HALF_OPEN, Fault.SLOW, Fault.TRUNCATED, Fault.GARBLED})
OF_AUDIT_LOGS: Final = frozenset(fault for fault in Fault if fault.value.startswith("audit-"))
OF_VOUCHERS: Final = frozenset(Fault) - INSTEAD - ON_THE_WAY - OF_AUDIT_LOGS
