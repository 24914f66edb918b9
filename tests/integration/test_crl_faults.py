"""The keeping of a revocation list while disk, folder, clock or process fail."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from registrar_plugin.health import readiness
from registrar_plugin.revocation import keeper
from registrar_plugin.store.sqlite import SQLiteJournal
from tests.kit.est_site import Files, lay_out
from tests.kit.kill import Step, command, main_of
from tests.kit.programs import require_program
from tests.kit.wired import Wired, wired

PROGRAM = main_of("registrar_plugin.cli")
LISTS = "registrar_plugin.store.sqlite_crls:SQLiteRevocationLists"
STEPS = (
    (LISTS, "intend"),
    ("registrar_plugin.ca_backend.embedded:EmbeddedCA", "complete_crl"),
    (LISTS, "complete"),
    ("registrar_plugin.revocation.file", "write_crl"),
)


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "KEPT_S", 0.05)
    monkeypatch.setattr(keeper, "_PAUSE_LIMIT_S", 2.0)


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


@asynccontextmanager
async def publishing(folder: Path, file: Path, **knobs: Any) -> AsyncIterator[Wired]:
    """Everybody, with a list that goes into *file*, and its first one there."""
    async with wired(folder, **knobs) as wire:
        with wire.settings.open("a") as settings:
            settings.write(f'\n[crl]\nfile = "{file}"\n')
        yield wire


async def crl_check(wire: Wired) -> dict[str, Any]:
    _, said = await wire.health()
    found: dict[str, Any] = said["checks"]["crl"]
    return found


async def until(wire: Wired, *, ready: bool, warned: bool) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while True:
            found = await crl_check(wire)
            if (found["ready"], "warning" in found) == (ready, warned):
                return found
            await asyncio.sleep(0.1)


def current(wire: Wired) -> int:
    assert wire.registrar is not None
    standing = wire.registrar.crls["crl"].keeper.current
    return 0 if standing is None else standing.number


def fill(place: Path) -> Path:
    """A file that takes all the room there is."""
    filler = place / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return filler


def number_in(path: Path) -> int:
    crl = x509.load_der_x509_crl(path.read_bytes())
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


async def test_a_full_disk_is_told_and_got_over(tmp_path: Path, small_disk: Path) -> None:
    """The list that stands is published on; a warning while it is good, red when it has ended; with
    room again a new one comes, with the next number, and nobody has to do anything.
    """
    file = small_disk / "owner.crl"
    async with publishing(tmp_path, file, journal=small_disk / "r.db") as wire, wire.serving():
        await until(wire, ready=True, warned=False)
        first = current(wire)
        filler = fill(small_disk)
        wire.world.clock.forward(days=4)
        told = await until(wire, ready=True, warned=True)
        assert "full" in told["warning"]
        assert current(wire) == first
        wire.world.clock.forward(days=4)
        told = await until(wire, ready=False, warned=False)
        assert f"list {first} has ended" in told["reason"]
        filler.unlink()
        await until(wire, ready=True, warned=False)
        assert current(wire) > first
        assert number_in(file) == current(wire)


async def test_a_folder_that_takes_no_file(tmp_path: Path, small_disk: Path) -> None:
    """Over HTTP the list is published; the file is told of, and written when the folder takes it
    again, though nothing was signed meanwhile.
    """
    file = small_disk / "owner.crl"
    remount = ["mount", "-o", "remount,ro", str(small_disk)]
    subprocess.run(remount, check=True)
    async with publishing(tmp_path, file) as wire, wire.serving():
        told = await until(wire, ready=True, warned=True)
        assert "owner.crl" in told["warning"]
        assert current(wire) == 1
        subprocess.run([*remount[:2], "remount,rw", remount[3]], check=True)
        await until(wire, ready=True, warned=False)
        assert (current(wire), number_in(file)) == (1, 1)


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_file_that_is_gone_comes_back(tmp_path: Path, replaced: bool) -> None:
    """Deleted, or an older one in its place, as a restored backup has it; nothing is signed for
    that.
    """
    file = tmp_path / "owner.crl"
    async with publishing(tmp_path, file) as wire, wire.serving():
        await until(wire, ready=True, warned=False)
        octets = file.read_bytes()
        file.unlink()
        if replaced:
            file.write_bytes(b"another")
        async with asyncio.timeout(60):
            while not file.exists() or file.read_bytes() != octets:
                await asyncio.sleep(0.1)
        assert current(wire) == 1


async def test_a_clock_that_jumps(tmp_path: Path) -> None:
    """Ahead by a year and back again: openssl takes the list that is there at each time."""
    file = tmp_path / "owner.crl"
    openssl = require_program("openssl", "openssl")
    async with publishing(tmp_path, file) as wire, wire.serving():
        last = 0
        for days in (0, 365, -365):
            wire.world.clock.forward(days=days)
            async with asyncio.timeout(60):
                while current(wire) == last or number_in(file) != current(wire):
                    await asyncio.sleep(0.1)
            assert current(wire) > last
            last = current(wire)
            crl = x509.load_der_x509_crl(file.read_bytes())
            assert crl.last_update_utc <= wire.world.clock.now
            assert crl.next_update_utc is not None
            assert wire.world.clock.now < crl.next_update_utc
            verified = subprocess.run(
                [openssl, "crl", "-inform", "DER", "-in", file, "-CAfile", "owner.pem", "-noout"],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                check=True,
            )
            assert "verify OK" in verified.stderr


def lists(path: Path) -> dict[int, tuple[bytes, bytes | None]]:
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute("SELECT number, octets, result FROM crls").fetchall()
    return {number: (octets, result) for number, octets, result in rows}


def sign(files: Files, at: Step | None = None) -> int:
    """``brski-registrar ca crl``, killed at a step or not; how it ended."""
    said = command(PROGRAM, "ca", "crl", "--settings", files.settings, at=at)
    return subprocess.run(said, capture_output=True, check=False).returncode


@pytest.mark.slow
def test_killed_between_number_and_file(tmp_path: Path) -> None:
    """Before and after each step: what was intended is what is signed, numbers are given once and
    grow, the file never goes back, and what it holds is in the journal.
    """
    files = lay_out(tmp_path, more='[crl]\nfile = "owner.crl"\n')
    journal, file = tmp_path / "registrar.db", tmp_path / "owner.crl"
    asyncio.run(SQLiteJournal(journal).close())
    published = 0
    for place, name in STEPS:
        for when in ("before", "after"):
            assert sign(files, Step(place, name, when)) == -signal.SIGKILL
            left = lists(journal)
            assert sign(files) == 0
            now = lists(journal)
            for number, (octets, result) in left.items():
                signed = now[number][1]
                assert signed is not None, (name, when)
                if result is None:
                    assert x509.load_der_x509_crl(signed).tbs_certlist_bytes == octets
                else:
                    assert signed == result
            assert number_in(file) == max(now) > published
            assert now[max(now)][1] == file.read_bytes()
            published = max(now)
