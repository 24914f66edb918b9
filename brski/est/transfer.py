"""How EST bodies travel: DER in base64, whatever a Content-Transfer-Encoding says (RFC 8951 §3).

Owns base64 and the shapes that clients of the field can read. Must not know what the DER holds.
BRSKI bodies travel raw and never come here (RFC 8995 §6).
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

from brski.errors import Malformed, SettingsError, TooLarge
from brski.registry import BODY_LIMIT

Base64Shape: TypeAlias = Literal["auto", "line", "wrap"]

#: libest's reader (OpenSSL's base64 BIO) takes no line of 1024 characters or more
LINE_LIMIT: Final = 1000
WRAP_COLUMN: Final = 64  # RFC 7468 §2

_BOUNDARY: Final = "estServerBoundary"  # no base64 text holds the two hyphens before it
_AS_BASE64: Final = "Content-Transfer-Encoding: base64"
MULTIPART: Final = f"multipart/mixed; boundary={_BOUNDARY}"

_WHITE_SPACE: Final = b"\r\n \t"
# lgtti's client and est-client-python post PEM; certreq writes NEW (RFC 7468 §7, §8, §9)
_PEM: Final = re.compile(
    rb"[\r\n \t]*-----BEGIN (?P<label>(?:NEW )?CERTIFICATE REQUEST|PKCS7|CMS)-----[ \t]*\r?\n"
    rb"(?P<text>[A-Za-z0-9+/=\r\n \t]*)\n[ \t]*"
    rb"-----END (?P=label)-----[\r\n \t]*"
)


def decode_base64(body: bytes, *, max_octets: int = BODY_LIMIT) -> bytes:
    """Return the octets (DER, not looked at) that an EST *body* carries.

    CR, LF, space and tab are ignored wherever they stand (RFC 8951 §3.1), and one PEM block of a
    certificate request or a PKCS #7 / CMS message is taken for its contents, since clients of the
    field post that. Everything else is strict: the standard alphabet, padded, with zero pad bits,
    so that one DER has one base64 text.

    Args:
        body: the whole HTTP body.
        max_octets: the most octets of *body* to look at.

    Raises:
        Malformed: nothing in it, another alphabet, no or wrong padding, raw DER, a PEM block of
            another kind, or text around it.
        TooLarge: *body* is longer than *max_octets*.

    RFC 8951 §3; RFC 4648 §4.
    """
    if len(body) > max_octets:
        raise TooLarge(f"EST body of {len(body)} octets, at most {max_octets} are read")
    text = _text_of(body).translate(None, delete=_WHITE_SPACE)
    if not text:
        raise Malformed("EST body is empty", section="RFC 8951 §3")
    try:
        octets = binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error as err:
        raise Malformed(f"EST body is not base64: {err}", section="RFC 8951 §3.1") from err
    if binascii.b2a_base64(octets, newline=False) != text:
        raise Malformed("EST body is base64 with stray pad bits", section="RFC 4648 §3.5")
    return octets


def encode_base64(der: bytes, shape: Base64Shape = "auto") -> bytes:
    """Return *der* as an EST body, ASCII, ending in LF.

    Args:
        der: what to carry.
        shape: ``"line"`` is one line, the only shape that strongSwan up to 5.9.10 reads;
            ``"wrap"`` is lines of 64 characters, the only one that libest reads once a line would
            have 1024; ``"auto"`` is one line up to 1000 characters, which both read, else wrapped.

    Raises:
        SettingsError: *shape* is none of these.

    RFC 8951 §3.1; RFC 4648 §4.
    """
    if shape not in ("auto", "line", "wrap"):
        raise SettingsError(f"no such base64 shape: {shape!r}", hint="auto, line or wrap")
    text = binascii.b2a_base64(der)
    if shape == "line" or (shape == "auto" and len(text) <= LINE_LIMIT + 1):
        return text
    return b"".join(
        text[start : start + WRAP_COLUMN].rstrip(b"\n") + b"\n"
        for start in range(0, len(text) - 1, WRAP_COLUMN)
    )


def encode_parts(parts: Iterable[tuple[str, bytes]]) -> bytes:
    """Return a multipart/mixed body, see :data:`MULTIPART`.

    Args:
        parts: media type and base64 text, as :func:`encode_base64` gives it.

    RFC 7030 §4.4.2; RFC 2046 §5.1.
    """
    body = b""
    for media_type, text in parts:
        head = f"--{_BOUNDARY}\r\nContent-Type: {media_type}\r\n{_AS_BASE64}\r\n\r\n"
        body += head.encode() + text + b"\r\n"
    return body + f"--{_BOUNDARY}--\r\n".encode()


def _text_of(body: bytes) -> bytes:
    if b"-----" not in body:
        return body
    block = _PEM.fullmatch(body)
    if block is None:
        raise Malformed("EST body is not one PEM block of a request or PKCS #7", section="RFC 7468")
    return block["text"]
