"""The MASA's audit log of a device, judged by the domain's written policy (RFC 8995 §5.8.3;
docs/audit-log.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from brski.errors import AuditLogUnacceptable
from brski.telemetry.audit_log import VERSION, AuditEvent, AuditLog
from brski.voucher.model import Assertion
from registrar_plugin.identity.model import DeviceKey

_SECTION = "RFC 8995 §5.8.3"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPolicy:
    """Which histories of a device this domain accepts. The defaults accept only our own."""

    known_domain_ids: frozenset[bytes] = frozenset()  # other domains that may have owned it
    nonceless_domain_ids: frozenset[bytes] = frozenset()  # and may have a voucher without nonce
    require_own_entry: bool = True
    accept_unknown_owners: bool = False  # nonced entries of domains that are not known
    accept_nonceless: bool = False  # a voucher that may be used at any time, by another domain
    accept_logged: bool = False  # our own voucher, though the MASA did not verify the device
    accept_truncation: bool = False  # entries that the MASA has cut
    accept_newer_version: bool = False  # which may say more than is understood
    accept_no_log: bool = False  # a MASA that has none
    accept_silence: bool = False  # a MASA that does not answer
    exempt: frozenset[str] = frozenset()  # devices, "serial" or "serial@issuer-hex"
    revoke_on_bad_verdict: bool = False  # what the device has from an earlier onboarding

    def is_exempt(self, device: DeviceKey) -> bool:
        """Whether *device* is not judged at all."""
        return bool(self.exempt & {device.serial_number, str(device)})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    log: AuditLog
    policy: AuditPolicy
    own: frozenset[bytes]  # our domainIDs


def judge_audit_log(
    log: AuditLog, policy: AuditPolicy, *, own_domain_ids: frozenset[bytes]
) -> None:
    """Raise unless *log* is a history that *policy* accepts and that names this domain.

    Args:
        own_domain_ids: of every certificate that the MASA may have pinned for us
            (:func:`brski.pki.extensions.domain_id`), raw octets.

    Raises:
        AuditLogUnacceptable: the first rule of docs/audit-log.md that is broken, and by what.
    """
    case = _Case(log=log, policy=policy, own=own_domain_ids)
    for rule in _RULES:
        reason = rule(case)
        if reason:
            raise AuditLogUnacceptable(reason, section=_SECTION)


def judge_no_log(policy: AuditPolicy, said: str) -> None:
    """Raise unless *policy* does without a log.

    Args:
        said: what the MASA answered instead.

    Raises:
        AuditLogUnacceptable: it does not.
    """
    if not policy.accept_no_log:
        raise AuditLogUnacceptable(f"the MASA gives no log: {said}", section=_SECTION)


def _version(case: _Case) -> str:
    if case.log.version <= VERSION or case.policy.accept_newer_version:
        return ""
    return f"the log has version {case.log.version}, understood is {VERSION}"


def _own_entry(case: _Case) -> str:
    if not case.policy.require_own_entry:
        return ""
    if any(event.domain_id in case.own for event in case.log.events):
        return ""
    return "the log has no entry for this domain"


def _own_assertion(case: _Case) -> str:
    ours = [e for e in case.log.events if e.domain_id in case.own and e.nonce is not None]
    if case.policy.accept_logged or not ours:
        return ""
    newest = max(ours, key=lambda event: event.date)
    if newest.assertion is not Assertion.LOGGED:
        return ""
    return f"our own voucher of {newest.date:%F} is logged, not proximity or verified"


def _nonceless(case: _Case) -> str:
    if case.policy.accept_nonceless:
        return ""
    allowed = case.own | case.policy.nonceless_domain_ids
    for event in case.log.events:
        if event.nonce is None and event.domain_id not in allowed:
            return f"another domain ({_short(event)}) holds a nonceless voucher of {event.date:%F}"
    return ""


def _owners(case: _Case) -> str:
    if case.policy.accept_unknown_owners:
        return ""
    known = case.own | case.policy.known_domain_ids | case.policy.nonceless_domain_ids
    for event in case.log.events:
        if event.nonce is not None and event.domain_id not in known:
            return f"an unknown domain ({_short(event)}) got a voucher on {event.date:%F}"
    return ""


def _truncation(case: _Case) -> str:
    if case.policy.accept_truncation:
        return ""
    cut = case.log.truncation
    if cut.arbitrary:
        return f"the MASA has left out {cut.arbitrary} entries"
    nonceless = [event.nonce is None for event in case.log.events]
    if cut.nonceless_duplicates and not any(nonceless):
        return f"{cut.nonceless_duplicates} nonceless duplicates, and the log has no such entry"
    if cut.nonced_duplicates and all(nonceless):
        return f"{cut.nonced_duplicates} nonced duplicates, and the log has no such entry"
    return ""


def _short(event: AuditEvent) -> str:
    return f"{event.domain_id.hex()[:16]}…"


_RULES: Final[tuple[Callable[[_Case], str], ...]] = (
    _version,
    _own_entry,
    _own_assertion,
    _nonceless,
    _owners,
    _truncation,
)
