"""Requests and answers between a pledge and its signer, as octets. No socket is here.

docs/tee.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

from brski.errors import Malformed, PeerError, TooLarge
from brski.pki import cbor
from device_client.identity.facts import FileKind

FORMAT: Final = "brski tee v1"
HEAD_OCTETS: Final = 4
FRAME_LIMIT: Final = 64 * 1024
DATA_LIMIT: Final = 65_000
_SECTION: Final = "docs/tee.md"

ANSWER: Final = FileKind(
    name="signer's answer",
    format=FORMAT,
    needed=frozenset({"client-chain"}),
    optional=frozenset(),
    section=_SECTION,
)
"""What the device may say of itself: its facts, and what it shows in TLS."""

MALFORMED: Final = "malformed"
NOT_ALLOWED: Final = "not-allowed"
NOT_SIGNED_HERE: Final = "not-signed-here"

Message: TypeAlias = Mapping[int | str, cbor.Item]


def encode_frame(message: bytes) -> bytes:
    """A message with its length before it.

    Raises:
        TooLarge: more than ``FRAME_LIMIT`` octets.
    """
    if len(message) > FRAME_LIMIT:
        raise TooLarge(f"a message of {len(message)} octets, limit {FRAME_LIMIT}", section=_SECTION)
    return len(message).to_bytes(HEAD_OCTETS, "big") + message


def parse_head(head: bytes) -> int:
    """How many octets follow the four of *head*.

    Raises:
        Malformed: none, or more than ``FRAME_LIMIT``.
    """
    length = int.from_bytes(head, "big")
    if not 1 <= length <= FRAME_LIMIT:
        raise Malformed(f"a frame of {length} octets", section=_SECTION)
    return length


def encode_describe() -> bytes:
    """The request for what the device may say of itself."""
    return cbor.encode({"op": "describe", "format": FORMAT})


def encode_sign(data: bytes) -> bytes:
    """The request to sign *data*.

    Raises:
        TooLarge: more than ``DATA_LIMIT`` octets.
    """
    if len(data) > DATA_LIMIT:
        raise TooLarge(f"{len(data)} octets to sign, limit {DATA_LIMIT}", section=_SECTION)
    return cbor.encode({"op": "sign", "data": data, "format": FORMAT})


def parse_request(message: bytes) -> bytes | None:
    """Read a request.

    Returns:
        What is to be signed; None where the device is to be described.

    Raises:
        Malformed: neither, or not in the one encoding.
    """
    item = _map_of(message)
    match dict(item):
        case {"op": "describe", **rest} if not rest:
            return None
        case {"op": "sign", "data": bytes() as data, **rest} if not rest:
            if 1 <= len(data) <= DATA_LIMIT:
                return data
    raise Malformed("no request that is known", section=_SECTION)


def encode_signature(signature: bytes) -> bytes:
    """The answer with a signature."""
    return cbor.encode({"signature": signature, "format": FORMAT})


def encode_error(code: str) -> bytes:
    """The answer of one who does not do it."""
    return cbor.encode({"error": code, "format": FORMAT})


def parse_signature(message: bytes) -> bytes:
    """Read the answer to a request to sign.

    Raises:
        Malformed: it holds no signature.
    """
    match dict(_map_of(message)):
        case {"signature": bytes() as signature, **rest} if not rest:
            return signature
    raise Malformed("no signature", section=_SECTION)


def error_of(message: bytes) -> str:
    """The code of an answer that is an error; empty for any other."""
    try:
        item = dict(_map_of(message))
    except PeerError:
        return ""
    match item:
        case {"error": str() as code, **rest} if not rest:
            return code
    return ""


def _map_of(message: bytes) -> Message:
    """The map without its format."""
    item = cbor.decode(message, max_octets=FRAME_LIMIT)
    if not isinstance(item, dict) or item.pop("format", None) != FORMAT:
        raise Malformed(f"no map of the format {FORMAT!r}", section=_SECTION)
    return item
