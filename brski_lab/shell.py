"""One process of a program that runs one command after the other.

Starting Python and importing a program takes longer than most of what the stage has it do. What is
run is the program's own ``main``, with the arguments that a person would type.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from brski.errors import LocalError

ENTRY: Final = """
import contextlib, io, json, sys
from {module} import main
for line in sys.stdin:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = main(json.loads(line))
    print(json.dumps([code, out.getvalue()]), flush=True)
"""


class Shell:
    """Made by :meth:`brski_lab.children.Children.shell`.

    Args:
        program: its name, for messages.
        process: runs :data:`ENTRY`; its standard input and output are pipes.
        last_words: what it said last on standard error.
    """

    def __init__(
        self, program: str, process: asyncio.subprocess.Process, last_words: Callable[[], str]
    ) -> None:
        self._program = program
        self._process = process
        self._last_words = last_words
        self._free = asyncio.Lock()

    async def run(self, *arguments: str | Path) -> str:
        """Run one command to its end; what it wrote to stdout.

        Raises:
            LocalError: it ended with another code than 0, or the process is gone.
        """
        async with self._free:
            answer = await self._ask(json.dumps([str(argument) for argument in arguments]))
        code, out = json.loads(answer) if answer else (None, "")
        if code != 0:
            raise LocalError(
                f"{self._program} {arguments[0]} ended with {code}: {self._last_words()}"
            )
        return str(out)

    async def end(self) -> None:
        """Let the process end: there is nothing more to run."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        await self._process.wait()

    async def _ask(self, line: str) -> bytes:
        if self._process.stdin is None or self._process.stdout is None:
            raise LocalError(f"{self._program} cannot be spoken to")
        with suppress(ConnectionError, RuntimeError):  # closed at one end or the other
            self._process.stdin.write(line.encode() + b"\n")
            await self._process.stdin.drain()
        return await self._process.stdout.readline()
