"""What a client says of itself in HTTP: Basic (RFC 7617) and Digest (RFC 7616); no socket.

Only ever inside TLS towards a server that has been verified: the caller sees to that. Which of the
two is said is the caller's choice, never the server's.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from brski.edge.atomic_file import read_file
from brski.edge.signers.file import check_private_mode
from brski.errors import SettingsError, UnexpectedResponse

PASSWORD_OCTETS: Final = 1024

_CHALLENGE_LIMIT: Final = 4096
_SECTION: Final = "RFC 7616 §3.3"
_PLAIN: Final = re.compile(r"[ -!#-\[\]-~]+")  # what needs no escape within quotes
_PARAMETER: Final = re.compile(
    r'\s*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]+))\s*(?:,|$)'
)
_SCHEME: Final = re.compile(r"(?:^|,)\s*Digest\s+", re.IGNORECASE)
_ALGORITHMS: Final = {"SHA-256": "sha256", "MD5": "md5"}
"""MD5 since many servers offer nothing else; what protects the password here is TLS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Password:
    """A user's name and secret; shows neither."""

    user: str = field(repr=False)
    secret: str = field(repr=False)

    def __post_init__(self) -> None:
        if not _PLAIN.fullmatch(self.user) or ":" in self.user:
            raise SettingsError("a user's name is printable ASCII without quotes and colons")


def load_password(user: str, path: Path) -> Password:
    """Read a user's password: one line of UTF-8 in a file of mode 0600.

    Raises:
        KeyUnusable: the file is open to others.
        FileUnusable: it cannot be read.
        SettingsError: it is no such line, or the name cannot be sent.
    """
    check_private_mode(path)
    octets = read_file(path)
    try:
        secret = octets.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise SettingsError(f"{path} is not UTF-8 text") from None  # its octets are the secret
    if not secret or not secret.isprintable() or len(octets) > PASSWORD_OCTETS:
        raise SettingsError(f"{path} is not one line of printable text")
    return Password(user=user, secret=secret)


def basic(password: Password) -> str:
    """The value of an Authorization field (RFC 7617 §2)."""
    return "Basic " + base64.b64encode(f"{password.user}:{password.secret}".encode()).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """A server's ``WWW-Authenticate: Digest`` as far as it counts here."""

    realm: str
    nonce: str
    algorithm: str  # "SHA-256" or "MD5"
    opaque: str | None


def parse_challenge(value: str) -> Challenge:
    """Read the strongest Digest challenge with ``qop=auth`` in a WWW-Authenticate field.

    Args:
        value: the field; several joined by commas.

    Raises:
        UnexpectedResponse: there is none.

    RFC 7616 §3.3, §3.7.
    """
    if len(value) > _CHALLENGE_LIMIT:
        raise UnexpectedResponse("a challenge of more than 4 KiB", section=_SECTION)
    found: dict[str, Challenge] = {}
    for start in _SCHEME.finditer(value):
        challenge = _read(value, start.end())
        if challenge is not None:
            found.setdefault(challenge.algorithm, challenge)
    for algorithm in _ALGORITHMS:
        if algorithm in found:
            return found[algorithm]
    raise UnexpectedResponse(
        "the server asks for no HTTP Digest that is spoken here (SHA-256 or MD5, qop auth)",
        section=_SECTION,
    )


def _read(value: str, at: int) -> Challenge | None:
    parameters: dict[str, str] = {}
    while (part := _PARAMETER.match(value, at)) is not None:
        quoted = part[2]
        text = part[3] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        parameters.setdefault(part[1].lower(), text)
        at = part.end()
    algorithm = parameters.get("algorithm", "MD5").upper()
    qualities = {q.strip() for q in parameters.get("qop", "").split(",")}
    if algorithm not in _ALGORITHMS or "auth" not in qualities:
        return None
    texts = [parameters.get("realm", ""), parameters.get("nonce", "")]
    if not all(map(_PLAIN.fullmatch, texts)) or not _is_plain(parameters.get("opaque")):
        return None
    return Challenge(
        realm=texts[0], nonce=texts[1], algorithm=algorithm, opaque=parameters.get("opaque")
    )


def _is_plain(text: str | None) -> bool:
    return not text or _PLAIN.fullmatch(text) is not None


def digest(
    password: Password, challenge: Challenge, *, method: str, target: str, count: int, cnonce: str
) -> str:
    """The value of an Authorization field (RFC 7616 §3.4).

    Args:
        target: the request's, as on the wire.
        count: how often the challenge's nonce has been answered, this one included.
        cnonce: a text of this client's own, new each time.
    """
    a1 = f"{password.user}:{challenge.realm}:{password.secret}"
    nc = f"{count:08x}"
    parts = (challenge.nonce, nc, cnonce, "auth", _hash(challenge, f"{method}:{target}"))
    response = _hash(challenge, ":".join((_hash(challenge, a1), *parts)))
    opaque = "" if challenge.opaque is None else f', opaque="{challenge.opaque}"'
    return (
        f'Digest username="{password.user}", realm="{challenge.realm}", uri="{target}", '
        f'algorithm={challenge.algorithm}, nonce="{challenge.nonce}", nc={nc}, '
        f'cnonce="{cnonce}", qop=auth, response="{response}"{opaque}'
    )


def _hash(challenge: Challenge, text: str) -> str:
    name = _ALGORITHMS[challenge.algorithm]
    return hashlib.new(name, text.encode(), usedforsecurity=False).hexdigest()
