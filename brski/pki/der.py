"""The DER gate, and the few TLV operations that parsers and writers share.

Whatever comes from outside and says it is ASN.1 passes :func:`check_der` before any library sees
it, because the libraries behind it also take BER: indefinite lengths, lengths with leading zeros,
trailing octets. Owns the encoding only; knows no type by name but the universal ones that X.690 §10
and §11 restrict.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

from brski.errors import Malformed, TooLarge

BOOLEAN: Final = 0x01
INTEGER: Final = 0x02
BIT_STRING: Final = 0x03
OCTET_STRING: Final = 0x04
NULL: Final = 0x05
OBJECT_IDENTIFIER: Final = 0x06
ENUMERATED: Final = 0x0A
UTF8_STRING: Final = 0x0C
PRINTABLE_STRING: Final = 0x13
IA5_STRING: Final = 0x16
UTC_TIME: Final = 0x17
GENERALIZED_TIME: Final = 0x18
SEQUENCE: Final = 0x30
SET: Final = 0x31

_CONSTRUCTED: Final = 0x20
_HIGH_TAG: Final = 0x1F
_FIRST_TAGGED: Final = 0x40  # identifier octets from here on are not of the universal class
_DOTTED: Final = re.compile(r"[0-2](?:\.(?:0|[1-9][0-9]{0,38})){1,32}")
_LENGTH_OCTETS_LIMIT: Final = 4  # lengths up to 4 GiB; the octets limit is met long before
_SECTION: Final = "X.690 §10"


class Element(NamedTuple):
    """Where one TLV stands in the octets that it was read from.

    A tuple rather than a dataclass, since parsers of hostile input make hundreds of them a message.
    """

    tag: int  # the identifier octets as one big-endian number: 0x30 SEQUENCE, 0xA0 [0] constructed
    start: int  # offset of the identifier octet
    content: int  # offset of the first content octet
    end: int  # offset just past the last content octet


def check_der(
    data: bytes, *, max_octets: int = 65536, max_depth: int = 24, max_elements: int = 8192
) -> None:
    """Raise unless *data* is one element in DER, whole and with nothing after it.

    Looks into everything constructed, not into OCTET and BIT STRINGs. The order of a SET OF is not
    judged: signers in the field, OpenSSL among them, leave it as it came.

    Args:
        data: what was received, raw.
        max_octets: most octets of the whole.
        max_depth: deepest nesting of constructed elements.
        max_elements: most elements in all.

    Raises:
        Malformed: indefinite or non-minimal length, non-minimal tag, constructed string, BOOLEAN
            other than 00 or FF, padded INTEGER or OBJECT IDENTIFIER, bits set in the unused part of
            a BIT STRING, NULL with content, an element that outgrows its parent, truncation,
            trailing octets.
        TooLarge: one of the limits is passed.

    X.690 §8, §10, §11.
    """
    if len(data) > max_octets:
        raise TooLarge(f"DER of {len(data)} octets, at most {max_octets} are taken")
    try:
        _walk(data, max_depth, max_elements)
    except IndexError as err:
        raise Malformed("DER ends inside an element", section=_SECTION) from err


# Primitive universal types whose content DER does not restrict, or which the reader of the value
# judges.
_UNRESTRICTED: Final = frozenset(
    {OCTET_STRING, UTF8_STRING, PRINTABLE_STRING, IA5_STRING, UTC_TIME, GENERALIZED_TIME}
    | {0x09, 0x0D, 0x12, 0x14, 0x15, 0x19, 0x1A, 0x1B, 0x1C, 0x1D, 0x1E}
)

# What the walk does with an element, by its identifier octet.
_PASSED_OVER: Final = 0
_LOOKED_INTO: Final = 1
_RESTRICTED: Final = 2  # universal, with rules of its own, or refused
_HIGH: Final = 3  # the tag number stands in further octets


def _kind(octet: int) -> int:
    if octet & _HIGH_TAG == _HIGH_TAG:
        return _HIGH
    universal = octet < _FIRST_TAGGED
    if octet & _CONSTRUCTED:
        return _RESTRICTED if universal and octet not in (SEQUENCE, SET) else _LOOKED_INTO
    return _RESTRICTED if universal and octet not in _UNRESTRICTED else _PASSED_OVER


_KINDS: Final = bytes(map(_kind, range(256)))


def _walk(data: bytes, max_depth: int, max_elements: int) -> None:
    # One flat loop over all elements, whatever their depth, that calls nothing for the usual ones:
    # this runs on every message of every peer.
    kinds = _KINDS
    position = 0
    end = len(data)
    ends: list[int] = []  # where the enclosing elements end, outermost first
    for _ in range(max_elements):
        start = position
        kind = kinds[data[start]]
        length = data[start + 1]
        position += 2
        if kind == _HIGH:
            position, stop = _high_header(data, start)
            kind = _LOOKED_INTO if data[start] & _CONSTRUCTED else _PASSED_OVER
        elif length < 0x80:
            stop = position + length
        elif length == 0x82 and data[position]:  # as long as a certificate, or a message
            stop = position + 2 + (data[position] << 8 | data[position + 1])
            position += 2
        else:
            position, stop = _long_length(data, position, length)
        if stop > end:
            raise Malformed(f"DER element outgrows what holds it by {stop - end} octets")
        if kind == _LOOKED_INTO:
            ends.append(end)
            if len(ends) > max_depth:
                raise TooLarge(f"DER nested deeper than {max_depth}")
            end = stop
        else:
            if kind == _RESTRICTED and not (
                data[start] == OBJECT_IDENTIFIER
                and 0 < length < 0x80
                and data[stop - 1] < 0x80
                and 0x80 not in data[position:stop]  # where an arc with padding would begin
            ):
                _check_restricted(data, data[start], position, stop)
            position = stop
        while position == end:
            if not ends:
                return
            end = ends.pop()
        if not ends:
            raise Malformed(f"{len(data) - position} octets after the DER element")
    raise TooLarge(f"DER of more than {max_elements} elements")


def _high_header(data: bytes, start: int) -> tuple[int, int]:
    """Content offset and end of an element whose tag number stands in further octets."""
    position = _skip_tag_number(data, start + 1)
    if data[start] < _FIRST_TAGGED:
        raise Malformed("DER with a universal tag that no standard assigns")
    length = data[position]
    position += 1
    if length < 0x80:
        return position, position + length
    return _long_length(data, position, length)


def _skip_tag_number(data: bytes, position: int) -> int:
    first = data[position]
    if first == 0x80 or first < _HIGH_TAG:
        raise Malformed("DER tag number with padding", section="X.690 §8.1.2.4")
    for offset in range(_LENGTH_OCTETS_LIMIT):
        if data[position + offset] < 0x80:
            return position + offset + 1
    raise Malformed("DER tag number of more than 28 bits")


def _long_length(data: bytes, position: int, first: int) -> tuple[int, int]:
    """Where the content starts and ends; *first* opened a length in the long form."""
    count = first & 0x7F
    if count in (0, 0x7F):
        raise Malformed("DER with an indefinite or reserved length", section="X.690 §10.1")
    if count > _LENGTH_OCTETS_LIMIT:
        raise Malformed(f"DER length of {count} octets")
    content = position + count
    if content > len(data):
        raise Malformed("DER ends inside a length", section=_SECTION)
    length = int.from_bytes(data[position:content], "big")
    if length < 0x80 or data[position] == 0:
        raise Malformed("DER length longer than needed", section="X.690 §10.1")
    return content, content + length


def _check_restricted(data: bytes, tag: int, position: int, stop: int) -> None:
    length = stop - position
    if tag & _CONSTRUCTED:
        raise Malformed(f"DER with a constructed element of tag {tag:02x}", section=_SECTION)
    if tag == OBJECT_IDENTIFIER:
        if length == 0 or data[stop - 1] > 0x7F or _has_padded_arc(data, position, stop):
            raise Malformed(
                "DER OBJECT IDENTIFIER with padding or cut short", section="X.690 §8.19"
            )
    elif tag in (INTEGER, ENUMERATED):
        if length == 0 or (length > 1 and _is_padded(data[position], data[position + 1])):
            raise Malformed("DER INTEGER empty or with padding", section="X.690 §8.3.2")
    elif tag == BIT_STRING:
        _check_bit_string(data, position, stop)
    elif tag == BOOLEAN:
        if length != 1 or data[position] not in (0x00, 0xFF):
            raise Malformed("DER BOOLEAN other than 00 or FF", section="X.690 §11.1")
    elif tag == NULL:
        if length != 0:
            raise Malformed("DER NULL with content", section="X.690 §8.8.2")
    else:
        raise Malformed(f"DER with a primitive element of tag {tag:02x}", section=_SECTION)


def _is_padded(first: int, second: int) -> bool:
    return (first == 0x00 and second < 0x80) or (first == 0xFF and second >= 0x80)


def _has_padded_arc(data: bytes, position: int, stop: int) -> bool:
    found = data.find(0x80, position, stop)
    while found >= 0:
        if found == position or data[found - 1] < 0x80:
            return True
        found = data.find(0x80, found + 1, stop)
    return False


def _check_bit_string(data: bytes, position: int, stop: int) -> None:
    if position == stop:
        raise Malformed("DER BIT STRING without its first octet", section="X.690 §8.6.2")
    unused = data[position]
    if unused == 0:
        return
    if unused > 7 or stop - position == 1 or data[stop - 1] & ((1 << unused) - 1):
        raise Malformed("DER BIT STRING with unused bits that are not zero", section="X.690 §11.2")


def read_element(data: bytes, offset: int = 0) -> Element:
    """Read the header of the element at *offset*; its content is not looked into.

    Args:
        data: DER, any number of elements.
        offset: of the identifier octet.

    Raises:
        Malformed: no whole element stands there, or its header is not DER.

    X.690 §8.1, §10.1.
    """
    try:
        tag = data[offset]
        length = data[offset + 1]
        content = offset + 2
        if tag & _HIGH_TAG == _HIGH_TAG:
            content, end = _high_header(data, offset)
            tag = int.from_bytes(data[offset : _skip_tag_number(data, offset + 1)], "big")
        elif length > 0x7F:
            content, end = _long_length(data, content, length)
        else:
            end = content + length
    except IndexError as err:
        raise Malformed("DER ends inside an element", section=_SECTION) from err
    if end > len(data):
        raise Malformed(f"DER ends {end - len(data)} octets before its element", section=_SECTION)
    return Element(tag, offset, content, end)


_tuple: Final = tuple.__new__  # what a NamedTuple's own __new__, a Python function, comes to


def children(data: bytes, element: Element) -> list[Element]:
    """Read the headers of all elements directly inside *element*.

    Args:
        data: the octets that *element* was read from.
        element: constructed.

    Raises:
        Malformed: *element* is primitive, or its content is not a row of whole elements.

    X.690 §8.9.
    """
    first_octet = data[element.start]
    if not first_octet & _CONSTRUCTED:
        raise Malformed(f"DER element of tag {element.tag:02x} where a constructed one must be")
    found = []
    position, end = element.content, element.end
    while position < end - 1:
        tag, length = data[position], data[position + 1]
        if length < 0x80 and tag & _HIGH_TAG != _HIGH_TAG:  # as most are, and no call is made
            content = position + 2
            child = _tuple(Element, (tag, position, content, content + length))
        else:
            child = read_element(data, position)
        position = child[3]
        found.append(child)
    if position != end:
        raise Malformed("DER element outgrows what holds it", section=_SECTION)
    return found


def content_of(data: bytes, element: Element) -> bytes:
    """The content octets of *element*, which was read from *data*."""
    return data[element.content : element.end]


def octets_of(data: bytes, element: Element) -> bytes:
    """The whole of *element*, header and content, which was read from *data*."""
    return data[element.start : element.end]


def encode(tag: int, *parts: bytes) -> bytes:
    """Write one element.

    Args:
        tag: the identifier octet, such as ``SEQUENCE`` or 0xA0; numbers from 31 on are not written.
        parts: the content octets, joined as they are.

    Returns:
        DER of the element.

    X.690 §8.1, §10.1.
    """
    content = b"".join(parts)
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    return long_head(tag, length) + content


@lru_cache(maxsize=4096)
def long_head(tag: int, length: int) -> bytes:
    """Identifier and length octets of an element of 128 octets of content or more.

    X.690 §8.1.3.5.
    """
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets


@lru_cache(maxsize=256)
def encode_oid(dotted: str) -> bytes:
    """Write an OBJECT IDENTIFIER.

    Args:
        dotted: such as ``"1.3.6.1.5.5.7.1.32"``.

    Returns:
        DER of the element, header included.

    Raises:
        Malformed: not a dotted object identifier.

    X.690 §8.19.
    """
    if not _DOTTED.fullmatch(dotted):
        raise Malformed(f"{dotted[:80]!r} is no object identifier", section="X.660 §7.6")
    first, second, *rest = map(int, dotted.split("."))
    if first < 2 and second > 39:
        raise Malformed(f"{dotted[:80]!r} is no object identifier", section="X.660 §7.6")
    return encode(OBJECT_IDENTIFIER, *map(_encode_arc, [first * 40 + second, *rest]))


def _encode_arc(arc: int) -> bytes:
    octets = [arc & 0x7F]
    while arc := arc >> 7:
        octets.append(0x80 | (arc & 0x7F))
    return bytes(reversed(octets))


def encode_integer(value: int) -> bytes:
    """Write an INTEGER, header included, in as few octets as it needs.

    X.690 §8.3.
    """
    bits = value.bit_length() if value >= 0 else (value + 1).bit_length()
    return encode(INTEGER, value.to_bytes(bits // 8 + 1, "big", signed=True))
