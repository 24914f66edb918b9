"""A TPM in software: Debian's swtpm, one process for each, its state in a folder."""

from __future__ import annotations

import asyncio
import shutil
import socket
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from brski.errors import LocalError

PROGRAM: Final = "swtpm"
_READY_S: Final = 20.0
_PAUSE_S: Final = 0.01


@asynccontextmanager
async def software_tpm(state: Path) -> AsyncIterator[str]:
    """Run a TPM for the block; yields how the TSS reaches it.

    Args:
        state: an existing folder, for what it keeps.

    Raises:
        LocalError: there is no such program, or it does not start.
    """
    program = shutil.which(PROGRAM)
    if program is None:
        raise LocalError(f"there is no {PROGRAM}", hint=f"Debian package {PROGRAM}")
    # a folder of its own: the path of a socket has 107 octets at most
    with tempfile.TemporaryDirectory(prefix="brski-tpm-") as name:
        path = Path(name) / "tpm"
        process = await asyncio.create_subprocess_exec(
            *(program, "socket", "--tpm2", "--tpmstate", f"dir={state}"),
            *("--server", f"type=unixio,path={path}"),
            *("--ctrl", f"type=unixio,path={path}.ctrl"),  # where the TSS looks for it
            *("--flags", "not-need-init,startup-clear"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            await _await(path, process)
            yield f"swtpm:path={path}"
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


async def _await(path: Path, process: asyncio.subprocess.Process) -> None:
    deadline = time.monotonic() + _READY_S
    while not all(map(_listens, (path, path.with_name(f"{path.name}.ctrl")))):
        if process.returncode is not None or time.monotonic() > deadline:
            raise LocalError(f"{PROGRAM} does not start")
        await asyncio.sleep(_PAUSE_S)


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as trial:
        return trial.connect_ex(str(path)) == 0
