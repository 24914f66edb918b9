"""How what two documents say is compared: serial numbers, nonces, moments.

RFC 8995 §2.6.1, §5.5, §5.6.1.
"""

from __future__ import annotations

import hmac
from datetime import datetime, timedelta
from typing import Final

from brski.errors import CreatedOnOutOfWindow, NonceMismatch, SerialNumberMismatch

CLOCK_SKEW: Final = timedelta(minutes=5)  # ours: how far a peer's clock may run ahead

_TO_URL_ALPHABET: Final = str.maketrans("+/", "-_")


def check_serial_number(found: str, expected: str) -> None:
    """Raise unless two serial numbers are the same characters.

    Raises:
        SerialNumberMismatch: they are not.

    RFC 8995 §5.5.
    """
    if found != expected:
        raise SerialNumberMismatch(
            f"serial-number is {found!a}, not {expected!a}",
            section="RFC 8995 §5.5",
            found=found,
            wanted=expected,
        )


def same_nonce(one: str | None, other: str | None) -> bool:
    """Whether two nonces are the same octets, or both absent.

    Takes as long wherever they differ. Spelling does not count: the URL alphabet and missing
    padding of the examples of RFC 8995 Appendix C are the same nonce as its strict base64.

    Args:
        one: base64 as it came in a message, read by :mod:`brski.voucher.yang_json`.
        other: likewise.

    RFC 8995 §5.6.1.
    """
    if one is None or other is None:
        return one is other
    return hmac.compare_digest(_spelling(one), _spelling(other))


def _spelling(nonce: str) -> bytes:
    # Trailing bits are zero in whatever was read, so equal spelling and equal octets are one.
    return nonce.translate(_TO_URL_ALPHABET).rstrip("=").encode()


def check_nonce(found: str | None, expected: str | None, section: str) -> None:
    """Raise unless :func:`same_nonce`.

    Args:
        section: the rule's, such as ``RFC 8995 §5.6.1``.

    Raises:
        NonceMismatch: they differ, or one is absent.
    """
    if not same_nonce(found, expected):
        what = "are on one side only" if None in (found, expected) else "differ"
        raise NonceMismatch(
            f"nonces {what}", section=section, found=found or "none", wanted=expected or "none"
        )


def check_created_on(
    moment: datetime | None,
    *,
    now: datetime,
    past: timedelta | None = None,
    future: timedelta = CLOCK_SKEW,
) -> None:
    """Raise unless *moment* is near enough to *now*.

    Args:
        moment: a created-on or a signing time, aware; None passes, as of a pledge without clock.
        now: aware UTC.
        past: how long ago it may be; None for any time.
        future: how far ahead it may be.

    Raises:
        CreatedOnOutOfWindow: it is longer ago, or further ahead.

    RFC 8995 §2.6.1, §5.2.
    """
    if moment is None:
        return
    if moment > now + future or (past is not None and moment < now - past):
        raise CreatedOnOutOfWindow(
            f"made {moment.isoformat()}, now is {now.isoformat()}", section="RFC 8995 §2.6.1"
        )
