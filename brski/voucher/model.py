"""Vouchers and voucher-requests as values (RFC 8366 §5.3; RFC 8995 §3; RFC 8366bis §8, §9).

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
class Extension:
    """What a YANG module of its own adds to a document (RFC 8366bis §8.6)."""

    name: str  # the module's, as listed in the leaf-list "extensions"
    content: str | None = (
        None  # JSON text of the object under "extension:NAME"; None if only listed
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class VoucherArtifact:
    """The leaves that vouchers and voucher-requests share; the grouping of that name in YANG."""

    serial_number: str
    assertion: Assertion | None = None
    created_on: datetime | None = None  # aware
    expires_on: datetime | None = None  # aware
    nonce: str | None = None  # base64 as on the wire; comparisons.same_nonce compares
    idevid_issuer: bytes | None = None  # as on the wire: 26, 24 or 20 octets (RFC 8366bis §6.3)
    est_domain: str | None = None  # URI
    additional_configuration_url: str | None = None
    manufacturer_proprietary: str | None = None  # as on the wire; only its maker knows what it is
    extensions: tuple[Extension, ...] = ()  # in the order in which they are listed


@dataclass(frozen=True, slots=True, kw_only=True)
class VoucherRequest(VoucherArtifact):
    """What a pledge or a registrar asks (RFC 8995 §3.2; RFC 8366bis §9)."""

    prior_signed_voucher_request: bytes | None = None  # the pledge's request as received (CMS: DER)
    proximity_registrar_cert: bytes | None = None  # DER
    proximity_registrar_pubk: bytes | None = None  # SubjectPublicKeyInfo, DER
    proximity_registrar_pubk_sha256: bytes | None = None  # SHA-256 of that, 32 octets
    agent_provided_proximity_registrar_cert: bytes | None = None  # DER
    agent_sign_cert: bytes | None = None  # DER
    agent_signed_data: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Voucher(VoucherArtifact):
    """The manufacturer's word on whom to trust (RFC 8366 §5.3; RFC 8366bis §8)."""

    pinned_domain_cert: bytes | None = None  # DER
    pinned_domain_pubk: bytes | None = None  # SubjectPublicKeyInfo, DER
    pinned_domain_pubk_sha256: bytes | None = None  # SHA-256 of that, 32 octets
    domain_cert_revocation_checks: bool | None = None
    last_renewal_date: datetime | None = None  # aware
