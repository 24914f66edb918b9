"""May it be renewed: from a current LDevID to the next one of the same device (RFC 7030 §4.2.2)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Final

from cryptography import x509

from brski.errors import CSRMismatch, NotAuthenticated
from brski.est.change_subject_name import ChangeSubjectName, change_of_subject_name
from brski.est.csr import CSR
from brski.est.linking import ChannelBinding
from registrar_plugin.enrollment.enrollee import Enrollee
from registrar_plugin.enrollment.judge import check_contents, names_of, same_names
from registrar_plugin.enrollment.profile import EnrollmentProfile, GrantedNames

_SECTION: Final = "RFC 7030 §4.2.2"


def check_current(certificate: x509.Certificate, state: str, *, now: datetime) -> None:
    """Raise unless an LDevID of ours may still speak for its device.

    Args:
        certificate: as it is in the journal, found by the whole of its DER.
        state: the journal's word on it.
        now: aware UTC.

    Raises:
        NotAuthenticated: superseded, revoked, expired, or not valid yet.
    """
    if state != "active":
        raise NotAuthenticated(
            f"this LDevID is {state}", section=_SECTION, found=state, wanted="active"
        )
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise NotAuthenticated(
            f"this LDevID is valid from {certificate.not_valid_before_utc:%F %T} "
            f"to {certificate.not_valid_after_utc:%F %T}, now it is {now:%F %T}",
            section=_SECTION,
            found=f"{now:%F %T}",
            wanted=f"at the latest {certificate.not_valid_after_utc:%F %T}",
        )


def judge_renewal(
    csr: CSR,
    current: x509.Certificate,
    enrollee: Enrollee,
    profile: EnrollmentProfile,
    *,
    channel_binding: ChannelBinding | None,
) -> GrantedNames:
    """Return the names of the new certificate: the current one's, unless a change is granted.

    The same key is a renewal, another one a re-key; both are taken.

    Args:
        csr: its proof of possession is verified.
        current: the certificate that the connection shows.
        enrollee: what its device is entitled to now.
        channel_binding: as for :func:`registrar_plugin.enrollment.judge.judge_csr`.

    Raises:
        CSRMismatch: subject or alternative name differ from the current certificate's, a change of
            name that the profile or the entitlement does not allow, a name that the client has lost
            since, or as ``judge_csr``.
    """
    if csr.subject != current.subject:
        found, wanted = csr.subject.rfc4514_string(), current.subject.rfc4514_string()
        raise CSRMismatch(
            f"the subject asked for is {found!r}, the current certificate's is {wanted!r}",
            section=_SECTION,
            found=found,
            wanted=wanted,
        )
    alternative_name = _alternative_name_of(current)
    if csr.subject_alternative_name != alternative_name:
        raise CSRMismatch(
            "the alternative name asked for is not the current certificate's",
            section=_SECTION,
            found=names_of(csr.subject_alternative_name),
            wanted=names_of(alternative_name),
        )
    check_contents(csr, enrollee, profile, channel_binding)
    names = GrantedNames(subject=current.subject, alternative_name=alternative_name)
    change = change_of_subject_name(csr)
    if change is not None:
        names = _changed(names, change, enrollee, profile)
    if enrollee.only_todays_names:
        _check_todays(names, enrollee, profile)
    return names


def _check_todays(names: GrantedNames, enrollee: Enrollee, profile: EnrollmentProfile) -> None:
    entitled = profile.alternative_name(enrollee.device, *enrollee.alternative_names)
    if names.subject == enrollee.subject and same_names(names.alternative_name, entitled):
        return
    found = f"{names.subject.rfc4514_string()}, {names_of(names.alternative_name)}"
    wanted = f"{enrollee.subject.rfc4514_string()}, {names_of(entitled)}"
    raise CSRMismatch(
        f"the current certificate's names are {found}, the client is entitled to {wanted} now",
        section=_SECTION,
        found=found,
        wanted=wanted,
    )


def _changed(
    names: GrantedNames,
    change: ChangeSubjectName,
    enrollee: Enrollee,
    profile: EnrollmentProfile,
) -> GrantedNames:
    if not profile.change_subject_name:
        raise CSRMismatch("this profile lets no renewal change its name", section=_SECTION)
    if change.subject is not None:
        _check_entitled(change.subject, enrollee.subject.public_bytes())
        names = replace(names, subject=enrollee.subject)
    if change.alternative_name is not None:
        entitled = profile.alternative_name(enrollee.device, *enrollee.alternative_names)
        _check_entitled(
            change.alternative_name, b"" if entitled is None else entitled.public_bytes()
        )
        names = replace(names, alternative_name=entitled)
    return names


def _check_entitled(asked: bytes, entitled: bytes) -> None:
    if asked != entitled:
        raise CSRMismatch(
            f"the name to change to is {asked.hex()[:80]}, the client is entitled to "
            f"{entitled.hex()[:80] or 'none'} (DER)",
            section=_SECTION,
            found=asked.hex()[:80],
            wanted=entitled.hex()[:80],
        )


def _alternative_name_of(certificate: x509.Certificate) -> x509.SubjectAlternativeName | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None
