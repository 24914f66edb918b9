"""Giving up on a server that does not answer, and trying again: decided here, done elsewhere.

Owns no clock and no dice. Only silence counts; an answer of whatever kind shows that somebody is
there (docs/health.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from brski.errors import Unavailable

FAILURES: Final = 3  # ours: in a row
PAUSE_S: Final = 5.0  # ours: the first; twice as long after each trial that fails
PAUSE_LIMIT_S: Final = 60.0
FORGOTTEN_S: Final = 600.0  # ours: a server that nobody asked for so long is nobody's concern
IDLE_S: Final = 60.0  # ours: of a watched server, without an answer, before it is looked at
_SPREAD: Final = 0.5  # of what is left, at most, so that those who wait do not come all at once


class Circuit:
    """What is known of one server.

    Args:
        name: of the server, for messages.
        clock: monotonic seconds.
        draw: a number from 0 to 1.
        watched: it matters also while nobody needs it: it is tried when it has been idle for long,
            and not forgotten.
    """

    __slots__ = (
        "_asked_at",
        "_clock",
        "_draw",
        "_failures",
        "_name",
        "_pause_s",
        "_reason",
        "_trial",
        "_unreached",
        "_until",
        "_watched",
    )

    def __init__(
        self,
        name: str,
        *,
        clock: Callable[[], float],
        draw: Callable[[], float],
        watched: bool = False,
    ) -> None:
        self._name = name
        self._clock = clock
        self._draw = draw
        self._watched = watched
        self._failures = 0  # requests, in a row
        self._unreached = 0  # probes, in a row
        self._pause_s = PAUSE_S
        self._until = 0.0  # when the next trial may be
        self._trial = False
        self._reason = ""
        self._asked_at = clock()

    @property
    def is_open(self) -> bool:
        """Whether the server has been given up, and no trial has succeeded since."""
        return self._failures >= FAILURES or self._unreached >= FAILURES

    @property
    def is_forgotten(self) -> bool:
        """Whether no device has needed the server for a long time."""
        return not self._watched and self._clock() - self._asked_at > FORGOTTEN_S

    @property
    def reason(self) -> str:
        """Server and last failure."""
        return f"{self._name}: {self._reason}"

    @property
    def wants_trial(self) -> bool:
        """Whether it is time for a trial, and nobody makes one."""
        wanted = self.is_open or self._watched
        return wanted and not self._trial and self._clock() >= self._until

    def enter(self, *, is_probe: bool = False) -> None:
        """Before a request; exactly one of the other methods follows it.

        Args:
            is_probe: it is ours alone, for nobody who needs the server.

        Raises:
            Unavailable: not now; when is said.
        """
        if not is_probe:
            self._asked_at = self._clock()
        if not self.is_open:
            self._trial = self._trial or is_probe
            return
        if not self.wants_trial:
            left_s = max(1.0, self._until - self._clock())
            raise Unavailable(
                f"{self.reason}; given up for now",
                retry_after_s=math.ceil(left_s * (1 + _SPREAD * self._draw())),
            )
        self._trial = True

    def answered(self) -> None:
        """There was an answer."""
        self._failures = self._unreached = 0
        self._pause_s = PAUSE_S
        self._trial = False
        self._until = self._clock() + IDLE_S

    def reached(self) -> None:
        """There was a connection, which is less: the next failure opens the circuit again."""
        self._failures = min(self._failures, FAILURES - 1)
        self._unreached = 0
        self._trial = False
        self._until = self._clock() + IDLE_S

    def failed(self, reason: str, *, is_probe: bool = False) -> None:
        """There was no answer; to a probe, no connection."""
        if self._trial and self.is_open:
            self._pause_s = min(2 * self._pause_s, PAUSE_LIMIT_S)
        if is_probe:
            self._unreached += 1
        else:
            self._failures += 1
        self._reason = reason
        self._trial = False
        self._until = self._clock() + self._pause_s

    def left(self) -> None:
        """The request was given up, or went wrong in a way that tells nothing of the server."""
        self._trial = False
