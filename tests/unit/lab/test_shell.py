"""One process that runs a program's commands one after the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from brski.errors import LocalError
from brski_lab.children import ROOM, Children


async def test_commands_run_one_after_the_other_and_say_their_own(tmp_path: Path) -> None:
    """What each wrote to stdout comes back by itself; a failing one leaves the next unharmed."""
    async with Children(tmp_path / "logs") as children:
        shell = await children.shell(ROOM)
        folder = tmp_path / "oem"
        made = ("init", folder, "--name", "f", "--title", "Example", "--masa-url", "masa:1")
        first = await shell.run(*made)
        assert "recipient" in first
        with pytest.raises(LocalError, match=r"init ended with [12]"):
            await shell.run(*made)  # it is there already
        status = ("factory", "status", "-s", folder / "factory.toml")
        with pytest.raises(LocalError, match=r"factory ended with 3: .*first intake"):
            await shell.run(*status)
        other = ("init", tmp_path / "other", *made[2:])
        assert "recipient" in await shell.run(*other)
        await shell.end()
        with pytest.raises(LocalError):
            await shell.run(*status)


async def test_a_process_that_is_gone_is_told(tmp_path: Path) -> None:
    """Not waited for."""
    async with Children(tmp_path / "logs") as children:
        shell = await children.shell(ROOM)
        await children.end(f"{ROOM}-shell")
        with pytest.raises(LocalError):
            await shell.run("init", tmp_path / "oem")
