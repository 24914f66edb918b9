"""Who may read a device's audit log, and what stands in it (RFC 8995 §5.8)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from brski.errors import DeviceUnknown, NotAuthenticated
from brski.telemetry.audit_log import AuditEvent, AuditLog, abbreviate


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPolicy:
    """How freely the log is given out."""

    most: int | None = 1000  # events in one answer
    only_authenticated: bool = False  # a connection that is no customer's gets none


USUAL_AUDIT = AuditPolicy()


def check_may_ask(policy: AuditPolicy, *, authenticated: bool) -> None:
    """Raise unless a connection may ask for audit logs at all.

    Args:
        authenticated: whether TLS or HTTP tells that it is a customer's.

    Raises:
        NotAuthenticated: policy wants it to be, and it is not.

    RFC 8995 §5.4, §5.8.
    """
    if policy.only_authenticated and not authenticated:
        raise NotAuthenticated(
            "audit logs are for registrars that the connection shows to be known",
            section="RFC 8995 §5.4.1, §5.8",
        )


def audit_log_for(
    events: Sequence[AuditEvent], *, owner: bool, most: int | None = None
) -> AuditLog:
    """The log as an owner of the device, of now or of some time, may see it.

    Args:
        events: all vouchers ever issued for the device, oldest first.
        owner: whether who asks is one; see :func:`masa_stub.ownership.was_owner`.
        most: how many events to give at the most.

    Raises:
        DeviceUnknown: nothing was ever issued, or *owner* is false; the answer is the same.
    """
    if not events or not owner:
        raise DeviceUnknown("no voucher of this device names this domain", section="RFC 8995 §5.8")
    return abbreviate(events, most=most)
