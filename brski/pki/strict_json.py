"""JSON as I-JSON has it (RFC 7493): read strictly, because the standard library reads leniently.

``json.loads`` keeps the last of two equal member names, takes ``NaN``, lone surrogates and numbers
of any length, and lets the sender choose how deep the parser recurses. Two readers of one document
must not see two different documents, so all of that is refused here. What the members mean is for
others to say.
"""

from __future__ import annotations

import json
import math
from typing import Final, NoReturn

from brski.errors import Malformed, TooLarge
from brski.registry import BODY_LIMIT

DEPTH_LIMIT: Final = 16  # ours: arrays and objects inside one another
NUMBER_LIMIT: Final = 24  # ours: characters of one number; -2**63 has 20
_BOM: Final = b"\xef\xbb\xbf"
_BACKSLASH_U: Final = b"\\u"  # how JSON spells a surrogate


def loads(octets: bytes, *, max_octets: int = BODY_LIMIT, max_depth: int = DEPTH_LIMIT) -> object:
    """Read one JSON text, whole.

    Args:
        octets: UTF-8, without a byte order mark; white space around the value is allowed.
        max_octets: the most octets to look at.
        max_depth: how deep arrays and objects may nest; a bare ``{}`` is 1.

    Returns:
        dict, list, str, int, float, bool or None, as :mod:`json` gives them. Floats are finite;
        strings hold no lone surrogate.

    Raises:
        Malformed: not UTF-8, not JSON, a member name twice in one object, NaN or Infinity, a lone
            surrogate.
        TooLarge: more octets or nesting than allowed, or a number too long to be meant.

    RFC 8259; RFC 7493 §2.
    """
    if len(octets) > max_octets:
        raise TooLarge(f"JSON of {len(octets)} octets, at most {max_octets} are read")
    value = _decode(_text_of(octets))
    if _BACKSLASH_U in octets or octets.count(b"{") + octets.count(b"[") > max_depth:
        _check_value(value, max_depth)
    return value  # else it cannot nest too deep, nor hold a surrogate, which UTF-8 has not either


def _text_of(octets: bytes) -> str:
    if octets.startswith(_BOM):
        raise Malformed("JSON begins with a byte order mark", section="RFC 8259 §8.1")
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError as err:
        raise Malformed(f"JSON is not UTF-8 at octet {err.start}", section="RFC 8259 §8.1") from err


def _decode(text: str) -> object:
    try:
        value: object = _DECODER.decode(text)
    except json.JSONDecodeError as err:
        raise Malformed(f"not JSON: {err.msg} at character {err.pos}", section="RFC 8259") from err
    except RecursionError as err:
        raise TooLarge("JSON nests too deep") from err
    return value


def _check_value(value: object, depth_left: int) -> None:
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, dict | list):
        if not depth_left:
            raise TooLarge("JSON nests too deep")
        for member in value:
            _check_value(member, depth_left - 1)
        if isinstance(value, dict):
            for member in value.values():
                _check_value(member, depth_left - 1)


def _check_text(text: str) -> None:
    if text.isascii():
        return
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as err:
        raise Malformed("JSON string with a lone surrogate", section="RFC 7493 §2.1") from err


def _object(members: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(members)
    if len(result) != len(members):
        raise Malformed("JSON object with a member name twice", section="RFC 7493 §2.3")
    return result


def _integer(digits: str) -> int:
    _check_length(digits)
    return int(digits)


def _float(digits: str) -> float:
    _check_length(digits)
    value = float(digits)
    if not math.isfinite(value):
        raise TooLarge("JSON number outside the range of a double", section="RFC 7493 §2.2")
    return value


def _check_length(digits: str) -> None:
    if len(digits) > NUMBER_LIMIT:
        raise TooLarge(f"JSON number of {len(digits)} characters", section="RFC 7493 §2.2")


def _constant(name: str) -> NoReturn:
    raise Malformed(f"JSON has no {name}", section="RFC 8259 §6")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant
)
