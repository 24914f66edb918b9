"""One attempt at one registrar, as a value, and the words that all its steps share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, TypeAlias, TypeVar

from cryptography import x509

from brski.errors import (
    HandshakeFailed,
    OnboardingError,
    PeerError,
    Refused,
    SlowPeer,
    StateError,
    Unavailable,
)
from brski.voucher.model import VoucherRequest
from device_client.pledge.judging import Accepted
from device_client.pledge.origin import Origin
from device_client.pledge.policy import Pledge
from device_client.pledge.states import (
    Answer,
    Connect,
    Credential,
    DomainCertificates,
    Effect,
    Enrollment,
    Finish,
    Renewal,
    Report,
    Request,
    Result,
    State,
    StepName,
    StepStatus,
    Verdict,
    Wait,
)

DEFAULT_WAIT_S: Final = 10  # ours: after a 202 without Retry-After


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
    accepted: Accepted | None = None  # what the voucher says, once it is believed
    domain: DomainCertificates | None = None
    csr: bytes = b""
    enrollment: Enrollment | None = None  # kept, or about to be
    renewal: Renewal | None = None
    verdict: Verdict | None = None


T = TypeVar("T")
Transition: TypeAlias = tuple[Onboarding, tuple[Effect, ...]]


STEPS: Final[dict[State, StepName]] = {
    State.CONNECTING: StepName.CONNECT,
    State.RENEWING: StepName.CONNECT,
    State.REQUESTING: StepName.VOUCHER_REQUEST,
    State.PENDING: StepName.VOUCHER_REQUEST,
    State.CHECKING: StepName.VOUCHER,
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


def connect_as(onboarding: Onboarding, state: State, credential: Credential) -> Transition:
    effect = Connect(origin=onboarding.origin, credential=credential)
    return replace(onboarding, state=state), (effect,)


def be_patient(onboarding: Onboarding, state: State, pause_s: int, limit_s: int) -> Transition:
    waited_s = onboarding.waited_s + pause_s
    if waited_s > limit_s:
        raise Unavailable(
            f"the registrar still asks for patience after {onboarding.waited_s} s",
            section="RFC 8995 §5.6",
        )
    return replace(onboarding, state=state, waited_s=waited_s), (Wait(seconds=pause_s),)


def asked_for(answer: Answer) -> int:
    return DEFAULT_WAIT_S if answer.retry_after_s is None else max(1, answer.retry_after_s)


def end(onboarding: Onboarding, verdict: Verdict, *effects: Effect) -> Transition:
    over = replace(onboarding, state=State.DONE, verdict=verdict)
    return over, (*effects, Finish(verdict=verdict))


def verdict_of(error: OnboardingError) -> Verdict:
    silent = isinstance(error, Unavailable | SlowPeer | HandshakeFailed)
    return Verdict(
        result=Result.RETRY if silent else Result.REFUSED,
        code=error.code,
        reason=str(error),
        retry_after_s=getattr(error, "retry_after_s", 0),
        error=error,
    )


def report_of(step: StepName, error: OnboardingError) -> Report:
    judged = isinstance(error, PeerError | Refused) and verdict_of(error).result is Result.REFUSED
    status = StepStatus.REFUSED if judged else StepStatus.FAILED
    return Report(step=step, status=status, detail=str(error))


def known(value: T | None) -> T:
    """*value*, which an earlier state of the table has set."""
    if value is None:
        raise StateError("a step came before the one that it builds on", section="RFC 8995 §5")
    return value
