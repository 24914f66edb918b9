"""From an error to an HTTP answer, and bodies in bounded space and time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import make_mocked_request

from brski.edge.serve import Listener, serving
from brski.edge.web_errors import (
    TRANSPORT_FAULTS,
    check_accept,
    error_middleware,
    read_body,
    reason_line,
    status_of,
)
from brski.errors import (
    DeviceUnknown,
    KeyUnusable,
    Malformed,
    NonceMismatch,
    NotAcceptable,
    NotAuthenticated,
    OnboardingError,
    PasswordNeeded,
    PeerError,
    Refused,
    SlowPeer,
    TooManyRequests,
    Unavailable,
)
from brski.pki.effort import spend

LOG = logging.getLogger("tests.web_errors")
TABLE = {**TRANSPORT_FAULTS, PeerError: 400, PasswordNeeded: 401, Refused: 403, DeviceUnknown: 404}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Served:
    """One handler behind the middleware, served as our programs are, and a way to ask it."""

    def __init__(self, address: str, session: ClientSession) -> None:
        self.host, port = address.split(":")
        self.port = int(port)
        self.session = session

    def post(self, path: str, **more: Any) -> Any:
        return self.session.post(f"http://{self.host}:{self.port}{path}", **more)

    def get(self, path: str) -> Any:
        return self.session.get(f"http://{self.host}:{self.port}{path}")


Connect = Callable[[Handler], Awaitable[Served]]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    async with AsyncExitStack() as stack:

        async def connect(handler: Handler) -> Served:
            app = web.Application(middlewares=[error_middleware(TABLE, LOG)])
            app.router.add_post("/", handler)
            listener = Listener(name="test", app=app, listen="127.0.0.1:0", ssl_context=None)
            addresses = await stack.enter_async_context(serving([listener]))
            session = await stack.enter_async_context(ClientSession())
            return Served(addresses["test"], session)

        yield connect


def raising(error: Exception) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        raise error

    return handler


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (NonceMismatch("nonces differ", section="RFC 8995 §5.6.1"), 400,
         "nonces differ (RFC 8995 §5.6.1)"),
        (DeviceUnknown("no record"), 404, "no record"),
        (Refused("no"), 403, "no"),
        (SlowPeer("slow"), 408, "slow"),
    ],
)  # fmt: skip
async def test_nearest_type_in_the_table_gives_the_status(
    connect: Connect, error: OnboardingError, status: int, text: str
) -> None:
    """A subtype without its own entry has its base's; the reason is the body, in UTF-8."""
    client = await connect(raising(error))
    async with client.post("/") as response:
        assert response.status == status
        assert response.content_type == "text/plain"
        assert response.charset == "utf-8"
        assert await response.text() == text
        assert "Retry-After" not in response.headers


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (Unavailable("database /srv/x locked", retry_after_s=7), 503, "7"),
        (TooManyRequests("budget used up", retry_after_s=3), 429, "3"),
    ],
)
async def test_time_to_come_back_is_told(
    connect: Connect, error: OnboardingError, status: int, retry_after: str
) -> None:
    """Retry-After from the error; nothing of our paths in the body."""
    client = await connect(raising(error))
    async with client.post("/") as response:
        assert response.status == status
        assert response.headers["Retry-After"] == retry_after
        assert "/srv" not in await response.text()


async def test_who_is_asked_for_a_password_is_told_how(connect: Connect) -> None:
    """RFC 9110 §15.5.2: a 401 has a challenge; what the error knows besides is not the peer's."""
    error = PasswordNeeded("say who you are", realm="EST", claimed="gateway")
    client = await connect(raising(error))
    async with client.post("/") as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"] == 'Basic realm="EST", charset="UTF-8"'
        assert await response.text() == "say who you are"
    client = await connect(raising(NotAuthenticated("say who you are")))
    async with client.post("/") as response:
        assert response.status == 400
        assert "WWW-Authenticate" not in response.headers


@pytest.mark.requirement("SEC-10")
async def test_a_request_costs_so_many_verifications_and_no_more(connect: Connect) -> None:
    """Each request has its own count; the one that would pass it is too large."""

    async def handler(request: web.Request) -> web.StreamResponse:
        for _ in range(int(await request.text())):
            spend()
        return web.Response()

    client = await connect(handler)
    for wanted, status in ((10, 200), (10, 200), (11, 413), (10, 200)):
        async with client.post("/", data=str(wanted)) as response:
            assert response.status == status


