"""What every store of vouchers fetched ahead promises."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.store.sqlite import SQLiteJournal
from registrar_plugin.store.sqlite_vouchers import SQLiteStoredVouchers
from registrar_plugin.store.vouchers import Errand
from registrar_plugin.telemetry.events import Event, EventKind

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
DEVICE = DeviceKey(bytes(20), "SN-1")
TWIN = DeviceKey(bytes([1]) * 20, "SN-1")


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[SQLiteJournal]:
    opened = SQLiteJournal(tmp_path / "journal.db")
    yield opened
    await opened.close()


@pytest.fixture
def vouchers(journal: SQLiteJournal) -> SQLiteStoredVouchers:
    return SQLiteStoredVouchers(journal.writer)


def line(device: DeviceKey = DEVICE) -> Event:
    return Event(at=NOW, kind=EventKind.STORED_VOUCHER, device=device)


def errand(device: DeviceKey = DEVICE) -> Errand:
    return Errand(
        id=0,
        device=device,
        manufacturer="acme",
        masa_url="https://masa.example.com/.well-known/brski",
        media_type="application/voucher-cms+json",
        at=NOW,
        unsigned=b"unsigned",
    )


async def brought(
    vouchers: SQLiteStoredVouchers, device: DeviceKey = DEVICE, *, days: int | None = 30
) -> Errand:
    """An errand that ended well; *days* until its voucher ends."""
    intended = await vouchers.intend(errand(device), line(device))
    ends = None if days is None else NOW + timedelta(days=days)
    done = replace(
        intended,
        request=b"signed",
        voucher=b"voucher",
        assertion="verified",
        expires_on=ends,
        last_renewal_date=ends,
    )
    await vouchers.change(done, line(device))
    return done


async def test_an_errand_is_read_back_as_it_stands(
    vouchers: SQLiteStoredVouchers, journal: SQLiteJournal
) -> None:
    """From intent to voucher, with a line for each step."""
    assert await vouchers.latest(DEVICE) is None
    intended = await vouchers.intend(errand(), line())
    assert await vouchers.latest(DEVICE) == intended
    assert intended.is_open
    assert await vouchers.current(DEVICE) is None
    signed = replace(intended, request=b"signed")
    await vouchers.change(signed, line())
    assert await vouchers.latest(DEVICE) == signed
    done = await brought(vouchers)
    assert await vouchers.current(DEVICE) == done
    assert not done.is_open
    assert len(await journal.events(device=DEVICE)) == 4


async def test_a_refused_errand_leaves_the_former_voucher(vouchers: SQLiteStoredVouchers) -> None:
    """The latest is not the current one then."""
    done = await brought(vouchers)
    refused = replace(await vouchers.intend(errand(), line()), refused="the MASA answered 403")
    await vouchers.change(refused, line())
    assert await vouchers.latest(DEVICE) == refused
    assert await vouchers.current(DEVICE) == done
    assert not refused.is_open


async def test_namesakes_share_nothing(vouchers: SQLiteStoredVouchers) -> None:
    """By the pair; the devices of a serial number are told."""
    done, other = await brought(vouchers), await brought(vouchers, TWIN)
    assert await vouchers.current(DEVICE) == done
    assert await vouchers.current(TWIN) == other
    assert await vouchers.devices("SN-1") == (DEVICE, TWIN)
    assert await vouchers.devices("SN-2") == ()


async def test_only_the_newest_of_a_device_is_listed_and_ends(
    vouchers: SQLiteStoredVouchers,
) -> None:
    """A renewed voucher is not renewed again; one without an end never is."""
    await brought(vouchers, days=1)
    renewed = await brought(vouchers, days=40)
    soon = await brought(vouchers, TWIN, days=5)
    endless = await brought(vouchers, DeviceKey(bytes(20), "SN-2"), days=None)
    assert set(await vouchers.all_current()) == {renewed, soon, endless}
    assert await vouchers.ending(NOW + timedelta(days=7), most=9) == (soon,)
    assert await vouchers.ending(NOW + timedelta(days=50), most=9) == (soon, renewed)
    assert await vouchers.ending(NOW + timedelta(days=50), most=1) == (soon,)
