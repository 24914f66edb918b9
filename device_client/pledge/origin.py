"""Where a registrar is: a host and a port, always over TLS. Reads addresses and redirections.

A redirection comes from a peer that nobody has vouched for yet (RFC 8995 §5.1), so it is read as
narrowly as an address in the settings.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

from brski.errors import Malformed

HTTPS_PORT: Final = 443
HTTP_PORT: Final = 80
LOCATION_LIMIT: Final = 2048  # ours: characters of one Location header
_HOST: Final = re.compile(r"[a-z0-9._-]{1,253}|[0-9a-f:.]{2,45}")
_PATH: Final = re.compile(r"(/[A-Za-z0-9._~!$&'()*+,;=:@%-]*)+")


@dataclass(frozen=True, slots=True, order=True)
class Origin:
    """A web origin with scheme https (RFC 6454 §4)."""

    host: str  # lower case; an IPv6 address without brackets
    port: int

    def __str__(self) -> str:
        return f"https://{self.authority}"

    @property
    def authority(self) -> str:
        """What the Host header says (RFC 9112 §3.2): the port is left out when it is 443."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == HTTPS_PORT else f"{host}:{self.port}"


def parse_origin(address: str) -> Origin:
    """Read ``https://host[:port]`` out of a settings file or from a command line.

    Args:
        address: the scheme may be left out; a path other than ``/`` is refused.

    Raises:
        Malformed: another scheme, credentials, a path, a query or no host.
    """
    parts = _split(address if "://" in address else f"https://{address}")
    if parts.path not in ("", "/"):
        raise Malformed(f"registrar address {address!r} has a path; it takes a host and a port")
    return _origin_of(parts, address)


def parse_list_address(address: str) -> tuple[str, int, str]:
    """Read where a revocation list is published: host, port and path of an ``http`` address.

    Raises:
        Malformed: another scheme, credentials, a query, a fragment, or characters that have no
            place in an address.

    RFC 5280 §4.2.1.13.
    """
    if len(address) > LOCATION_LIMIT or not address.isascii():
        raise Malformed("the address of a revocation list cannot be used")
    parts = _split(address)
    origin = _origin_of(parts._replace(scheme="https"), address)
    if parts.scheme != "http":
        raise Malformed(f"{address!r} is not http", section="RFC 5280 §4.2.1.13")
    return origin.host, parts.port or HTTP_PORT, _path_of(parts)


def resolve_location(origin: Origin, location: str) -> tuple[Origin, str]:
    """Say where a redirection leads: to which origin, and to which path there.

    Args:
        origin: of the connection that the redirection came over.
        location: the header's value as received; absolute, or a path that starts with ``/``.

    Returns:
        The target's origin and its path.

    Raises:
        Malformed: no https address, credentials, a query, a fragment, or characters that have no
            place in an address.

    RFC 8995 §5.6; RFC 9110 §10.2.2.
    """
    if not location or len(location) > LOCATION_LIMIT or not location.isascii():
        raise Malformed("the redirection names no usable address", section="RFC 9110 §10.2.2")
    if location.startswith("/") and not location.startswith("//"):
        return origin, _path_of(_split(f"{origin}{location}"))
    parts = _split(location)
    return _origin_of(parts, location), _path_of(parts)


def _split(address: str) -> SplitResult:
    try:
        parts = urlsplit(address)
        parts.port  # noqa: B018 - reading it is what checks it
    except ValueError as err:
        raise Malformed(f"{address!r} is no address", section="RFC 3986 §3") from err
    if any(c <= " " or c == "\x7f" for c in address):
        raise Malformed(f"{address!r} holds blanks or control characters", section="RFC 3986 §2")
    if parts.query or parts.fragment or address[-1:] in ("?", "#"):
        raise Malformed(f"{address!r} has a query or a fragment")
    return parts


def _origin_of(parts: SplitResult, address: str) -> Origin:
    if parts.scheme != "https":
        raise Malformed(f"{address!r} is not https", section="RFC 8995 §5.2")
    if "@" in parts.netloc:
        raise Malformed("an address with credentials is refused")
    host = (parts.hostname or "").lower()
    if not _HOST.fullmatch(host):
        raise Malformed(f"{address!r} names no usable host", section="RFC 3986 §3.2.2")
    port = HTTPS_PORT if parts.port is None else parts.port
    if port == 0:
        raise Malformed(f"{address!r} names port 0")
    return Origin(host, port)


def _path_of(parts: SplitResult) -> str:
    path = parts.path or "/"
    if not _PATH.fullmatch(path):
        raise Malformed("the redirection's path holds characters that have no place there")
    return path
