"""HTTP/1.1 over one connection that is ours, for answers that may come from an attacker.

A client library would open another connection behind our back when the server closes this one, and
with it meet another, unjudged server. So h11 parses, and nothing here reconnects, follows
redirections, keeps cookies, answers challenges or decodes contents. RFC 8995 §5.1: headers are
hostile until the voucher has been accepted.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import h11

from brski.errors import SlowPeer, TooLarge, Unavailable, UnexpectedResponse
from brski.registry import BODY_LIMIT
from device_client.pledge.states import Answer, Request
from device_client.transport.port import Octets

_READ: Final = 16 * 1024
_CLOSE_S: Final = 2.0
_HEADERS_LIMIT: Final = 64
_INFORMATIONAL_LIMIT: Final = 4
_MEDIA_TYPE: Final = re.compile(r"[a-z0-9!#$&^_.+-]{1,64}/[a-z0-9!#$&^_.+-]{1,64}")
_SECONDS: Final = re.compile(r"[0-9]{1,9}")
_OVERHEAD: Final = 8  # octets on the wire for one of a body in the worst chunks that we put up with
_FIELDS: Final = frozenset({"content-type", "content-encoding", "retry-after", "location"})
_FIELDS_OCTETS: Final = frozenset(name.encode("ascii") for name in _FIELDS)
_SECTION: Final = "RFC 9112"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long and how much."""

    progress_s: float = 5.0  # TCP, TLS, and each pause within an answer (RFC 8995 §5.1)
    answer_s: float = 30.0  # from a request to the last octet of its answer
    head_octets: int = 16 * 1024
    body_octets: int = BODY_LIMIT


