"""Programs of ours in a process of their own, killed at one call of one of their functions.

SIGKILL, so that nothing is tidied up; before the call has done anything, or after it has.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

from brski_lab.children import open_socket, port_of

_KILLED: Final = """
import importlib, inspect, os, signal, sys
place, name, when, program, *rest = sys.argv[1:]
module, _, path = place.partition(":")
holder = importlib.import_module(module)
for part in filter(None, path.split(".")):
    holder = getattr(holder, part)
genuine = getattr(holder, name)
def die():
    os.kill(os.getpid(), signal.SIGKILL)
async def killing_later(*arguments, **named):
    if when == "after":
        await genuine(*arguments, **named)
    die()
def killing(*arguments, **named):
    if when == "after":
        genuine(*arguments, **named)
    die()
setattr(holder, name, killing_later if inspect.iscoroutinefunction(genuine) else killing)
sys.argv[1:] = rest
exec(program)
"""


class Step(NamedTuple):
    """A call that a program does not survive."""

    place: str  # "module", or "module:Class"
    name: str
    when: str  # "before" or "after" it

    def __str__(self) -> str:
        return f"{self.when} {self.name}"


def main_of(module: str) -> str:
    """The program whose ``main`` is in *module*."""
    return f"import sys; from {module} import main; sys.exit(main())"


def command(program: str, *arguments: str | Path, at: Step | None = None) -> list[str]:
    """The command line of *program*, in Python; killed *at* a step, or undisturbed."""
    started = (program,) if at is None else (_KILLED, *at, program)
    return [sys.executable, "-c", *started, *map(str, arguments)]


@asynccontextmanager
async def served(
    module: str, settings: Path, *options: str, at: Step | None = None
) -> AsyncIterator[list[int]]:
    """``serve`` of the program in *module*, killed *at* a step; ended when the block is left.

    Args:
        options: a listening socket for each of them; yields their ports.
    """
    sockets = [open_socket() for _ in options]
    listening = [
        argument
        for option, each in zip(options, sockets, strict=True)
        for argument in (option, f"fd:{each.fileno()}")
    ]
    process = await asyncio.create_subprocess_exec(
        *command(main_of(module), "serve", "-s", settings, "--announce", *listening, at=at),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        pass_fds=[each.fileno() for each in sockets],
    )
    ports = [port_of(each) for each in sockets]
    for each in sockets:
        each.close()
    try:
        assert process.stdout is not None
        assert json.loads(await asyncio.wait_for(process.stdout.readline(), 20))
        yield ports
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
