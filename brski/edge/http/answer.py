"""One HTTP/1.1 answer out of octets, however they are cut; no socket (RFC 9112).

Contents are not decoded: no message of ours is compressed, and one that is does not get through.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from brski.edge.http.body import Body, UntilClose, body_of
from brski.edge.http.head import BLANK_LINE, HEAD_OCTETS, Head, parse_head
from brski.errors import TooLarge, UnexpectedResponse

_INFORMATIONAL: Final = 4  # answers 1xx before the one that counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole answer."""

    status: int
    reason: str  # the status line's phrase
    fields: Mapping[str, str]  # by lower-case name; several of one name joined by ", "
    body: bytes  # out of its chunks
    reusable: bool  # the connection may carry another request

    @property
    def media_type(self) -> str:
        """Of Content-Type, lower case, without parameters; empty when there is none."""
        return self.fields.get("content-type", "").partition(";")[0].strip().lower()


class AnswerReader:
    """Takes octets until the answer to one GET or POST is whole.

    Args:
        body_octets: of the body, at most.
    """

    __slots__ = ("_body", "_body_octets", "_buffer", "_head", "_informational", "begun")

    def __init__(self, body_octets: int) -> None:
        self._body_octets = body_octets
        self._buffer = bytearray()
        self._head: Head | None = None
        self._body: Body | None = None
        self._informational = 0
        self.begun = False  # whether any octet has come

    def feed(self, octets: bytes) -> Answer | None:
        """Take *octets*; the answer, once it is whole.

        Raises:
            UnexpectedResponse: this is no HTTP/1.1, is not framed as HTTP has it, or is compressed.
            TooLarge: more fields, octets of them, or octets of body than there may be.
        """
        self.begun = True
        self._buffer += octets
        while self._head is None or self._body is None:
            end = self._buffer.find(BLANK_LINE, 0, HEAD_OCTETS + len(BLANK_LINE))
            if end < 0:
                if len(self._buffer) > HEAD_OCTETS:
                    raise TooLarge(f"an answer's head of more than {HEAD_OCTETS} octets")
                return None
            head = parse_head(bytes(self._buffer[:end]))
            del self._buffer[: end + len(BLANK_LINE)]
            self._begin_body(head)
        body = self._body.read(self._buffer)
        return None if body is None else self._answer(self._head, body)

    def end(self) -> Answer | None:
        """The server closed in order: the answer, if it is one that ends so; else None."""
        if self._head is None or not isinstance(self._body, UntilClose):
            return None
        return self._answer(self._head, self._body.closed())

    def _begin_body(self, head: Head) -> None:
        if head.status < 200:
            self._informational += 1
            if head.status == 101 or self._informational > _INFORMATIONAL:
                raise UnexpectedResponse(f"{head.status} where an answer should be")
            return
        coding = head.fields.get("content-encoding", "identity").lower()
        if coding != "identity":
            raise UnexpectedResponse(f"contents in {coding!r:.40}", section="RFC 9110 §8.4")
        self._head, self._body = head, body_of(head, self._body_octets)

    def _answer(self, head: Head, body: bytes) -> Answer:
        last = bool(self._buffer) or isinstance(self._body, UntilClose)
        return Answer(
            status=head.status,
            reason=head.reason,
            fields=head.fields,
            body=body,
            reusable=not last and head.keeps_connection(),
        )
