"""Requests as octets: what another implementation reads, and nothing that could be two."""

from __future__ import annotations

import h11
import pytest

from brski.edge.http.request import encode_request
from brski.errors import LocalError


def test_request_is_what_another_implementation_reads() -> None:
    """h11 as the server."""
    octets = encode_request(
        "POST", "/a%20b?c=d", "[::1]:8443", {"Content-Type": "a/b", "X": "\xe9"}, b"body"
    )
    server = h11.Connection(h11.SERVER)
    server.receive_data(octets)
    request, body, end = (server.next_event() for _ in range(3))
    assert isinstance(request, h11.Request)
    assert (request.method, request.target) == (b"POST", b"/a%20b?c=d")
    assert dict(request.headers) == {
        b"host": b"[::1]:8443",
        b"user-agent": b"brski",
        b"content-type": b"a/b",
        b"x": b"\xe9",
        b"content-length": b"4",
    }
    assert isinstance(body, h11.Data)
    assert (body.data, type(end)) == (b"body", h11.EndOfMessage)


def test_get_has_no_body() -> None:
    """And announces none."""
    octets = encode_request("GET", "/", "a", {})
    assert octets == b"GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: brski\r\n\r\n"


@pytest.mark.parametrize(
    ("target", "authority", "fields"),
    [
        ("a", "a", {}),
        ("/a b", "a", {}),
        ("/a\r\nX: y", "a", {}),
        ("/é", "a", {}),
        ("/", "a\r\nX: y", {}),
        ("/", "", {}),
        ("/", "a@b", {}),
        ("/", "a", {"A:": "b"}),
        ("/", "a", {"": "b"}),
        ("/", "a", {"A": "b\r\nX: y"}),
        ("/", "a", {"A": "b\nX: y"}),
        ("/", "a", {"A": "\x00"}),
        ("/", "a", {"A": "\u0141"}),
    ],
)
def test_nothing_becomes_another_line(target: str, authority: str, fields: dict[str, str]) -> None:
    """Whatever a certificate's URL or a server's ETag holds."""
    assert encode_request("GET", "/a", "a:1", {"A": "b"})
    with pytest.raises(LocalError):
        encode_request("GET", target, authority, fields)
