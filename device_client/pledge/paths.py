"""A path to a trust anchor, for a device that may have no clock."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cryptography import x509

from brski.pki.chain import TrustAnchors


def validate(
    anchors: TrustAnchors,
    leaf: x509.Certificate,
    others: Sequence[x509.Certificate],
    *,
    now: datetime | None,
) -> tuple[x509.Certificate, ...]:
    """Find the path from *leaf* to an anchor; without a clock no date is looked at.

    Args:
        anchors: whom to trust.
        leaf: what to judge.
        others: certificates that came with it; *leaf* may be among them.
        now: aware UTC, or None.

    Returns:
        Leaf first, anchor last.

    Raises:
        ChainInvalid: there is no such path.

    RFC 5280 §6; RFC 8995 §2.6.1.
    """
    intermediates = [c for c in dict.fromkeys(others) if c != leaf]
    if now is None:
        return anchors.validate_without_clock(leaf, intermediates)
    return anchors.validate(leaf, intermediates, at=now)
