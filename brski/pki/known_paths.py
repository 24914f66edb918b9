"""What was found about paths that are valid, kept for as long as no date in them says otherwise.

A signature that verified once over the same octets verifies always; what changes is the time. So a
judged path holds again at any moment within the validity of every certificate on it, and outside
of that it is judged anew. Nothing that was refused is kept. RFC 5280 §6.1.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Generic, TypeVar

from cryptography import x509

_LIMIT: Final = 256  # ours: a device asks several times within a minute or two

_Question = TypeVar("_Question", bound=Hashable)
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class _Dated(Generic[_Answer]):
    answer: _Answer
    since: datetime
    until: datetime


class WhileValid(Generic[_Question, _Answer]):
    """Answers by question, each within dates; the one unused for longest makes room."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: OrderedDict[_Question, _Dated[_Answer]] = OrderedDict()

    def get(self, question: _Question, at: datetime) -> _Answer | None:
        """The answer to *question* that was kept, if it holds at that moment (aware) too."""
        kept = self._kept.get(question)
        if kept is None or not kept.since <= at <= kept.until:
            return None
        self._kept.move_to_end(question)
        return kept.answer

    def keep(
        self, question: _Question, answer: _Answer, certificates: Iterable[x509.Certificate]
    ) -> None:
        """Keep *answer* for as long as every one of *certificates*, one at least, is valid."""
        dates = [(one.not_valid_before_utc, one.not_valid_after_utc) for one in certificates]
        since, until = max(start for start, _ in dates), min(end for _, end in dates)
        self._kept[question] = _Dated(answer, since, until)
        if len(self._kept) > _LIMIT:
            self._kept.popitem(last=False)
