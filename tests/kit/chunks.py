"""Files of signed chunks, taken apart and put together with another CBOR library."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import cbor2


def cut(octets: bytes) -> list[Any]:
    """The items of a CBOR sequence: label, manifest, chunks."""
    stream = io.BytesIO(octets)
    items = []
    while stream.tell() < len(octets):
        items.append(cbor2.load(stream))
    return items


def join(items: Sequence[Any]) -> bytes:
    """The CBOR sequence of *items*."""
    return b"".join(map(cbor2.dumps, items))


def swap(items: Sequence[Any], a: int, b: int) -> list[Any]:
    """*items* with two of them in each other's place."""
    swapped = list(items)
    swapped[a], swapped[b] = items[b], items[a]
    return swapped
