"""When to try which registrar again. Knows no clock: times go in, a choice comes out.

RFC 8995 §4.1: each proxy has a back-off of its own, doubling up to an hour; between attempts at
different ones a few seconds pass; after a change of the link all start anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

LONGEST_S: Final = 3600.0  # RFC 8995 §4.1
BETWEEN_S: Final = (3.0, 5.0)  # RFC 8995 §4.1: least and most between two different registrars


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """What has become of the attempts at one registrar."""

    failures: int = 0  # in a row
    ended_at_s: float = float("-inf")  # on whatever clock the caller keeps
    not_before_s: float = 0.0  # what the registrar itself asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Whom to try, and how long to wait before that."""

    index: int  # into the attempts
    wait_s: float


def delay_s(failures: int, *, first_s: float) -> float:
    """How long one registrar is left alone after *failures* in a row: doubling to an hour."""
    if failures <= 0:
        return 0.0
    return min(LONGEST_S, first_s * float(2 ** min(failures - 1, 32)))


def between_s(spread: float) -> float:
    """The pause before another registrar is tried; *spread* in [0, 1] picks within 3 to 5 s."""
    least, most = BETWEEN_S
    return least + (most - least) * min(1.0, max(0.0, spread))


def choose(
    attempts: Sequence[Attempts],
    *,
    last: int | None,
    now_s: float,
    first_s: float,
    spread: float,
) -> Choice:
    """Pick the registrar that is due first; of several, the one tried least recently.

    Args:
        attempts: one entry a registrar, in the order of the settings.
        last: the index tried just now, if any: only another one waits the pause between two.
        now_s: the same clock as ``ended_at_s``.
        first_s: the delay after a first failure.
        spread: a random number in [0, 1], so that a room full of pledges does not move in step.

    Raises:
        ValueError: there is no registrar to choose from.

    RFC 8995 §4.1, §5.1 (the one communicated with least recently).
    """
    due = [_due_at_s(a, now_s=now_s, first_s=first_s) for a in attempts]
    index = min(range(len(due)), key=lambda i: (due[i], attempts[i].ended_at_s, i))
    pause_s = between_s(spread) if last is not None and last != index else 0.0
    return Choice(index=index, wait_s=max(due[index] - now_s, pause_s))


def failed(attempts: Attempts, *, now_s: float, retry_after_s: float = 0.0) -> Attempts:
    """The entry of a registrar after one more attempt that led to nothing.

    What it asked for by Retry-After is honoured up to an hour: nobody has vouched for it.
    """
    return Attempts(
        failures=attempts.failures + 1,
        ended_at_s=now_s,
        not_before_s=now_s + min(retry_after_s, LONGEST_S),
    )


def _due_at_s(attempts: Attempts, *, now_s: float, first_s: float) -> float:
    if attempts.failures == 0:
        return now_s
    own_s = attempts.ended_at_s + delay_s(attempts.failures, first_s=first_s)
    return max(now_s, own_s, attempts.not_before_s)
