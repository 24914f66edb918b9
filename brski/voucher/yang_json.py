"""Voucher documents as JSON: YANG leaves by the rules of RFC 7951.

This module owns the member names and says which leaf has which type; the types' spelling is in
:mod:`brski.voucher.yang_types`. It judges form alone: whether one document answers another is for
:mod:`brski.voucher.rules`. Writing is strict RFC 8366; reading also takes what RFC 8366bis
(draft-ietf-anima-rfc8366bis) adds or relaxes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeVar

from brski.errors import LocalError, Malformed
from brski.pki import strict_json
from brski.pki.names import check_serial_number
from brski.voucher import yang_types
from brski.voucher.model import Assertion, Extension, Voucher, VoucherArtifact, VoucherRequest

REQUEST_TOP: Final = "ietf-voucher-request:voucher"  # RFC 8995 §3.2; the name says "voucher"
VOUCHER_TOP: Final = "ietf-voucher:voucher"  # RFC 8366 §5.3

_SHA256_OCTETS: Final = 32
_EXTENSION: Final = "extension:"  # and the module's name: the member that holds its content

_T = TypeVar("_T")


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
    _check_exclusive(request)
    return _encode(REQUEST_TOP, _REQUEST_LEAVES, request)


def decode_voucher_request(octets: bytes, *, lenient_nonce: bool = False) -> VoucherRequest:
    """Read a voucher-request; nothing in it is believed yet.

    The leaves that a request inherits from the voucher and that RFC 8995 §3.2 says to ignore
    (domain-cert-revocation-checks, last-renewal-date and those that pin) are not looked at, nor
    are leaves that are not known here.

    Args:
        octets: UTF-8 JSON, the payload of a signed message.
        lenient_nonce: take a nonce in base64url and without padding too, as the examples of
            RFC 8995 Appendix C have it. The string is kept as it came either way.

    Raises:
        Malformed: not JSON, not a voucher-request, no serial-number, or a leaf of the wrong form.
        TooLarge: over the limits of :func:`brski.pki.strict_json.loads`.

    RFC 8995 §3.2; RFC 8366bis §9; RFC 7951.
    """
    leaves = {**_REQUEST_LEAVES, **_LENIENT_NONCE} if lenient_nonce else _REQUEST_LEAVES
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
    _check_exclusive(voucher)
    if voucher.last_renewal_date is not None and voucher.expires_on is None:
        raise LocalError("last-renewal-date without expires-on", section="RFC 8366 §5.3")
    return _encode(VOUCHER_TOP, _VOUCHER_LEAVES, voucher)


def decode_voucher(octets: bytes, *, lenient_nonce: bool = False) -> Voucher:
    """Read a voucher; nothing in it is believed yet. Unknown leaves are ignored.

    Only serial-number is asked for here, as in RFC 8366bis: a missing pinned-domain-cert is a
    voucher that cannot be used, not one that cannot be read (RFC 8995 §5.6.1).

    Args:
        octets: UTF-8 JSON, the payload of a signed message.
        lenient_nonce: as in :func:`decode_voucher_request`.

    Raises:
        Malformed: not JSON, not a voucher, no serial-number, or a leaf of the wrong form.
        TooLarge: over the limits of :func:`brski.pki.strict_json.loads`.

    RFC 8366 §5.3; RFC 8995 §5.6.1; RFC 8366bis §8; RFC 7951.
    """
    leaves = {**_VOUCHER_LEAVES, **_LENIENT_NONCE} if lenient_nonce else _VOUCHER_LEAVES
    return Voucher(**_decode(octets, VOUCHER_TOP, leaves))


def _check_mandatory(voucher: Voucher) -> None:
    for leaf, value in (
        ("created-on", voucher.created_on),
        ("assertion", voucher.assertion),
        ("pinned-domain-cert", voucher.pinned_domain_cert),
    ):
        if value is None:
            raise LocalError(f"a voucher needs {leaf}", section="RFC 8366 §5.3")


def _check_exclusive(document: VoucherArtifact) -> None:
    if document.nonce is not None and document.expires_on is not None:
        raise LocalError("nonce and expires-on exclude one another", section="RFC 8366 §5.3")


# -- leaves to members and back --------------------------------------------------------------------


class _Type(NamedTuple):
    """How a leaf's value is read from JSON, and how it is written."""

    read: Callable[[Any], object]  # raises Malformed
    write: Callable[[Any], object]


def _encode(top: str, leaves: Mapping[str, _Type], document: VoucherArtifact) -> bytes:
    values = ((leaf, kind, getattr(document, _field(leaf))) for leaf, kind in leaves.items())
    body = {leaf: kind.write(value) for leaf, kind, value in values if value is not None}
    body |= _write_extensions(document.extensions)
    return json.dumps({top: body}, separators=(",", ":")).encode("ascii")


