"""Octets to be told what they are: seen as ASN.1, JSON or CBOR, each at most once."""

from __future__ import annotations

from functools import cached_property
from typing import Final

from brski.errors import OnboardingError
from brski.pki import cbor
from brski_lab.inspecting.asn1 import Node, Outline, outline
from brski_lab.inspecting.json_text import JSONText, read_json

MOST_JSON_OCTETS: Final = 1 << 20

_LOOKS_LIKE_JSON: Final = (b"{", b"[", b"\xef\xbb\xbf{")
_DIFFERENT: Final = object()


class Content:
    """An artifact without its armor.

    Args:
        octets: as far as they were read.
        size: of the whole file.
        label: of the PEM block that it came in; empty otherwise.
    """

    def __init__(self, octets: bytes, *, size: int | None = None, label: str = "") -> None:
        self.octets = octets
        self.size = len(octets) if size is None else size
        self.label = label

    @cached_property
    def asn1(self) -> Outline:
        """As BER or DER, as far as it goes."""
        return outline(self.octets)

    @property
    def root(self) -> Node:
        """The first ASN.1 element; ask :attr:`asn1` first whether there is one."""
        return self.asn1.nodes[0]

    @cached_property
    def json(self) -> JSONText | None:
        """As JSON, as far as it goes; None if it does not begin like it, or is over 1 MiB."""
        if len(self.octets) > MOST_JSON_OCTETS or not self.octets.lstrip().startswith(
            _LOOKS_LIKE_JSON
        ):
            return None
        return read_json(self.octets)

    @cached_property
    def members(self) -> dict[str, object]:
        """The members of the JSON object; empty if it is none."""
        value = None if self.json is None else self.json.value
        return value if isinstance(value, dict) else {}

    @cached_property
    def cbor(self) -> object:
        """The deterministic CBOR item that it is, whole; an object like no other if it is none."""
        try:
            return cbor.decode(self.octets)
        except OnboardingError:
            return _DIFFERENT
