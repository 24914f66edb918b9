"""The other programs as processes of their own, started on sockets that are open already.

A listening socket is opened here and inherited (``fd:N``), so that its port is known before the
program that serves it is configured, and nobody can take it in between.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from brski.errors import LocalError
from brski_lab.shell import ENTRY as SHELL_ENTRY
from brski_lab.shell import Shell

_LINE: Final = 4 << 20  # octets of a line of JSON
_READY_S: Final = 20.0
_END_S: Final = 10.0
ROOM: Final = "brski-oem-room"  # of brski-oem, what the room without a network has: sooner there
_MODULES: Final = {
    "brski-oem": "oem_backend.cli",
    "brski-masa": "masa_stub.cli",
    "brski-registrar": "registrar_plugin.cli",
    "brski-pledge": "device_client.cli",
    "brski-lab": "brski_lab.cli",
    "brski-lab-vendor": "brski_lab.vendor_cli",
    "brski-lab-pledge": "brski_lab.devices.pledge_program",
    ROOM: "oem_backend.room",
}
_IN_ROOM: Final = frozenset({"init", "factory", "vault", "media"})
_ENTRY: Final = "import sys; from {module} import main; sys.exit(main())"


def open_socket() -> socket.socket:
    """A listening socket on loopback, at a port that was free."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", 0))
    listening.listen(512)
    return listening


def port_of(listening: socket.socket) -> int:
    """The port that *listening* has."""
    port: int = listening.getsockname()[1]
    return port


class Children:
    """Programs under way; leaving the block ends them all and waits for it."""

    def __init__(self, log_folder: Path) -> None:
        self._logs = log_folder
        self._running: list[tuple[str, asyncio.subprocess.Process]] = []

    async def __aenter__(self) -> Self:
        self._logs.mkdir(parents=True, exist_ok=True)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.gather(*(self._end(process) for _, process in reversed(self._running)))
        self._running.clear()

    def pid(self, program: str) -> int:
        """The process id of a running *program*."""
        return next(process.pid for name, process in self._running if name == program)

    async def run(self, program: str, *arguments: str | Path, may_refuse: bool = False) -> str:
        """Run *program* to its end; what it wrote to stdout.

        Raises:
            LocalError: it ended with another code than 0 (or 1, if it *may_refuse*).
        """
        process = await asyncio.create_subprocess_exec(
            *_command(program, arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            stdin=asyncio.subprocess.DEVNULL,
        )
        try:
            out, err = await process.communicate()
        finally:
            await self._end(process)  # whose caller has given up
        if process.returncode not in ((0, 1) if may_refuse else (0,)):
            raise LocalError(
                f"{program} {arguments[0]} ended with {process.returncode}: "
                f"{err.decode(errors='replace').strip()}"
            )
        return out.decode()

    async def shell(self, program: str) -> Shell:
        """Start *program*, to run commands one after the other until this block is left."""
        log_path = self._logs / f"{program}-shell.log"
        descriptor = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            process = await asyncio.create_subprocess_exec(
                *_command(program, (), SHELL_ENTRY),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=descriptor,
                limit=_LINE,
            )
        finally:
            os.close(descriptor)
        self._running.append((f"{program}-shell", process))
        return Shell(program, process, lambda: _last_line(log_path))

    async def stream(self, program: str, *arguments: str | Path) -> AsyncIterator[dict[str, Any]]:
        """Run *program* to its end; each line of its stdout, a JSON document, as it comes.

        Raises:
            LocalError: it ended with another code than 0.
        """
        process = await asyncio.create_subprocess_exec(
            *_command(program, arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            stdin=asyncio.subprocess.DEVNULL,
            limit=_LINE,
        )
        self._running.append((program, process))
        if process.stdout is None or process.stderr is None:
            raise LocalError(f"{program} has no output to listen to")
        async for line in process.stdout:
            yield json.loads(line)
        said = await process.stderr.read()
        if await process.wait() != 0:
            raise LocalError(
                f"{program} ended with {process.returncode}: "
                f"{said.decode(errors='replace').strip()}"
            )

    async def serve(
        self, program: str, *arguments: str | Path, sockets: Sequence[socket.socket]
    ) -> None:
        """Start *program* and return when it says that it listens. Closes *sockets* on our side.

        Raises:
            LocalError: it ended, or said nothing in time; the message has its last words.
        """
        log_path = self._logs / f"{program}.log"
        descriptor = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            process = await asyncio.create_subprocess_exec(
                *_command(program, [*arguments, "--announce"]),
                stdout=asyncio.subprocess.PIPE,
                stderr=descriptor,
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=[listening.fileno() for listening in sockets],
            )
        finally:
            os.close(descriptor)
            for listening in sockets:
                listening.close()
        self._running.append((program, process))
        if process.stdout is None:
            raise LocalError(f"{program} has no output to listen to")
        try:
            line = await asyncio.wait_for(process.stdout.readline(), _READY_S)
            ready = json.loads(line)["event"] == "listening"
        except (TimeoutError, ValueError, KeyError):
            ready = False
        if not ready:
            raise LocalError(f"{program} did not start: {_last_line(log_path)}")

    async def start(self, program: str, *arguments: str | Path) -> None:
        """Start *program*, which serves no socket, and leave it running."""
        with (self._logs / f"{program}-{arguments[0]}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *_command(program, arguments),
                stdout=log,
                stderr=log,
                stdin=asyncio.subprocess.DEVNULL,
            )
        self._running.append((program, process))

    async def end(self, program: str) -> None:
        """End one running *program*."""
        for entry in [entry for entry in self._running if entry[0] == program]:
            self._running.remove(entry)
            await self._end(entry[1])

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        if process.returncode is not None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), _END_S)
        except TimeoutError:
            process.kill()
            await process.wait()


def _command(program: str, arguments: Sequence[str | Path], form: str = _ENTRY) -> list[str]:
    in_room = program == "brski-oem" and arguments[:1] and arguments[0] in _IN_ROOM
    entry = form.format(module=_MODULES[ROOM if in_room else program])
    return [sys.executable, "-c", entry, *map(str, arguments)]


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
