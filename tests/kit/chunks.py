"""Files of signed chunks, taken apart and put together with another CBOR library."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from typing import Any

import cbor2

from brski.pki import cose
from tests.kit import pki


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


def canonical(item: Any) -> bytes:
    """Deterministic CBOR, by the other library."""
    return cbor2.dumps(item, canonical=True)


def resign(
    file: bytes,
    *,
    signer: pki.KeySigner,
    aad: bytes | None = None,
    label: str | None = None,
    header: Callable[[dict[str, Any]], object] = lambda _: None,
    records: Callable[[list[Any]], object] = lambda _: None,
    encode: Callable[[Any], bytes] = canonical,
) -> bytes:
    """A file of one chunk with something changed, and signed anew.

    Args:
        aad: external_aad; the file's own label if not told.
        label: the file's first item; likewise.
    """
    own, manifest, chunk = cut(file)
    octets, _ = cbor2.loads(cbor2.loads(manifest).value[2])
    members, items = cbor2.loads(octets), cbor2.loads(chunk)
    header(members)
    records(items)
    chunk = encode(items)
    payload = cbor2.dumps([encode(members), [hashlib.sha256(chunk).digest()]])
    signed = cose.sign1(payload, signer, external_aad=own.encode() if aad is None else aad)
    return join([own if label is None else label, signed, chunk])


class Changing(io.BytesIO):
    """A file that somebody writes to once it was verified: *old* becomes *new*."""

    def __init__(self, octets: bytes, old: bytes, new: bytes) -> None:
        super().__init__(octets)
        self.changed = False
        self._old, self._new = old, new

    def read(self, size: int | None = -1, /) -> bytes:
        octets = super().read(size)
        return octets.replace(self._old, self._new) if self.changed else octets
