"""What every store of vouchers fetched ahead promises."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from brski.errors import WrongOrder
from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.store.sqlite import SQLiteJournal
from registrar_plugin.store.sqlite_vouchers import SQLiteStoredVouchers
from registrar_plugin.store.vouchers import Errand, VoucherDrop
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
    assert await vouchers.ending(NOW + timedelta(days=50), most=1, after=soon) == (renewed,)
    assert await vouchers.ending(NOW + timedelta(days=50), most=1, after=renewed) == ()
    beside = await brought(vouchers, DeviceKey(bytes(20), "SN-3"), days=5)  # at the same moment
    assert await vouchers.ending(NOW + timedelta(days=7), most=9, after=soon) == (beside,)


# -- dropped by a person


def dropped(device: DeviceKey = DEVICE) -> VoucherDrop:
    return VoucherDrop(device=device, at=NOW, by="operator", note="sold")


async def test_what_was_dropped_is_gone_for_every_reader(vouchers: SQLiteStoredVouchers) -> None:
    """Neither handed out nor renewed nor listed; its namesake is, and the device is still known."""
    await brought(vouchers, days=1)
    other = await brought(vouchers, TWIN, days=1)
    assert await vouchers.drop(dropped(), line())
    assert await vouchers.current(DEVICE) is None
    assert await vouchers.latest(DEVICE) is None
    assert await vouchers.all_current() == (other,)
    assert await vouchers.ending(NOW + timedelta(days=7), most=9) == (other,)
    assert await vouchers.devices("SN-1") == (DEVICE, TWIN)


async def test_again_it_drops_nothing(
    vouchers: SQLiteStoredVouchers, journal: SQLiteJournal
) -> None:
    """Nor does it for a device that nothing was fetched for; no line says that it did."""
    assert not await vouchers.drop(dropped(), line())
    await brought(vouchers)
    assert await vouchers.drop(dropped(), line())
    lines = len(await journal.events())
    assert not await vouchers.drop(dropped(), line())
    assert len(await journal.events()) == lines


async def test_the_former_one_does_not_come_back(vouchers: SQLiteStoredVouchers) -> None:
    """All that came before goes with the newest; what is fetched after it counts again."""
    await brought(vouchers)
    await brought(vouchers)
    await vouchers.drop(dropped(), line())
    assert await vouchers.current(DEVICE) is None
    anew = await brought(vouchers)
    assert await vouchers.current(DEVICE) == anew
    assert await vouchers.all_current() == (anew,)
    assert await vouchers.drop(dropped(), line())


async def test_what_is_under_way_brings_nothing(vouchers: SQLiteStoredVouchers) -> None:
    """Its answer is kept, as everything that came, and is of no use."""
    intended = await vouchers.intend(errand(), line())
    await vouchers.drop(dropped(), line())
    await vouchers.change(replace(intended, request=b"signed", voucher=b"voucher"), line())
    assert await vouchers.current(DEVICE) is None


async def test_no_renewal_begins_of_what_was_dropped(vouchers: SQLiteStoredVouchers) -> None:
    """Decided in the transaction of its intent; the nearest acceptance is one drop earlier."""
    former = await brought(vouchers)
    renewal = await vouchers.intend(errand(), line(), renews=former.id)
    assert renewal.id > former.id
    await vouchers.drop(dropped(), line())
    with pytest.raises(WrongOrder, match="dropped"):
        await vouchers.intend(errand(), line(), renews=former.id)
    assert await vouchers.latest(DEVICE) is None
