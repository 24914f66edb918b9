"""What every fuzz target promises, whatever its input is."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from brski.errors import OnboardingError, PeerError, Refused

SECONDS_LIMIT: Final = 1.0  # of processor time for one input; a good one takes a thousandth
REASON_LIMIT: Final = 1000  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One parser, or what a peer's octets go through in a row."""

    name: str
    run: Callable[[bytes], None]  # raises what the parser raises, AssertionError if it misreads
    octets: int = 8192  # longest input that a fuzzer tries


class TooSlow(AssertionError):
    """An input that costs more than its length is worth."""


def attempt(target: Target, data: bytes) -> OnboardingError | None:
    """Run *target* on *data*.

    Returns:
        The refusal; None if it was taken.

    Raises:
        BaseException: whatever is neither :class:`PeerError` nor :class:`Refused`, which alone may
            answer a stranger's octets; AssertionError for a misreading, a reason that would not fit
            on a line of a log, or too much time.
    """
    started = time.process_time()
    refusal = _refusal(target, data)
    spent = time.process_time() - started
    if refusal is not None:
        assert refusal.reason.isprintable(), f"{target.name}: a reason with control characters"
        assert len(refusal.reason) <= REASON_LIMIT, f"{target.name}: a reason like a novel"
    if spent > SECONDS_LIMIT:
        raise TooSlow(f"{target.name}: {spent:.2f} s for {len(data)} octets")
    return refusal


def _refusal(target: Target, data: bytes) -> OnboardingError | None:
    try:
        target.run(data)
    except (PeerError, Refused) as err:
        return err
    return None


def either(
    first: Callable[[bytes], None], second: Callable[[bytes], None]
) -> Callable[[bytes], None]:
    """Both, on the same input; a refusal only if both refuse, and then the second's."""

    def run(data: bytes) -> None:
        try:
            first(data)
        except (PeerError, Refused):
            second(data)
        else:
            with suppress(PeerError, Refused):
                second(data)

    return run
