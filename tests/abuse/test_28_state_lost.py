"""Abuse case 28: the registrar's disk is full or locked, its CA fails, or the OEM's service does.

503 with Retry-After, alive, not ready; nothing is signed or asked for that is not on record, and
when the fault has gone the same request goes on, without a restart and without loss.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from cryptography import x509

from brski.edge.http import circuit
from brski.errors import KeyUnusable, OnboardingError, Unavailable
from brski_lab.faults import FAIR, End, Faults, Weather
from registrar_plugin.ca_backend.embedded import EmbeddedCA
from registrar_plugin.health import last_outcome, readiness
from registrar_plugin.health.readiness import Readiness
from tests.kit.wired import VOUCHER_STATUS, Wired, issued_in, wired


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(circuit, "PAUSE_S", 0.2)
    monkeypatch.setattr(last_outcome, "HELD_S", 1.0)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 4 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a file system here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path) -> Path:
    """A file that takes all the room there is."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    return filler


def signed(wire: Wired) -> int:
    """How many signatures the journal knows of."""
    with closing(sqlite3.connect(f"file:{wire.journal}?mode=ro", uri=True)) as db:
        (count,) = db.execute("SELECT count(*) FROM intents WHERE result IS NOT NULL").fetchone()
    return int(count)


async def test_full_disk(tmp_path: Path, small_disk: Path) -> None:
    """Neither the MASA nor the CA is asked for what cannot be written down."""
    async with wired(tmp_path, journal=small_disk / "registrar.db") as wire, wire.serving():
        early, late = wire.world.make_device("SN-1"), wire.world.make_device("SN-2")
        assert (await wire.voucher(early)).status == 200
        assert (await wire.report(early, VOUCHER_STATUS)).status == 200
        csr = wire.world.csr(early)
        count, asked = signed(wire), len(wire.asked)

        filler = fill(small_disk)
        for reply in (await wire.voucher(late), await wire.enroll(early, csr)):
            assert reply.status == 503
            assert reply.retry_after_s >= 1
        assert "journal" in await wire.red_checks()
        assert not any("requestvoucher" in path for path in wire.asked[asked:])
        assert signed(wire) == count

        filler.unlink()
        await wire.until_ready()
        assert (await wire.enroll(early, csr)).status == 200
        await wire.onboard(late)


async def test_nearly_full_disk_is_told_before_it_is_full(tmp_path: Path, small_disk: Path) -> None:
    """Not ready while there still is room for an onboarding or two."""
    async with wired(tmp_path, journal=small_disk / "registrar.db") as wire, wire.serving():
        filler = fill(small_disk)
        os.truncate(filler, filler.stat().st_size - (512 << 10))
        assert await wire.red_checks() == {"journal"}
        await wire.onboard(wire.world.make_device())


