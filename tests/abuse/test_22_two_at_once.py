"""Abuse case 22: two devices with one serial number, in the same moment.

One registrar serves on one journal, a second one does not start: so "two nodes" are two connections
here. One of two LDevIDs is active, whoever asked first, the double is an alarm, and who has not the
key on record gets nothing at all.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from brski.edge.only_one import only_one
from brski.errors import FileUnusable, StateError
from registrar_plugin.telemetry.events import EventKind
from tests.kit.wired import Wired, wired
from tests.kit.world import Device

ENTRY = "import sys; from registrar_plugin.cli import main; sys.exit(main())"


def active(wire: Wired) -> list[tuple[str, int]]:
    """How many active LDevIDs each serial number has."""
    query = "SELECT serial_number, count(*) FROM certificates WHERE state = 'active' GROUP BY 1"
    with closing(sqlite3.connect(f"file:{wire.journal}?mode=ro", uri=True)) as db:
        return db.execute(query).fetchall()


@pytest.mark.parametrize("times", range(5))
async def test_a_clone_and_its_original(tmp_path: Path, times: int) -> None:
    """The same key twice, each with a CSR of its own: one is active, and an alarm tells of it."""
    async with wired(tmp_path) as wire, wire.serving():
        device = wire.world.make_device("SN-1")
        await wire.accepted(device)
        asked = [wire.world.csr(device) for _ in range(2)]
        replies = await asyncio.gather(*(wire.enroll(device, csr) for csr in asked))
        assert {reply.status for reply in replies} == {200}
        assert active(wire) == [("SN-1", 1)]
        signals = [
            e.details.get("signal") for e in await wire.events() if e.kind is EventKind.ALARM
        ]
        assert "ldevid-replaced" in signals


async def test_another_key_under_the_same_number(tmp_path: Path) -> None:
    """The one on record joins, the other gets 404; in whatever order they come."""
    async with wired(tmp_path) as wire, wire.serving():
        genuine = wire.world.make_device("SN-1", asserting=True)
        other = wire.world.make_device("SN-1", asserting=True, listed=False)
        asked: list[Device] = [genuine, other] * 5
        replies = await asyncio.gather(*map(wire.voucher, asked))
        statuses = [reply.status for reply in replies]
        assert set(statuses[::2]) == {200}
        assert set(statuses[1::2]) == {404}
        await wire.onboard(genuine)
        assert active(wire) == [("SN-1", 1)]


@pytest.mark.parametrize("linked", [False, True])
async def test_second_registrar_on_one_journal(tmp_path: Path, linked: bool) -> None:
    """It does not start and says why, by whatever name it knows the file; when the first has gone
    it does.
    """
    async with wired(tmp_path) as wire:
        async with wire.serving():
            if linked:
                (tmp_path / "linked.db").symlink_to(wire.journal)
                settings = wire.settings.read_text()
                wire.settings.write_text(settings.replace(str(wire.journal), "linked.db"))
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", ENTRY, "serve", "-s", str(wire.settings)),
                stderr=asyncio.subprocess.PIPE,
            )
            try:
                _, said = await asyncio.wait_for(process.communicate(), 60)
            finally:
                if process.returncode is None:
                    process.kill()
            assert process.returncode == 2
            assert b"another process serves on this journal" in said
            assert b"Traceback" not in said
        async with wire.serving():
            await wire.onboard(wire.world.make_device())


def test_lock_ends_with_its_holder(tmp_path: Path) -> None:
    """Held twice: refused; given back: taken. A folder that is not there is told as such."""
    path = tmp_path / "a.serving"
    with only_one(path, what="serves"):
        with (
            pytest.raises(StateError, match="another process serves"),
            only_one(path, what="serves"),
        ):
            pass
        assert path.stat().st_mode & 0o777 == 0o600
    with only_one(path, what="serves"):
        pass
    with (
        pytest.raises(FileUnusable, match="cannot be written"),
        only_one(tmp_path / "none" / "a", what="serves"),
    ):
        pass
