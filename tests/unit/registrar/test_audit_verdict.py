"""The written policy on a device's history, rule by rule (RFC 8995 §5.8.3)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from brski.errors import AuditLogUnacceptable
from brski.telemetry.audit_log import AuditEvent, AuditLog, Truncation
from brski.voucher.model import Assertion
from registrar_plugin.telemetry.audit_verdict import AuditPolicy, judge_audit_log
from tests.kit import pki

OURS = b"o" * 32
THEIRS = b"t" * 32
STRICT = AuditPolicy()
NONCE = "AAAAAAAAAAAAAAAAAAAAAA=="
OWN_ENTRY = AuditEvent(date=pki.NOW, domain_id=OURS, nonce=NONCE, assertion=Assertion.PROXIMITY)
FOREIGN = replace(OWN_ENTRY, domain_id=THEIRS)


def judge(*events: AuditEvent, policy: AuditPolicy = STRICT, **parts: Truncation) -> None:
    log = AuditLog(events=events, **parts)
    judge_audit_log(log, policy, own_domain_ids=frozenset([OURS, b"x" * 20]))


def test_a_device_that_only_we_have_had_is_accepted() -> None:
    """Our own entries, nonced or not, are no reason to worry."""
    judge(OWN_ENTRY)
    judge(OWN_ENTRY, replace(OWN_ENTRY, nonce=None))


def test_a_log_without_our_voucher_is_refused() -> None:
    """The MASA has just issued us one; a log that lacks it is not this device's."""
    with pytest.raises(AuditLogUnacceptable, match="no entry for this domain"):
        judge(FOREIGN, policy=AuditPolicy(accept_unknown_owners=True))


@pytest.mark.requirement("REG-22", "REG-27")
def test_a_domain_that_we_do_not_know_is_refused() -> None:
    """Somebody else has owned it; by default that is not accepted."""
    with pytest.raises(AuditLogUnacceptable, match="unknown domain"):
        judge(OWN_ENTRY, FOREIGN)


def test_a_known_or_tolerated_former_owner_is_accepted() -> None:
    """Named in the settings, or any, as the operator has written."""
    judge(OWN_ENTRY, FOREIGN, policy=AuditPolicy(known_domain_ids=frozenset([THEIRS])))
    judge(OWN_ENTRY, FOREIGN, policy=AuditPolicy(accept_unknown_owners=True))


@pytest.mark.requirement("REG-22")
def test_a_nonceless_voucher_of_another_domain_is_refused() -> None:
    """It can be used at any time; knowing the domain does not help."""
    nonceless = replace(FOREIGN, nonce=None)
    policy = AuditPolicy(known_domain_ids=frozenset([THEIRS]))
    with pytest.raises(AuditLogUnacceptable, match="nonceless"):
        judge(OWN_ENTRY, nonceless, policy=policy)
    judge(OWN_ENTRY, nonceless, policy=replace(policy, accept_nonceless=True))


def test_entries_that_were_left_out_are_refused() -> None:
    """What the MASA leaves out could be what matters; duplicates stand behind an entry."""
    cut = Truncation(arbitrary=1)
    with pytest.raises(AuditLogUnacceptable, match="left out"):
        judge(OWN_ENTRY, truncation=cut)
    judge(OWN_ENTRY, truncation=cut, policy=AuditPolicy(accept_truncation=True))
    judge(OWN_ENTRY, truncation=Truncation(nonced_duplicates=5, nonceless_duplicates=1))
