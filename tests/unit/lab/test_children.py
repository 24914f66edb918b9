"""Whatever fails on the lab's desk, no program is left behind."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from brski.errors import LocalError
from brski.idevid.record import Presentation
from brski_lab import stage
from brski_lab.building import Ordered
from brski_lab.children import Children
from brski_lab.together import together

DEVICE = Ordered(serial_number="SN-1", presentation=Presentation.ASSERTED)


def processes() -> set[str]:
    """Those that this process has started and that have not ended."""
    tasks = Path("/proc/self/task").iterdir()
    return {pid for task in tasks for pid in (task / "children").read_text().split()}


async def test_a_stage_that_cannot_be_set_leaves_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The factory fails while the registrar is being started beside it."""
    before = processes()

    async def build(*_: object) -> None:
        raise LocalError("no wafer")

    monkeypatch.setattr(stage, "build", build)
    with pytest.raises(LocalError, match="no wafer"):
        async with Children(tmp_path / "logs") as children:
            await stage.set_stage(tmp_path, children, [DEVICE])
    assert processes() <= before


async def test_a_program_whose_caller_gives_up_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was to be run to its end."""
    before, started = processes(), asyncio.Event()
    start = asyncio.create_subprocess_exec

    async def starting(*_: str, **channels: Any) -> asyncio.subprocess.Process:
        process = await start(sys.executable, "-c", "import signal; signal.pause()", **channels)
        started.set()
        return process

    monkeypatch.setattr(asyncio, "create_subprocess_exec", starting)
    async with Children(tmp_path / "logs") as children:
        running = asyncio.create_task(children.run("brski-oem", "init"))
        await started.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert processes() <= before


async def test_together_is_over_when_one_has_failed() -> None:
    """The others are cancelled, and have ended before the error is told; else all have answered."""
    ended: list[str] = []

    async def long() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("long")

    async def failing() -> None:
        raise LocalError("enough")

    with pytest.raises(LocalError, match="enough"):
        await together(long(), failing())
    assert ended == ["long"]
    assert await together(*(asyncio.sleep(0, each) for each in "ab")) == ("a", "b")
