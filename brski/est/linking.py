"""Whether a certificate request was made for the very connection that it came over.

The challengePassword of a request then carries the base64 of the connection's channel binding, so
that nobody can pass on, over a connection of his own, what another has asked for. Owns that
comparison and what is said when it fails; must not know how TLS computes a binding.

RFC 7030 §3.5; RFC 5929 §3; RFC 9266.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from brski.errors import CSRMismatch

_SECTION: Final = "RFC 7030 §3.5"


class BindingKind(StrEnum):
    """What binds to a connection; one for each version of TLS."""

    TLS_UNIQUE = "tls-unique"  # the first Finished of TLS 1.2, which is the client's
    TLS_EXPORTER = "tls-exporter"  # of TLS 1.3, for which tls-unique is not defined


_VERSIONS: Final = {BindingKind.TLS_UNIQUE: "TLS 1.2", BindingKind.TLS_EXPORTER: "TLS 1.3"}
_OCTETS: Final = {12: BindingKind.TLS_UNIQUE, 32: BindingKind.TLS_EXPORTER}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelBinding:
    """What both ends of one connection know, and no third; its text names the kind alone."""

    kind: BindingKind
    octets: bytes = field(repr=False)

    @property
    def challenge_password(self) -> str:
        """As a request carries it: base64 with padding, without line ends."""
        return base64.b64encode(self.octets).decode()

    def __str__(self) -> str:
        return f"{self.kind} of this {_VERSIONS[self.kind]} connection, in base64"


def check_linked(
    challenge_password: str | None, binding: ChannelBinding | None, *, required: bool
) -> None:
    """Raise unless a request's *challenge_password* is that of the connection that it came over.

    One that is there is compared, whether it is required or not.

    Args:
        challenge_password: of the request, None where it has none. No error shows it: a client may
            have put a password there.
        binding: of the connection; None where whoever ends TLS cannot tell it.
        required: whether a request must have one.

    Raises:
        CSRMismatch: it is another connection's, of the wrong kind, written otherwise, or missing.

    RFC 7030 §3.5; RFC 9266.
    """
    if challenge_password is None:
        if required:
            wanted = "a channel binding" if binding is None else str(binding)
            raise _mismatch(f"CSR has no challengePassword, wanted is {wanted}", "none", wanted)
        return
    if binding is None:
        raise _mismatch("challengePassword cannot be compared: the connection's binding is unknown")
    if hmac.compare_digest(challenge_password.encode(), binding.challenge_password.encode()):
        return
    found = _described(challenge_password, binding)
    raise _mismatch(f"challengePassword is not the {binding}: it is {found}", found, str(binding))


def _mismatch(reason: str, found: str = "", wanted: str = "") -> CSRMismatch:
    return CSRMismatch(reason, section=_SECTION, found=found, wanted=wanted)


def _described(text: str, wanted: ChannelBinding) -> str:
    """What a client's author has to know of a value that is not *wanted*; never the value."""
    if _is_hex_of(text, wanted.octets):
        return f"{wanted.kind} in hexadecimal"
    octets = _loosely_decoded(text)
    if octets is None:
        return "no base64"
    if octets == wanted.octets:
        return f"{wanted.kind} in base64 of another spelling (RFC 4648 §4, without line ends)"
    kind = _OCTETS.get(len(octets))
    if kind is None:
        return f"{len(octets)} octets, which is no binding's length"
    if kind is not wanted.kind:
        return f"{len(octets)} octets, as {kind} has, which is of {_VERSIONS[kind]}"
    return f"another value of {len(octets)} octets, as of another connection"


def _is_hex_of(text: str, octets: bytes) -> bool:
    return text.replace(":", "").strip().lower() == octets.hex()


def _loosely_decoded(text: str) -> bytes | None:
    """Read base64 with line ends, without padding, or of the URL's alphabet."""
    usual = "".join(text.split()).rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(usual + "=" * (-len(usual) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
