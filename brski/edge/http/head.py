"""The head of an HTTP/1.1 answer: status line and fields (RFC 9112 §4, §5).

Strict where leniency has cost others: every line ends in CRLF, a field is never folded, what
decides the framing stands there once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from brski.errors import TooLarge, UnexpectedResponse

HEAD_OCTETS: Final = 16 * 1024
FIELDS: Final = 64
BLANK_LINE: Final = b"\r\n\r\n"
_TEXT: Final = rb"[\t\x20-\x7e\x80-\xff]"
_BLANKS: Final = b" \t"
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: (" + _TEXT + rb"*))?")
_FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):(" + _TEXT + rb"*)")
_ONCE: Final = frozenset(
    {"content-length", "content-type", "content-encoding", "etag", "retry-after"}
)


@dataclass(frozen=True, slots=True)
class Head:
    """Status line and fields."""

    minor: int  # of HTTP/1.x
    status: int
    reason: str  # Latin-1
    fields: dict[str, str]  # by lower-case name, Latin-1; several of one name joined by ", "

    def keeps_connection(self) -> bool:
        """Whether the server means to answer again on this connection (RFC 9112 §9.3)."""
        return self.minor == 1 and "close" not in self.fields.get("connection", "").lower()


def parse_head(octets: bytes) -> Head:
    """Read a head.

    Args:
        octets: without the blank line that ends it.

    Raises:
        UnexpectedResponse: no HTTP/1.0 or 1.1, a line that is no field, or one twice that must not.
        TooLarge: more than 64 fields.
    """
    first, *lines = octets.split(b"\r\n")
    status_line = _STATUS_LINE.fullmatch(first)
    if status_line is None:
        raise UnexpectedResponse("this is no HTTP/1.1", section="RFC 9112 §4")
    if len(lines) > FIELDS:
        raise TooLarge(f"an answer with {len(lines)} header fields")
    minor, status, reason = status_line.groups(b"")
    return Head(int(minor), int(status), reason.decode("latin-1"), _fields(lines))


def _fields(lines: list[bytes]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field is None:
            raise UnexpectedResponse("a header line is no field", section="RFC 9112 §5")
        name, value = field[1].decode("ascii").lower(), field[2].strip(_BLANKS).decode("latin-1")
        if name not in fields:
            fields[name] = value
        elif name in _ONCE:
            raise UnexpectedResponse(f"{name} is there twice", section="RFC 9110 §5.3")
        else:
            fields[name] += f", {value}"
    return fields
