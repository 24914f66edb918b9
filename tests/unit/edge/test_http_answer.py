"""The reader of HTTP answers: any cut gives the same answer, and what is not framed is none."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brski.edge.http.answer import Answer, AnswerReader
from brski.edge.http.head import FIELDS, HEAD_OCTETS
from brski.errors import OnboardingError, TooLarge, UnexpectedResponse

LIMIT = 1000
MEASURED = (
    b"HTTP/1.1 200 OK\r\nContent-Type: Application/JSON; charset=utf-8\r\nETag: \"1\"\r\n"
    b"Content-Length: 5\r\n\r\nhello"
)  # fmt: skip
CHUNKED = (
    b"HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2\r\nhe\r\n3;name=value\r\nllo\r\n0\r\nTrailer: x\r\n\r\n"
)
UNTIL_CLOSE = b"HTTP/1.0 200 OK\r\n\r\nhello"
EARLY = b"HTTP/1.1 103 Early\r\nLink: a\r\n\r\n" + MEASURED
EMPTY = b"HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\nContent-Length: 5\r\n\r\n"  # fmt: skip
WHOLE = {"measured": MEASURED, "chunked": CHUNKED, "early": EARLY, "empty": EMPTY}
each_whole = pytest.mark.parametrize("octets", WHOLE.values(), ids=WHOLE)


def read(*pieces: bytes, limit: int = LIMIT) -> Answer | None:
    reader = AnswerReader(limit)
    answer = None
    for piece in pieces:
        assert answer is None, "octets after the answer"
        answer = reader.feed(piece)
    return answer


def by_h11(octets: bytes) -> tuple[int, dict[str, str], bytes]:
    """What another implementation reads."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(octets)
    event = client.next_event()
    while isinstance(event, h11.InformationalResponse):
        event = client.next_event()
    assert isinstance(event, h11.Response)
    fields = {name.decode(): value.decode() for name, value in event.headers}
    body = b""
    while not isinstance(part := client.next_event(), h11.EndOfMessage):
        assert isinstance(part, h11.Data)
        body += part.data
    return event.status_code, fields, body


@each_whole
def test_answer_is_what_another_implementation_reads(octets: bytes) -> None:
    """h11 is the other."""
    answer = read(octets)
    assert answer is not None
    assert (answer.status, answer.fields, answer.body) == by_h11(octets)


def test_media_type_and_phrase() -> None:
    """Without parameters, lower case; empty where the server says nothing."""
    answer = read(MEASURED)
    assert answer is not None
    assert (answer.media_type, answer.reason, answer.body) == ("application/json", "OK", b"hello")
    bare = read(b"HTTP/1.1 204\r\n\r\n")
    assert bare is not None
    assert (bare.media_type, bare.reason, bare.body) == ("", "", b"")


@each_whole
@given(data=st.data())
def test_any_cut_gives_the_same_answer(octets: bytes, data: st.DataObject) -> None:
    """Records and segments end where they like."""
    cuts = sorted(data.draw(st.sets(st.integers(1, len(octets) - 1), max_size=8)))
    pieces = [octets[a:b] for a, b in zip([0, *cuts], [*cuts, None], strict=True)]
    assert read(*pieces) == read(octets)


@each_whole
def test_octet_by_octet(octets: bytes) -> None:
    """The answer is there with its last octet, and not before."""
    reader = AnswerReader(LIMIT)
    assert not reader.begun
    found = [reader.feed(octets[i : i + 1]) for i in range(len(octets))]
    assert found[:-1] == [None] * (len(octets) - 1)
    assert found[-1] == read(octets)
    assert reader.begun
    assert AnswerReader(LIMIT).end() is None


@each_whole
def test_cut_short_is_no_answer(octets: bytes) -> None:
    """A server that leaves in the middle has not answered."""
    for length in range(len(octets)):
        reader = AnswerReader(LIMIT)
        assert reader.feed(octets[:length]) is None
        assert reader.end() is None


def test_body_without_a_length_ends_with_the_connection() -> None:
    """As HTTP/1.0 has it."""
    reader = AnswerReader(LIMIT)
    assert reader.feed(UNTIL_CLOSE) is None
    assert reader.feed(b" again") is None
    answer = reader.end()
    assert answer is not None
    assert answer.body == b"hello again"
    assert not answer.reusable


@pytest.mark.parametrize(
    ("octets", "reusable"),
    [
        (MEASURED, True),
        (CHUNKED, True),
        (EMPTY, True),
        (MEASURED.replace(b"ETag", b"Connection: close\r\nETag"), False),
        (MEASURED.replace(b"ETag", b"Connection: x, Close\r\nETag"), False),
        (MEASURED.replace(b"HTTP/1.1", b"HTTP/1.0"), False),
        (MEASURED + b"x", False),  # the beginning of an answer to nothing
        (EMPTY + b"hello", False),
    ],
)
def test_connection_is_used_again_only_after_an_answer_that_leaves_it_clean(
    octets: bytes, *, reusable: bool
) -> None:
    """RFC 9112 §9.3; what is left over would be taken for the next answer."""
    answer = read(octets)
    assert answer is not None
    assert answer.reusable is reusable


