"""Where an attempt ends, well or not, and who is told of it. RFC 8995 §5.7, §5.9.4."""

from __future__ import annotations

from dataclasses import replace

from brski.errors import (
    OnboardingError,
)
from device_client.pledge import messages
from device_client.pledge.attempt import (
    STEPS,
    Onboarding,
    Transition,
    end,
    known,
    report_of,
    verdict_of,
)
from device_client.pledge.states import (
    Answered,
    Close,
    Failed,
    Report,
    Result,
    Send,
    State,
    StepName,
    StepStatus,
    Verdict,
)


def give_up(onboarding: Onboarding, error: OnboardingError) -> Transition:
    """Nothing can be said any more on this connection, or nothing needs to be."""
    told = report_of(STEPS[onboarding.state], error)
    return end(onboarding, verdict_of(error), told, Close())


def tell_of_failure(onboarding: Onboarding, error: OnboardingError) -> Transition:
    """The registrar is trusted and the connection stands: it is told (RFC 8995 §5.9.4)."""
    failing = replace(onboarding, state=State.FAILING, verdict=verdict_of(error))
    return failing, (
        report_of(STEPS[onboarding.state], error),
        Send(request=messages.enroll_status_message(error)),
    )


def end_unreported(onboarding: Onboarding, error: OnboardingError) -> Transition:
    """The device is enrolled, and tells so at its next start."""
    enrolled = Verdict(
        result=Result.ENROLLED,
        code="enrolled-unreported" if onboarding.renewal is None else "renewed-unreported",
        reason=f"LDevID received and kept; the registrar is not told yet: {error.reason}",
        error=error,
    )
    return end(onboarding, enrolled, report_of(StepName.ENROLL_STATUS, error), Close())


def told_of_refusal(onboarding: Onboarding, _: Answered) -> Transition:
    told = Report(step=STEPS[onboarding.state], status=StepStatus.OK)
    return end(onboarding, known(onboarding.verdict), told, Close())


def not_told_of_refusal(onboarding: Onboarding, event: Failed) -> Transition:
    told = report_of(STEPS[onboarding.state], event.error)
    return end(onboarding, known(onboarding.verdict), told, Close())
