"""The pledge as a transition table: what happened goes in, what to do comes out.

:func:`advance` is a function of two values. The driver (:mod:`device_client.attempt`) does what the
effects say, in their order, and brings back what came of it; of the effects of one transition at
most one, the last of its kind, brings an event. What has no entry in :data:`TABLE` is refused and
changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from brski.errors import (
    OnboardingError,
    PeerError,
    Refused,
    Unavailable,
    WrongOrder,
)
from device_client.pledge import bootstrap, endings, enrolling, renewing
from device_client.pledge.attempt import Onboarding, Transition
from device_client.pledge.states import (
    Answered,
    Connected,
    EnrollmentKept,
    Event,
    Failed,
    ListsFetched,
    RequestKept,
    Started,
    State,
    Waited,
)


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


def _on_failed(handle: Callable[[Onboarding, OnboardingError], Transition]) -> Any:
    return lambda onboarding, event: handle(onboarding, event.error)


# Each value takes the event type of its key: a dictionary cannot say so, hence Any.
TABLE: Final[dict[tuple[State, type[Event]], Callable[[Onboarding, Any], Transition]]] = {
    (State.FACTORY, Started): bootstrap.start,
    (State.CONNECTING, Connected): bootstrap.ask_for_voucher,
    (State.CONNECTING, Failed): _on_failed(endings.give_up),
    (State.RENEWING, Connected): renewing.ask_domain,
    (State.RENEWING, Failed): _on_failed(endings.give_up),
    (State.REQUESTING, Answered): bootstrap.hear_of_voucher,
    (State.REQUESTING, Failed): _on_failed(endings.give_up),
    (State.PENDING, Waited): bootstrap.repeat_voucher_request,
    (State.CHECKING, ListsFetched): bootstrap.check_revocation,
    (State.CHECKING, Failed): _on_failed(endings.give_up),
    (State.REJECTING, Answered): endings.told_of_refusal,
    (State.REJECTING, Failed): endings.not_told_of_refusal,
    (State.ACCEPTING, Answered): enrolling.fetch_ca_certs,
    (State.ACCEPTING, Failed): _on_failed(endings.give_up),
    (State.CA_CERTS, Answered): enrolling.fetch_csr_attrs,
    (State.CA_CERTS, Failed): _on_failed(endings.give_up),
    (State.CSR_ATTRS, Answered): enrolling.prepare_csr,
    (State.CSR_ATTRS, Failed): _on_failed(endings.give_up),
    (State.PREPARING, RequestKept): enrolling.enroll,
    (State.PREPARING, Failed): _on_failed(endings.tell_of_failure),
    (State.ENROLLING, Answered): enrolling.hear_of_enrollment,
    (State.ENROLLING, Failed): _on_failed(endings.give_up),
    (State.ENROLL_PENDING, Waited): enrolling.repeat_enroll,
    (State.KEEPING, EnrollmentKept): enrolling.reconnect,
    (State.KEEPING, Failed): _on_failed(endings.tell_of_failure),
    (State.FAILING, Answered): endings.told_of_refusal,
    (State.FAILING, Failed): endings.not_told_of_refusal,
    (State.RECONNECTING, Connected): enrolling.report_success,
    (State.RECONNECTING, Failed): _on_failed(endings.end_unreported),
    (State.REPORTING, Answered): enrolling.finish,
    (State.REPORTING, Failed): _on_failed(endings.end_unreported),
}

# What becomes of an error that a handler raises, by the state that it happened in.
FAULTS: Final[dict[State, Callable[[Onboarding, OnboardingError], Transition]]] = {
    State.CONNECTING: endings.give_up,
    State.RENEWING: endings.give_up,
    State.REQUESTING: endings.give_up,
    State.CA_CERTS: endings.tell_of_failure,
    State.CSR_ATTRS: endings.tell_of_failure,
    State.ENROLLING: endings.tell_of_failure,
    State.RECONNECTING: endings.end_unreported,
    State.REPORTING: endings.end_unreported,
}
