"""CBOR in its one deterministic form: what is signed or hashed has one encoding, or is refused.

The subset that our own formats use: integers, byte and text strings, arrays, maps with integer or
text keys, false, true and null. No tags, no floats, nothing indefinite. RFC 8949 §4.2.1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from brski.errors import Malformed, TooLarge

Item: TypeAlias = "int | bytes | str | bool | list[Item] | dict[int | str, Item] | None"
Encodable: TypeAlias = (
    "int | bytes | str | bool | Sequence[Encodable] | Mapping[int | str, Encodable] | None"
)

MAX_OCTETS: Final = 1 << 20
MAX_DEPTH: Final = 8

_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _SIMPLE = range(8)
_SIMPLE_VALUES: Final[Mapping[int, bool | None]] = {20: False, 21: True, 22: None}
_LEAST_OF_SIZE: Final = {1: 24, 2: 1 << 8, 4: 1 << 16, 8: 1 << 32}  # else a shorter head would do
_SHORT_HEADS: Final = tuple(bytes((first,)) for first in range(256))
_BYTES_OF_ONE: Final = _BYTES << 5 | 24  # a byte string whose length has one octet of its own
_SECTION: Final = "RFC 8949 §4.2.1"


def decode(octets: bytes, *, max_octets: int = MAX_OCTETS, max_depth: int = MAX_DEPTH) -> Item:
    """The one item that *octets* hold, all of them.

    Args:
        octets: untrusted; no message shows any of them.
        max_octets: more is refused before anything is read.
        max_depth: arrays and maps inside one another.

    Returns:
        ints, bytes, str, bools, None, lists and dicts; ``decode(encode(x)) == x`` and the reverse.

    Raises:
        Malformed: truncated, trailing octets, a longer head than needed, indefinite lengths, tags,
            floats, map keys out of order or twice, text that is not UTF-8, or nested too deep.
        TooLarge: more than *max_octets*.

    RFC 8949 §4.2.1, §5.3.1.
    """
    if len(octets) > max_octets:
        raise TooLarge(f"CBOR of {len(octets)} octets, {max_octets} are the most")
    item, end = _item(octets, 0, max_depth)
    if end != len(octets):
        raise _malformed(f"{len(octets) - end} octets after the item")
    return item


def encode(item: Encodable) -> bytes:
    """The deterministic encoding of *item*: shortest heads, map keys in the order of their octets.

    Raises:
        TypeError: a type outside the subset, such as a float; our own fault.
        OverflowError: an integer beyond 64 bits; our own fault.

    RFC 8949 §4.2.1.
    """
    encoder = _ENCODERS.get(type(item))
    if encoder is None:
        encoder = _encoder_of(item)
    return encoder(item)


def _encode_int(item: int) -> bytes:
    return _head(_UNSIGNED, item) if item >= 0 else _head(_NEGATIVE, -1 - item)


def _encode_bytes(item: bytes) -> bytes:
    return _head(_BYTES, len(item)) + item


def _encode_text(item: str) -> bytes:
    text = item.encode("utf-8")
    return _head(_TEXT, len(text)) + text


def _encode_map(item: Mapping[int | str, Encodable]) -> bytes:
    pairs = sorted((encode(key), encode(value)) for key, value in item.items())
    return _head(_MAP, len(pairs)) + b"".join(key + value for key, value in pairs)


def _encode_array(item: Sequence[Encodable]) -> bytes:
    return _head(_ARRAY, len(item)) + b"".join([encode(each) for each in item])


_ENCODERS: Final[Mapping[type, Callable[[Any], bytes]]] = {
    type(None): lambda _: b"\xf6",
    bool: lambda item: b"\xf5" if item else b"\xf4",
    int: _encode_int,
    bytes: _encode_bytes,
    str: _encode_text,
    dict: _encode_map,
    list: _encode_array,
    tuple: _encode_array,
}


def _encoder_of(item: object) -> Callable[[Any], bytes]:
    """For what is not of a type of the table itself, such as an enumeration's value."""
    match item:
        case int():
            return _encode_int
        case bytes():
            return _encode_bytes
        case str():
            return _encode_text
        case Mapping():
            return _encode_map
        case Sequence():
            return _encode_array
        case _:
            raise TypeError(f"no CBOR for {type(item).__name__}")


def _head(major: int, value: int) -> bytes:
    if value < 24:
        return _SHORT_HEADS[major << 5 | value]
    if value < 1 << 8:
        return bytes((major << 5 | 24, value))
    for additional, (size, _) in enumerate(_LEAST_OF_SIZE.items(), 24):
        if value < 1 << 8 * size:
            return bytes([major << 5 | additional]) + value.to_bytes(size, "big")
    raise OverflowError("an integer beyond 64 bits")


def _item(octets: bytes, at: int, depth: int) -> tuple[Item, int]:
    major, value, at = _read_head(octets, at)
    if major in {_BYTES, _TEXT}:
        end = at + value
        if end > len(octets):
            raise _truncated()
        content = octets[at:end]
        return (content if major == _BYTES else _text(content)), end
    if major == _UNSIGNED:
        return value, at
    if major == _NEGATIVE:
        return -1 - value, at
    if major == _SIMPLE:
        return _SIMPLE_VALUES[value], at
    if depth == 0:
        raise _malformed("nested too deep")
    if value > len(octets) - at:  # an element has one octet at least
        raise _truncated()
    return (_array if major == _ARRAY else _map)(octets, at, value, depth - 1)


def _array(octets: bytes, at: int, length: int, depth: int) -> tuple[Item, int]:
    items: list[Item] = []
    for _ in range(length):
        head = octets[at : at + 2]
        if len(head) == 2 and head[0] == _BYTES_OF_ONE and head[1] >= 24:
            # seeds, digests and keys, of which batches and bundles consist; as _item would
            start = at + 2
            at = start + head[1]
            if at > len(octets):
                raise _truncated()
            items.append(octets[start:at])
        else:
            item, at = _item(octets, at, depth)
            items.append(item)
    return items, at


def _map(octets: bytes, at: int, length: int, depth: int) -> tuple[Item, int]:
    items: dict[int | str, Item] = {}
    previous = b""
    for _ in range(length):
        key, end = _item(octets, at, 0)
        if isinstance(key, bool) or not isinstance(key, int | str):
            raise _malformed("a map key that is neither an integer nor text")
        if octets[at:end] <= previous:
            raise _malformed("map keys out of order, or one twice")
        previous = octets[at:end]
        items[key], at = _item(octets, end, depth)
    return items, at


def _read_head(octets: bytes, at: int) -> tuple[int, int, int]:
    if at >= len(octets):
        raise _truncated()
    major, additional = octets[at] >> 5, octets[at] & 31
    at += 1
    if major == _TAG or (major == _SIMPLE and additional not in _SIMPLE_VALUES):
        raise _malformed("a tag, a float or another value that is not used here")
    if additional < 24:
        return major, additional, at
    if additional > 27:
        raise _malformed("an indefinite or reserved length")
    size = 1 << (additional - 24)
    if at + size > len(octets):
        raise _truncated()
    value = int.from_bytes(octets[at : at + size], "big")
    if value < _LEAST_OF_SIZE[size]:
        raise _malformed("a longer head than needed")
    return major, value, at + size


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise _malformed("text that is not UTF-8") from None


def _truncated() -> Malformed:
    return _malformed("it ends too early")


def _malformed(why: str) -> Malformed:
    return Malformed(f"CBOR: {why}", section=_SECTION)
