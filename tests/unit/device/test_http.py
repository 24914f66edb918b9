"""HTTP on the pledge's one connection: everything that comes back may be an attacker's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brski.errors import OnboardingError, SlowPeer, TooLarge, Unavailable, UnexpectedResponse
from device_client.pledge.states import Answer, Request
from device_client.transport.http import HTTPConnection, Limits
from device_client.transport.streams import StreamOctets
from tests.kit.examples import SHARED_FIXTURE

GET = Request(method="GET", path="/x", accept="application/pkcs7-mime")
POST = Request(method="POST", path="/y", body=b"abc", content_type="application/json")
QUICK = Limits(progress_s=0.2, answer_s=0.6, body_octets=1000, head_octets=2000)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def served(handler: Handler, limits: Limits = QUICK) -> AsyncIterator[HTTPConnection]:
    """A connection whose other end is *handler*."""

    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await handler(reader, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        ended.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        connection = HTTPConnection(
            StreamOctets(reader, writer), authority="registrar.example.com:8443", limits=limits
        )
        try:
            yield connection
        finally:
            await connection.close()
            await ended.wait()


async def request_of(reader: asyncio.StreamReader) -> bytes:
    """Read one request, whole."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
    return head + await reader.readexactly(int(length[0].split(b":")[1]) if length else 0)


