"""Passwords as they are kept: scrypt (RFC 7914) with its parameters and salt, as one word of text.

The word is of the PHC string format: ``$scrypt$ln=15,r=8,p=3$SALT$HASH``, base64 without padding.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import unicodedata
from dataclasses import dataclass, field
from typing import Final

from brski.errors import StateError

SALT_OCTETS: Final = 16
HASH_OCTETS: Final = 32
MEMORY_LIMIT: Final = 64 << 20  # ours: octets that one verification may take
_WORK: Final = range(1 << 17, (1 << 21) + 1)  # ours: N·r·p, weaker and costlier are refused
_WORD: Final = re.compile(
    r"\$scrypt\$ln=([0-9]{1,2}),r=([0-9]{1,2}),p=([0-9]{1,2})"
    r"\$([A-Za-z0-9+/]{22})\$([A-Za-z0-9+/]{43})\Z"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one guess costs.

    Raises:
        StateError: too cheap to protect a password, or too dear to be verified here.
    """

    ln: int = 15  # log2 of N; the default takes 32 MiB and some 0.2 s
    r: int = 8
    p: int = 3

    def __post_init__(self) -> None:
        work = (self.r * self.p) << self.ln
        if work not in _WORK or self.octets() > MEMORY_LIMIT:
            raise StateError(f"scrypt with ln={self.ln}, r={self.r}, p={self.p} is not accepted")

    def octets(self) -> int:
        """What a verification needs in memory."""
        return 128 * self.r << self.ln


USUAL: Final = Cost()


@dataclass(frozen=True, slots=True, kw_only=True)
class PasswordHash:
    """One password's; from it the password is found by guessing alone."""

    cost: Cost
    salt: bytes = field(repr=False)
    octets: bytes = field(repr=False)

    def __str__(self) -> str:
        salt, octets = _encode(self.salt), _encode(self.octets)
        return f"$scrypt$ln={self.cost.ln},r={self.cost.r},p={self.cost.p}${salt}${octets}"

    def fits(self, password: str) -> bool:
        """Whether it is this password's. Takes its time: call it in a thread."""
        return hmac.compare_digest(_derive(password, self.salt, self.cost), self.octets)


def hash_password(password: str, *, salt: bytes, cost: Cost = USUAL) -> PasswordHash:
    """Make what is kept of *password*.

    Args:
        password: text in any normal form; NFC of it counts, as UTF-8.
        salt: 16 octets, random, of this password alone.

    RFC 7914 §6.
    """
    return PasswordHash(cost=cost, salt=salt, octets=_derive(password, salt, cost))


def parse_password_hash(word: str) -> PasswordHash:
    """Read the one word.

    Raises:
        StateError: it is none, or of a cost that is not accepted.
    """
    found = _WORD.match(word)
    if found is None:
        raise StateError("a password hash that is none of scrypt's")
    ln, r, p, salt, octets = found.groups()
    cost = Cost(ln=int(ln), r=int(r), p=int(p))
    parsed = PasswordHash(cost=cost, salt=_decode(salt), octets=_decode(octets))
    if str(parsed) != word:
        raise StateError("a password hash that is not in its one encoding")
    return parsed


def _derive(password: str, salt: bytes, cost: Cost) -> bytes:
    return hashlib.scrypt(
        unicodedata.normalize("NFC", password).encode(),
        salt=salt,
        n=1 << cost.ln,
        r=cost.r,
        p=cost.p,
        maxmem=cost.octets() + (1 << 20),
        dklen=HASH_OCTETS,
    )


def _encode(octets: bytes) -> str:
    return base64.b64encode(octets).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4))
