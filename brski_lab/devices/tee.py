"""A device with a TEE: a signer's process that has the seed, and a pledge's that has not."""

from __future__ import annotations

import os
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from brski.errors import LocalError
from brski_lab.devices.pledge_program import read_end, read_step
from brski_lab.devices.port import Ended, Joining
from brski_lab.together import together

NOBODY: Final = 65534  # Debian's nobody and nogroup, who own nothing


class TEEDevice:
    """Implements :class:`brski_lab.devices.port.DeviceKind`."""

    def missing(self) -> str:
        """Linux."""
        return "" if hasattr(socket, "SO_PEERCRED") else "it needs Linux (SO_PEERCRED)"

    def remark(self) -> str:
        """That only root can separate the two."""
        if may_separate():
            return ""
        return "signer and pledge run as one user, who can read the seed; root would part them"

    async def join(self, joining: Joining) -> Ended:
        """See the port. The signer's user is ours; the pledge's is nobody, if we may choose."""
        with tempfile.TemporaryDirectory(prefix="brski-lab-tee-") as name:
            places = _make_places(Path(name))
            signer = joining.children.serve(
                "brski-pledge", "tee", "--fuse", joining.fuse, *places.signer, sockets=()
            )
            try:
                _, ended = await together(signer, _join(joining, *places.pledge))
                return ended
            finally:
                await joining.children.end("brski-pledge")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Places:
    signer: tuple[str, ...]  # arguments of the signer
    pledge: tuple[str, ...]  # of the pledge


def _make_places(folder: Path) -> _Places:
    """Folders that either may use, and who is who."""
    socket_path, home = str(folder / "signer" / "socket"), folder / "pledge"
    home.mkdir(mode=0o700)
    signer = ("--socket", socket_path)
    pledge = ("--socket", socket_path, "--keystore", str(home / "keystore"))
    if not may_separate():
        return _Places(signer=signer, pledge=pledge)
    folder.chmod(0o711)
    os.chown(home, NOBODY, NOBODY)
    user = str(NOBODY)
    return _Places(signer=(*signer, "--client-uid", user), pledge=(*pledge, "--user", user))


def may_separate() -> bool:
    """Whether this process may give another one a user of its own."""
    return os.geteuid() == 0


async def _join(joining: Joining, *arguments: str) -> Ended:
    registrar = f"https://127.0.0.1:{joining.stage.registrar_port}"
    lines = joining.children.stream("brski-lab-pledge", "--registrar", registrar, *arguments)
    ended: Ended | None = None
    async for line in lines:
        if "step" in line:
            joining.observe(read_step(line["step"]))
        else:
            ended = read_end(line["ended"])
    if ended is None:
        raise LocalError("the pledge ended without a word")
    return ended
