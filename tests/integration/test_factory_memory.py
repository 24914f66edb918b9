"""The factory's long-lived process never holds a secret: its memory is read from outside.

The process is stopped at a barrier after the batch has been taken in and the bundle written. What
must be found is a control that was planted in it; what must not is every seed, every device key and
the recipient's private key, in each spelling that a program would have them in (docs/factory.md).
"""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from brski.seed.profiles import profile
from tests.kit import factory

SCRIPT = """
import sys
control = bytes.fromhex(sys.argv[1])
from oem_backend.cli import main
assert main(["factory", "intake", sys.argv[2], "-s", sys.argv[4]]) == 0
assert main(["factory", "make", sys.argv[3], "-o", sys.argv[5], "-s", sys.argv[4]]) == 0
print("at the barrier", flush=True)
sys.stdin.read()
"""


def spellings(secret: bytes) -> Iterator[bytes]:
    """The secret as octets, reversed, as text; in hex and base64."""
    for octets in (secret, secret[::-1]):
        yield octets
        yield octets.hex().encode()
        yield octets.hex().upper().encode()
        yield base64.b64encode(octets)[:40]
        yield base64.urlsafe_b64encode(octets)[:40]


def memory_of(pid: int) -> bytes:
    """Every readable page of a process."""
    pages = []
    with (
        Path(f"/proc/{pid}/maps").open() as maps,
        Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory,
    ):
        for line in maps:
            found = re.match(r"([0-9a-f]+)-([0-9a-f]+) r", line)
            if found is None or line.rstrip().endswith(("[vvar]", "[vsyscall]")):
                continue
            start, end = (int(part, 16) for part in found.groups())
            try:
                memory.seek(start)
                pages.append(memory.read(end - start))
            except OSError:
                continue
    return b"".join(pages)


def children_of(pid: int) -> str:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().strip()


@pytest.mark.slow
@pytest.mark.requirement("OEM-9")
@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs Linux's /proc/PID/mem")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may read a process that hides its memory")
def test_no_secret_is_in_the_factorys_memory(tmp_path: Path) -> None:
    """The planted control is found; no seed, device key, or private key of the factory's is."""
    kit = factory.found(tmp_path)
    records = factory.chips(6)
    batch, _ = kit.batch(records)
    built = kit.build_list(factory.serials(records))
    control = bytes(range(100, 132))
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", SCRIPT, control.hex(), str(batch), str(built)),
            *(str(kit.settings), str(tmp_path / "bundle")),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        while (line := process.stdout.readline()) and b"at the barrier" not in line:
            pass
        assert line, "the factory ended before the barrier"
        memory = memory_of(process.pid)
        workers = children_of(process.pid)
    finally:
        process.communicate(b"")
    assert control in memory, "what is planted must be found, or the search proves nothing"
    derive = profile("hmac-drbg-p256").derive
    secrets = {f"seed of {r.chip_id!r}": r.seed.octets for r in records}
    for record in records:
        number = derive(record.seed, record.chip_id).private_numbers().private_value
        secrets[f"key of {record.chip_id!r}"] = number.to_bytes(32, "big")
    recipient = (tmp_path / "recipient.key").read_bytes()
    secrets |= {"ML-KEM seed": recipient[:64], "X25519 key": recipient[64:]}
    secrets["intake key"] = (tmp_path / "intake.key").read_bytes()
    held = [
        name
        for name, secret in secrets.items()
        if any(spelling in memory for spelling in spellings(secret))
    ]
    assert held == []
    # multiprocessing's resource tracker may stay; it was never given a job
    assert len(workers.split()) <= 1
