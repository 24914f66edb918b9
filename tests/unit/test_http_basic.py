"""HTTP Basic as a server reads it (RFC 7617)."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brski.edge.http.authentication import Password, basic
from brski.errors import NotAuthenticated
from brski.http_basic import HEADER_CHARACTERS, is_basic, parse_basic


def header(octets: bytes) -> str:
    return "Basic " + base64.b64encode(octets).decode()


def test_the_examples_of_the_rfc() -> None:
    """RFC 7617 §2 and §2.1, the latter with UTF-8."""
    said = parse_basic("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")
    assert (said.user, said.password) == ("Aladdin", "open sesame")
    said = parse_basic("Basic dGVzdDoxMjPCow==")
    assert (said.user, said.password) == ("test", "123£")


def test_a_password_may_have_a_colon_and_be_empty() -> None:
    """The first colon ends the name; the scheme's case does not count, nor do spaces around."""
    assert parse_basic(header(b"a:b:c")).password == "b:c"
    assert parse_basic(header(b"a:")).password == ""
    assert parse_basic("bAsIc   " + base64.b64encode(b"a:b").decode() + " ").user == "a"


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Basic",
        "Basic ",
        "Basic !",
        "Basic YTpi YTpi",
        "Basic YTpi,YTpi",
        "Basic YTpiZ",
        "Basic YTp=",  # pad bits that are not zero
        "Basic YTpiYw",  # without padding
        "Basic YTp\udce9",  # as an HTTP library gives undecodable octets
        "Basic \u00e9",
        "Bearer YTpi",
        "BasicYTpi",
        "Digest username=a",
        header(b"name without colon"),
        header(b":no name"),
        header(b"a:b\xff"),  # no UTF-8
        header(b"a:b\x00"),
        header(b"a\n:b"),
        header(b"a:b\x7f"),
        header("a:b\u0085".encode()),  # C1
        header(b"a:" + b"b" * HEADER_CHARACTERS),
    ],
    ids=ascii,
)
def test_what_is_not_written_so_is_refused(value: str) -> None:
    """And is in no error: it may be a password all the same."""
    with pytest.raises(NotAuthenticated) as caught:
        parse_basic(value)
    assert value[6:] == "" or value[6:] not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.found == caught.value.wanted == ""


def test_the_longest_header_is_read() -> None:
    """One character more is not."""
    most = (HEADER_CHARACTERS - len("Basic ")) // 4 * 3
    octets = b"a:" + b"b" * (most - 2)
    assert len(parse_basic(header(octets)).password) == most - 2
    with pytest.raises(NotAuthenticated):
        parse_basic(header(octets + b"b"))


def test_neither_half_is_shown() -> None:
    """People type one in the other's place."""
    shown = repr(parse_basic(header(b"secret-one:secret-two")))
    assert "secret" not in shown


@pytest.mark.parametrize(
    ("value", "expected"),
    [("Basic x", True), ("basic", True), ("Bearer x", False), ("Basics x", False), ("", False)],
)
def test_the_scheme_is_told_before_it_is_read(value: str, expected: bool) -> None:
    """A malformed one of this scheme is still of this scheme."""
    assert is_basic(value) is expected


PLAIN = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=60)


@given(PLAIN, st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=60))
def test_what_a_client_writes_is_read(user: str, secret: str) -> None:
    """The client of this project, that is; see the interop tests for curl."""
    user = user.translate({ord(c): "x" for c in ':"\\'})
    said = parse_basic(basic(Password(user=user, secret=secret)))
    assert (said.user, said.password) == (user, secret)


@given(st.text(max_size=200))
def test_a_header_is_read_or_refused(value: str) -> None:
    """Nothing else comes of any text."""
    try:
        said = parse_basic("Basic " + value)
    except NotAuthenticated:
        return
    assert base64.b64encode(f"{said.user}:{said.password}".encode()).decode() == value.strip(" ")
