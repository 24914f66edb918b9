"""Tell what a file is, by its content, and describe it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from brski.errors import TooLarge, UnknownFormat
from brski_lab.inspecting.armor import unwrap
from brski_lab.inspecting.content import Content
from brski_lab.inspecting.description import Description, Fact, Facts, Finding, shown
from brski_lab.inspecting.kind import Kind
from brski_lab.inspecting.registry import KINDS
from brski_lab.inspecting.secret import check_no_secret

MOST_OCTETS: Final = 4 << 20  # of a file that are read
MOST_BLOCKS: Final = 64  # of one PEM file

_LARGE: Final = frozenset({"bundle", "build list", "owner manifest", "seed batch"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """A file and what is in it; more than one thing only in PEM."""

    size: int  # octets
    layers: tuple[str, ...]  # of armor, outermost first
    artifacts: tuple[Description, ...]
    findings: tuple[Finding, ...]  # about the armor

    def as_document(self) -> Facts:
        """The whole as plain values, for JSON."""
        return {
            "octets": self.size,
            "armor": list(self.layers),
            "findings": _findings(self.findings),
            "artifacts": [_artifact(each) for each in self.artifacts],
        }


def inspect(octets: bytes, *, size: int) -> Inspection:
    """Describe a file.

    Args:
        octets: its beginning; the whole of it unless it is larger than :data:`MOST_OCTETS`.
        size: of the file, octets.

    Raises:
        SecretNotShown: it holds a private key or a device's secret.
        UnknownFormat: it, or a part of it, is nothing that is known here.
        TooLarge: it is larger than what is read, and nothing whose beginning tells all.
    """
    unwrapped = unwrap(octets, size=size)
    contents = unwrapped.contents
    if len(contents) > MOST_BLOCKS:
        raise TooLarge(f"{len(contents)} PEM blocks, at most {MOST_BLOCKS} are shown")
    check_no_secret(contents)
    artifacts = tuple(_describe(content) for content in contents)
    if len(octets) < size and any(each.kind not in _LARGE for each in artifacts):
        raise TooLarge(f"{size} octets, at most {MOST_OCTETS} are read of such a file")
    return Inspection(
        size=size, layers=unwrapped.layers, artifacts=artifacts, findings=unwrapped.findings
    )


def _describe(content: Content) -> Description:
    for kind in KINDS:
        if kind.recognises(content):
            return _with_warnings(kind, content)
    raise UnknownFormat("nothing that is known here, or too little of it is left")


def _with_warnings(kind: Kind, content: Content) -> Description:
    """A description, with what the libraries only warn of among its findings."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        described = kind.describe(content)
    texts = dict.fromkeys(str(each.message) for each in warned)
    return replace(
        described,
        findings=(*described.findings, *(Finding(text=shown(text)) for text in texts)),
    )


def _artifact(description: Description) -> Facts:
    stop = description.stop
    stopped: Fact = None if stop is None else {"octet": stop.offset, "reason": stop.reason}
    return {
        "kind": description.kind,
        "facts": dict(description.facts),
        "findings": _findings(description.findings),
        "stopped": stopped,
    }


def _findings(findings: Iterable[Finding]) -> list[Fact]:
    return [{"text": each.text, "section": each.section, "place": each.place} for each in findings]
