"""The factory's long-lived processes never hold a secret: their memory is read from outside.

The program is stopped when the answer about each chunk has come, and after the batch, when the
bundle is made; the nursery, from which the workers are forked, is looked into at the same times.
What must be found is a control that was planted; what must not is any seed, any state of the
generators, any device key, the recipient's private key and the intake key, in each spelling that a
program would have them in (docs/factory.md, docs/threat-model.md).
"""

from __future__ import annotations

import base64
import hmac
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from brski.seed.profiles import profile
from brski.seed.record import SeedRecord
from brski.seed.secret import Seed
from tests.kit import factory, vault
from tests.kit.factory import FactoryKit

needs_memory = pytest.mark.skipif(
    not Path("/proc/self/mem").exists(), reason="needs Linux's /proc/PID/mem"
)

# The dumpable flag stays, so that a test that is not root may look. What is freed is soon written
# over: so the process also stops while an answer is still in its hands.
SCRIPT = """
import base64, sys
from oem_backend import cli
from oem_backend.executors.processes import ProcessExecutor
from oem_backend.factory.ledger.at_work import AtWork
from oem_backend.factory.ledger.batches import Batches
cli.harden_process = lambda: None
how, control, batch, built, settings, out, *more = sys.argv[1:]
control = bytes.fromhex(control)[::-1]
texts = [control.hex(), base64.b64encode(control).decode()]
if how == "careless":
    ProcessExecutor.map = lambda self, task, jobs: (task(job) for job in jobs)
def barrier():
    print("at the barrier", flush=True)
    sys.stdin.readline()
def stopping(genuine):
    def stop(*arguments):
        barrier()
        return genuine(*arguments)
    return stop
Batches._enter_chips = stopping(Batches._enter_chips)
AtWork.keep_chunk = stopping(AtWork.keep_chunk)
assert cli.main(["factory", "intake", batch, "-s", settings]) == 0
assert cli.main(["factory", "make", built, "-o", out, "-s", settings]) == 0
barrier()
if more:
    why = ["--reason", "test", "-s", settings]
    (sealed_secret,) = more
    named = ["--purpose", "firmware-encryption", "--chip", b"chip0001".hex(), "-o", sealed_secret]
    assert cli.main(["vault", "check", *why]) == 0
    assert cli.main(["secret", *named, "--recipient", batch + ".to", *why]) == 0
    assert cli.main(["vault", "destroy", "--chip", b"chip0002".hex(), "-y", *why]) == 0
    barrier()
"""
SAMPLES_SCRIPT = (
    SCRIPT
    + """
from oem_backend.factory import samples
samples.parse_diagnoses = stopping(samples.parse_diagnoses)
assert cli.main(["check-samples", batch + ".samples", "-s", settings]) == 1
barrier()
"""
)
CHUNKS = 2
CHIPS = 1000
MARK = secrets.token_bytes(12)  # every seed begins with it, so that one search finds any of them


def marked_chips() -> list[SeedRecord]:
    return [
        replace(record, seed=Seed(MARK + record.seed.octets[len(MARK) :]))
        for record in factory.chips(CHIPS)
    ]


def spellings(secret: bytes) -> dict[str, bytes]:
    """The secret as octets and as text, big- and little-endian."""
    spelt: dict[str, bytes] = {}
    for order, octets in (("", secret), (", reversed", secret[::-1])):
        # what base64 has for all of it, whatever stands after
        whole = len(octets) // 3 * 4
        spelt |= {
            f"octets{order}": octets,
            f"hex{order}": octets.hex().encode(),
            f"HEX{order}": octets.hex().upper().encode(),
            f"base64{order}": base64.b64encode(octets)[:whole],
            f"base64url{order}": base64.urlsafe_b64encode(octets)[:whole],
        }
    return spelt


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


def children_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def generator_states(record: SeedRecord) -> Iterator[bytes]:
    """K and V of HMAC_DRBG from the first to the last, by docs/derivation.md and hmac alone."""

    def mac(key: bytes, data: bytes) -> bytes:
        return hmac.digest(key, data, "sha256")

    chip_id = record.chip_id
    personalization = b"hmac-drbg-p256\x00" + len(chip_id).to_bytes(2, "big") + chip_id
    data = record.seed.octets + personalization
    k, v = bytes(32), b"\x01" * 32
    for separator in (b"\x00", b"\x01"):
        k = mac(k, v + separator + data)
        v = mac(k, v)
        yield from (k, v)
    v = mac(k, v)  # the candidate
    yield v
    k = mac(k, v + b"\x00")
    v = mac(k, v)
    yield from (k, v)


