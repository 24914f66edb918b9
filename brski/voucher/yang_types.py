"""Values of YANG leaves as JSON has them (RFC 7951): binaries, nonces, dates, URIs, names.

Each type has one spelling that is written. What is read is as narrow as the standards allow, so
that two readers of a leaf see one value. Which leaf has which type is for
:mod:`brski.voucher.yang_json` to say.
"""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime
from typing import Final

from brski.errors import LocalError, Malformed
from brski.registry import NONCE_OCTETS

URI_LIMIT: Final = 2048  # ours: characters of a URI
NAME_LIMIT: Final = 128  # ours: characters of an extension's name; IANA's registry stops at 40

_DATE_AND_TIME: Final = re.compile(  # yang:date-and-time, RFC 6991 §3
    r"(\d{4}-\d{2}-\d{2}T(?:[01]\d|2[0-3]):\d{2}:\d{2})(?:\.(\d{1,12}))?(Z|[+-]\d{2}:\d{2})",
    re.ASCII,
)
_URI: Final = re.compile(r"(?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})+")
_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")  # RFC 7950 §6.2
_FROM_URL_ALPHABET: Final = str.maketrans("-_", "+/")


# -- binary ----------------------------------------------------------------------------------------


def encode_binary(octets: bytes) -> str:
    """Return *octets* as the value of a YANG binary leaf: base64 with padding, in one line.

    RFC 7951 §6.6; RFC 4648 §4.
    """
    return base64.b64encode(octets).decode("ascii")


def decode_binary(text: str) -> bytes:
    """Read the value of a YANG binary leaf; each octet string has one spelling that is accepted.

    Raises:
        Malformed: another alphabet, white space, padding missing or amiss, or trailing bits that
            are not zero.

    RFC 7951 §6.6; RFC 4648 §3.5, §4.
    """
    try:
        octets = base64.b64decode(text, validate=True)
    except ValueError as err:
        raise Malformed("not base64", section="RFC 7951 §6.6") from err
    if encode_binary(octets) != text:
        raise Malformed("not the one base64 of its octets", section="RFC 4648 §3.5")
    return octets


def encode_nonce(octets: bytes) -> str:
    """Return fresh random *octets* as the nonce of a voucher-request.

    Args:
        octets: 8 to 32 of them; 16 are customary.

    Raises:
        LocalError: too few or too many octets.

    RFC 8366 §5.3.
    """
    least, most = NONCE_OCTETS
    if not least <= len(octets) <= most:
        raise LocalError(f"nonce of {len(octets)} octets", section="RFC 8366 §5.3")
    return encode_binary(octets)


def decode_nonce(text: str, *, lenient: bool = False) -> bytes:
    """Read a nonce, to check or to compare it; what is sent on is the string itself.

    Args:
        text: base64 as it came.
        lenient: allow the URL alphabet and missing padding too.

    Returns:
        8 to 32 octets.

    Raises:
        Malformed: not such base64, or another length.

    RFC 8366 §5.3; RFC 8366bis §8.4.
    """
    octets = decode_binary(_standard_base64(text) if lenient else text)
    least, most = NONCE_OCTETS
    if not least <= len(octets) <= most:
        raise Malformed(
            f"nonce of {len(octets)} octets, {least} to {most} are allowed",
            section="RFC 8366 §5.3",
        )
    return octets


def _standard_base64(text: str) -> str:
    bare = text.translate(_FROM_URL_ALPHABET).removesuffix("=").removesuffix("=")
    return bare + "=" * (-len(bare) % 4)


# -- dates -----------------------------------------------------------------------------------------


def encode_date(moment: datetime) -> str:
    """Return *moment* as yang:date-and-time in UTC, with a fraction only if it has one.

    Raises:
        LocalError: *moment* is without zone.

    RFC 6991 §3; RFC 3339.
    """
    if moment.tzinfo is None:
        raise LocalError("a date without zone cannot be written", section="RFC 6991 §3")
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def decode_date(text: str) -> datetime:
    """Read yang:date-and-time, any offset; digits beyond the microsecond are dropped.

    Returns:
        aware UTC.

    Raises:
        Malformed: no such form, or no such moment.

    RFC 6991 §3; RFC 3339.
    """
    parts = _DATE_AND_TIME.fullmatch(text)
    if parts is None:
        raise Malformed("not a yang:date-and-time", section="RFC 6991 §3")
    seconds, fraction, zone = parts.groups()
    microseconds = (fraction or "0").ljust(6, "0")[:6]
    try:
        return datetime.fromisoformat(f"{seconds}.{microseconds}{zone}").astimezone(UTC)
    except (ValueError, OverflowError) as err:
        raise Malformed(f"no such moment: {text}", section="RFC 3339 §5.7") from err


# -- names -----------------------------------------------------------------------------------------


def check_uri(text: str) -> str:
    """Return *text* if it could be a URI: 1 to 2048 characters of those that URIs are made of.

    Raises:
        Malformed: empty, longer, or with other characters, such as a space or a bare ``%``.

    RFC 6991 §4 (inet:uri); RFC 3986 §2.
    """
    if len(text) > URI_LIMIT or _URI.fullmatch(text) is None:
        raise Malformed("not a URI", section="RFC 6991 §4")
    return text


def check_extension_name(text: str) -> str:
    """Return *text* if it could name a voucher extension: the name of a YANG module.

    Raises:
        Malformed: no YANG identifier, or longer than 128 characters.

    RFC 8366bis §8.6; RFC 7950 §6.2.
    """
    if len(text) > NAME_LIMIT or _IDENTIFIER.fullmatch(text) is None:
        raise Malformed("not the name of a YANG module", section="RFC 8366bis §8.6")
    return text
