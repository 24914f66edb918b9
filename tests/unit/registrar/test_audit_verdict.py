"""The written policy on a device's history, rule by rule (RFC 8995 §5.8.3)."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import timedelta

import pytest

from brski.errors import AuditLogUnacceptable
from brski.telemetry.audit_log import AuditEvent, AuditLog, Truncation
from brski.voucher.model import Assertion
from registrar_plugin.settings import AuditLogSettings
from registrar_plugin.telemetry.audit_verdict import AuditPolicy, judge_audit_log
from tests.kit import pki

OURS = b"o" * 32
THEIRS = b"t" * 32
STRICT = AuditPolicy()
NOTHING_CUT = Truncation()
NONCE = "AAAAAAAAAAAAAAAAAAAAAA=="
OWN_ENTRY = AuditEvent(date=pki.NOW, domain_id=OURS, nonce=NONCE, assertion=Assertion.PROXIMITY)
FOREIGN = replace(OWN_ENTRY, domain_id=THEIRS)


def judge(
    *events: AuditEvent, policy: AuditPolicy = STRICT, truncation: Truncation = NOTHING_CUT
) -> None:
    log = AuditLog(events=events, truncation=truncation)
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
    judge(OWN_ENTRY, truncation=Truncation(nonced_duplicates=5))


@pytest.mark.requirement("REG-22")
def test_duplicates_of_nothing_are_entries_left_out() -> None:
    """A nonceless voucher that is only counted could be anybody's."""
    hidden = Truncation(nonceless_duplicates=1)
    with pytest.raises(AuditLogUnacceptable, match="1 nonceless duplicates"):
        judge(OWN_ENTRY, truncation=hidden)
    judge(OWN_ENTRY, replace(OWN_ENTRY, nonce=None), truncation=hidden)
    judge(OWN_ENTRY, truncation=hidden, policy=AuditPolicy(accept_truncation=True))
    with pytest.raises(AuditLogUnacceptable, match="1 nonced duplicates"):
        judge(replace(OWN_ENTRY, nonce=None), truncation=Truncation(nonced_duplicates=1))


@pytest.mark.requirement("REG-22")
def test_nonceless_vouchers_of_some_domains_may_be_allowed() -> None:
    """Those of the list, and no other that is merely known (RFC 8995 §5.8.3)."""
    nonceless = replace(FOREIGN, nonce=None)
    judge(OWN_ENTRY, nonceless, policy=AuditPolicy(nonceless_domain_ids=frozenset([THEIRS])))
    judge(OWN_ENTRY, FOREIGN, policy=AuditPolicy(nonceless_domain_ids=frozenset([THEIRS])))
    with pytest.raises(AuditLogUnacceptable, match="nonceless"):
        judge(OWN_ENTRY, nonceless, policy=AuditPolicy(nonceless_domain_ids=frozenset([OURS])))


@pytest.mark.requirement("REG-22")
def test_our_own_voucher_that_is_only_logged_is_refused() -> None:
    """The newest counts; a nonceless one cannot be more than logged or verified."""
    logged = replace(OWN_ENTRY, assertion=Assertion.LOGGED)
    with pytest.raises(AuditLogUnacceptable, match="is logged, not"):
        judge(logged)
    judge(logged, policy=AuditPolicy(accept_logged=True))
    judge(replace(logged, date=pki.NOW - timedelta(days=1)), OWN_ENTRY)
    judge(replace(logged, nonce=None))
    judge(replace(OWN_ENTRY, assertion=Assertion.VERIFIED))


@pytest.mark.requirement("AUD-11", "REG-22")
def test_a_newer_version_is_the_operators_to_accept() -> None:
    """It is read, and may say more than is understood (RFC 8995 §5.8.1)."""
    log = AuditLog(events=(OWN_ENTRY,), version=2)
    own = frozenset([OURS])
    with pytest.raises(AuditLogUnacceptable, match="version 2, understood is 1"):
        judge_audit_log(log, STRICT, own_domain_ids=own)
    judge_audit_log(log, AuditPolicy(accept_newer_version=True), own_domain_ids=own)


def test_a_log_without_us_may_be_accepted_by_the_operator() -> None:
    """If it otherwise passes."""
    policy = AuditPolicy(require_own_entry=False, known_domain_ids=frozenset([THEIRS]))
    judge(FOREIGN, policy=policy)


@pytest.mark.requirement("REG-27")
def test_every_switch_is_off_by_default() -> None:
    """The settings' defaults are the policy's, and both accept only our own history."""
    written = AuditLogSettings().model_dump()
    assert {name: value for name, value in written.items() if value is True} == {
        "require_own_entry": True
    }
    for each in fields(AuditPolicy):
        wanted = getattr(STRICT, each.name)
        assert written[each.name] == (() if wanted == frozenset() else wanted)
