"""From an error to an HTTP answer, by one table for each web front.

The errors know no HTTP; RFC 8995 gives one and the same fault different statuses on different
interfaces (§5.3, §5.6), so a front hands its table to :func:`error_middleware`. What no table
foresees answers 500 with an empty body, and its traceback is in the log. A request's signature
verifications are counted meanwhile, and bounded (:mod:`brski.pki.effort`).
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Final

from aiohttp import StreamReader, hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler, Middleware
from aiohttp.web_exceptions import HTTPException

from brski.errors import (
    LocalError,
    Malformed,
    NotAcceptable,
    OnboardingError,
    PasswordNeeded,
    PeerError,
    Refused,
    SlowPeer,
    TooLarge,
    TooManyRequests,
    Unavailable,
    UnknownFormat,
    WrongContext,
)
from brski.pki.effort import counted
from brski.registry import BODY_LIMIT

_USUAL_RETRY_S: Final = 10  # of a 503 whose error says nothing of it

ErrorTable = Mapping[type[OnboardingError], int]

TRANSPORT_FAULTS: Final[ErrorTable] = {
    Malformed: 400,
    SlowPeer: 408,
    TooLarge: 413,
    UnknownFormat: 415,
    TooManyRequests: 429,
    Unavailable: 503,
    WrongContext: 503,
}
"""What every front answers alike; a front's own table is merged over it."""


def status_of(table: ErrorTable, error: OnboardingError) -> int | None:
    """The status that *table* has for the error's nearest type, or None."""
    return next((table[kind] for kind in type(error).__mro__ if kind in table), None)


def reason_line(error: OnboardingError) -> str:
    """What a peer is told: the reason when the fault is its own, nothing of ours."""
    return str(error) if isinstance(error, PeerError | Refused) else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorAnswers:
    """How a front answers errors.

    RFC 8995 §5.6 asks for a human-readable reason; RFC 9110 §10.2.3 for ``Retry-After``, which
    comes from the error.
    """

    table: ErrorTable  # status of each type; a subtype without its own entry has its base's
    log: logging.Logger  # one line for each: WARNING for a peer's fault and silence, ERROR for ours
    say: Callable[[OnboardingError], str] = reason_line  # the body, one line; empty for none
    closing: frozenset[int] = frozenset()  # statuses after which the connection is closed

    def of(self, error: Exception, request: web.Request) -> web.Response:
        """The answer to *error*, which is in the log then."""
        if not isinstance(error, OnboardingError):
            facts = {"path": request.path, "remote": request.remote}
            self.log.error("request failed", exc_info=error, extra=facts)
            return web.Response(status=500)
        status = status_of(self.table, error)
        if status is None:
            self.log.error("error without a status", exc_info=error, extra=_facts(request, error))
            return web.Response(status=500)
        level = logging.ERROR if isinstance(error, LocalError) else logging.WARNING
        self.log.log(level, "request refused", extra=_facts(request, error) | {"status": status})
        response = _response(status, error, self.say(error))
        if status in self.closing:
            response.force_close()
        return response


def error_middleware(
    table: ErrorTable,
    log: logging.Logger,
    *,
    say: Callable[[OnboardingError], str] = reason_line,
) -> Middleware:
    """Make the middleware that applies *table*; the arguments are those of :class:`ErrorAnswers`.

    An answer of the framework's own (no such route, method not allowed) is left as it is.
    """
    answers = ErrorAnswers(table=table, log=log, say=say)

    @web.middleware
    async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            with counted():  # what a stranger's message may cost
                return await handler(request)
        except HTTPException:
            raise
        except Exception as err:
            return answers.of(err, request)

    return answer_errors


def answering(handler: Handler, answers: ErrorAnswers) -> Handler:
    """*handler* with its errors answered: a middleware for one route, without its cost."""

    @wraps(handler)
    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            with counted():  # what a stranger's message may cost
                return await handler(request)
        except HTTPException:
            raise
        except Exception as err:
            return answers.of(err, request)

    return answer


def _facts(request: web.Request, error: OnboardingError) -> dict[str, object]:
    return {
        "code": error.code,
        "reason": str(error),
        "path": request.path,
        "remote": request.remote,
    }


def _response(status: int, error: OnboardingError, text: str) -> web.Response:
    response = web.Response(status=status, text=text) if text else web.Response(status=status)
    usual_s = _USUAL_RETRY_S if status == 503 else None
    retry_after_s = getattr(error, "retry_after_s", usual_s)
    if retry_after_s is not None:
        response.headers[hdrs.RETRY_AFTER] = str(retry_after_s)
    if isinstance(error, PasswordNeeded):
        challenge = f'Basic realm="{error.realm}", charset="UTF-8"'  # RFC 7617 §2
        response.headers[hdrs.WWW_AUTHENTICATE] = challenge
    if isinstance(error, SlowPeer | TooLarge):
        response.force_close()  # the rest of that body is not the next request
    return response


_NEVER: Final = re.compile(r"\s*q\s*=\s*0(\.0{0,3})?\s*", re.IGNORECASE)  # RFC 9110 §12.4.2


def check_accept(request: web.Request, media_type: str) -> None:
    """Raise unless the request's Accept header lets *media_type* be the answer.

    Args:
        media_type: what the answer would be, lower case, without parameters.

    Raises:
        NotAcceptable: it does not; no header lets everything be.

    RFC 8995 §5.5, §5.6.
    """
    accept = request.headers.get(hdrs.ACCEPT, "*/*")
    parts = (part.partition(";") for part in accept.split(","))
    offered = {name.strip().lower() for name, _, weight in parts if not _NEVER.fullmatch(weight)}
    if not offered & {media_type, "*/*", "application/*"}:
        raise NotAcceptable(f"the answer would be {media_type}", section="RFC 8995 §5.6")


async def read_body(
    request: web.Request, *, limit: int = BODY_LIMIT, deadline_s: float = 5.0
) -> bytes:
    """Read a request's body, whole, in bounded space and time.

    Args:
        request: of a server that does not decompress, as :mod:`brski.edge.serve` sets it up.
        limit: octets.
        deadline_s: from now to the last octet.

    Raises:
        TooLarge: announced or sent more than *limit*.
        SlowPeer: not whole in time, or the peer left.
        Malformed: broken chunks.
        UnknownFormat: a Content-Encoding; no message of ours has one.

    RFC 9110 §15.5.9, §15.5.14, §15.5.16.
    """
    encoding = request.headers.get(hdrs.CONTENT_ENCODING)
    if encoding is not None:
        raise UnknownFormat(f"Content-Encoding {encoding[:32]!r} is not accepted")
    if request.content_length is not None and request.content_length > limit:
        raise TooLarge(f"body of {request.content_length} octets, limit {limit}")
    try:
        if request.content.is_eof():  # all of it is here: nothing that a clock could cut short
            return await _read_all(request.content, limit)
        async with asyncio.timeout(deadline_s):
            return await _read_all(request.content, limit)
    except TimeoutError as err:
        raise SlowPeer(f"body not whole within {deadline_s:g} s") from err
    except ConnectionError as err:
        raise SlowPeer("peer left in the middle of its message") from err
    except (web.RequestPayloadError, HttpProcessingError) as err:
        raise Malformed("body is not framed as HTTP has it") from err


async def _read_all(content: StreamReader, limit: int) -> bytes:
    body = bytearray()
    while chunk := await content.readany():
        body += chunk
        if len(body) > limit:
            raise TooLarge(f"body of more than {limit} octets")
    return bytes(body)
