"""What files are wrapped in: PEM, base64, hex. Undone here, and what is odd about it told."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from brski_lab.inspecting.content import Content
from brski_lab.inspecting.description import Finding

_PEM: Final = re.compile(
    rb"-----BEGIN ([A-Z0-9 ]{1,64})-----(.*?)(?:-----END \1-----|\Z)", re.DOTALL
)
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/]+={0,2}")
_BASE64_URL: Final = re.compile(rb"[A-Za-z0-9_-]+={0,2}")
_HEX: Final = re.compile(rb"(?:[0-9A-Fa-f]{2})+")
_SPACE: Final = b" \t\r\n\f\v"
_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_OTHERS: Final = bytes(set(range(256)) - set(_ALPHABET))
_LEAST_CHARACTERS: Final = 16
_LINE: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Unwrapped:
    """A file without its armor."""

    layers: tuple[str, ...]  # outermost first: "PEM", "base64", "base64url", "hex"
    contents: tuple[Content, ...]  # more than one only in PEM
    findings: tuple[Finding, ...]


def unwrap(octets: bytes, *, size: int) -> Unwrapped:
    """Take the armor off *octets*.

    Args:
        octets: of the file, as far as they were read.
        size: of the whole file.
    """
    if blocks := list(_PEM.finditer(octets)):
        return _from_pem(blocks)
    if (decoded := _from_text(octets)) is not None:
        return decoded
    return Unwrapped(layers=(), contents=(Content(octets, size=size),), findings=())


def _from_pem(blocks: list[re.Match[bytes]]) -> Unwrapped:
    contents, findings = [], []
    for number, block in enumerate(blocks, 1):
        label = block[1].decode("ascii")
        findings += [
            Finding(text=text, section="RFC 7468 §3", place=f"PEM block {number}")
            for text in _odd_pem(block)
        ]
        contents.append(Content(_forgiving(block[2]), label=label))
    return Unwrapped(layers=("PEM",), contents=tuple(contents), findings=tuple(findings))


def _odd_pem(block: re.Match[bytes]) -> Iterator[str]:
    if not block[0].endswith(b"-----") or block[0].count(b"-----") < 4:
        yield "PEM that does not end"
    if any(len(line.strip()) > _LINE for line in block[2].splitlines()):
        yield f"lines of more than {_LINE} characters"


def _from_text(octets: bytes) -> Unwrapped | None:
    bare = octets.translate(None, _SPACE)
    if len(bare) < _LEAST_CHARACTERS:
        return None
    if _HEX.fullmatch(bare):
        return _one("hex", bytes.fromhex(bare.decode("ascii")), ())
    if _BASE64.fullmatch(bare):
        return _one("base64", _forgiving(bare), tuple(_odd_base64(octets, bare)))
    if _BASE64_URL.fullmatch(bare):
        standard = bare.translate(bytes.maketrans(b"-_", b"+/"))
        return _one("base64url", _forgiving(standard), ())
    return None


def _one(layer: str, octets: bytes, findings: tuple[Finding, ...]) -> Unwrapped:
    return Unwrapped(layers=(layer,), contents=(Content(octets),), findings=findings)


def _forgiving(text: bytes) -> bytes:
    """The octets of base64, whatever is wrong with its length."""
    bare = text.translate(None, _OTHERS)
    usable = bare[: len(bare) - (len(bare) % 4 == 1)]
    return base64.b64decode(usable + b"=" * (-len(usable) % 4))


def _odd_base64(octets: bytes, bare: bytes) -> Iterator[Finding]:
    if octets.rstrip(b"\r\n") != octets:
        yield Finding(text="base64 with a line feed at its end", section="RFC 8951 §3.1")
    if b"\n" in octets.strip():
        yield Finding(text="base64 in several lines", section="RFC 8951 §3.1")
    try:
        whole = base64.b64encode(base64.b64decode(bare, validate=True)) == bare
    except binascii.Error:
        whole = False
    if not whole:
        yield Finding(
            text="not the one base64 of its octets: padding is missing, or bits are left over",
            section="RFC 4648 §3.5",
        )
