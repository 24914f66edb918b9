"""Paths that were judged valid, kept for as long as no date in them says otherwise.

A signature that verified once over the same octets verifies always; what changes is the time. So a
judged path holds again at any moment within the validity of every certificate on it, and outside
of that it is judged anew. Nothing that was refused is kept. RFC 5280 §6.1.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias

from cryptography import x509

Path: TypeAlias = tuple[x509.Certificate, ...]
Question: TypeAlias = tuple[x509.Certificate, Path, bool]
"""Leaf, certificates to make a path from, and whether the leaf's end is passed over."""

_LIMIT: Final = 256  # ours: a device asks several times within a minute or two


@dataclass(frozen=True, slots=True)
class _Known:
    path: Path
    since: datetime
    until: datetime


class KnownPaths:
    """The paths to one set of anchors; the one unused for longest makes room."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: OrderedDict[Question, _Known] = OrderedDict()

    def get(self, question: Question, at: datetime) -> Path | None:
        """The path that answered *question* before, if it holds at that moment (aware) too."""
        known = self._known.get(question)
        if known is None or not known.since <= at <= known.until:
            return None
        self._known.move_to_end(question)
        return known.path

    def keep(self, question: Question, path: Path) -> None:
        """Keep *path*, leaf first, which was judged whole and found valid."""
        dated = path[1:] if question[2] and len(path) > 1 else path
        self._known[question] = _Known(
            path,
            since=max(certificate.not_valid_before_utc for certificate in path),
            until=min(certificate.not_valid_after_utc for certificate in dated),
        )
        if len(self._known) > _LIMIT:
            self._known.popitem(last=False)
