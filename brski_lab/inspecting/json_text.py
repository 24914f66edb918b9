"""JSON read as far as it goes, with what is wrong about it; the programs' own reader refuses it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from brski.errors import OnboardingError
from brski.pki import strict_json
from brski_lab.inspecting.description import Finding, Stop, refusal

MOST_DEPTH: Final = 32

_BOM: Final = b"\xef\xbb\xbf"
_CLOSERS: Final = {"{": "}", "[": "]"}


@dataclass(frozen=True, slots=True, kw_only=True)
class JSONText:
    """A JSON text: its value, as much of it as there is."""

    value: object
    findings: tuple[Finding, ...]
    stop: Stop | None


def read_json(octets: bytes) -> JSONText:
    """Read *octets* as far as they go; never raises.

    A text that breaks off keeps the members that were complete before.
    """
    findings = tuple(_by_strict_reader(octets))
    before = len(_BOM) if octets.startswith(_BOM) else 0
    text = octets[before:].decode("utf-8", errors="surrogateescape")  # each octet can be counted
    if _too_deep(text):
        stop = Stop(offset=0, reason=f"it nests more than {MOST_DEPTH} deep")
        return JSONText(value=None, findings=findings, stop=stop)
    try:
        return JSONText(value=_DECODER.decode(text), findings=findings, stop=None)
    except json.JSONDecodeError as err:
        kept, reason, broken_at = _complete_part(text, err.pos), err.msg, err.pos
    offset = before + len(text[:broken_at].encode("utf-8", errors="surrogateescape"))
    stop = Stop(offset=offset, reason=reason)
    return JSONText(value=_DECODER.decode(kept) if kept else None, findings=findings, stop=stop)


def _by_strict_reader(octets: bytes) -> Iterator[Finding]:
    try:
        strict_json.loads(octets, max_octets=len(octets), max_depth=MOST_DEPTH)
    except OnboardingError as err:
        yield refusal(err)


def _number(digits: str) -> object:
    return digits if len(digits) > strict_json.NUMBER_LIMIT else json.loads(digits)


_DECODER: Final = json.JSONDecoder(parse_int=_number, parse_float=_number, strict=False)


def _too_deep(text: str) -> bool:
    depth = 0
    for _, character in _structure(text):
        depth += (character in "{[") - (character in "}]")
        if depth > MOST_DEPTH:
            return True
    return False


def _structure(text: str) -> Iterator[tuple[int, str]]:
    """Brackets, commas and their places, those in strings left out."""
    inside = escaped = False
    for place, character in enumerate(text):
        if inside:
            inside = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            inside = True
        elif character in "{}[],":
            yield place, character


def _complete_part(text: str, broken_at: int) -> str:
    """The longest beginning that can be closed into JSON, closed; empty if there is none."""
    opened: list[str] = []
    until, closers = 0, ""
    for place, character in _structure(text[:broken_at]):
        if character in _CLOSERS:
            opened.append(_CLOSERS[character])
        elif character != ",":
            opened.pop()
        until = place + (character != ",")
        closers = "".join(reversed(opened))
    return text[:until] + closers
