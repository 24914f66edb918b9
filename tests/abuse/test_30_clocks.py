"""Abuse case 30: clocks that are wrong.

A pledge at 1970 or 2099, a registrar a day behind, dates that nobody can mean: a pledge without a
clock relies on its nonce; with one, dates count. Registrar and MASA refuse a created-on that lies
beyond thirty days in the past or a day in the future. Time-outs are counted by a monotonic clock.
"""

from __future__ import annotations

import ast
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import brski
import brski_lab
import device_client
import masa_stub
import oem_backend
import registrar_plugin
from brski.errors import (
    ChainInvalid,
    CreatedOnOutOfWindow,
    NonceMismatch,
    PeerError,
    PinMismatch,
)
from brski.voucher.cms import CMS
from brski.voucher.comparisons import CLOCK_SKEW
from brski.voucher.rules import REQUEST_AGE, REQUEST_AHEAD
from brski.voucher.yang_json import (
    decode_voucher_request,
    encode_voucher,
    encode_voucher_request,
)
from device_client.pledge.judging import judge_voucher
from tests.abuse.desk import Desk
from tests.kit import pki
from tests.kit.voucher import OTHER_NONCE

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FAR = datetime(2099, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def _judge(desk: Desk, now: datetime | None, **changes: object) -> None:
    voucher = replace(desk.voucher, **changes)  # type: ignore[arg-type]  # its leaves
    signer = desk.masa_signer
    judge_voucher(
        CMS.sign(encode_voucher(voucher), signer.signer, certificates=signer.chain),
        pledge=desk.pledge(),
        request=desk.request,
        registrar_chain=desk.world.registrar_entity.chain,
        now=now,
    )


@pytest.mark.requirement("PL-22", "PL-23")
async def test_a_pledge_with_a_wrong_clock(desk: Desk) -> None:
    """It trusts nobody too many: at 1970 nothing is valid yet, at 2099 nothing any more."""
    _judge(desk, pki.NOW)
    for now in (EPOCH, FAR):
        with pytest.raises((ChainInvalid, CreatedOnOutOfWindow, PinMismatch)):
            _judge(desk, now)


@pytest.mark.requirement("PL-22", "PL-18")
async def test_a_pledge_without_a_clock_relies_on_its_nonce(desk: Desk) -> None:
    """Whatever the dates say, and never on less than the nonce."""
    for created_on in (EPOCH, pki.NOW, FAR):
        _judge(desk, None, created_on=created_on)
        for nonce in (OTHER_NONCE, None):
            with pytest.raises(NonceMismatch):
                _judge(desk, None, created_on=created_on, nonce=nonce)


DATES: dict[str, tuple[datetime | None, bool]] = {
    "none": (None, True),
    "now": (pki.NOW, True),
    "thirty days ago": (pki.NOW - REQUEST_AGE, True),
    "a second more than thirty days ago": (pki.NOW - REQUEST_AGE - SECOND, False),
    "1970": (EPOCH, False),
    "2099": (FAR, False),
}


@pytest.mark.requirement("SEC-3")
@pytest.mark.parametrize("receiver", ["registrar", "masa"])
@pytest.mark.parametrize("name", DATES)
async def test_created_on(desk: Desk, receiver: str, name: str) -> None:
    """Of a pledge's request, and of a registrar's."""
    await _dated(desk, receiver, *DATES[name])


@pytest.mark.requirement("SEC-3")
@pytest.mark.parametrize(
    ("receiver", "ahead"), [("registrar", REQUEST_AHEAD), ("masa", CLOCK_SKEW)]
)
async def test_created_on_tomorrow(desk: Desk, receiver: str, ahead: timedelta) -> None:
    """A pledge's clock may run ahead a day; a registrar's is set."""
    await _dated(desk, receiver, pki.NOW + ahead + SECOND, taken=False)
    await _dated(desk, receiver, pki.NOW + ahead, taken=True)


async def _dated(desk: Desk, receiver: str, created_on: datetime | None, taken: bool) -> None:
    document = encode_voucher_request(
        replace(decode_voucher_request(desk.honest(receiver)), created_on=created_on)
    )
    message = desk.signed(receiver, document)
    if taken:
        await desk.give(receiver, message)
        return
    refused = await desk.refusal(receiver, message)
    assert isinstance(refused.error, CreatedOnOutOfWindow)
    assert refused.status == 403


@pytest.mark.requirement("REG-1")
async def test_a_registrar_whose_clock_is_off(desk: Desk) -> None:
    """A day behind it goes on; in 1970 it admits nobody, and says why."""
    desk.world.clock.now = pki.NOW - timedelta(days=1)
    await desk.give("registrar", desk.signed("registrar", desk.honest("registrar")))
    desk.world.clock.now = EPOCH
    with pytest.raises(PeerError):
        await desk.give("registrar", desk.signed("registrar", desk.honest("registrar")))


PROGRAMS = (brski, brski_lab, device_client, masa_stub, oem_backend, registrar_plugin)


def test_time_outs_go_by_a_monotonic_clock() -> None:
    """Wherever a program of ours reads the time of day, it is not to wait by it.

    A step of the wall clock must end no wait: ``time.time`` is read nowhere, under no name; but in
    the factory, whose commands date what they write and wait for nobody.
    """
    roots = [Path(str(program.__file__)).parent for program in PROGRAMS]
    found = [path for root in roots for path in root.rglob("*.py")]
    modules = [path for path in found if path.parent.name != "factory"]
    assert len(modules) > 100
    assert [str(path) for path in modules if reads_the_time_of_day(path.read_bytes())] == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (b"import time\ntime.time()", True),
        (b"import time\nclock = time.time_ns", True),
        (b"from time import monotonic, time", True),
        (b"import time as t\nt.time()", True),
        (b"import time\ntime.monotonic()", False),
        (b"from time import monotonic", False),
    ],
)
def test_it_would_be_found(source: bytes, found: bool) -> None:
    assert reads_the_time_of_day(source) == found


def reads_the_time_of_day(source: bytes) -> bool:
    nodes = list(ast.walk(ast.parse(source)))
    imported = [
        node for node in nodes if isinstance(node, ast.ImportFrom) and node.module == "time"
    ]
    modules = {
        name.asname or name.name
        for node in nodes
        if isinstance(node, ast.Import)
        for name in node.names
        if name.name == "time"
    }
    named = {name.name for node in imported for name in node.names}
    read = {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in modules
    }
    return not (named | read).isdisjoint({"time", "time_ns"})
