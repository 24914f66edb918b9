"""What a registrar asks, out of the URL that it asks by (docs/oem-database.md, section 6)."""

from __future__ import annotations

import base64
import re
from typing import Final, NamedTuple

from brski.errors import Malformed
from brski.pki.names import check_serial_number

_OCTETS: Final = {"idevid_issuer": 20, "spki_sha256": 32}
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]{27}(?:[A-Za-z0-9_-]{16})?\Z")


class Question(NamedTuple):
    """One look-up; equal questions have equal answers until the database changes."""

    serial_number: str
    idevid_issuer: bytes | None = None  # keyIdentifier, 20 octets: only that issuer's record
    spki_sha256: bytes | None = None  # 32 octets: only a record with that key


def parse_question(serial_number: str, query: str) -> Question:
    """Read a request's target.

    Args:
        serial_number: the last segment of its path, percent-decoded.
        query: behind the ``?``, as sent; empty when there is none.

    Raises:
        Malformed: a serial number with characters that none has; a parameter that is not known,
            comes twice, or is not the unpadded base64url of its octets in its one spelling.

    RFC 3986 §3.4; RFC 4648 §5.
    """
    return Question(check_serial_number(serial_number), **_parse_query(query))


def _parse_query(query: str) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for parameter in query.split("&") if query else ():
        name, _, value = parameter.partition("=")
        if name not in _OCTETS:
            raise Malformed(f"query parameter {name[:40]!r} is not known")
        if name in found:
            raise Malformed(f"query parameter {name} comes twice")
        found[name] = _decode(name, value)
    return found


def _decode(name: str, text: str) -> bytes:
    if _BASE64URL.match(text):
        octets = base64.urlsafe_b64decode(text + "=")
        if len(octets) == _OCTETS[name] and encode_base64url(octets) == text:
            return octets
    raise Malformed(f"{name} is not {_OCTETS[name]} octets in base64url", section="RFC 4648 §5")


def encode_base64url(octets: bytes) -> str:
    """How octets stand in a query: base64url without padding.

    RFC 4648 §5.
    """
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")