def saying(*answers: bytes, then: Handler | None = None) -> Handler:
    """Answer each request by the next of *answers*; then close, or go on."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await request_of(reader)
            writer.write(answer)
            await writer.drain()
        if then is not None:
            await then(reader, writer)

    return handler


async def told(answer: bytes) -> Answer:
    async with served(saying(answer)) as connection:
        return await connection.exchange(GET)


def head(*lines: bytes, status: bytes = b"200 OK") -> bytes:
    return b"\r\n".join([b"HTTP/1.1 " + status, *lines, b"", b""])


async def test_what_is_sent() -> None:
    """Only what is needed: no user agent, no cookies, no encodings."""
    seen: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            seen.append(await request_of(reader))
            writer.write(OK)

    async with served(handler) as connection:
        await connection.exchange(GET)
        await connection.exchange(POST)
    assert seen == [
        b"GET /x HTTP/1.1\r\nHost: registrar.example.com:8443\r\n"
        b"Accept: application/pkcs7-mime\r\n\r\n",
        b"POST /y HTTP/1.1\r\nHost: registrar.example.com:8443\r\n"
        b"Content-Type: application/json\r\nContent-Length: 3\r\n\r\nabc",
    ]


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        (OK, Answer(status=200, body=b"ok")),
        (head(b"Content-Length: 0", status=b"204 No Content"), Answer(status=204)),
        (
            head(
                b"Content-Type: Application/PKCS7-MIME; smime-type=certs-only",
                b"Transfer-Encoding: chunked",
            )
            + b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
            Answer(status=200, body=b"abc", media_type="application/pkcs7-mime"),
        ),
        (
            head(b"Retry-After: 7", b"Content-Length: 0", status=b"202 Accepted"),
            Answer(status=202, retry_after_s=7),
        ),
        (
            head(b"Retry-After: Fri, 31 Dec 1999 23:59:59 GMT", b"Content-Length: 0"),
            Answer(status=200),
        ),
        (
            head(b"Location: /z", b"Content-Length: 0", status=b"307 Temporary Redirect"),
            Answer(status=307, location="/z"),
        ),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, Answer(status=200, body=b"ok")),
        (b"HTTP/1.0 200 OK\r\n\r\nto the end", Answer(status=200, body=b"to the end")),
        (
            head(b"Content-Encoding: identity", b"X-Note: \xff", b"Content-Length: 0"),
            Answer(status=200),
        ),
    ],
)
async def test_answers_are_read(answer: bytes, read: Answer) -> None:
    """In every form that HTTP/1.1 servers send."""
    assert await told(answer) == read


@pytest.mark.requirement("PL-4")
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/2 200 OK\r\n\r\n",
        b"<html>\r\n\r\n",
        b"\x16\x03\x01\x00\x00" + b"\x00" * 20 + b"\r\n\r\n",
        b"HTTP/1.1 999999 X\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * 9 + OK,
        head(b"Content-Length: 2", b"Content-Length: 3") + b"ok",
        head(b"Content-Length: -1"),
        head(b"Content-Length: 2", b"Transfer-Encoding: gzip, chunked") + b"ok",
        head(b"Content-Encoding: gzip", b"Content-Length: 0"),
        head(b"Content-Type: text/plain", b"Content-Type: text/html", b"Content-Length: 0"),
        head(b"Content-Type: nothing", b"Content-Length: 0"),
        head(b"Content-Type: t\xc3\xa4xt/plain", b"Content-Length: 0"),
        head(b"Location: /a", b"Location: /b", b"Content-Length: 0"),
        head(b"Location: /\xff", b"Content-Length: 0"),
        head(b"Bad Name: x", b"Content-Length: 0"),
        head(b"Transfer-Encoding: chunked") + b"zz\r\n",
        OK + OK,
    ],
)
async def test_nonsense_is_refused(answer: bytes) -> None:
    """Every other form, and a second answer that nobody asked for."""
    with pytest.raises(UnexpectedResponse):
        await told(answer)


@pytest.mark.requirement("PL-4")
@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (head(b"Content-Length: 1001") + b"x" * 1001, TooLarge),
        (head(b"Transfer-Encoding: chunked") + b"3e9\r\n" + b"x" * 1001, TooLarge),
        (head(b"Transfer-Encoding: chunked") + b"1\r\nx\r\n" * 2000, TooLarge),
        (head(b"Content-Length: 0", *[b"X-%d: y" % n for n in range(64)]), TooLarge),
        (head(b"X: " + b"y" * 2100, b"Content-Length: 0"), TooLarge),
        (b"HTTP/1.1 " + b"2" * 3000, UnexpectedResponse),
        (
            head(b"Transfer-Encoding: chunked") + b"0\r\n" + b"T: y\r\n" * 400 + b"\r\n",
            TooLarge,
        ),
    ],
    ids=["length", "chunk", "chunks", "fields", "field", "line", "trailers"],
)
async def test_too_much_is_refused(answer: bytes, error: type[OnboardingError]) -> None:
    """Headers, bodies, chunks and trailers are bounded before they fill the memory."""
    with pytest.raises(error):
        await told(answer)


@pytest.mark.parametrize("cut", [0, 5, 30, len(OK) - 1])
async def test_a_cut_answer_is_no_answer(cut: int) -> None:
    """Closed before the answer is whole: another attempt may do better."""
    with pytest.raises(Unavailable, match="closed"):
        await told(OK[:cut])


@pytest.mark.requirement("PL-4")
@settings(suppress_health_check=SHARED_FIXTURE)
@given(st.binary(max_size=120), st.booleans())
def test_no_octets_break_the_reader(octets: bytes, after_head: bool) -> None:
    """Anything gives an answer or one of our errors."""
    prefix = b"HTTP/1.1 200 OK\r\n" if after_head else b""

    async def exchange() -> None:
        with suppress(OnboardingError):
            await told(prefix + octets)

    asyncio.run(exchange())


@pytest.mark.requirement("PL-34")
async def test_a_silent_registrar_is_given_up() -> None:
    """It takes the request and says nothing."""

    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with served(silent) as connection:
        with pytest.raises(Unavailable, match="no answer"):
            await connection.exchange(GET)
        assert not await connection.is_usable()
        with pytest.raises(Unavailable, match="spent"):
            await connection.exchange(GET)


@pytest.mark.requirement("PL-34")
async def test_an_answer_that_stalls_is_given_up() -> None:
    """Once it has begun, it must go on."""

    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(OK[:10])
        await reader.read()

    async with served(stall) as connection:
        with pytest.raises(SlowPeer):
            await connection.exchange(GET)


@pytest.mark.requirement("PL-34")
async def test_an_answer_that_dribbles_is_given_up() -> None:
    """An octet now and then is progress for a while, and ends with the whole time."""

    async def dribble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        for octet in OK:
            writer.write(bytes([octet]))
            await writer.drain()
            await asyncio.sleep(0.1)

    async with served(dribble) as connection:
        with pytest.raises(Unavailable, match="no answer"):
            await connection.exchange(GET)


@pytest.mark.parametrize(
    "answer",
    [
        head(b"Content-Length: 2", b"Connection: close") + b"ok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ],
)
async def test_a_connection_that_will_close_is_not_used_again(answer: bytes) -> None:
    """The answer is good; the next request needs another connection."""
    async with served(saying(answer)) as connection:
        assert (await connection.exchange(GET)).body == b"ok"
        assert not await connection.is_usable()


async def test_a_connection_that_the_peer_closed_is_not_used_again() -> None:
    """As a server does whose keep-alive ran out while the pledge waited."""
    async with served(saying(OK)) as connection:
        await connection.exchange(GET)
        await asyncio.sleep(0.05)
        assert not await connection.is_usable()


async def test_a_refusal_before_the_request_was_read_is_heard() -> None:
    """The answer counts, though the server closes at once."""

    async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head(b"Content-Length: 0", b"Connection: close", status=b"413 Too Large"))

    async with served(refuse) as connection:
        try:
            answer = await connection.exchange(POST)
        except Unavailable:
            return  # the reset overtook the answer, which TCP allows
        assert answer.status == 413
