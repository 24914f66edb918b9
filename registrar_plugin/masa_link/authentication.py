"""What the registrar says of itself to a MASA by HTTP, and to whom (RFC 8995 §5.4).

The MASA's name comes out of a device's certificate. A password goes only to hosts that the owner
has named: whoever can certify a device, or has a certificate of the web's, shall not collect it.
"""

from __future__ import annotations

import enum
import secrets
from collections.abc import Collection

from yarl import URL

from brski.edge.http.authentication import (
    Challenge,
    Password,
    basic,
    digest,
    parse_challenge,
)


class Scheme(enum.StrEnum):
    """How a password is said; the owner's choice, never the server's."""

    BASIC = "basic"
    DIGEST = "digest"


class Authentication:
    """One manufacturer's MASA's.

    Args:
        hosts: exact ``host:port``, lower case, that may learn the password.
    """

    def __init__(self, password: Password, scheme: Scheme, *, hosts: Collection[str]) -> None:
        self._password = password
        self._scheme = scheme
        self._hosts = frozenset(hosts)
        self._challenges: dict[str, tuple[Challenge, int]] = {}  # and how often it was answered

    def unasked(self, method: str, url: URL) -> str | None:
        """What to say at once: Basic, or Digest where the server's challenge is known."""
        place = _place(url)
        if place not in self._hosts:
            return None
        if self._scheme is Scheme.BASIC:
            return basic(self._password)
        known = self._challenges.get(place)
        return None if known is None else self._digest(known[0], known[1] + 1, method, url)

    def asked(self, challenge: str, method: str, url: URL) -> str | None:
        """What to say to a 401; None: nothing that has not been said.

        Args:
            challenge: its WWW-Authenticate field.

        Raises:
            UnexpectedResponse: it asks for no Digest that is spoken here.
        """
        if _place(url) not in self._hosts or self._scheme is not Scheme.DIGEST:
            return None
        return self._digest(parse_challenge(challenge), 1, method, url)

    def _digest(self, challenge: Challenge, count: int, method: str, url: URL) -> str:
        self._challenges[_place(url)] = challenge, count
        return digest(
            self._password,
            challenge,
            method=method,
            target=url.raw_path_qs,
            count=count,
            cnonce=secrets.token_hex(16),
        )


def _place(url: URL) -> str:
    return f"{url.host}:{url.port}".lower()
