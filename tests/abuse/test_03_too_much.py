"""Abuse case 3: bodies, chunks, headers and trailers without end, at registrar and MASA.

413, 408, 400 or the end of the connection, and no memory: what is over a limit is not kept.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from brski.registry import BODY_LIMIT, VOUCHER_CMS_JSON
from tests.kit import talk
from tests.kit.wired import REQUEST_VOUCHER, Wired, wired

GROWTH: int = 20 << 20  # octets that may stay
TYPE = ("Content-Type", VOUCHER_CMS_JSON)
CHUNKED = talk.head("POST", REQUEST_VOUCHER, [TYPE, ("Transfer-Encoding", "chunked")])
ENDLESS = CHUNKED + (b"1000\r\n" + bytes(4096) + b"\r\n") * 64
LONG = "a" * 100_000


def resident() -> int:
    """Octets of this process in memory, which the registrar is in."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


REQUESTS: dict[str, tuple[bytes, int]] = {
    "announced": (
        talk.head("POST", REQUEST_VOUCHER, [TYPE, ("Content-Length", str(BODY_LIMIT + 1))]),
        413,
    ),
    "announced-as-if-mad": (
        talk.head("POST", REQUEST_VOUCHER, [TYPE, ("Content-Length", "9" * 18)]),
        413,
    ),
    "chunks-without-end": (ENDLESS, 413),
    "long-header": (talk.head("POST", REQUEST_VOUCHER, [TYPE, ("X-A", LONG)]), 400),
    "many-headers": (talk.head("POST", REQUEST_VOUCHER, [("X-A", "a")] * 200), 400),
    "long-path": (talk.head("POST", f"/{LONG}"), 400),
    "negative-length": (talk.head("POST", REQUEST_VOUCHER, [("Content-Length", "-1")]), 400),
}
AT: dict[str, Callable[[Wired], tuple[str, int]]] = {
    "registrar": lambda wire: wire.pledges,
    "masa": lambda wire: (wire.masa.host, wire.masa.port),
}


@pytest.mark.parametrize("at", AT)
async def test_too_much_is_told_and_not_kept(tmp_path: Path, at: str) -> None:
    """Each of them thirty times over; then an honest device."""
    async with wired(tmp_path) as wire, wire.serving():
        device = wire.world.make_device()
        shown = (device.shown, device.entity.private_key)
        for what, (octets, status) in REQUESTS.items():
            reply = await talk.ask(*AT[at](wire), octets, *shown)
            assert reply is not None, what
            assert reply.status == status, what
        before = resident()
        for _ in range(30):
            for octets, _status in REQUESTS.values():
                await talk.ask(*AT[at](wire), octets, *shown)
        assert resident() - before < GROWTH
        assert (await wire.voucher(device)).status == 200


@pytest.mark.parametrize("at", AT)
async def test_trailers_without_end(tmp_path: Path, at: str) -> None:
    """CVE-2026-22815: what follows the last chunk is bounded, too; no 5xx, no memory."""
    async with wired(tmp_path) as wire, wire.serving():
        device = wire.world.make_device()
        before = resident()
        connection = await talk.connect(*AT[at](wire), device.shown, device.entity.private_key)
        connection.say(CHUNKED + b"1\r\na\r\n0\r\n" + b"X-A: aaaaaaaaaaaaaaaa\r\n" * 200_000)
        reply = await connection.reply()
        assert reply is None or 400 <= reply.status < 500
        connection.abort()
        assert resident() - before < GROWTH


async def test_chunks_that_stop_coming(tmp_path: Path) -> None:
    """408 when the time for a body is over, whatever was promised."""
    async with wired(tmp_path) as wire, wire.serving():
        device = wire.world.make_device()
        reply = await wire.ask(CHUNKED + b"1000\r\nabc", device)
        assert reply.status == 408
