"""From the factory state to a voucher: what the pledge does before it trusts anybody.

RFC 8995 §5.1 to §5.6.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from brski.errors import (
    OnboardingError,
    PeerError,
    Refused,
    UnexpectedResponse,
)
from brski.registry import RETRY_AFTER_CAP_S
from device_client.pledge import messages
from device_client.pledge.attempt import (
    Onboarding,
    Transition,
    asked_for,
    be_patient,
    connect_as,
    end,
    known,
    report_of,
    verdict_of,
)
from device_client.pledge.judging import judge_voucher
from device_client.pledge.origin import resolve_location
from device_client.pledge.revocation import (
    addresses,
    check_answerable,
    check_answers,
    questions,
)
from device_client.pledge.states import (
    Answer,
    Answered,
    Close,
    Connected,
    Credential,
    FetchLists,
    ListsFetched,
    Phase,
    Report,
    Result,
    Send,
    Started,
    State,
    StepName,
    StepStatus,
    Verdict,
    Waited,
)

REDIRECTIONS_LIMIT: Final = 3  # ours: in all; RFC 8995 §5.6 allows one to another origin
_REDIRECTIONS: Final = frozenset({301, 302, 307, 308})  # 303 would turn the POST into a GET


def start(onboarding: Onboarding, event: Started) -> Transition:
    if event.renewal is not None:
        enrollment = known(event.enrollment)
        at = replace(onboarding, enrollment=enrollment, renewal=event.renewal)
        return connect_as(at, State.RENEWING, Credential.LDEVID)
    if event.phase is Phase.ENROLLED:
        verdict = Verdict(
            result=Result.ENROLLED,
            code="already-enrolled",
            reason="this device holds an LDevID and does not bootstrap again",
            reported=True,
        )
        return end(onboarding, verdict)
    if event.phase is Phase.UNREPORTED:
        enrollment = known(event.enrollment)
        at = replace(onboarding, origin=enrollment.origin, enrollment=enrollment)
        return connect_as(at, State.RECONNECTING, Credential.LDEVID)
    return connect_as(onboarding, State.CONNECTING, Credential.IDEVID)


def ask_for_voucher(onboarding: Onboarding, event: Connected) -> Transition:
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


def hear_of_voucher(onboarding: Onboarding, event: Answered) -> Transition:
    answer = event.answer
    if answer.status == 202:
        pause_s = min(asked_for(answer), RETRY_AFTER_CAP_S)
        limit_s = onboarding.pledge.policy.voucher_wait_s
        return be_patient(onboarding, State.PENDING, pause_s, limit_s)
    if answer.status in _REDIRECTIONS:
        return _follow(onboarding, answer)
    octets = messages.voucher_of(answer, onboarding.pledge.serialization.media_type)
    return _judge_voucher(replace(onboarding, voucher=octets), event)


def _judge_voucher(onboarding: Onboarding, event: Answered) -> Transition:
    answered = Report(step=StepName.VOUCHER_REQUEST, status=StepStatus.OK)
    try:
        accepted = judge_voucher(
            onboarding.voucher,
            pledge=onboarding.pledge,
            request=known(onboarding.request),
            registrar_chain=onboarding.registrar_chain,
            now=event.now,
        )
        asked = questions(onboarding.registrar_chain, accepted, event.now)
        if accepted.revocation_checks:
            check_answerable(asked, event.now)
    except (PeerError, Refused) as error:
        after, effects = _reject(onboarding, error)
        return after, (answered, *effects)
    judged = replace(onboarding, accepted=accepted)
    if not (wanted := addresses(asked)):
        after, effects = _accept(judged)
        return after, (answered, *effects)
    return replace(judged, state=State.CHECKING), (answered, FetchLists(addresses=wanted))


def check_revocation(onboarding: Onboarding, event: ListsFetched) -> Transition:
    """What could be had of revocation lists is there: the voucher's last gate."""
    accepted = known(onboarding.accepted)
    asked = questions(onboarding.registrar_chain, accepted, event.now)
    demanded = bool(accepted.revocation_checks)
    try:
        check_answers(asked, event.lists, demanded=demanded, now=event.now)
    except PeerError as error:
        return _reject(replace(onboarding, accepted=None), error)
    return _accept(onboarding)


def _reject(onboarding: Onboarding, error: OnboardingError) -> Transition:
    refused = replace(onboarding, state=State.REJECTING, verdict=verdict_of(error))
    return refused, (
        report_of(StepName.VOUCHER, error),
        Send(request=messages.voucher_status_message(error)),
    )


def _accept(onboarding: Onboarding) -> Transition:
    return replace(onboarding, state=State.ACCEPTING), (
        Report(step=StepName.VOUCHER, status=StepStatus.OK),
        Send(request=messages.voucher_status_message(None)),
    )


def _follow(onboarding: Onboarding, answer: Answer) -> Transition:
    origin, path = resolve_location(onboarding.origin, answer.location or "")
    if onboarding.redirections >= REDIRECTIONS_LIMIT:
        raise UnexpectedResponse("the registrar redirects in circles", section="RFC 8995 §5.6")
    followed = replace(onboarding, redirections=onboarding.redirections + 1)
    if origin == onboarding.origin:
        message = replace(known(onboarding.outstanding), path=path)
        return replace(followed, outstanding=message), (Send(request=message),)
    if onboarding.redirected_away:
        raise UnexpectedResponse(
            f"a second redirection to another origin, {origin}", section="RFC 8995 §5.6"
        )
    # Another registrar, another certificate: the attempt begins anew there, with a fresh nonce.
    elsewhere = replace(followed, redirected_away=True, origin=origin)
    again, effects = connect_as(elsewhere, State.CONNECTING, Credential.IDEVID)
    return again, (Close(), *effects)


def repeat_voucher_request(onboarding: Onboarding, _: Waited) -> Transition:
    message = known(onboarding.outstanding)
    return replace(onboarding, state=State.REQUESTING), (Send(request=message),)
