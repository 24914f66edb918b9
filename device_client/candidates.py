"""Which registrar is tried when: told and found ones, each with a back-off of its own.

RFC 8995 §4.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from device_client.pledge.backoff import Attempts, choose, failed
from device_client.pledge.origin import Origin

REMEMBERED_LIMIT: Final = 128  # ours: found ones whose failures are remembered though they are gone


@dataclass(frozen=True, slots=True, kw_only=True)
class Next:
    """Whom to try, and how long to wait before that."""

    origin: Origin
    wait_s: float


class Candidates:
    """Args:
    told: from the settings; always there.
    first_delay_s: the back-off after a first failure at one of them.
    """

    def __init__(self, told: Sequence[Origin], first_delay_s: float) -> None:
        self._told = tuple(dict.fromkeys(told))
        self._first_delay_s = first_delay_s
        self._found: tuple[Origin, ...] = ()
        self._attempts: dict[Origin, Attempts] = {}
        self._last: Origin | None = None

    def __len__(self) -> int:
        return len(self._origins())

    def find(self, found: Iterable[Origin]) -> None:
        """These are there now beside those that were told, and no others.

        Who comes back soon has the back-off that it left with.
        """
        self._found = tuple(dict.fromkeys(o for o in found if o not in self._told))
        here = set(self._origins())
        gone = [origin for origin in self._attempts if origin not in here]
        for origin in gone[: max(0, len(gone) - REMEMBERED_LIMIT)]:
            del self._attempts[origin]

    def next(self, *, now_s: float, spread: float) -> Next:
        """The one that is due first; see :func:`device_client.pledge.backoff.choose`."""
        origins = self._origins()
        last = origins.index(self._last) if self._last in origins else None
        if self._last is not None and last is None:
            last = len(origins)  # another one in any case
        choice = choose(
            [self._attempts.get(origin, Attempts()) for origin in origins],
            last=last,
            now_s=now_s,
            first_s=self._first_delay_s,
            spread=spread,
        )
        return Next(origin=origins[choice.index], wait_s=choice.wait_s)

    def failed(self, origin: Origin, *, now_s: float, retry_after_s: float) -> None:
        """An attempt there led to nothing."""
        before = self._attempts.pop(origin, Attempts())
        self._attempts[origin] = failed(before, now_s=now_s, retry_after_s=retry_after_s)
        self._last = origin

    def begin_anew(self) -> None:
        """The link has changed: what failed before says nothing any more."""
        self._attempts.clear()
        self._last = None

    def _origins(self) -> tuple[Origin, ...]:
        return (*self._told, *self._found)
