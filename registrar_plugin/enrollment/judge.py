"""May it have this certificate: every gate between a device and its LDevID (RFC 8995 §5.9)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from cryptography import x509

from brski.errors import AuditLogUnacceptable, CSRMismatch, VoucherRejected, WrongOrder
from brski.est.csr import CSR
from brski.est.linking import ChannelBinding, check_linked
from registrar_plugin.enrollment.enrollee import Enrollee
from registrar_plugin.enrollment.profile import EnrollmentProfile, GrantedNames

_ORDER: Final = "RFC 8995 §5.9"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the journal says of a device that asks for a certificate."""

    has_voucher: bool
    voucher_status: bool | None
    audit_verdict: bool | None
    audit_reason: str


def check_standing(standing: Standing) -> None:
    """Raise unless the voucher exchange ended well (RFC 8995 §5, §5.8.3: else EST is refused).

    Raises:
        WrongOrder: no voucher yet, or the pledge has not said that it accepts it, or the audit log
            has not been judged.
        VoucherRejected: the pledge said no.
        AuditLogUnacceptable: the log breaks this domain's policy.
    """
    if not standing.has_voucher:
        raise WrongOrder("no voucher has been issued to this device", section=_ORDER)
    if standing.voucher_status is None:
        raise WrongOrder("the device has not accepted its voucher yet", section="RFC 8995 §5.7")
    if not standing.voucher_status:
        raise VoucherRejected("the device rejected its voucher", section="RFC 8995 §5.7")
    if standing.audit_verdict is None:
        raise WrongOrder("the audit log has not been judged", section="RFC 8995 §5.8")
    if not standing.audit_verdict:
        raise AuditLogUnacceptable(standing.audit_reason, section="RFC 8995 §5.8.3")


def judge_csr(
    csr: CSR,
    enrollee: Enrollee,
    profile: EnrollmentProfile,
    *,
    channel_binding: ChannelBinding | None,
) -> GrantedNames:
    """Return the names that *enrollee* gets, if *csr* asks for nothing that it may not have.

    Args:
        csr: its proof of possession is verified.
        channel_binding: of the connection that it came over.

    Raises:
        CSRMismatch: the subject, an alternative name, the key, a requested extension or the
            binding.

    RFC 7030 §4.2.1; RFC 8995 §5.9.2.
    """
    if csr.subject != enrollee.subject:
        found, wanted = csr.subject.rfc4514_string(), enrollee.subject.rfc4514_string()
        raise CSRMismatch(
            f"the subject asked for is {found!r}, the client is entitled to {wanted!r}",
            section="RFC 7030 §4.2.1",
            found=found,
            wanted=wanted,
        )
    check_contents(csr, enrollee, profile, channel_binding)
    entitled = profile.alternative_name(enrollee.device, *enrollee.alternative_names)
    if csr.subject_alternative_name is not None and not same_names(
        csr.subject_alternative_name, entitled
    ):
        found, wanted = names_of(csr.subject_alternative_name), names_of(entitled)
        raise CSRMismatch(
            f"the alternative name asked for is {found}, the client is entitled to {wanted}",
            section="RFC 7030 §4.2.1",
            found=found,
            wanted=wanted,
        )
    return GrantedNames(subject=enrollee.subject, alternative_name=entitled)


def same_names(
    one: x509.SubjectAlternativeName | None, other: x509.SubjectAlternativeName | None
) -> bool:
    """Whether two alternative names are of the same names, in whatever order."""
    if one is None or other is None:
        return one is other
    return len(one) == len(other) and set(one) == set(other)


def names_of(alternative_name: x509.SubjectAlternativeName | None) -> str:
    """For a person to read; bounded, since a stranger may have written it."""
    if alternative_name is None:
        return "none"
    return ", ".join(str(name.value) for name in alternative_name)[:200]


def check_contents(
    csr: CSR, enrollee: Enrollee, profile: EnrollmentProfile, channel_binding: ChannelBinding | None
) -> None:
    """Raise unless key, extensions and binding of *csr* are right, whatever its names.

    Raises:
        CSRMismatch: one of them is not.
    """
    if hashlib.sha256(csr.spki).digest() in enrollee.foreign_keys:
        raise CSRMismatch("the LDevID key must not be the IDevID key", section="RFC 8995 §5.9.2")
    if enrollee.asked_by is None or not enrollee.asked_by.foreign_binding:
        required = profile.requirements.challenge_password
        check_linked(csr.challenge_password, channel_binding, required=required)
    profile.requirements.check(csr)
