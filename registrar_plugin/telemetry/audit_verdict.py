"""The MASA's audit log of a device, judged by the domain's written policy (RFC 8995 §5.8.3)."""

from __future__ import annotations

from dataclasses import dataclass

from brski.errors import AuditLogUnacceptable
from brski.telemetry.audit_log import AuditLog

_SECTION = "RFC 8995 §5.8.3"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPolicy:
    """Which histories of a device this domain accepts. The defaults accept only our own."""

    known_domain_ids: frozenset[bytes] = frozenset()  # other domains that may have owned it
    accept_unknown_owners: bool = False  # nonced entries of domains that are not known
    accept_nonceless: bool = False  # a voucher that may be used at any time, by another domain
    accept_truncation: bool = False  # entries that the MASA has cut


def judge_audit_log(
    log: AuditLog, policy: AuditPolicy, *, own_domain_ids: frozenset[bytes]
) -> None:
    """Raise unless *log* is a history that *policy* accepts and that names this domain.

    Args:
        own_domain_ids: of every certificate that the MASA may have pinned for us
            (:func:`brski.pki.extensions.domain_id`), raw octets.

    Raises:
        AuditLogUnacceptable: the first entry that breaks the policy, or our own entry is missing.
    """
    if not any(event.domain_id in own_domain_ids for event in log.events):
        raise AuditLogUnacceptable("the log has no entry for this domain", section=_SECTION)
    for event in log.events:
        if event.domain_id in own_domain_ids:
            continue
        domain = event.domain_id.hex()[:16]
        if event.nonce is None and not policy.accept_nonceless:
            raise AuditLogUnacceptable(
                f"another domain ({domain}…) holds a nonceless voucher of {event.date:%Y-%m-%d}",
                section=_SECTION,
            )
        known = event.domain_id in policy.known_domain_ids
        if not known and not policy.accept_unknown_owners:
            raise AuditLogUnacceptable(
                f"an unknown domain ({domain}…) got a voucher on {event.date:%Y-%m-%d}",
                section=_SECTION,
            )
    if log.truncation.arbitrary and not policy.accept_truncation:
        raise AuditLogUnacceptable(
            f"the MASA has left out {log.truncation.arbitrary} entries", section=_SECTION
        )