async def test_locked_database(tmp_path: Path) -> None:
    """Somebody else's transaction is waited for, and then no longer."""
    async with wired(tmp_path) as wire, wire.serving():
        device = wire.world.make_device()
        with closing(sqlite3.connect(wire.journal, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            reply = await wire.voucher(device)
            assert (reply.status, reply.retry_after_s >= 1) == (503, True)
            assert wire.asked == []
            assert await wire.red_checks() == {"journal"}
            other.execute("ROLLBACK")
        await wire.until_ready()
        await wire.onboard(device)


@pytest.mark.parametrize("failure", [Unavailable("no answer"), KeyUnusable("token pulled")])
async def test_ca_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: OnboardingError
) -> None:
    """The intent stays; what is signed at last is what was intended first."""

    async def fail(self: EmbeddedCA, intent: bytes) -> x509.Certificate:
        raise failure

    async with wired(tmp_path) as wire, wire.serving():
        device = wire.world.make_device()
        assert (await wire.voucher(device)).status == 200
        assert (await wire.report(device, VOUCHER_STATUS)).status == 200
        csr = wire.world.csr(device)
        with monkeypatch.context() as patched:
            patched.setattr(EmbeddedCA, "complete", fail)
            for _ in range(2):
                reply = await wire.enroll(device, csr)
                assert (reply.status, reply.retry_after_s >= 1) == (503, True)
            assert await wire.red_checks() == {"issuing"}
            intended = intents(wire)
            assert len(intended) == 1
        await wire.until_ready()
        reply = await wire.enroll(device, csr)
        assert reply.status == 200
        issued = issued_in(reply)
        assert issued.tbs_certificate_bytes == intended[0]


def intents(wire: Wired) -> list[bytes]:
    """The TBSCertificates that were meant to be signed."""
    with closing(sqlite3.connect(f"file:{wire.journal}?mode=ro", uri=True)) as db:
        rows = db.execute("SELECT octets FROM intents WHERE kind = 'ldevid'").fetchall()
    return [octets for (octets,) in rows]


async def test_ca_key_that_is_gone_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registrar without it does not start, and says so; with it, it completes what was open."""

    async def fail(self: EmbeddedCA, intent: bytes) -> x509.Certificate:
        raise Unavailable("gone")

    async with wired(tmp_path) as wire:
        device = wire.world.make_device()
        async with wire.serving():
            with monkeypatch.context() as patched:
                patched.setattr(EmbeddedCA, "complete", fail)
                assert (await wire.voucher(device)).status == 200
                assert (await wire.report(device, VOUCHER_STATUS)).status == 200
                csr = wire.world.csr(device)
                assert (await wire.enroll(device, csr)).status == 503
        key = tmp_path / "owner.key"
        key.rename(tmp_path / "elsewhere.key")
        with pytest.raises(OnboardingError, match=r"owner\.key"):
            async with wire.serving():
                pass
        (tmp_path / "elsewhere.key").rename(key)
        async with wire.serving():
            reply = await wire.enroll(device, csr)
        issued = issued_in(reply)
        assert [issued.tbs_certificate_bytes] == intents(wire)


@pytest.mark.parametrize(
    "weather",
    [
        Weather(refuse=1.0),
        Weather(up=Faults(after=0, end=End.STALL)),
        Weather(down=Faults(after=2000)),
    ],
    ids=["refused", "half-open", "cut"],
)
async def test_oem_service_that_does_not_answer(tmp_path: Path, weather: Weather) -> None:
    """503, never "nobody knows you": the MASA is not asked either."""
    async with wired(tmp_path) as wire, wire.serving():
        device = wire.world.make_device()
        wire.oem.weather = weather
        for _ in range(4):
            reply = await wire.voucher(device)
            assert (reply.status, reply.retry_after_s >= 1) == (503, True)
        assert wire.asked == []
        assert await wire.red_checks() == {"source acme"}
        wire.oem.weather = FAIR
        await wire.until_ready()
        await wire.onboard(device)


async def test_a_dead_oem_service_is_seen_before_a_device_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asking whether the registrar is ready is enough, for both ways."""
    monkeypatch.setattr(readiness, "KEPT_S", 0.1)
    async with wired(tmp_path) as wire, wire.serving():
        wire.oem.weather = Weather(refuse=1.0)
        async with asyncio.timeout(30):
            while await wire.red_checks() != {"source acme"}:
                await asyncio.sleep(0.1)
        wire.oem.weather = FAIR
        await wire.until_ready()


async def test_everything_at_once_and_still_alive(tmp_path: Path) -> None:
    """Each failing part is told by its own name, and none holds the others' answers up."""
    async with wired(tmp_path) as wire, wire.serving() as registrar:
        assert isinstance(registrar.readiness, Readiness)
        device = wire.world.make_device()
        assert (await wire.voucher(device)).status == 200
        silent = Weather(up=Faults(after=0, end=End.STALL))
        for proxy in (wire.masa, wire.oem):
            proxy.weather = silent
            await proxy.break_all()
        assert (await wire.report(device, VOUCHER_STATUS)).status == 200
        csr = wire.world.csr(device)
        for _ in range(3):
            assert (await wire.enroll(device, csr)).status == 503
        await wire.masa.break_all()
        for number in range(3):
            assert (await wire.voucher(wire.world.make_device(f"SN-2{number}"))).status == 503
        assert await wire.red_checks() >= {"source acme", "masa acme"}
