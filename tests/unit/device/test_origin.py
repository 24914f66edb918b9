"""Addresses of registrars, from settings and from redirections of a stranger."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brski.errors import Malformed
from device_client.pledge.origin import Origin, parse_origin, resolve_location

HERE = Origin("registrar.example.com", 8443)


@pytest.mark.parametrize(
    ("address", "origin"),
    [
        ("https://registrar.example.com:8443", HERE),
        ("https://Registrar.Example.COM:8443/", HERE),
        ("registrar.example.com:8443", HERE),
        ("https://192.0.2.7", Origin("192.0.2.7", 443)),
        ("https://[2001:db8::7]:9443", Origin("2001:db8::7", 9443)),
    ],
)
def test_addresses_are_read(address: str, origin: Origin) -> None:
    """Scheme and port may be left out; the host's case does not matter."""
    assert parse_origin(address) == origin
    assert parse_origin(str(origin)) == origin


@pytest.mark.parametrize(
    "address",
    [
        "http://registrar.example.com",
        "https://registrar.example.com/.well-known/brski",
        "https://admin:secret@registrar.example.com",
        "https://registrar.example.com?x=1",
        "https://registrar.example.com?",
        "https://registrar.example.com#a",
        "https://registrar.example.com:0",
        "https://registrar.example.com:65536",
        "https://registrar.example.com:port",
        "https://",
        "https://[2001:db8::7",
        "https://registrar example.com",
        "https://registrar.example.com\n",
        "",
    ],
)
def test_addresses_that_are_no_origin_are_refused(address: str) -> None:
    """Nothing is guessed, and no credentials or paths are taken along."""
    with pytest.raises(Malformed):
        parse_origin(address)


def test_authority_leaves_the_default_port_out() -> None:
    """RFC 9112 §3.2."""
    assert Origin("192.0.2.7", 443).authority == "192.0.2.7"
    assert Origin("2001:db8::7", 8443).authority == "[2001:db8::7]:8443"


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/brski/requestvoucher", (HERE, "/brski/requestvoucher")),
        ("https://registrar.example.com:8443/x", (HERE, "/x")),
        ("https://other.example.com/x/y", (Origin("other.example.com", 443), "/x/y")),
        ("https://other.example.com", (Origin("other.example.com", 443), "/")),
    ],
)
def test_redirections_are_resolved(location: str, target: tuple[Origin, str]) -> None:
    """A path stays at its origin; an address names another one or the same."""
    assert resolve_location(HERE, location) == target


@pytest.mark.requirement("PL-4")
@pytest.mark.parametrize(
    "location",
    [
        "",
        "http://other.example.com/x",
        "//other.example.com/x",
        "relative/path",
        "https://u:p@other.example.com/x",
        "/x?token=1",
        "/x#y",
        "/x y",
        "/x\r\nHost: evil",
        "/" + "x" * 2048,
        "/ü",
        "/a{b}",
        "https://oth\u0435r.example.com/",
        "javascript:alert(1)",
    ],
)
def test_redirections_of_a_stranger_are_read_narrowly(location: str) -> None:
    """What could reach into a request, or is not plainly an https address, is refused."""
    with pytest.raises(Malformed):
        resolve_location(HERE, location)


@given(st.text(max_size=80))
def test_no_text_breaks_the_reader(text: str) -> None:
    """Any text gives an origin or Malformed, never another exception."""
    for read in (parse_origin, lambda t: resolve_location(HERE, t)):
        with contextlib.suppress(Malformed):
            read(text)
