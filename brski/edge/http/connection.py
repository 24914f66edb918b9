"""One TLS connection to a server: a request, its answer, the next request."""

from __future__ import annotations

import asyncio
from typing import cast

from brski.edge.http.answer import Answer, AnswerReader
from brski.errors import OnboardingError, Unavailable


class Unanswered(Unavailable):
    """The server closed the connection and not one octet of an answer had come."""


class Connection(asyncio.Protocol):
    """Made by ``create_connection``; carries one request at a time.

    Octets that nobody asked for end it (RFC 9112 §9.2): they would be the next request's answer.
    """

    def __init__(self) -> None:
        self.since = 0.0  # when it was put aside, by the loop's clock; for who keeps it
        self.lost = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None
        self._ended = False  # by us: a transport may say only later that it is closing
        self._reader: AnswerReader | None = None
        self._waiter: asyncio.Future[Answer] | None = None

    @property
    def usable(self) -> bool:
        """Whether another request may be sent."""
        transport = self._transport
        if transport is None or self._ended or self._waiter is not None:
            return False
        return not transport.is_closing()

    async def exchange(self, request: bytes, *, body_octets: int, deadline: float) -> Answer:
        """Send *request* and wait for its answer.

        Args:
            request: of :func:`brski.edge.http.request.encode_request`.
            body_octets: of the answer, at most.
            deadline: by the loop's clock.

        Raises:
            TimeoutError: no whole answer by then.
            Unanswered, Unavailable: the connection was closed before, or within, the answer.
            UnexpectedResponse, TooLarge: as :meth:`brski.edge.http.answer.AnswerReader.feed`.

        After a failure, or when the caller gave up, the connection is closed.
        """
        transport = self._transport
        if transport is None or not self.usable:
            raise Unanswered("the connection is spent")
        loop = asyncio.get_running_loop()
        self._reader = AnswerReader(body_octets)
        waiter: asyncio.Future[Answer] = loop.create_future()
        self._waiter = waiter
        timer = loop.call_at(deadline, _expire, waiter)  # asyncio.timeout() costs four of it
        transport.write(request)
        try:
            answer = await waiter
        except BaseException:  # of the waiting task too: what comes now is no one's answer
            self.abort()
            raise
        finally:
            timer.cancel()
            self._waiter = self._reader = None
        if not answer.reusable:
            self.close()
        return answer

    def close(self) -> None:
        """Close in order; :attr:`lost` tells when it is done."""
        self._ended = True
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Drop it at once."""
        self._ended = True
        if self._transport is not None:
            self._transport.abort()

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See :class:`asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """See :class:`asyncio.Protocol`."""
        if self._reader is None or self._waiter is None or self._waiter.done():
            self.abort()
            return
        try:
            answer = self._reader.feed(data)
        except OnboardingError as err:
            self._waiter.set_exception(err)
            return
        if answer is not None:
            self._waiter.set_result(answer)

    def eof_received(self) -> None:
        """See :class:`asyncio.Protocol`.

        A cut connection looks the same as an orderly close: what only the close ends must tell by
        itself whether it is whole, as JSON and DER do (RFC 9112 §9.8).
        """
        answer = None if self._reader is None else self._reader.end()
        if answer is not None and self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        """See :class:`asyncio.Protocol`."""
        if self._waiter is not None and not self._waiter.done():
            begun = self._reader is not None and self._reader.begun
            kind = Unavailable if begun else Unanswered
            why = f": {exc}" if exc is not None and str(exc) else ""
            self._waiter.set_exception(kind(f"the connection was closed{why}"))
        if not self.lost.done():
            self.lost.set_result(None)


def _expire(waiter: asyncio.Future[Answer]) -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())
