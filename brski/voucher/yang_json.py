"""Voucher documents as JSON: YANG leaves by the rules of RFC 7951.

This module owns the member names, the base64 of binary leaves and the dates. It judges form alone:
whether one document answers another is for :mod:`brski.voucher.rules`. Writing is strict RFC 8366;
reading also takes what draft-ietf-anima-rfc8366bis adds or relaxes.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from brski.errors import LocalError, Malformed
from brski.pki import strict_json
from brski.pki.names import check_serial_number
from brski.registry import NONCE_OCTETS
from brski.voucher.model import Assertion, Voucher, VoucherRequest

REQUEST_TOP: Final = "ietf-voucher-request:voucher"  # RFC 8995 §3.2; the name says "voucher"
VOUCHER_TOP: Final = "ietf-voucher:voucher"  # RFC 8366 §5.3

_DATE_AND_TIME: Final = re.compile(  # yang:date-and-time, RFC 6991 §3
    r"(\d{4}-\d{2}-\d{2}T(?:[01]\d|2[0-3]):\d{2}:\d{2})(?:\.(\d{1,12}))?(Z|[+-]\d{2}:\d{2})",
    re.ASCII,
)
_FROM_URL_ALPHABET: Final = str.maketrans("-_", "+/")

_Leaf: TypeAlias = tuple[str, Callable[[object], object]]  # the model's field, and what reads it


# -- documents -------------------------------------------------------------------------------------


def encode_voucher_request(request: VoucherRequest) -> bytes:
    """Write a voucher-request as a registrar or MASA wants to read it.

    Args:
        request: what to ask; absent leaves are None.

    Returns:
        ASCII JSON without white space; the same request gives the same octets.

    Raises:
        LocalError: the leaves contradict one another, or a date is without zone.

    RFC 8995 §3.2; RFC 7951.
    """
    _check_exclusive(request.nonce, request.expires_on)
    return _encode(
        REQUEST_TOP,
        {
            "assertion": request.assertion,
            "created-on": _date_text(request.created_on),
            "expires-on": _date_text(request.expires_on),
            "serial-number": request.serial_number,
            "idevid-issuer": _binary_text(request.idevid_issuer),
            "nonce": request.nonce,
            "prior-signed-voucher-request": _binary_text(request.prior_signed_voucher_request),
            "proximity-registrar-cert": _binary_text(request.proximity_registrar_cert),
        },
    )


def decode_voucher_request(octets: bytes, *, lenient_nonce: bool = False) -> VoucherRequest:
    """Read a voucher-request; nothing in it is believed yet.

    The leaves that a request inherits from the voucher and that RFC 8995 §3.2 says to ignore
    (pinned-domain-cert, domain-cert-revocation-checks, last-renewal-date) are not looked at, nor
    are leaves that are not known here.

    Args:
        octets: UTF-8 JSON, the payload of a signed message.
        lenient_nonce: take a nonce in base64url and without padding too, as the examples of
            RFC 8995 Appendix C have it. The string is kept as it came either way.

    Raises:
        Malformed: not JSON, not a voucher-request, no serial-number, or a leaf of the wrong form.
        TooLarge: over the limits of :func:`brski.pki.strict_json.loads`.

    RFC 8995 §3.2; RFC 7951.
    """
    leaves = _LENIENT_REQUEST_LEAVES if lenient_nonce else _REQUEST_LEAVES
    return VoucherRequest(**_decode(octets, REQUEST_TOP, leaves))


def encode_voucher(voucher: Voucher) -> bytes:
    """Write a voucher as RFC 8366 has it, with the four leaves that it makes mandatory.

    Args:
        voucher: created_on, assertion and pinned_domain_cert are set.

    Returns:
        ASCII JSON without white space; the same voucher gives the same octets.

    Raises:
        LocalError: a mandatory leaf is missing, leaves contradict one another, or a date is
            without zone.

    RFC 8366 §5.3; RFC 7951.
    """
    _check_mandatory(voucher)
    _check_exclusive(voucher.nonce, voucher.expires_on)
    if voucher.last_renewal_date is not None and voucher.expires_on is None:
        raise LocalError("last-renewal-date without expires-on", section="RFC 8366 §5.3")
    return _encode(
        VOUCHER_TOP,
        {
            "created-on": _date_text(voucher.created_on),
            "expires-on": _date_text(voucher.expires_on),
            "assertion": voucher.assertion,
            "serial-number": voucher.serial_number,
            "idevid-issuer": _binary_text(voucher.idevid_issuer),
            "pinned-domain-cert": _binary_text(voucher.pinned_domain_cert),
            "domain-cert-revocation-checks": voucher.domain_cert_revocation_checks,
            "nonce": voucher.nonce,
            "last-renewal-date": _date_text(voucher.last_renewal_date),
        },
    )


def decode_voucher(octets: bytes, *, lenient_nonce: bool = False) -> Voucher:
    """Read a voucher; nothing in it is believed yet. Unknown leaves are ignored.

    Only serial-number is asked for here, as in rfc8366bis: a missing pinned-domain-cert is a
    voucher that cannot be used, not one that cannot be read (RFC 8995 §5.6.1).

    Args:
        octets: UTF-8 JSON, the payload of a signed message.
        lenient_nonce: as in :func:`decode_voucher_request`.

    Raises:
        Malformed: not JSON, not a voucher, no serial-number, or a leaf of the wrong form.
        TooLarge: over the limits of :func:`brski.pki.strict_json.loads`.

    RFC 8366 §5.3; RFC 8995 §5.6.1; RFC 7951.
    """
    leaves = _LENIENT_VOUCHER_LEAVES if lenient_nonce else _VOUCHER_LEAVES
    return Voucher(**_decode(octets, VOUCHER_TOP, leaves))


def _encode(top: str, leaves: Mapping[str, str | bool | None]) -> bytes:
    present = {leaf: value for leaf, value in leaves.items() if value is not None}
    return json.dumps({top: present}, separators=(",", ":")).encode("ascii")


def _decode(octets: bytes, top: str, leaves: Mapping[str, _Leaf]) -> dict[str, Any]:
    document = strict_json.loads(octets)
    if not isinstance(document, dict) or list(document) != [top]:
        raise Malformed(f"the one member of the document is not {top}", section="RFC 8995 §3")
    body = document[top]
    if not isinstance(body, dict):
        raise Malformed(f"{top} is not an object", section="RFC 7951 §5")
    if "serial-number" not in body:
        raise Malformed("serial-number is missing", section="RFC 8366 §5.3")
    return {
        field: _read(leaf, parse, body[leaf])
        for leaf, (field, parse) in leaves.items()
        if leaf in body
    }


def _read(leaf: str, parse: Callable[[object], object], value: object) -> object:
    try:
        return parse(value)
    except Malformed as err:
        raise Malformed(f"{leaf}: {err.reason}", section=err.section) from err


def _check_mandatory(voucher: Voucher) -> None:
    for leaf, value in (
        ("created-on", voucher.created_on),
        ("assertion", voucher.assertion),
        ("pinned-domain-cert", voucher.pinned_domain_cert),
    ):
        if value is None:
            raise LocalError(f"a voucher needs {leaf}", section="RFC 8366 §5.3")


def _check_exclusive(nonce: str | None, expires_on: datetime | None) -> None:
    if nonce is not None and expires_on is not None:
        raise LocalError("nonce and expires-on exclude one another", section="RFC 8366 §5.3")


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

    RFC 8366 §5.3; rfc8366bis §6.
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


def _binary_text(octets: bytes | None) -> str | None:
    return None if octets is None else encode_binary(octets)


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


def _date_text(moment: datetime | None) -> str | None:
    return None if moment is None else encode_date(moment)


# -- leaves ----------------------------------------------------------------------------------------


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise Malformed("not a string", section="RFC 7951 §6")
    return value


def _serial_number(value: object) -> str:
    return check_serial_number(_text(value))


def _assertion(value: object) -> Assertion:
    text = _text(value)
    try:
        return Assertion(text)
    except ValueError as err:
        raise Malformed(f"{text[:32]!a} is no assertion", section="RFC 8366 §5.3") from err


def _date(value: object) -> datetime:
    return decode_date(_text(value))


def _binary(value: object) -> bytes:
    return decode_binary(_text(value))


def _nonce(value: object) -> str:
    decode_nonce(_text(value))
    return _text(value)


def _lenient_nonce(value: object) -> str:
    decode_nonce(_text(value), lenient=True)
    return _text(value)


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise Malformed("not a boolean", section="RFC 7951 §6.3")
    return value


_COMMON_LEAVES: Final[Mapping[str, _Leaf]] = {
    "serial-number": ("serial_number", _serial_number),
    "assertion": ("assertion", _assertion),
    "created-on": ("created_on", _date),
    "expires-on": ("expires_on", _date),
    "nonce": ("nonce", _nonce),
    "idevid-issuer": ("idevid_issuer", _binary),
}
_REQUEST_LEAVES: Final[Mapping[str, _Leaf]] = {
    **_COMMON_LEAVES,
    "prior-signed-voucher-request": ("prior_signed_voucher_request", _binary),
    "proximity-registrar-cert": ("proximity_registrar_cert", _binary),
}
_VOUCHER_LEAVES: Final[Mapping[str, _Leaf]] = {
    **_COMMON_LEAVES,
    "pinned-domain-cert": ("pinned_domain_cert", _binary),
    "domain-cert-revocation-checks": ("domain_cert_revocation_checks", _boolean),
    "last-renewal-date": ("last_renewal_date", _date),
}
_LENIENT_NONCE: Final[Mapping[str, _Leaf]] = {"nonce": ("nonce", _lenient_nonce)}
_LENIENT_REQUEST_LEAVES: Final = {**_REQUEST_LEAVES, **_LENIENT_NONCE}
_LENIENT_VOUCHER_LEAVES: Final = {**_VOUCHER_LEAVES, **_LENIENT_NONCE}
