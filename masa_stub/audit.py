"""Who may read a device's audit log, and what stands in it (RFC 8995 §5.8)."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509

from brski.errors import DeviceUnknown
from brski.pki.extensions import domain_id
from brski.telemetry.audit_log import AuditEvent, AuditLog, abbreviate


def domain_ids(chain: Sequence[x509.Certificate]) -> frozenset[bytes]:
    """Every domainID that a registrar with this chain may stand under in a log."""
    return frozenset(domain_id(certificate) for certificate in chain)


def audit_log_for(
    events: Sequence[AuditEvent], *, requester: frozenset[bytes], most: int | None = None
) -> AuditLog:
    """The log as *requester*, one of its owners at some time, may see it.

    Args:
        events: all vouchers ever issued for the device, oldest first.
        requester: from :func:`domain_ids`.
        most: how many events to give at the most.

    Raises:
        DeviceUnknown: nothing was ever issued, or nothing to *requester*; the answer is the same.
    """
    if not any(event.domain_id in requester for event in events):
        raise DeviceUnknown("no voucher of this device names this domain", section="RFC 8995 §5.8")
    return abbreviate(events, most=most)