def _decode(octets: bytes, top: str, leaves: Mapping[str, _Type]) -> dict[str, Any]:
    document = strict_json.loads(octets)
    if not isinstance(document, dict) or list(document) != [top]:
        raise Malformed(f"the one member of the document is not {top}", section="RFC 8995 §3")
    body = document[top]
    if not isinstance(body, dict):
        raise Malformed(f"{top} is not an object", section="RFC 7951 §5")
    if "serial-number" not in body:
        raise Malformed("serial-number is missing", section="RFC 8366 §5.3")
    values = {
        _field(leaf): _read(leaf, kind.read, body[leaf])
        for leaf, kind in leaves.items()
        if leaf in body
    }
    return values | {"extensions": _read_extensions(body)}


def _field(leaf: str) -> str:
    return leaf.replace("-", "_")


def _read(leaf: str, read: Callable[[Any], _T], value: object) -> _T:
    try:
        return read(value)
    except Malformed as err:
        raise Malformed(f"{leaf}: {err.reason}", section=err.section) from err


# -- extensions ------------------------------------------------------------------------------------


def _write_extensions(extensions: tuple[Extension, ...]) -> dict[str, object]:
    if not extensions:
        return {}
    return {"extensions": [extension.name for extension in extensions]} | {
        _EXTENSION + extension.name: json.loads(extension.content)
        for extension in extensions
        if extension.content is not None
    }


def _read_extensions(body: Mapping[str, object]) -> tuple[Extension, ...]:
    names = _read("extensions", _read_names, body.get("extensions", []))
    contents = {
        leaf.removeprefix(_EXTENSION): _read(ascii(leaf[:64]), _read_content, value)
        for leaf, value in body.items()
        if leaf.startswith(_EXTENSION)
    }
    unlisted = contents.keys() - set(names)
    if unlisted:
        raise Malformed(
            f"extension {min(unlisted)[:64]!a} is not listed", section="RFC 8366bis §8.6"
        )
    return tuple(Extension(name=name, content=contents.get(name)) for name in names)


def _read_names(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise Malformed("not an array", section="RFC 7951 §5.3")
    names = tuple(yang_types.check_extension_name(_text(name)) for name in value)
    if len(set(names)) != len(names):
        raise Malformed("a name is listed twice", section="RFC 7950 §7.7")
    return names


def _read_content(value: object) -> str:
    if not isinstance(value, dict):
        raise Malformed("not an object", section="RFC 8366bis §8.6")
    return json.dumps(value, separators=(",", ":"))


# -- types of leaves -------------------------------------------------------------------------------


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
    return yang_types.decode_date(_text(value))


def _binary(value: object) -> bytes:
    return yang_types.decode_binary(_text(value))


def _sha256(value: object) -> bytes:
    octets = _binary(value)
    if len(octets) != _SHA256_OCTETS:
        raise Malformed(f"SHA-256 of {len(octets)} octets", section="RFC 8366bis §8.4")
    return octets


def _nonce(value: object) -> str:
    yang_types.decode_nonce(_text(value))
    return _text(value)


def _lenient_nonce(value: object) -> str:
    yang_types.decode_nonce(_text(value), lenient=True)
    return _text(value)


def _uri(value: object) -> str:
    return yang_types.check_uri(_text(value))


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise Malformed("not a boolean", section="RFC 7951 §6.3")
    return value


_DATE: Final = _Type(_date, yang_types.encode_date)
_BINARY: Final = _Type(_binary, yang_types.encode_binary)
_SHA256: Final = _Type(_sha256, yang_types.encode_binary)
_URI: Final = _Type(_uri, str)

# In the order in which they are written.
_ARTIFACT_LEAVES: Final[Mapping[str, _Type]] = {
    "created-on": _DATE,
    "expires-on": _DATE,
    "assertion": _Type(_assertion, str),
    "serial-number": _Type(_serial_number, str),
    "idevid-issuer": _BINARY,
    "nonce": _Type(_nonce, str),
    "est-domain": _URI,
    "additional-configuration-url": _URI,
    "manufacturer-proprietary": _Type(_text, str),
}
_REQUEST_LEAVES: Final[Mapping[str, _Type]] = {
    **_ARTIFACT_LEAVES,
    "prior-signed-voucher-request": _BINARY,
    "proximity-registrar-cert": _BINARY,
    "proximity-registrar-pubk": _BINARY,
    "proximity-registrar-pubk-sha256": _SHA256,
    "agent-provided-proximity-registrar-cert": _BINARY,
    "agent-sign-cert": _BINARY,
    "agent-signed-data": _BINARY,
}
_VOUCHER_LEAVES: Final[Mapping[str, _Type]] = {
    **_ARTIFACT_LEAVES,
    "pinned-domain-cert": _BINARY,
    "pinned-domain-pubk": _BINARY,
    "pinned-domain-pubk-sha256": _SHA256,
    "domain-cert-revocation-checks": _Type(_boolean, bool),
    "last-renewal-date": _DATE,
}
_LENIENT_NONCE: Final[Mapping[str, _Type]] = {"nonce": _Type(_lenient_nonce, str)}
