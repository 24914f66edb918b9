"""Where the body of an HTTP/1.1 answer ends: a length, chunks, or the connection (RFC 9112 §6)."""

from __future__ import annotations

import re
from typing import Final, Protocol

from brski.edge.http.head import HEAD_OCTETS, Head
from brski.errors import TooLarge, UnexpectedResponse

_LENGTH: Final = re.compile(r"[0-9]{1,15}", re.ASCII)
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?")
_CHUNK_LINE: Final = 256  # octets of a chunk's size and its extensions, which mean nothing here
_CHUNKS_FOR_AN_OCTET: Final = 8  # what we put up with: octets on the wire for one of the body


class Body(Protocol):
    """A body that is coming in."""

    def read(self, buffer: bytearray) -> bytes | None:
        """Take what belongs to it off *buffer*'s front; the body, once it is whole.

        Raises:
            UnexpectedResponse: broken chunks.
            TooLarge: more than there may be.
        """


def body_of(head: Head, limit: int) -> Body:
    """The way in which the body of an answer to GET or POST is framed.

    Args:
        limit: octets of the body.

    Raises:
        UnexpectedResponse: a coding other than chunked, a length that is none, or both at once.
        TooLarge: a length over *limit*.

    RFC 9112 §6.3.
    """
    coding, length = head.fields.get("transfer-encoding"), head.fields.get("content-length")
    if head.status in (204, 304):
        return Measured(0)
    if coding is not None:
        if coding.lower() != "chunked" or length is not None or head.minor == 0:
            raise UnexpectedResponse("a body framed in two ways or none", section="RFC 9112 §6.1")
        return Chunked(limit)
    if length is None:
        return UntilClose(limit)
    if not _LENGTH.fullmatch(length):
        raise UnexpectedResponse("Content-Length is no number", section="RFC 9110 §8.6")
    if int(length) > limit:
        raise TooLarge(f"an answer of {length} octets, limit {limit}")
    return Measured(int(length))


class Measured:
    """Content-Length octets."""

    def __init__(self, length: int) -> None:
        self._length = length

    def read(self, buffer: bytearray) -> bytes | None:
        """See :class:`Body`."""
        if len(buffer) < self._length:
            return None
        body = bytes(buffer[: self._length])
        del buffer[: self._length]
        return body


class UntilClose:
    """All there is; whole when the connection is closed in order."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._body = bytearray()

    def read(self, buffer: bytearray) -> None:
        """See :class:`Body`."""
        self._body += buffer
        buffer.clear()
        if len(self._body) > self._limit:
            raise TooLarge(f"an answer of more than {self._limit} octets")

    def closed(self) -> bytes:
        """The body, when the server has closed."""
        return bytes(self._body)


class Chunked:
    """Chunks, each after its size (RFC 9112 §7.1); trailer fields are thrown away."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._body = bytearray()
        self._wire = 0  # octets taken, framing too
        self._after_last = False

    def read(self, buffer: bytearray) -> bytes | None:
        """See :class:`Body`."""
        while not self._after_last:
            if not self._read_chunk(buffer):
                return None
        while (line := _line_of(buffer, HEAD_OCTETS)) is not None:
            self._count(len(line) + 2)
            if not line:
                return bytes(self._body)
        return None

    def _read_chunk(self, buffer: bytearray) -> bool:
        line = _line_of(buffer, _CHUNK_LINE, take=False)
        if line is None:
            return False
        size_line = _CHUNK.fullmatch(line)
        if size_line is None:
            raise UnexpectedResponse("a chunk without its size", section="RFC 9112 §7.1")
        size, begin = int(size_line[1], 16), len(line) + 2
        if len(self._body) + size > self._limit:
            raise TooLarge(f"an answer of more than {self._limit} octets")
        end = begin + size
        if size and len(buffer) < end + 2:
            return False
        self._take(buffer, begin, end)
        return True

    def _take(self, buffer: bytearray, begin: int, end: int) -> None:
        self._after_last = begin == end
        taken = end
        if not self._after_last:
            if buffer[end : end + 2] != b"\r\n":
                raise UnexpectedResponse("a chunk of another size", section="RFC 9112 §7.1")
            self._body += buffer[begin:end]
            taken = end + 2
        del buffer[:taken]
        self._count(taken)

    def _count(self, octets: int) -> None:
        self._wire += octets
        if self._wire > HEAD_OCTETS + _CHUNKS_FOR_AN_OCTET * self._limit:
            raise TooLarge(f"an answer of more than {self._wire - octets} octets with its chunks")


def _line_of(buffer: bytearray, limit: int, *, take: bool = True) -> bytes | None:
    """The first line of *buffer* without its CRLF, or None while it is not whole."""
    end = buffer.find(b"\r\n", 0, limit)
    if end < 0:
        if len(buffer) >= limit:
            raise TooLarge(f"a line of more than {limit} octets", section="RFC 9112 §7.1")
        return None
    line = bytes(buffer[:end])
    if take:
        del buffer[: end + 2]
    return line
