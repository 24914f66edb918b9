"""A software TPM for one test, and a vendor that wraps seeds to it. Needs Debian's swtpm."""

from __future__ import annotations

import secrets
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from brski.seed.secret import Seed
from brski.seed.tpm2 import TPM2Profile
from brski.seed.tpm_object import SEED_VALUE_OCTETS, TPMObject, derivation_parent, parse_storage_key
from brski.seed.tpm_wrap import WrappedObject, wrap
from tests.kit.programs import require_library, require_program

_READY_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftwareTPM:
    """A swtpm that runs; it serves one connection at a time, as a TPM without resource manager."""

    socket: Path  # TPM commands, one connection after the other; ``.ctrl`` beside it
    pid: int

    @property
    def tcti(self) -> str:
        """As the TSS takes it."""
        return f"swtpm:path={self.socket}"


@contextmanager
def software_tpm(state: Path | None = None) -> Iterator[SoftwareTPM]:
    """Start a TPM, fresh or with the *state* of an earlier one, and end it after the block.

    Skips the test without swtpm or tpm2-pytss.
    """
    program = require_program("swtpm", "swtpm")
    require_library("tpm2_pytss", "tpm")
    # not pytest's tmp_path: a socket's path has 107 octets at most
    with tempfile.TemporaryDirectory(prefix="brski-tpm-") as name:
        folder = state or Path(name)
        socket = Path(name) / "tpm"
        process = subprocess.Popen(
            [
                *(program, "socket", "--tpm2", "--tpmstate", f"dir={folder}"),
                *("--server", f"type=unixio,path={socket}"),
                *("--ctrl", f"type=unixio,path={socket}.ctrl"),
                *("--flags", "not-need-init,startup-clear"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _await(socket, process)
            yield SoftwareTPM(socket=socket, pid=process.pid)
        finally:
            process.terminate()
            process.wait(_READY_S)


def _await(socket: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _READY_S
    while not (socket.exists() and socket.with_name("tpm.ctrl").exists()):
        assert process.poll() is None, "swtpm ended at once"
        assert time.monotonic() < deadline, "swtpm made no socket"
        time.sleep(0.005)


def wrap_object(plain: TPMObject, storage_key: bytes) -> WrappedObject:
    """What the vendor does with an object, given the storage key's TPM2B_PUBLIC."""
    parent = parse_storage_key(storage_key)
    return wrap(plain, parent, ec.generate_private_key(parent.public_key.curve))


def wrap_seed(seed: Seed, profile: TPM2Profile, storage_key: bytes) -> WrappedObject:
    """What the vendor does with a seed."""
    plain = derivation_parent(seed, profile, secrets.token_bytes(SEED_VALUE_OCTETS))
    return wrap_object(plain, storage_key)