@pytest.mark.parametrize("error", [KeyUnusable("secret path"), ZeroDivisionError("secret")])
async def test_what_no_table_foresees_is_500_without_a_word(
    connect: Connect, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """Empty body; the traceback is in the log."""
    client = await connect(raising(error))
    async with client.post("/") as response:
        assert response.status == 500
        assert await response.read() == b""
    (record,) = [r for r in caplog.records if r.name == LOG.name]
    assert record.levelno == logging.ERROR
    assert record.exc_info


async def test_refusal_is_one_line_in_the_log(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """With its code, without a traceback."""
    client = await connect(raising(NonceMismatch("nonces differ")))
    async with client.post("/"):
        pass
    (record,) = [r for r in caplog.records if r.name == LOG.name]
    assert (record.levelname, record.getMessage()) == ("WARNING", "request refused")
    assert vars(record)["code"] == "nonce-mismatch"
    assert vars(record)["status"] == 400
    assert record.exc_info is None


async def test_answers_of_the_framework_pass(connect: Connect) -> None:
    """No such route, method not allowed."""
    client = await connect(raising(Malformed("x")))
    async with client.get("/") as response:
        assert response.status == 405
    async with client.get("/other") as response:
        assert response.status == 404


def test_status_is_none_where_the_table_is_silent() -> None:
    """And for nothing else."""
    assert status_of({PeerError: 400}, Malformed("x")) == 400
    assert status_of({Malformed: 400}, NonceMismatch("x")) is None
    assert reason_line(KeyUnusable("/path")) == ""


async def echo(request: web.Request) -> web.Response:
    body = await read_body(request, limit=1000, deadline_s=0.3)
    return web.Response(body=body)


@pytest.mark.parametrize("size", [0, 1, 1000])
@pytest.mark.parametrize("chunked", [False, True])
async def test_body_within_the_limit_is_read(connect: Connect, size: int, chunked: bool) -> None:
    """With a length or in chunks."""
    client = await connect(echo)

    async def chunks() -> AsyncIterator[bytes]:
        yield b"x" * size

    async with client.post("/", data=chunks() if chunked else b"x" * size) as response:
        assert response.status == 200
        assert await response.read() == b"x" * size


@pytest.mark.parametrize("chunked", [False, True])
async def test_body_over_the_limit_is_413(connect: Connect, chunked: bool) -> None:
    """Announced or only sent."""
    client = await connect(echo)

    async def chunks() -> AsyncIterator[bytes]:
        yield b"x" * 1001

    async with client.post("/", data=chunks() if chunked else b"x" * 1001) as response:
        assert response.status == 413


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "identity", "x-nothing"])
async def test_encoded_body_is_415_and_not_expanded(connect: Connect, encoding: str) -> None:
    """No message of ours has a Content-Encoding, so none is looked at."""
    client = await connect(echo)
    async with client.post(
        "/", data=b"\x1f\x8b" + bytes(10), headers={"Content-Encoding": encoding}
    ) as response:
        assert response.status == 415


async def raw(client: Served, head: bytes, *more: bytes, pause_s: float = 0.0) -> bytes:
    """Send octets as they are; return what comes until the server closes."""
    reader, writer = await asyncio.open_connection(client.host, client.port)
    for octets in (head, *more):
        writer.write(octets)
        await asyncio.sleep(pause_s)
    answer = await asyncio.wait_for(reader.read(), 15)
    writer.close()
    return answer


async def test_body_that_comes_too_slowly_is_408(connect: Connect) -> None:
    """At the deadline, whatever else is still promised."""
    client = await connect(echo)
    started = time.monotonic()
    reader, writer = await asyncio.open_connection(client.host, client.port)
    writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nx")
    line = await asyncio.wait_for(reader.readline(), 5)
    assert b" 408 " in line
    assert 0.25 < time.monotonic() - started < 2
    writer.close()


async def test_peer_that_leaves_in_the_middle_is_no_fault_of_ours(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """One line, no traceback."""
    caplog.set_level(logging.DEBUG)
    client = await connect(echo)
    _, writer = await asyncio.open_connection(client.host, client.port)
    writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nx")
    await writer.drain()
    await asyncio.sleep(0.1)
    writer.transport.abort()
    await asyncio.sleep(0.1)
    (record,) = [r for r in caplog.records if r.name == LOG.name]
    assert vars(record)["code"] == "slow-peer"
    assert all(r.exc_info is None and r.levelno < logging.ERROR for r in caplog.records)


@pytest.mark.parametrize("chunk", [b"ZZ\r\nx\r\n0\r\n\r\n", b"-1\r\nx\r\n0\r\n\r\n"])
async def test_broken_chunks_are_the_peers_fault(
    connect: Connect, chunk: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """400, or 408 where the parser lets the reader wait; no traceback, no 500."""
    client = await connect(echo)
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = await raw(client, head, chunk, pause_s=0.1)
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 408 "))
    assert all(r.exc_info is None and r.levelno < logging.ERROR for r in caplog.records)


async def test_body_arrives_in_many_pieces(connect: Connect) -> None:
    """Within the deadline, one octet a segment."""
    client = await connect(echo)
    head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 5\r\n\r\n"
    answer = await raw(client, head, *(bytes([c]) for c in b"abcde"), pause_s=0.01)
    assert answer.endswith(b"\r\n\r\nabcde")


async def test_time_out_of_a_handler_is_not_taken_for_the_peers(connect: Connect) -> None:
    """A TimeoutError from elsewhere is ours: 500, not 408."""
    client = await connect(raising(TimeoutError("ours")))
    async with client.post("/") as response:
        assert response.status == 500


@pytest.mark.parametrize(
    "accept",
    [None, "*/*", "application/*", "text/html, application/json;q=0.5", "APPLICATION/JSON"],
)
def test_an_accept_header_that_allows_the_answer(accept: str | None) -> None:
    """By name, by range, among others, or by saying nothing."""
    headers = {} if accept is None else {"Accept": accept}
    check_accept(make_mocked_request("POST", "/", headers=headers), "application/json")


@pytest.mark.parametrize(
    "accept",
    ["", "text/plain", "application/jsonx", "text/*", "application/json;q=0", "*/*; Q=0.000"],
)
def test_an_accept_header_that_allows_nothing_that_there_is(accept: str) -> None:
    """The nearest refusals."""
    with pytest.raises(NotAcceptable):
        check_accept(
            make_mocked_request("POST", "/", headers={"Accept": accept}), "application/json"
        )