def secrets_of(folder: Path, records: Sequence[SeedRecord]) -> dict[str, bytes]:
    """By name: all seeds, the factory's own keys, and what becomes of some chips."""
    recipient = (folder / "recipient.key").read_bytes()
    named = {
        "a seed": MARK,
        "ML-KEM d": recipient[:32],
        "ML-KEM z": recipient[32:64],
        "X25519 key": recipient[64:],
        "intake key": (folder / "intake.key").read_bytes(),
    }
    derive = profile("hmac-drbg-p256").derive
    for record in (records[0], records[CHIPS // CHUNKS - 1], records[-1]):
        chip = record.chip_id.decode()
        key = factory.private_octets(derive(record.seed, record.chip_id))
        states = list(generator_states(record))
        assert key in states, "these are not the generator's states"
        named[f"key of {chip}"] = key
        named |= {f"state {step} of {chip}": state for step, state in enumerate(states)}
    return named


@pytest.fixture
def kit(tmp_path: Path) -> FactoryKit:
    return factory.found(tmp_path)


def held_by_a_factory(
    kit: FactoryKit,
    how: str,
    *,
    with_vault: bool = False,
    cms: bool = False,
    with_samples: bool = False,
) -> set[str]:
    """Which secrets, in which spelling, were in its memory at any of the barriers.

    Args:
        how: ``"careless"`` does the workers' work in the long-lived process.
        with_vault: the factory keeps one, and uses it.
        cms: the batch is one that OpenSSL alone could have made.
        with_samples: sample devices report keys that cannot be explained.
    """
    records = marked_chips()
    cms_key = kit.accept_cms() if cms else b""
    mint = kit.cms_batch if cms else kit.batch
    batch, _ = mint(records, records_a_chunk=CHIPS // CHUNKS)
    built = kit.build_list(factory.serials(records))
    control = secrets.token_bytes(32)
    looked_for = {
        f"{name}: {spelling}": octets
        for name, secret in secrets_of(kit.folder, records).items()
        for spelling, octets in spellings(secret).items()
    }
    if cms:
        pem = (kit.folder / "recipient-cms.key").read_bytes()
        looked_for |= {f"CMS key: {how}": octets for how, octets in spellings(cms_key).items()}
        looked_for["CMS key: PEM"] = pem.splitlines()[2]
    more = []
    if with_vault:
        key = (kit.folder / "vault.key").read_bytes()
        looked_for |= {f"vault key: {how}": octets for how, octets in spellings(key).items()}
        (kit.folder / "batch.to").write_bytes(kit.recipient.encode())
        more = [str(kit.folder / "secret")]
    if with_samples:
        batch.with_name(batch.name + ".samples").write_text(
            "".join(f"{serial} {bytes(32).hex()}\n" for _, serial in factory.serials(records)[:3])
        )
    held: set[str] = set()
    script = SAMPLES_SCRIPT if with_samples else SCRIPT
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", script, how, control[::-1].hex(), str(batch), str(built)),
            *(str(kit.settings), str(kit.folder / "bundle"), *more),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        for stop in range(2 * CHUNKS + 1 + with_vault + 2 * with_samples):
            if stop:
                go_on(process)
            memory = memory_at_the_barrier(process)
            for spelling in ("octets", "hex", "base64", "hex, reversed"):
                planted = spellings(control)[spelling]
                assert planted in memory, "what is planted must be found, or nothing is proven"
            for seen in (memory, *map(memory_of, map(int, children_of(process.pid)))):
                held |= {what for what, octets in looked_for.items() if octets in seen}
        assert children_of(process.pid) == []
    finally:
        process.communicate(b"")
    assert process.returncode == 0
    assert len(kit.records()) == CHIPS
    return held


def memory_at_the_barrier(process: subprocess.Popen[bytes]) -> bytes:
    """What the process has when it comes to the next barrier."""
    assert process.stdout is not None
    while (line := process.stdout.readline()) and b"at the barrier" not in line:
        pass
    assert line, "the factory ended before the barrier"
    return memory_of(process.pid)


def go_on(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.write(b"go on\n")
    process.stdin.flush()


@pytest.mark.slow
@pytest.mark.requirement("OEM-9")
@needs_memory
def test_no_secret_is_in_the_factorys_memory(kit: FactoryKit) -> None:
    """The planted control is found in each spelling; of the secrets none is in any."""
    assert held_by_a_factory(kit, "as it is") == set()


@pytest.mark.slow
@needs_memory
def test_a_factory_that_opened_seeds_itself_would_be_caught(kit: FactoryKit) -> None:
    """The search finds what it is for: nothing else about the program is different."""
    assert "a seed: octets" in held_by_a_factory(kit, "careless")


@pytest.mark.slow
@needs_memory
@pytest.mark.parametrize(("how", "caught"), [("as it is", False), ("careless", True)])
def test_nor_is_one_of_a_batch_in_cms(kit: FactoryKit, how: str, caught: bool) -> None:
    """The second format is opened in workers, too; there its lines have the seeds in hex."""
    held = held_by_a_factory(kit, how, cms=True)
    assert bool(held) == caught
    assert ("a seed: octets" in held) == caught


@pytest.mark.slow
@needs_memory
def test_nor_is_one_where_there_is_a_vault(tmp_path: Path) -> None:
    """Sealed at intake, opened to derive, to check, for another secret: never in this process."""
    kit = vault.founded(tmp_path)
    assert held_by_a_factory(kit, "as it is", with_vault=True) == set()
    assert (tmp_path / "secret").stat().st_size > 1120


@pytest.mark.slow
@needs_memory
def test_no_secret_is_in_its_memory_when_samples_differ(kit: FactoryKit) -> None:
    """Workers try every seed of a chunk; what comes back to this process is causes."""
    assert held_by_a_factory(kit, "as it is", with_samples=True) == set()
