"""From a voucher to an LDevID, and the report of it: EST on the connection that was vouched for.

RFC 8995 §5.7, §5.9; RFC 7030 §4.
"""

from __future__ import annotations

from dataclasses import replace

from cryptography import x509

from brski.errors import (
    Unavailable,
)
from brski.est.requirements import CSRRequirements
from device_client.pledge import messages
from device_client.pledge.attempt import (
    Onboarding,
    Transition,
    asked_for,
    be_patient,
    connect_as,
    end,
    known,
)
from device_client.pledge.csr_contents import CSRContents, csr_contents, renewal_contents
from device_client.pledge.renewing import check_same_name
from device_client.pledge.states import (
    Answered,
    Close,
    Connected,
    Credential,
    Enrollment,
    EnrollmentKept,
    KeepEnrollment,
    KeepReported,
    KeepRequest,
    Report,
    RequestKept,
    Result,
    Send,
    State,
    StepName,
    StepStatus,
    Verdict,
    Waited,
)


def fetch_ca_certs(onboarding: Onboarding, _: Answered) -> Transition:
    # whatever the answer: RFC 8995 §5.7 has the client ignore it
    return replace(onboarding, state=State.CA_CERTS), (
        Report(step=StepName.VOUCHER_STATUS, status=StepStatus.OK),
        Send(request=messages.ca_certs_message()),
    )


def fetch_csr_attrs(onboarding: Onboarding, event: Answered) -> Transition:
    domain = messages.domain_certificates_of(event.answer)
    return replace(onboarding, state=State.CSR_ATTRS, domain=domain), (
        Report(step=StepName.CA_CERTS, status=StepStatus.OK),
        Send(request=messages.csr_attrs_message()),
    )


def prepare_csr(onboarding: Onboarding, event: Answered) -> Transition:
    contents = _contents(onboarding, messages.csr_requirements_of(event.answer))
    domain = messages.domain_of(_pin_of(onboarding))
    return replace(onboarding, state=State.PREPARING), (
        Report(step=StepName.CSR_ATTRS, status=StepStatus.OK),
        KeepRequest(contents=contents, domain=domain, renewal=onboarding.renewal),
    )


def _contents(onboarding: Onboarding, requirements: CSRRequirements) -> CSRContents:
    if onboarding.renewal is not None:
        return renewal_contents(requirements, known(onboarding.enrollment).ldevid_chain[0])
    return csr_contents(
        requirements,
        serial_number=onboarding.pledge.serial_number,
        idevid_issuer=onboarding.pledge.idevid_issuer,
    )


def _pin_of(onboarding: Onboarding) -> x509.Certificate:
    if onboarding.renewal is not None:
        return known(onboarding.enrollment).pinned_domain_cert
    return known(onboarding.accepted).pin


def enroll(onboarding: Onboarding, event: RequestKept) -> Transition:
    message = messages.enroll_message(event.csr, again=onboarding.renewal is not None)
    enrolling = replace(
        onboarding, state=State.ENROLLING, csr=event.csr, outstanding=message, waited_s=0
    )
    return enrolling, (Send(request=message),)


def hear_of_enrollment(onboarding: Onboarding, event: Answered) -> Transition:
    answer = event.answer
    if answer.status in (202, 503):
        pause_s = asked_for(answer)  # RFC 7030 §4.2.3: at least that long
        limit_s = onboarding.pledge.policy.enroll_wait_s
        return be_patient(onboarding, State.ENROLL_PENDING, pause_s, limit_s)
    domain = known(onboarding.domain)
    chain = messages.ldevid_chain_of(answer, csr=onboarding.csr, domain=domain, now=event.now)
    if onboarding.renewal is not None:
        check_same_name(known(onboarding.enrollment).ldevid_chain[0], chain[0])
    enrollment = Enrollment(
        origin=onboarding.origin,
        ldevid_chain=chain,
        domain=domain,
        pinned_domain_cert=_pin_of(onboarding),
    )
    keeping = replace(onboarding, state=State.KEEPING, enrollment=enrollment)
    return keeping, (KeepEnrollment(enrollment=enrollment, renewal=onboarding.renewal),)


def repeat_enroll(onboarding: Onboarding, _: Waited) -> Transition:
    message = known(onboarding.outstanding)
    return replace(onboarding, state=State.ENROLLING), (Send(request=message),)


def reconnect(onboarding: Onboarding, _: EnrollmentKept) -> Transition:
    again, effects = connect_as(onboarding, State.RECONNECTING, Credential.LDEVID)
    return again, (Report(step=StepName.ENROLL, status=StepStatus.OK), Close(), *effects)


def report_success(onboarding: Onboarding, event: Connected) -> Transition:
    enrollment = known(onboarding.enrollment)
    messages.check_known_registrar(
        event.registrar_chain,
        domain=enrollment.domain,
        host=onboarding.origin.host,
        pin=enrollment.pinned_domain_cert,
        now=event.now,
    )
    return replace(onboarding, state=State.REPORTING), (
        Send(request=messages.enroll_status_message(None)),
    )


def finish(onboarding: Onboarding, event: Answered) -> Transition:
    status = event.answer.status
    if status >= 500:
        raise Unavailable(f"the registrar answered {status}", section="RFC 8995 §5.9.4")
    detail = "" if status == 200 else f"the registrar answered {status}"  # 404 is allowed
    done = "enrolled" if onboarding.renewal is None else "renewed"
    enrolled = Verdict(
        result=Result.ENROLLED, code=done, reason="LDevID received and kept", reported=True
    )
    told = Report(step=StepName.ENROLL_STATUS, status=StepStatus.OK, detail=detail)
    return end(onboarding, enrolled, KeepReported(), told, Close())
