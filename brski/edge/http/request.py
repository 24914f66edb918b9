"""One HTTP/1.1 request as octets; no socket (RFC 9112 §3)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from brski.errors import LocalError

_TARGET: Final = re.compile(r"/[!-~]*", re.ASCII)
_AUTHORITY: Final = re.compile(r"[A-Za-z0-9._~%:\[\]-]+", re.ASCII)
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


def encode_request(
    method: str, target: str, authority: str, fields: Mapping[str, str], body: bytes = b""
) -> bytes:
    """Head and body; a GET is one without a body.

    Args:
        method: ``GET`` or ``POST``.
        target: path and query, percent-encoded.
        authority: for the Host field: host, and port unless it is 443.
        fields: others, Latin-1; never Host or Content-Length.

    Raises:
        LocalError: one of them would be something else on the wire.
    """
    if not _TARGET.fullmatch(target) or not _AUTHORITY.fullmatch(authority):
        raise LocalError(f"{authority!r} {target!r:.200} cannot be asked for by HTTP")
    lines = [f"{method} {target} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: brski"]
    for name, value in fields.items():
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise LocalError(f"{name!r:.80} is no header field with what it holds")
        lines.append(f"{name}: {value}")
    if method != "GET":
        lines.append(f"Content-Length: {len(body)}")
    lines.append("\r\n")
    return "\r\n".join(lines).encode("latin-1") + body