def head(*lines: bytes) -> bytes:
    return b"\r\n".join((b"HTTP/1.1 200 OK", *lines, b"", b""))


@pytest.mark.parametrize(
    "octets",
    [
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.2 200 OK\r\n\r\n",
        b"http/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 600 OK\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n",
        b"HTTP/1.1 200 O\x00K\r\n\r\n",
        b"\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 5,
        head(b"A: b", b" folded"),
        head(b"A : b"),
        head(b": b"),
        head(b"A"),
        head(b"A: b\nC: d"),
        head(b"A: b\rC: d"),
        head(b"A: \x00"),
        head("Ä: b".encode()),
        head(b"Content-Length: 5", b"Content-Length: 5"),
        head(b"ETag: 1", b"ETag: 2"),
        head(b"Content-Length: 5, 5"),
        head(b"Content-Length: +5"),
        head(b"Content-Length: -5"),
        head(b"Content-Length: 0x5"),
        head(b"Content-Length: \xb2"),
        head(b"Content-Length:"),
        head(b"Content-Length: 5", b"Transfer-Encoding: chunked"),
        head(b"Transfer-Encoding: gzip, chunked"),
        head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
        head(b"Transfer-Encoding: identity"),
        head(b"Transfer-Encoding:"),
        head(b"Transfer-Encoding: chunked").replace(b"HTTP/1.1", b"HTTP/1.0"),
        head(b"Content-Encoding: gzip", b"Content-Length: 5"),
        head(b"Transfer-Encoding: chunked") + b"x\r\n",
        head(b"Transfer-Encoding: chunked") + b"-1\r\n",
        head(b"Transfer-Encoding: chunked") + b"\r\n",
        head(b"Transfer-Encoding: chunked") + b"000000001\r\n",
        head(b"Transfer-Encoding: chunked") + b"2\r\nhello\r\n",
        head(b"Transfer-Encoding: chunked") + b"2\r\nhe\n\n",
    ],
)
def test_what_is_not_framed_as_http_is_refused(octets: bytes) -> None:
    """No second reading of the same octets is left for anybody to take."""
    assert read(head(b"A: b", b"Content-Length: 0")) is not None
    with pytest.raises(UnexpectedResponse):
        read(octets)


@pytest.mark.parametrize(
    "octets",
    [
        head(b"Content-Length: 1001"),
        head(b"Content-Length: 999999999999999"),
        head() + b"x" * 1001,
        head(b"Transfer-Encoding: chunked") + b"3e9\r\n",
        head(b"Transfer-Encoding: chunked") + b"ffffffff\r\n",
        head(b"Transfer-Encoding: chunked") + b"1;" + b"x" * 300,
        head(b"Transfer-Encoding: chunked") + b"0\r\n" + b"A: b\r\n" * 5000,
        head(b"Transfer-Encoding: chunked") + (b"1;" + b"x" * 200 + b"\r\na\r\n") * 200,
        head(*[b"A: b"] * (FIELDS + 1)),
        head(b"A: " + b"b" * HEAD_OCTETS),
        b"HTTP/1.1 200 OK\r\nA: " + b"b" * HEAD_OCTETS,
    ],
)
def test_what_is_too_much_is_refused_at_once(octets: bytes) -> None:
    """However it comes: announced, in chunks, in one piece or in none that ends."""
    with pytest.raises(TooLarge):
        read(octets)


def test_what_is_just_not_too_much_is_read() -> None:
    """Up to the limit itself."""
    assert read(head(b"Content-Length: 1000") + b"x" * 1000) is not None
    assert read(head(*[b"A: b"] * (FIELDS - 1), b"Content-Length: 0")) is not None
    answer = read(head(b"Transfer-Encoding: chunked") + b"3e8\r\n" + b"x" * 1000 + b"\r\n0\r\n\r\n")
    assert answer is not None
    assert len(answer.body) == 1000


@given(st.binary(max_size=200))
def test_no_octets_raise_anything_else(octets: bytes) -> None:
    """Every error has a type of ours."""
    for beginning in (b"", b"HTTP/1.1 200 OK\r\n", head(b"Transfer-Encoding: chunked")):
        reader = AnswerReader(LIMIT)
        try:
            reader.feed(beginning + octets)
        except OnboardingError as err:
            assert isinstance(err, UnexpectedResponse | TooLarge)  # noqa: PT017 - either
