"""A tap on the bus between the TSS and a software TPM: records every octet, may answer itself."""

from __future__ import annotations

import socket
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.kit.tpm import SoftwareTPM

CREATE = 0x153
CREATE_LOADED = 0x191
EVICT_CONTROL = 0x120
FLUSH_CONTEXT = 0x165
IMPORT = 0x156
LOAD = 0x157
SIGN = 0x15D

RC_TYPE = 0x18A  # TPM_RC_TYPE, of handle 1: what a TPM in FIPS mode says to TPM2_CreateLoaded
RC_COMMAND_CODE = 0x143
RC_KERNEL_COMMAND_CODE = 0xB0143  # the same from Linux's resource manager
RC_OBJECT_MEMORY = 0x902

Answer = Callable[[int], int | None]
Answered = Callable[[int], None]


@dataclass(slots=True, kw_only=True)
class Bus:
    """What went over it."""

    path: Path
    answer: Answer  # a command code to a response code instead of the TPM's answer; None: pass on
    answered: Answered  # called with the command's code when its answer is there, and not sent yet
    commands: list[bytes] = field(default_factory=list)
    responses: list[bytes] = field(default_factory=list)

    @property
    def tcti(self) -> str:
        """As the TSS takes it."""
        return f"swtpm:path={self.path}"

    @property
    def octets(self) -> bytes:
        """All that went either way."""
        return b"|".join([*self.commands, *self.responses])

    def codes(self) -> list[int]:
        """The codes of all commands, in order."""
        return [_code(command) for command in self.commands]


def _pass_on(_code: int) -> None:
    return None


@contextmanager
def tapped(
    tpm: SoftwareTPM, answer: Answer = _pass_on, answered: Answered = _pass_on
) -> Iterator[Bus]:
    """Stand between the TSS and *tpm* for the block."""
    with tempfile.TemporaryDirectory(prefix="brski-bus-") as name:
        path = Path(name) / "tpm"
        path.with_name("tpm.ctrl").symlink_to(f"{tpm.path}.ctrl")
        bus = Bus(path=path, answer=answer, answered=answered)
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(path))
            listening.listen(8)
            server = threading.Thread(target=_serve, args=(listening, tpm, bus))
            server.start()
            try:
                yield bus
            finally:
                listening.shutdown(socket.SHUT_RDWR)
                server.join(20)


def _serve(listening: socket.socket, tpm: SoftwareTPM, bus: Bus) -> None:
    with suppress(OSError):  # the listener was shut down
        while True:
            client, _ = listening.accept()
            with client, socket.socket(socket.AF_UNIX) as chip, suppress(ConnectionError):
                chip.connect(str(tpm.path))
                _carry(client, chip, bus)


def _carry(client: socket.socket, chip: socket.socket, bus: Bus) -> None:
    while command := _message(client):  # until it closes, or was killed
        bus.commands.append(command)
        code = bus.answer(_code(command))
        if code is None:
            chip.sendall(command)
            response = _message(chip)
        else:
            response = struct.pack(">HII", 0x8001, 10, code)
        bus.responses.append(response)
        bus.answered(_code(command))
        client.sendall(response)


def _message(stream: socket.socket) -> bytes:
    octets = b""
    while len(octets) < 10 or len(octets) < int.from_bytes(octets[2:6], "big"):
        more = stream.recv(8192)
        if not more:
            return b""
        octets += more
    return octets


def _code(command: bytes) -> int:
    return int.from_bytes(command[6:10], "big")
