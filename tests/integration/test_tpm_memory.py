"""A device with a TPM never holds its key: its memory is read from outside while it signs."""

from __future__ import annotations

import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit import pki
from tests.kit.device import CHIP_ID
from tests.kit.programs import require_library
from tests.kit.tpm import make_device, software_tpm

require_library("tpm2_pytss", "tpm")

from brski.seed.secret import Seed
from brski.seed.tpm2 import TPM2_P256
from device_client.identity.tpm_file import write_device
from device_client.tpm.storage_key import read_storage_key

needs_memory = pytest.mark.skipif(
    not Path("/proc/self/mem").exists(), reason="needs Linux's /proc/PID/mem"
)

# The dumpable flag stays, so that a test that is not root may look.
_BOOT_AND_SIGN = """
import sys
from pathlib import Path
from device_client.identity.from_tpm import boot
from device_client.tpm.connection import TPM
planted = bytes.fromhex(sys.argv[3])[::-1]
path = Path(sys.argv[2])
identity = boot(path, TPM(sys.argv[1], path.with_name("lock")))
identity.signer().sign(b"data")
print("at the barrier", flush=True)
sys.stdin.readline()
"""


def _memory(pid: int) -> Iterator[bytes]:
    """What the process can write to, mapping by mapping."""
    maps = Path(f"/proc/{pid}/maps").read_text()
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for start, end in re.findall(r"^([0-9a-f]+)-([0-9a-f]+) rw", maps, re.MULTILINE):
            memory.seek(int(start, 16))
            try:
                yield memory.read(int(end, 16) - int(start, 16))
            except OSError:
                continue  # not memory, such as a device's


def _spellings(secret: bytes) -> list[bytes]:
    return [secret, secret[::-1], secret.hex().encode()]


@needs_memory
def test_neither_seed_nor_key_is_in_the_devices_memory(tmp_path: Path) -> None:
    """After the first boot and a signature; what was planted beside them is found."""
    seed = secrets.token_bytes(32)
    scalar = TPM2_P256.derive(Seed(seed), CHIP_ID).private_numbers().private_value
    control = secrets.token_bytes(32)
    path = tmp_path / "device.tpm"
    with software_tpm() as swtpm:
        storage_key = read_storage_key(swtpm.tcti)
        device = make_device(
            storage_key, pki.make_root("Example OEM"), pki.make_root("Example MASA"), seed=seed
        )
        write_device(path, device)
        process = subprocess.Popen(
            [
                *(sys.executable, "-c", _BOOT_AND_SIGN, swtpm.tcti, str(path)),
                control[::-1].hex(),  # so that the control stands in the memory by its own value
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"at the barrier\n"
        memory = b"|".join(_memory(process.pid))
        process.communicate(b"\n", timeout=60)
    hidden = {"seed": seed, "key": scalar.to_bytes(32, "big"), "control": control}
    found = {
        name
        for name, secret in hidden.items()
        if any(spelling in memory for spelling in _spellings(secret))
    }
    assert found == {"control"}
