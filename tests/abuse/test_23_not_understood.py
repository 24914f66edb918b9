"""Abuse case 23: methods, routes, types and framings that nobody foresaw, or that are not for here.

Default deny: without credentials no route, method and type together give anything but the two
public documents of EST. What is ambiguous for two HTTP parsers is an error for this one.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from brski.registry import JSON, PKCS10, VOUCHER_CMS_JSON
from tests.kit import talk
from tests.kit.talk import Talk
from tests.kit.wired import REQUEST_VOUCHER, SIMPLE_ENROLL, Wired, wired

PUBLIC = {
    (method, path)
    for method in ("GET", "HEAD")
    for path in ("/.well-known/est/cacerts", "/.well-known/est/csrattrs", "/healthz")
}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW")
TYPES = (VOUCHER_CMS_JSON, PKCS10, JSON, "application/voucher-jws+json", "text/plain", "")
OTHER_PATHS = (
    "/",
    "/.well-known/brski",
    "/.well-known/brski/",
    "/.well-known/brski/other",
    "/.well-known/brski/requestauditlog",
    "/.well-known/est/fullcmc",
    "/.well-known/est/nobody/simpleenroll",
    "/.well-known/brski/../est/simpleenroll",
    "/.well-known/brski/%2e%2e/est/simpleenroll",
    "/readyz",
)


def paths_of(wire: Wired) -> set[str]:
    """Every path that the registrar's application has, with a label where one may stand."""
    found = set()
    for resource in wire.app.router.resources():
        mounted = getattr(resource, "_app", None)  # of a sub-application
        for route in resource if mounted is None else mounted.router.routes():
            assert route.resource is not None
            found.add(route.resource.canonical.replace("{label}", "label"))
    return found


async def test_default_deny(tmp_path: Path) -> None:
    """Every route, method and type, and then some, from a client without certificate."""
    async with wired(tmp_path) as wire, wire.serving():
        given = set()
        paths = sorted(paths_of(wire) | set(OTHER_PATHS))
        assert SIMPLE_ENROLL in paths
        stranger = Stranger(wire)
        for asked in product(METHODS, paths, TYPES):
            status = await stranger.status(*asked)
            assert status < 500, asked
            if status < 400:
                given.add(asked[:2])
        assert given <= PUBLIC
        assert given >= {("GET", "/.well-known/est/cacerts")}


class Stranger:
    """Asks over one connection as long as it stands."""

    def __init__(self, wire: Wired) -> None:
        self._wire = wire
        self._talk: Talk | None = None

    async def status(self, method: str, path: str, media_type: str) -> int:
        fields = [("Content-Type", media_type), ("Content-Length", "3")]
        for _ in range(2):
            if self._talk is None:
                self._talk = await talk.connect(*self._wire.pledges)
            self._talk.say(talk.head(method, path, fields) + b"abc")
            reply = await self._talk.reply(has_body=method != "HEAD")
            if reply is not None:
                if reply.headers.get("connection") == "close":
                    self._talk = None
                return reply.status
            self._talk = None
        raise AssertionError(f"{method} {path}: no answer")


@pytest.mark.parametrize(
    "media_type",
    [
        "application/voucher-jws+json",
        "application/voucher+cose",
        "application/voucher-cose+cbor",
        "application/json",
        "multipart/form-data",
        "",
    ],
)
async def test_types_that_are_sound_elsewhere(tmp_path: Path, media_type: str) -> None:
    """A valid voucher-request of a type that is not spoken is 415, not let through (step-ca's CVE
    of 2026: a message type that fell past authorization).
    """
    async with wired(tmp_path) as wire, wire.serving():
        device = wire.world.make_device()
        body = device.request(wire.world.registrar_entity.certificate)
        for place in (wire.pledges, (wire.masa.host, wire.masa.port)):
            octets = talk.request(REQUEST_VOUCHER, body, media_type)
            reply = await talk.ask(*place, octets, device.shown, device.entity.private_key)
            assert reply is not None
            assert reply.status == 415
        octets = talk.request(REQUEST_VOUCHER, body, VOUCHER_CMS_JSON, ("Accept", "text/html"))
        assert (await wire.ask(octets, device)).status == 406


SMUGGLED = b"POST /.well-known/est/simpleenroll HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
FRAMINGS = {
    "both-lengths": [("Content-Length", "4"), ("Transfer-Encoding", "chunked")],
    "two-lengths": [("Content-Length", "4"), ("Content-Length", "100")],
    "length-with-sign": [("Content-Length", "+4")],
    "length-in-words": [("Content-Length", "4, 4")],
    "coding-twice": [("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "identity")],
    "coding-nearly": [("Transfer-Encoding", "xchunked")],
    "folded-header": [("Content-Length", "4\r\n X: y")],
    "space-before-colon": [("Content-Length ", "4")],
    "line-feed-alone": [("A", "b\nTransfer-Encoding: chunked")],
}


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("path", [REQUEST_VOUCHER, SIMPLE_ENROLL])
async def test_framing_that_two_parsers_would_read_otherwise(
    tmp_path: Path, framing: str, path: str
) -> None:
    """An error, and the connection ends: nothing in it becomes a second request."""
    async with wired(tmp_path) as wire, wire.serving():
        device = wire.world.make_device()
        connection = await wire.connect(device)
        fields = [("Content-Type", VOUCHER_CMS_JSON), *FRAMINGS[framing]]
        connection.say(talk.head("POST", path, fields) + b"0\r\n\r\n" + SMUGGLED)
        first = await connection.reply()
        assert first is not None
        assert 400 <= first.status < 500
        second = await connection.reply()
        assert second is None
        connection.abort()
