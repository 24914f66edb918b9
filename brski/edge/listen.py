"""The text that says where a server listens; no socket is touched here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_DESCRIPTOR: Final = re.compile(r"fd:(\d{1,5})\Z", re.ASCII)
_HOST_PORT: Final = re.compile(
    r"(?:\[(?P<six>[0-9A-Fa-f:.]{2,45}(?:%[A-Za-z0-9._-]{1,16})?)\]"
    r"|(?P<host>[A-Za-z0-9._-]{1,253})):(?P<port>\d{1,5})\Z",
    re.ASCII,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenAddress:
    """Either host and port, or the number of a descriptor that was inherited."""

    host: str = ""
    port: int = 0  # 0: any free one
    descriptor: int | None = None


def parse_listen(text: str) -> ListenAddress:
    """Read ``"host:port"`` (IPv6 in brackets; port 0 takes a free one) or ``"fd:N"``.

    ``fd:N`` is a listening socket that the parent process opened, as systemd and our tests do.

    Raises:
        ValueError: it is neither; the message says what is expected.
    """
    if match := _DESCRIPTOR.match(text):
        return ListenAddress(descriptor=int(match[1]))
    if (match := _HOST_PORT.match(text)) and (port := int(match["port"])) <= 65535:
        return ListenAddress(host=match["six"] or match["host"], port=port)
    raise ValueError(f'{text!r} is neither "host:port", "[ipv6]:port" nor "fd:N"')