class HTTPConnection:
    """Requests one after the other on a connection that is already open.

    Args:
        octets: a connection that is open; closed by :meth:`close`.
        authority: for the Host header.
        limits: what the other side may take of our time and memory.
    """

    def __init__(
        self,
        octets: Octets,
        *,
        authority: str,
        limits: Limits,
    ) -> None:
        self._connection = octets
        self._authority = authority
        self._limits = limits
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=limits.head_octets)
        self._usable = True
        self._heard = 0  # octets of the answer that is being read
        self._ended = False  # the peer has closed its side

    async def is_usable(self) -> bool:
        """Whether another request may be sent: nothing broke, and the peer has not closed."""
        return self._usable and await self._connection.is_open()

    async def exchange(self, request: Request) -> Answer:
        """Send *request* and read its answer, whole.

        Raises:
            Unavailable: the connection broke or was closed, or no answer came in time.
            SlowPeer: an answer began, and stalled.
            TooLarge: more headers or a longer body than :class:`Limits` say.
            UnexpectedResponse: no HTTP/1.1, or headers that have no place here.
        """
        usable, self._usable = self._usable, False
        if not usable:
            raise Unavailable("the connection is spent", section=_SECTION)
        self._heard = 0
        try:
            async with asyncio.timeout(self._limits.answer_s):
                await self._send(request)
                answer = await self._receive()
        except h11.RemoteProtocolError as err:
            if self._ended:
                raise Unavailable("the connection was closed before the answer was whole") from err
            raise UnexpectedResponse(f"no HTTP/1.1 came back: {err}", section=_SECTION) from err
        except TimeoutError as err:
            raise Unavailable(
                f"no answer to {request.method} {request.path} in {self._limits.answer_s:g} s"
            ) from err
        except OSError as err:
            raise Unavailable(f"the connection broke: {err.strerror or err}") from err
        self._usable = self._next_cycle()
        return answer

    async def close(self) -> None:
        """Close the connection, whatever state it is in; raises nothing."""
        self._usable = False
        try:
            async with asyncio.timeout(_CLOSE_S):
                await self._connection.close()
        except (OSError, TimeoutError):
            self._connection.abort()

    async def _send(self, request: Request) -> None:
        headers = [("Host", self._authority)]
        if request.accept:
            headers.append(("Accept", request.accept))
        if request.method != "GET":
            headers.append(("Content-Type", request.content_type))
            headers.append(("Content-Length", str(len(request.body))))
        head = h11.Request(method=request.method, target=request.path, headers=headers)
        octets = self._http.send(head) or b""
        if request.body:
            octets += self._http.send(h11.Data(data=request.body)) or b""
        octets += self._http.send(h11.EndOfMessage()) or b""
        with suppress(ConnectionError):  # the answer may be there already, as after a refusal
            await self._connection.send(octets)

    async def _receive(self) -> Answer:
        head = await self._head()
        fields = _fields_of(head)
        body = bytearray()
        while isinstance(event := await self._event(), h11.Data):
            body += event.data
            if len(body) > self._limits.body_octets:
                raise TooLarge(f"an answer of more than {self._limits.body_octets} octets")
        if isinstance(event, h11.EndOfMessage):
            self._check_headers(event.headers)
        if not isinstance(event, h11.EndOfMessage) or self._http.trailing_data[0]:
            raise UnexpectedResponse("more came back than one answer", section=_SECTION)
        retry_after = fields.get("retry-after", "")
        return Answer(
            status=head.status_code,
            body=bytes(body),
            media_type=_media_type_of(fields.get("content-type")),
            retry_after_s=int(retry_after) if _SECONDS.fullmatch(retry_after) else None,
            location=fields.get("location"),
        )

    async def _head(self) -> h11.Response:
        for _ in range(_INFORMATIONAL_LIMIT):
            event = await self._event()
            if isinstance(event, h11.Response):
                self._check_headers(event.headers)
                return event
            if isinstance(event, h11.ConnectionClosed):
                raise Unavailable("the connection was closed without an answer")
            if not isinstance(event, h11.InformationalResponse) or event.status_code == 101:
                break
        raise UnexpectedResponse("no answer that could be waited for", section=_SECTION)

    def _check_headers(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        # h11 bounds what it waits for, not what came at once
        octets = sum(len(name) + len(value) + 4 for name, value in headers)
        if len(headers) > _HEADERS_LIMIT or octets > self._limits.head_octets:
            raise TooLarge(f"an answer with {len(headers)} header fields, {octets} octets")

    async def _event(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._octets())
        return event

    async def _octets(self) -> bytes:
        # How long a registrar thinks is bounded by answer_s; once it speaks, it must go on.
        try:
            async with asyncio.timeout(self._limits.progress_s if self._heard else None):
                octets = await self._connection.receive(_READ)
        except TimeoutError as err:
            raise SlowPeer(f"the answer stalled for {self._limits.progress_s:g} s") from err
        self._heard += len(octets)
        self._ended = not octets
        if self._heard > self._limits.head_octets + _OVERHEAD * self._limits.body_octets:
            raise TooLarge(f"an answer in more than {self._heard - len(octets)} octets")
        return octets

    def _next_cycle(self) -> bool:
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            return True
        return False


def _fields_of(head: h11.Response) -> dict[str, str]:
    """The header fields that mean something here, by lower-case name, each at most once."""
    fields: dict[str, str] = {}
    for name, value in _text_of(head.headers):
        if name not in _FIELDS:
            continue
        if name in fields:
            raise UnexpectedResponse(f"{name} is there twice", section=_SECTION)
        fields[name] = value
    coding = fields.get("content-encoding", "identity").lower()
    if coding != "identity":
        raise UnexpectedResponse(f"contents in {coding!r:.40}", section="RFC 9110 §8.4")
    return fields


def _text_of(headers: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[str, str]]:
    for name, value in headers:
        try:
            yield name.decode("ascii"), value.decode("ascii")
        except UnicodeDecodeError:
            if name in _FIELDS_OCTETS:
                raise UnexpectedResponse(
                    f"{name.decode('ascii')} is not ASCII", section="RFC 9110 §5.5"
                ) from None


def _media_type_of(value: str | None) -> str:
    if value is None:
        return ""
    media_type = value.partition(";")[0].strip().lower()
    if not _MEDIA_TYPE.fullmatch(media_type):
        raise UnexpectedResponse("Content-Type is no media type", section="RFC 9110 §8.3")
    return media_type
