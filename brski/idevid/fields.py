"""Values taken out of decoded CBOR by type: what the formats of docs/oem-formats.md are made of."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from brski.errors import Malformed, UnknownFormat
from brski.idevid.record import Presentation
from brski.pki.cbor import Item

LARGEST_UINT: Final = 2**53 - 1  # ours: what JSON readers also hold exactly (RFC 7493 §2.2)

_PRESENTATIONS: Final = (Presentation.CARRIED, Presentation.ASSERTED)
_LAST_SECOND: Final = 253402300799  # 9999-12-31T23:59:59Z
_NAME: Final = re.compile(r"[!-~](?:[ -~]{0,62}[!-~])?")


def check_version(item: Item, version: int, what: str) -> None:
    """Raise unless *item* is a map whose member ``version`` is the integer *version*.

    Raises:
        Malformed: it is no map.
        UnknownFormat: it is of another version, or of none.
    """
    if not isinstance(item, dict):
        raise Malformed(f"{what} is no map")
    found = item.get("version")
    if type(found) is not int or found != version:
        raise UnknownFormat(f"{what} of version {found!r:.20}, not {version}")


def take_map(item: Item, members: Iterable[str], what: str) -> dict[str, Item]:
    """Return *item* if it is a map of exactly these *members*.

    Raises:
        Malformed: it is not.
    """
    if not isinstance(item, dict) or item.keys() != set(members):
        raise Malformed(f"{what} is not a map of the members that it must have")
    return {str(key): value for key, value in item.items()}


def take_array(item: Item, what: str, *, least: int, most: int) -> list[Item]:
    """Return *item* if it is an array of *least* to *most* items.

    Raises:
        Malformed: it is not.
    """
    if not isinstance(item, list) or not least <= len(item) <= most:
        raise Malformed(f"{what} is not an array of {least} to {most} items")
    return item


def take_octets(item: Item, what: str, *, least: int, most: int) -> bytes:
    """Return *item* if it is a byte string of *least* to *most* octets.

    Raises:
        Malformed: it is not.
    """
    if not isinstance(item, bytes) or not least <= len(item) <= most:
        raise Malformed(f"{what} is not a byte string of {least} to {most} octets")
    return item


def take_digest(item: Item, what: str) -> bytes:
    """Return *item* if it is a byte string of 32 octets, as SHA-256 gives them.

    Raises:
        Malformed: it is not.
    """
    return take_octets(item, what, least=32, most=32)


def take_uint(item: Item, what: str, *, least: int = 0, most: int = LARGEST_UINT) -> int:
    """Return *item* if it is an integer from *least* to *most*.

    Raises:
        Malformed: it is not.
    """
    if type(item) is not int or not least <= item <= most:
        raise Malformed(f"{what} is not an integer from {least} to {most}")
    return item


def take_bool(item: Item, what: str) -> bool:
    """Return *item* if it is true or false.

    Raises:
        Malformed: it is neither.
    """
    if type(item) is not bool:
        raise Malformed(f"{what} is neither true nor false")
    return item


def take_text(item: Item, what: str) -> str:
    """Return *item* if it is a text string.

    Raises:
        Malformed: it is not.
    """
    if not isinstance(item, str):
        raise Malformed(f"{what} is not a text string")
    return item


def take_name(item: Item, what: str) -> str:
    """Return *item* if it is 1 to 64 printable ASCII characters without a space at either end.

    Raises:
        Malformed: it is not.
    """
    text = take_text(item, what)
    if not _NAME.fullmatch(text):
        raise Malformed(f"{what} {text[:80]!r} is not 1 to 64 printable ASCII characters")
    return text


def encode_presentation(presentation: Presentation) -> int:
    """The number that stands for *presentation*: 0 carried, 1 asserted."""
    return _PRESENTATIONS.index(presentation)


def take_presentation(item: Item) -> Presentation:
    """What the number *item* stands for.

    Raises:
        Malformed: it is neither 0 nor 1.
    """
    return _PRESENTATIONS[take_uint(item, "presentation", most=1)]


def take_time(item: Item, what: str) -> datetime:
    """Return the moment that *item* names in whole seconds since 1970, aware UTC.

    Raises:
        Malformed: not an integer, or outside the years 1970 to 9999.
    """
    return datetime.fromtimestamp(take_uint(item, what, most=_LAST_SECOND), UTC)


def encode_time(moment: datetime, what: str) -> int:
    """The whole seconds since 1970 that :func:`take_time` reads back.

    Raises:
        Malformed: *moment* has no zone or a fraction of a second, or lies before 1970.
    """
    if moment.tzinfo is None or moment.microsecond or moment.timestamp() < 0:
        raise Malformed(f"{what} {moment.isoformat()} is not a whole second of known zone")
    return int(moment.timestamp())
