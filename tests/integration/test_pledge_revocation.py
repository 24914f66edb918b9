"""The pledge over real TLS: revocation lists are fetched before a registrar is trusted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from brski.pki.revocation import LIST_LIMIT
from brski.voucher.cms import CMS
from brski.voucher.yang_json import decode_voucher_request
from device_client.pledge.states import Answer
from device_client.transport.http import Limits
from device_client.transport.revocation_lists import fetch_lists
from tests.integration.pledge_desk import ALL, WORLD, Desk, desk
from tests.kit import pki
from tests.kit.stub_registrar import StubRegistrar

__all__ = ["desk"]

Publisher = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
SHORT = Limits(progress_s=0.3, answer_s=0.6)


@asynccontextmanager
async def publishing(publisher: Publisher) -> AsyncIterator[str]:
    """Serve at a free port of loopback; brings the list's address."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await publisher(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/ca.crl"


def always(answer: bytes, heard: list[bytes] | None = None) -> Publisher:
    async def publish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        if heard is not None:
            heard.append(request)
        writer.write(answer)
        await writer.drain()

    return publish


def ok(body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/pkix-crl\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


@pytest.mark.requirement("PL-35")
@pytest.mark.parametrize(("revoked", "code"), [(False, "enrolled"), (True, "certificate-revoked")])
async def test_lists_are_fetched_where_certificates_say(
    desk: Desk, revoked: bool, code: str
) -> None:
    """One request for it, and what it says decides."""
    heard: list[bytes] = []
    lists: list[bytes] = []

    async def publish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await always(ok(lists[0]), heard)(reader, writer)

    async with publishing(publish) as address:
        named = pki.make_registrar(WORLD.owner_root, extra=[pki.points_to(address)])
        lists.append(pki.make_crl(WORLD.owner_root, *([named.certificate] if revoked else [])))
        registrar = StubRegistrar(replace(WORLD, registrar=named))

        def vouched(body: bytes) -> Answer:
            request = decode_voucher_request(CMS.open(body).payload)
            return WORLD.voucher_answer(request, domain_cert_revocation_checks=True)

        registrar.script("requestvoucher", vouched)
        async with registrar.serving():
            outcome = await desk.onboard(registrar)
    assert outcome.code == code
    (request,) = heard
    assert request.startswith(b"GET /ca.crl HTTP/1.1\r\nHost: 127.0.0.1:")
    assert pki.SERIAL_NUMBER.encode() not in request
    if revoked:
        assert registrar.paths() == ["requestvoucher", "voucher_status"]
        assert b"voucher not accepted" in registrar.heard[1].body
    else:
        assert registrar.paths() == ALL


async def dribbling(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.05)


async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


BAD_PUBLISHERS: dict[str, Any] = {
    "404": always(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
    "a redirection": always(
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    ),
    "no HTTP": always(b"SSH-2.0-x\r\n\r\n"),
    "too long": always(ok(bytes(LIST_LIMIT + 1))),
    "cut": always(ok(b"x" * 100)[:-1]),
    "silent": silent,
    "dribbling": dribbling,
}


@pytest.mark.parametrize("publisher", BAD_PUBLISHERS.values(), ids=BAD_PUBLISHERS.keys())
async def test_a_list_that_cannot_be_had_is_left_out(publisher: Publisher) -> None:
    """Soon, without harm, and beside it the others are had."""
    began = asyncio.get_running_loop().time()
    async with publishing(publisher) as bad, publishing(always(ok(b"list"))) as good:
        nobody = "http://127.0.0.1:1/"
        fetched = await fetch_lists([bad, "gopher://x/", nobody, good], SHORT)
    assert fetched == (b"list",)
    assert asyncio.get_running_loop().time() - began < 5
