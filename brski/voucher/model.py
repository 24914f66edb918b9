"""Vouchers and voucher-requests as values (RFC 8366 §5.3; RFC 8995 §3).

Names are the YANG leaves', hyphen to underscore. Binary leaves are decoded octets, except the
nonce: it stays the string of the wire, since it is echoed unchanged and only ever compared.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime


class Assertion(enum.StrEnum):
    """How the MASA came to believe that the domain owns the device (RFC 8366 §5.3)."""

    VERIFIED = "verified"
    LOGGED = "logged"
    PROXIMITY = "proximity"
    AGENT_PROXIMITY = "agent-proximity"


@dataclass(frozen=True, slots=True, kw_only=True)
class VoucherRequest:
    """What a pledge or a registrar asks (RFC 8995 §3.2)."""

    serial_number: str
    assertion: Assertion | None = None
    created_on: datetime | None = None  # aware
    expires_on: datetime | None = None  # aware
    nonce: str | None = None  # base64 as on the wire; compare with brski.voucher.rules.same_nonce
    idevid_issuer: bytes | None = None  # as on the wire: 26, 24 or 20 octets (RFC 8366bis §6.3)
    prior_signed_voucher_request: bytes | None = None  # the pledge's request as received (CMS: DER)
    proximity_registrar_cert: bytes | None = None  # DER


@dataclass(frozen=True, slots=True, kw_only=True)
class Voucher:
    """The manufacturer's word on whom to trust (RFC 8366 §5.3)."""

    serial_number: str
    assertion: Assertion | None = None
    created_on: datetime | None = None  # aware
    expires_on: datetime | None = None  # aware
    nonce: str | None = None  # base64, echoed unchanged from the request
    idevid_issuer: bytes | None = None  # as on the wire
    pinned_domain_cert: bytes | None = None  # DER
    domain_cert_revocation_checks: bool | None = None
    last_renewal_date: datetime | None = None  # aware
