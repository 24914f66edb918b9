"""Many connections at once that are slow, silent or half done, from several addresses."""

from __future__ import annotations

import asyncio
import os
import resource
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeAlias

import pytest

from brski.edge.tls_client import provisional_context
from tests.kit import talk
from tests.kit.wired import REQUEST_VOUCHER, Wired
from tests.kit.world import Clock, Device

Place: TypeAlias = tuple[str, int]
Held: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]
CLIENT_HELLO: Final = bytes.fromhex("1603010200010001fc0303")  # and no more of it
HEADERS: Final = f"POST {REQUEST_VOUCHER} HTTP/1.1\r\nHost: a\r\nX-A".encode()
BODY: Final = talk.head("POST", REQUEST_VOUCHER, {"Content-Length": "1000"}) + b"a"
AT_ONCE: Final = 64  # that are being connected


class Today(Clock):
    """The real time, for who speaks to another process."""

    def __init__(self) -> None:
        super().__init__(datetime.now(UTC))

    def __call__(self) -> datetime:
        return datetime.now(UTC)


@contextmanager
def many_descriptors(count: int) -> Iterator[None]:
    """Let this process have *count* of them, and what it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard not in (resource.RLIM_INFINITY, -1) and hard < count:
        pytest.skip(f"this machine allows {hard} descriptors, {count} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def _silent(place: Place, address: str) -> Held:
    return await asyncio.open_connection(*place, local_addr=(address, 0))


async def _half_handshake(place: Place, address: str) -> Held:
    reader, writer = await _silent(place, address)
    writer.write(CLIENT_HELLO)
    return reader, writer


async def _idle(place: Place, address: str) -> Held:
    return await asyncio.open_connection(
        *place, local_addr=(address, 0), ssl=provisional_context(), server_hostname=""
    )


async def _slow_headers(place: Place, address: str) -> Held:
    reader, writer = await _idle(place, address)
    writer.write(HEADERS)
    return reader, writer


async def _slow_body(place: Place, address: str) -> Held:
    reader, writer = await _idle(place, address)
    writer.write(BODY)
    return reader, writer


KINDS: Final[dict[str, Callable[[Place, str], Awaitable[Held]]]] = {
    "silent": _silent,
    "half-handshake": _half_handshake,
    "idle": _idle,
    "slow-headers": _slow_headers,
    "slow-body": _slow_body,
}


@asynccontextmanager
async def flood(
    place: Place, kind: str, count: int, *, an_address: int = 100, first: int = 0
) -> AsyncIterator[list[Held]]:
    """Hold *count* connections of *kind*, so many from each address, while the block runs.

    Args:
        first: which of our addresses is the first one.
    """
    gate, opened = asyncio.Semaphore(AT_ONCE), []

    async def one(number: int) -> None:
        place_of_address = first + number // an_address
        address = f"127.0.{1 + place_of_address // 200}.{1 + place_of_address % 200}"
        async with gate:
            with suppress(OSError):  # it was refused
                opened.append(await KINDS[kind](place, address))

    try:
        await asyncio.gather(*map(one, range(count)))
        yield opened
    finally:
        for _, writer in opened:
            writer.transport.abort()
        await asyncio.sleep(0)


async def until_all_ended(held: Sequence[Held], *, within_s: float) -> float:
    """Seconds until the other side has ended every one of *held*."""
    began = time.monotonic()
    async with asyncio.timeout(within_s):
        while not all(map(has_ended, held)):
            await asyncio.sleep(0.1)
    return time.monotonic() - began


def has_ended(held: Held) -> bool:
    """Whether the other side has."""
    reader, writer = held
    return reader.at_eof() or reader.exception() is not None or writer.is_closing()


async def quickest(wire: Wired, devices: Sequence[Device]) -> float:
    """The time that the quickest of *devices* needs for its voucher; each of them gets one."""
    took = []
    for device in devices:
        began = time.monotonic()
        assert (await wire.voucher(device)).status == 200
        took.append(time.monotonic() - began)
    return min(took)


def resident_kib(pid: int) -> int:
    """Memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


def descriptors_of(pid: int) -> int:
    """How many a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - names alone
