"""Records of signed files: CBOR arrays whose fields have names in docs/ and not in the file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

from brski.pki import cbor
from brski_lab.inspecting.description import Fact
from brski_lab.inspecting.signed_file import fact_of

PRESENTATIONS: Final[Mapping[str, tuple[str, ...]]] = {"presentation": ("carried", "asserted")}
STATUSES: Final[Mapping[str, tuple[str, ...]]] = {"status": ("active", "flagged", "revoked")}


def named_fields(
    item: cbor.Item, names: tuple[str, ...], codes: Mapping[str, tuple[str, ...]]
) -> Fact:
    """A record with its fields named; certificates by their SHA-256."""
    if not isinstance(item, list) or len(item) != len(names):
        return fact_of(item)
    return {name: _field(name, value, codes) for name, value in zip(names, item, strict=True)}


def _field(name: str, value: cbor.Item, codes: Mapping[str, tuple[str, ...]]) -> Fact:
    if name == "certificate" and isinstance(value, bytes):
        return f"SHA-256 {hashlib.sha256(value).hexdigest()}"
    words = codes.get(name, ())
    if type(value) is int and 0 <= value < len(words):
        return words[value]
    return fact_of(value)
