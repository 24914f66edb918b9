"""HTTP Basic as a server reads it (RFC 7617): a header's value in, a user name and password out.

Nothing here says who may; and nothing that a stranger has sent is ever put into an error.
"""

from __future__ import annotations

import base64
import re
import unicodedata
from dataclasses import dataclass, field
from typing import Final

from brski.errors import NotAuthenticated

HEADER_CHARACTERS: Final = 2048
_SECTION: Final = "RFC 7617 §2"
_TOKEN: Final = re.compile(r"[A-Za-z0-9+/]+={0,2}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class BasicCredentials:
    """What a client says that it is; shows neither half, since people mistake one for the other."""

    user: str = field(repr=False)
    password: str = field(repr=False)  # NFC


def is_basic(authorization: str) -> bool:
    """Whether the value of an ``Authorization`` header is of this scheme, well-formed or not."""
    return authorization[:HEADER_CHARACTERS].partition(" ")[0].lower() == "basic"


def parse_basic(authorization: str) -> BasicCredentials:
    """Read the value of an ``Authorization`` header.

    Taken is UTF-8, as the challenge says, without control characters. A password may be empty, a
    user name not.

    Args:
        authorization: as the HTTP library gives it, undecodable octets as it likes.

    Raises:
        NotAuthenticated: another scheme, more than 2048 characters, or not written as the RFC has
            it.

    RFC 7617 §2, §2.1.
    """
    if not is_basic(authorization):
        raise NotAuthenticated("the scheme is not Basic", section=_SECTION)
    user, colon, password = _text(authorization).partition(":")
    if not colon or not user:
        raise _unreadable()
    return BasicCredentials(user=user, password=unicodedata.normalize("NFC", password))


def _text(authorization: str) -> str:
    token = authorization.partition(" ")[2].strip(" ")
    if len(authorization) > HEADER_CHARACTERS or not _TOKEN.match(token):
        raise _unreadable()
    try:
        octets = base64.b64decode(token, validate=True)
        text = octets.decode("utf-8")
    except ValueError:  # of base64 and of UTF-8; it holds what was sent, so it is not kept
        raise _unreadable() from None
    if base64.b64encode(octets).decode() != token or any(map(_is_control, text)):
        raise _unreadable()
    return text


def _is_control(character: str) -> bool:
    return unicodedata.category(character) == "Cc"


def _unreadable() -> NotAuthenticated:
    return NotAuthenticated("the credentials cannot be read", section=_SECTION)
