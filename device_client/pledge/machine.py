"""The pledge as a transition table: what happened goes in, what to do comes out.

:func:`advance` is a function of two values. The driver (:mod:`device_client.onboard`) does what the
effects say, in their order, and brings back what came of it; of the effects of one transition at
most one, the last of its kind, brings an event. What has no entry in :data:`TABLE` is refused and
changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias, TypeVar

from cryptography import x509

from brski.errors import (
    HandshakeFailed,
    OnboardingError,
    PeerError,
    Refused,
    SlowPeer,
    StateError,
    Unavailable,
    UnexpectedResponse,
    WrongOrder,
)
from brski.registry import RETRY_AFTER_CAP_S
from brski.voucher.model import VoucherRequest
from device_client.pledge import messages
from device_client.pledge.csr_contents import csr_contents
from device_client.pledge.messages import Pledge
from device_client.pledge.origin import Origin, resolve_location
from device_client.pledge.states import (
    Answer,
    Answered,
    Close,
    Connect,
    Connected,
    Credential,
    DomainCertificates,
    Effect,
    Enrollment,
    EnrollmentKept,
    Event,
    Failed,
    Finish,
    KeepEnrollment,
    KeepReported,
    KeepRequest,
    Phase,
    Report,
    Request,
    RequestKept,
    Result,
    Send,
    Started,
    State,
    StepName,
    StepStatus,
    Verdict,
    Wait,
    Waited,
)

DEFAULT_WAIT_S: Final = 10  # ours: after a 202 without Retry-After
REDIRECTIONS_LIMIT: Final = 3  # ours: in all; RFC 8995 §5.6 allows one to another origin
_REDIRECTIONS: Final = frozenset({301, 302, 307, 308})  # 303 would turn the POST into a GET


@dataclass(frozen=True, slots=True, kw_only=True)
class Onboarding:
    """One attempt at one registrar: the state, and what has been seen so far."""

    pledge: Pledge
    origin: Origin
    state: State = State.FACTORY
    redirections: int = 0
    redirected_away: bool = False  # the one redirection to another origin has been followed
    registrar_chain: tuple[x509.Certificate, ...] = ()
    request: VoucherRequest | None = None
    voucher_request: bytes = b""
    outstanding: Request | None = None  # what a 202 will have repeated, to the octet
    waited_s: int = 0
    voucher: bytes = b""
    pin: x509.Certificate | None = None
    domain: DomainCertificates | None = None
    csr: bytes = b""
    enrollment: Enrollment | None = None
    verdict: Verdict | None = None


T = TypeVar("T")
Transition: TypeAlias = tuple[Onboarding, tuple[Effect, ...]]


def advance(onboarding: Onboarding, event: Event) -> Transition:
    """Say where *event* leads and what to do.

    Args:
        onboarding: as the last call returned it.
        event: what came of the effects of the last call.

    Returns:
        The onboarding as it now stands, and the effects, to be done in order.

    Raises:
        WrongOrder: *event* has no place in this state; nothing has changed.
        LocalError: the device's own key or settings fail; nothing has changed.

    RFC 8995 §5.
    """
    handler = TABLE.get((onboarding.state, type(event)))
    if handler is None:
        raise WrongOrder(f"{type(event).__name__} has no place while {onboarding.state.value}")
    try:
        return handler(onboarding, event)
    except (PeerError, Refused, Unavailable) as error:
        return FAULTS[onboarding.state](onboarding, error)


# -- before the voucher


def _start(onboarding: Onboarding, event: Started) -> Transition:
    if event.phase is Phase.ENROLLED:
        verdict = Verdict(
            result=Result.ENROLLED,
            code="already-enrolled",
            reason="this device holds an LDevID and does not bootstrap again",
            reported=True,
        )
        return _end(onboarding, verdict)
    if event.phase is Phase.UNREPORTED:
        enrollment = _known(event.enrollment)
        at = replace(onboarding, origin=enrollment.origin, enrollment=enrollment)
        return _connect(at, State.RECONNECTING, Credential.LDEVID)
    return _connect(onboarding, State.CONNECTING, Credential.IDEVID)


def _connect(onboarding: Onboarding, state: State, credential: Credential) -> Transition:
    effect = Connect(origin=onboarding.origin, credential=credential)
    return replace(onboarding, state=state), (effect,)


def _ask_for_voucher(onboarding: Onboarding, event: Connected) -> Transition:
    chain = event.registrar_chain
    messages.check_registrar_chain(chain)
    request, octets = messages.build_voucher_request(
        onboarding.pledge,
        registrar_certificate=chain[0],
        nonce=event.nonce,
        created_on=None if event.now is None else messages.aware(event.now),
    )
    media_type = onboarding.pledge.serialization.media_type
    message = messages.voucher_request_message(octets, media_type)
    asking = replace(
        onboarding,
        state=State.REQUESTING,
        registrar_chain=chain,
        request=request,
        voucher_request=octets,
        outstanding=message,
        waited_s=0,
    )
    return asking, (Report(step=StepName.CONNECT, status=StepStatus.OK), Send(request=message))


def _hear_of_voucher(onboarding: Onboarding, event: Answered) -> Transition:
    answer = event.answer
    if answer.status == 202:
        pause_s = min(_asked_for(answer), RETRY_AFTER_CAP_S)
        limit_s = onboarding.pledge.policy.voucher_wait_s
        return _be_patient(onboarding, State.PENDING, pause_s, limit_s)
    if answer.status in _REDIRECTIONS:
        return _follow(onboarding, answer)
    octets = messages.voucher_of(answer, onboarding.pledge.serialization.media_type)
    return _judge_voucher(replace(onboarding, voucher=octets), event)


def _judge_voucher(onboarding: Onboarding, event: Answered) -> Transition:
    answered = Report(step=StepName.VOUCHER_REQUEST, status=StepStatus.OK)
    try:
        pin = messages.judge_voucher(
            onboarding.voucher,
            pledge=onboarding.pledge,
            request=_known(onboarding.request),
            registrar_chain=onboarding.registrar_chain,
            now=event.now,
        )
    except (PeerError, Refused) as error:
        refused = replace(onboarding, state=State.REJECTING, verdict=_verdict_of(error))
        return refused, (
            answered,
            _report(StepName.VOUCHER, error),
            Send(request=messages.voucher_status_message(error)),
        )
    return replace(onboarding, state=State.ACCEPTING, pin=pin), (
        answered,
        Report(step=StepName.VOUCHER, status=StepStatus.OK),
        Send(request=messages.voucher_status_message(None)),
    )


def _be_patient(onboarding: Onboarding, state: State, pause_s: int, limit_s: int) -> Transition:
    waited_s = onboarding.waited_s + pause_s
    if waited_s > limit_s:
        raise Unavailable(
            f"the registrar still asks for patience after {onboarding.waited_s} s",
            section="RFC 8995 §5.6",
        )
    return replace(onboarding, state=state, waited_s=waited_s), (Wait(seconds=pause_s),)


def _asked_for(answer: Answer) -> int:
    return DEFAULT_WAIT_S if answer.retry_after_s is None else max(1, answer.retry_after_s)


def _follow(onboarding: Onboarding, answer: Answer) -> Transition:
    origin, path = resolve_location(onboarding.origin, answer.location or "")
    if onboarding.redirections >= REDIRECTIONS_LIMIT:
        raise UnexpectedResponse("the registrar redirects in circles", section="RFC 8995 §5.6")
    followed = replace(onboarding, redirections=onboarding.redirections + 1)
    if origin == onboarding.origin:
        message = replace(_known(onboarding.outstanding), path=path)
        return replace(followed, outstanding=message), (Send(request=message),)
    if onboarding.redirected_away:
        raise UnexpectedResponse(
            f"a second redirection to another origin, {origin}", section="RFC 8995 §5.6"
        )
    # Another registrar, another certificate: the attempt begins anew there, with a fresh nonce.
    elsewhere = replace(followed, redirected_away=True, origin=origin)
    again, effects = _connect(elsewhere, State.CONNECTING, Credential.IDEVID)
    return again, (Close(), *effects)


def _repeat_voucher_request(onboarding: Onboarding, _: Waited) -> Transition:
    message = _known(onboarding.outstanding)
    return replace(onboarding, state=State.REQUESTING), (Send(request=message),)


# -- after the voucher


def _fetch_ca_certs(onboarding: Onboarding, _: Answered) -> Transition:
    # whatever the answer: RFC 8995 §5.7 has the client ignore it
    return replace(onboarding, state=State.CA_CERTS), (
        Report(step=StepName.VOUCHER_STATUS, status=StepStatus.OK),
        Send(request=messages.ca_certs_message()),
    )


def _fetch_csr_attrs(onboarding: Onboarding, event: Answered) -> Transition:
    domain = messages.domain_certificates_of(event.answer)
    return replace(onboarding, state=State.CSR_ATTRS, domain=domain), (
        Report(step=StepName.CA_CERTS, status=StepStatus.OK),
        Send(request=messages.csr_attrs_message()),
    )


def _prepare_csr(onboarding: Onboarding, event: Answered) -> Transition:
    contents = csr_contents(
        messages.csr_requirements_of(event.answer),
        serial_number=onboarding.pledge.serial_number,
        idevid_issuer=onboarding.pledge.idevid_issuer,
    )
    return replace(onboarding, state=State.PREPARING), (
        Report(step=StepName.CSR_ATTRS, status=StepStatus.OK),
        KeepRequest(contents=contents, domain=messages.domain_of(_known(onboarding.pin))),
    )


def _enroll(onboarding: Onboarding, event: RequestKept) -> Transition:
    message = messages.enroll_message(event.csr)
    enrolling = replace(
        onboarding, state=State.ENROLLING, csr=event.csr, outstanding=message, waited_s=0
    )
    return enrolling, (Send(request=message),)


def _hear_of_enrollment(onboarding: Onboarding, event: Answered) -> Transition:
    answer = event.answer
    if answer.status in (202, 503):
        pause_s = _asked_for(answer)  # RFC 7030 §4.2.3: at least that long
        limit_s = onboarding.pledge.policy.enroll_wait_s
        return _be_patient(onboarding, State.ENROLL_PENDING, pause_s, limit_s)
    domain = _known(onboarding.domain)
    chain = messages.ldevid_chain_of(answer, csr=onboarding.csr, domain=domain, now=event.now)
    enrollment = Enrollment(
        origin=onboarding.origin,
        ldevid_chain=chain,
        domain=domain,
        pinned_domain_cert=_known(onboarding.pin),
    )
    keeping = replace(onboarding, state=State.KEEPING, enrollment=enrollment)
    return keeping, (KeepEnrollment(enrollment=enrollment),)


def _repeat_enroll(onboarding: Onboarding, _: Waited) -> Transition:
    message = _known(onboarding.outstanding)
    return replace(onboarding, state=State.ENROLLING), (Send(request=message),)


def _reconnect(onboarding: Onboarding, _: EnrollmentKept) -> Transition:
    again, effects = _connect(onboarding, State.RECONNECTING, Credential.LDEVID)
    return again, (Report(step=StepName.ENROLL, status=StepStatus.OK), Close(), *effects)


def _report_success(onboarding: Onboarding, event: Connected) -> Transition:
    enrollment = _known(onboarding.enrollment)
    messages.check_known_registrar(
        event.registrar_chain,
        domain=enrollment.domain,
        pin=enrollment.pinned_domain_cert,
        now=event.now,
    )
    return replace(onboarding, state=State.REPORTING), (
        Send(request=messages.enroll_status_message(None)),
    )


def _finish(onboarding: Onboarding, event: Answered) -> Transition:
    status = event.answer.status
    if status >= 500:
        raise Unavailable(f"the registrar answered {status}", section="RFC 8995 §5.9.4")
    detail = "" if status == 200 else f"the registrar answered {status}"  # 404 is allowed
    enrolled = Verdict(
        result=Result.ENROLLED, code="enrolled", reason="LDevID received and kept", reported=True
    )
    told = Report(step=StepName.ENROLL_STATUS, status=StepStatus.OK, detail=detail)
    return _end(onboarding, enrolled, KeepReported(), told, Close())


# -- where things end


def _give_up(onboarding: Onboarding, error: OnboardingError) -> Transition:
    """Nothing can be said any more on this connection, or nothing needs to be."""
    told = _report(_STEPS[onboarding.state], error)
    return _end(onboarding, _verdict_of(error), told, Close())


def _tell_of_failure(onboarding: Onboarding, error: OnboardingError) -> Transition:
    """The registrar is trusted and the connection stands: it is told (RFC 8995 §5.9.4)."""
    failing = replace(onboarding, state=State.FAILING, verdict=_verdict_of(error))
    return failing, (
        _report(_STEPS[onboarding.state], error),
        Send(request=messages.enroll_status_message(error)),
    )


def _end_unreported(onboarding: Onboarding, error: OnboardingError) -> Transition:
    """The device is enrolled, and tells so at its next start."""
    enrolled = Verdict(
        result=Result.ENROLLED,
        code="enrolled-unreported",
        reason=f"LDevID received and kept; the registrar is not told yet: {error.reason}",
        error=error,
    )
    return _end(onboarding, enrolled, _report(StepName.ENROLL_STATUS, error), Close())


def _told_of_refusal(onboarding: Onboarding, _: Answered) -> Transition:
    told = Report(step=_STEPS[onboarding.state], status=StepStatus.OK)
    return _end(onboarding, _known(onboarding.verdict), told, Close())


def _not_told_of_refusal(onboarding: Onboarding, event: Failed) -> Transition:
    told = _report(_STEPS[onboarding.state], event.error)
    return _end(onboarding, _known(onboarding.verdict), told, Close())


def _end(onboarding: Onboarding, verdict: Verdict, *effects: Effect) -> Transition:
    over = replace(onboarding, state=State.DONE, verdict=verdict)
    return over, (*effects, Finish(verdict=verdict))


def _verdict_of(error: OnboardingError) -> Verdict:
    silent = isinstance(error, Unavailable | SlowPeer | HandshakeFailed)
    return Verdict(
        result=Result.RETRY if silent else Result.REFUSED,
        code=error.code,
        reason=str(error),
        retry_after_s=getattr(error, "retry_after_s", 0),
        error=error,
    )


def _report(step: StepName, error: OnboardingError) -> Report:
    judged = isinstance(error, PeerError | Refused) and _verdict_of(error).result is Result.REFUSED
    status = StepStatus.REFUSED if judged else StepStatus.FAILED
    return Report(step=step, status=status, detail=str(error))


def _known(value: T | None) -> T:
    """*value*, which an earlier state of the table has set."""
    if value is None:
        raise StateError("a step came before the one that it builds on", section="RFC 8995 §5")
    return value


# -- the table

_STEPS: Final[dict[State, StepName]] = {
    State.CONNECTING: StepName.CONNECT,
    State.REQUESTING: StepName.VOUCHER_REQUEST,
    State.PENDING: StepName.VOUCHER_REQUEST,
    State.REJECTING: StepName.VOUCHER_STATUS,
    State.ACCEPTING: StepName.VOUCHER_STATUS,
    State.CA_CERTS: StepName.CA_CERTS,
    State.CSR_ATTRS: StepName.CSR_ATTRS,
    State.PREPARING: StepName.ENROLL,
    State.ENROLLING: StepName.ENROLL,
    State.ENROLL_PENDING: StepName.ENROLL,
    State.KEEPING: StepName.ENROLL,
    State.FAILING: StepName.ENROLL_STATUS,
    State.RECONNECTING: StepName.ENROLL_STATUS,
    State.REPORTING: StepName.ENROLL_STATUS,
}


def _on_failed(handle: Callable[[Onboarding, OnboardingError], Transition]) -> Any:
    return lambda onboarding, event: handle(onboarding, event.error)


# Each value takes the event type of its key: a dictionary cannot say so, hence Any.
TABLE: Final[dict[tuple[State, type[Event]], Callable[[Onboarding, Any], Transition]]] = {
    (State.FACTORY, Started): _start,
    (State.CONNECTING, Connected): _ask_for_voucher,
    (State.CONNECTING, Failed): _on_failed(_give_up),
    (State.REQUESTING, Answered): _hear_of_voucher,
    (State.REQUESTING, Failed): _on_failed(_give_up),
    (State.PENDING, Waited): _repeat_voucher_request,
    (State.REJECTING, Answered): _told_of_refusal,
    (State.REJECTING, Failed): _not_told_of_refusal,
    (State.ACCEPTING, Answered): _fetch_ca_certs,
    (State.ACCEPTING, Failed): _on_failed(_give_up),
    (State.CA_CERTS, Answered): _fetch_csr_attrs,
    (State.CA_CERTS, Failed): _on_failed(_give_up),
    (State.CSR_ATTRS, Answered): _prepare_csr,
    (State.CSR_ATTRS, Failed): _on_failed(_give_up),
    (State.PREPARING, RequestKept): _enroll,
    (State.PREPARING, Failed): _on_failed(_tell_of_failure),
    (State.ENROLLING, Answered): _hear_of_enrollment,
    (State.ENROLLING, Failed): _on_failed(_give_up),
    (State.ENROLL_PENDING, Waited): _repeat_enroll,
    (State.KEEPING, EnrollmentKept): _reconnect,
    (State.KEEPING, Failed): _on_failed(_tell_of_failure),
    (State.FAILING, Answered): _told_of_refusal,
    (State.FAILING, Failed): _not_told_of_refusal,
    (State.RECONNECTING, Connected): _report_success,
    (State.RECONNECTING, Failed): _on_failed(_end_unreported),
    (State.REPORTING, Answered): _finish,
    (State.REPORTING, Failed): _on_failed(_end_unreported),
}

# What becomes of an error that a handler raises, by the state that it happened in.
FAULTS: Final[dict[State, Callable[[Onboarding, OnboardingError], Transition]]] = {
    State.CONNECTING: _give_up,
    State.REQUESTING: _give_up,
    State.CA_CERTS: _tell_of_failure,
    State.CSR_ATTRS: _tell_of_failure,
    State.ENROLLING: _tell_of_failure,
    State.RECONNECTING: _end_unreported,
    State.REPORTING: _end_unreported,
}
