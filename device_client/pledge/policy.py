"""What this device is and what it accepts: the same through an onboarding."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509

from brski.pki.signer import Signer
from brski.voucher.model import Assertion
from brski.voucher.serialization import VoucherSerialization


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What this pledge accepts, and for how long it lets itself be put off."""

    acceptable: frozenset[Assertion] = frozenset(
        {Assertion.VERIFIED, Assertion.LOGGED, Assertion.PROXIMITY}
    )
    allow_nonceless: bool = False  # RFC 8995 §7.2
    voucher_wait_s: int = 4 * 24 * 3600  # RFC 8995 §5.6: longer than a long weekend
    enroll_wait_s: int = 4 * 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Pledge:
    """What this device is; the same through an onboarding."""

    serial_number: str
    idevid_issuer: bytes | None  # 20-octet keyIdentifier
    signer: Signer  # the IDevID key
    idevid_chain: tuple[x509.Certificate, ...]  # leaf first; empty: it asserts
    voucher_anchors: tuple[x509.Certificate, ...]
    serialization: VoucherSerialization
    policy: Policy = Policy()
