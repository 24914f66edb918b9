"""A device with a TEE for one test: the signer's process, or the signer in this one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from device_client.identity.from_seed import Fuse, write_fuse

PROGRAM = "import sys; from device_client.cli import main; sys.exit(main())"


@dataclass
class SignerProcess:
    """``brski-pledge tee``, which may end and be started again."""

    fuse: Path
    socket: Path
    options: Sequence[str] = ()
    process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        command = [
            *(sys.executable, "-c", PROGRAM, "tee", "--announce", "--fuse", str(self.fuse)),
            *("--socket", str(self.socket), *self.options),
        ]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self.process.stdout is not None
        assert json.loads(self.process.stdout.readline())["event"] == "listening"

    def kill(self) -> None:
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.communicate()


@contextmanager
def short_folder() -> Iterator[Path]:
    """Not pytest's tmp_path: a socket's path has 107 octets at most. Others may pass through."""
    with tempfile.TemporaryDirectory(prefix="tee-") as name:
        Path(name).chmod(0o711)
        yield Path(name)


@contextmanager
def signer_process(fuse: Fuse, *options: str) -> Iterator[SignerProcess]:
    """Start a signer for *fuse*, and end it after the block."""
    with short_folder() as folder:
        write_fuse(folder / "device.fuse", fuse)
        signer = SignerProcess(folder / "device.fuse", folder / "signer" / "socket", options)
        signer.start()
        try:
            yield signer
        finally:
            signer.kill()


def is_root() -> bool:
    return os.geteuid() == 0
