"""The vault through the real program: killed at each step, on a terminal, on a full disk."""

from __future__ import annotations

import os
import pty
import resource
import select
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.integration.test_factory_kill import BATCHES, INTAKE, PROGRAM, killed
from tests.kit import factory, vault
from tests.kit.factory import FactoryKit
from tests.kit.kill import Step, command
from tests.kit.vault import opened, told

pytestmark = pytest.mark.slow

KEEPER = "oem_backend.factory.vault.keeper"
DATABASE = "oem_backend.factory.vault.database:VaultDatabase"
INTAKE_STEPS = [
    Step(DATABASE, "enter_chunk", "after"),  # in the middle of the vault's transaction
    Step(DATABASE, "set_head", "after"),
    Step(KEEPER, "write_witness", "before"),  # the vault is durable, the ledger knows nothing
    Step(KEEPER, "write_witness", "after"),
    Step(BATCHES, "take_in", "after"),  # the ledger knows, the batch is still in the store
    Step(INTAKE, "erase_file", "before"),
]
FOUNDING = "oem_backend.factory.vault.founding"
FOUNDING_STEPS = [
    Step(FOUNDING, "encode_founding", "before"),
    Step(FOUNDING, "parse_macs", "after"),  # the worker has made the key
    Step(FOUNDING, "write_witness", "after"),  # of a vault that is not there yet
    Step(DATABASE, "found", "after"),
]
DESTROY_STEPS = [
    Step(DATABASE, "delete_records", "after"),
    Step(DATABASE, "set_head", "after"),
    Step(DATABASE, "purge", "before"),  # the deletion is durable
    Step(KEEPER, "write_witness", "before"),
]


def end_at(kit: FactoryKit, step: Step, *arguments: str | Path) -> None:
    """The program, killed at *step*, which it comes to."""
    done = subprocess.run(
        command(PROGRAM, *arguments, "-s", kit.settings, at=step),
        capture_output=True,
        check=False,
    )
    assert done.returncode == -9, (step, done)


@pytest.mark.parametrize("step", INTAKE_STEPS, ids=["-".join(s[1:]) for s in INTAKE_STEPS])
def test_an_intake_that_was_killed_is_done_by_the_same_command(tmp_path: Path, step: Step) -> None:
    """Each seed is in the vault once, and nowhere else, and the bundle comes out of it."""
    kit = vault.founded(tmp_path)
    records = factory.chips(6)
    batch, _ = kit.batch(records)
    killed(kit, step, "intake", batch)
    assert told(kit, "factory", "intake", batch)["outcome"] in ("taken-in", "already-taken-in")
    report = told(kit, "vault", "check")
    assert (report["records"], report["chunks"], report["unknown_batches"]) == (6, 2, [])
    assert list((kit.store / "batches").iterdir()) == []
    built = kit.build_list(factory.serials(records))
    assert told(kit, "factory", "make", built, "-o", tmp_path / "bundle")["certified"] == 6


@pytest.mark.parametrize("step", FOUNDING_STEPS, ids=["-".join(s[1:]) for s in FOUNDING_STEPS])
def test_a_vault_whose_making_was_killed_is_made_by_the_same_command(
    tmp_path: Path, step: Step
) -> None:
    """A key that was made already is the one that is used."""
    kit = factory.found(tmp_path)
    with kit.settings.open("a") as settings:
        settings.write(vault.FILE_KIND)
    end_at(kit, step, "vault", "init")
    key = tmp_path / "vault.key"
    before = key.read_bytes() if key.exists() else None
    told(kit, "vault", "init")
    assert before in (None, key.read_bytes())
    vault.filled(kit)
    assert told(kit, "vault", "check")["records"] == 6


@pytest.mark.parametrize("step", DESTROY_STEPS, ids=["-".join(s[1:]) for s in DESTROY_STEPS])
def test_a_destruction_that_was_killed_is_whole_or_not_begun(tmp_path: Path, step: Step) -> None:
    """After the next command nothing of a record that is not there is in the files."""
    kit = vault.founded(tmp_path)
    vault.filled(kit)
    with opened(kit) as v:
        chunk = next(iter(v.database.chunks()))
        record = v.database.records(chunk)[1]
    destroy = ("vault", "destroy", "--chip", record.chip_id.hex(), "--reason", "test", "-y")
    end_at(kit, step, *destroy)
    left = told(kit, "vault", "check")["records"]
    assert left == (5 if step.name in ("purge", "write_witness") else 6)
    if left == 6:
        told(kit, *destroy)
    assert told(kit, "vault", "check")["records"] == 5
    files = [path.read_bytes() for path in (tmp_path / "vault").iterdir()]
    assert not any(record.sealed in octets for octets in files)


def test_a_use_that_was_killed_is_on_record(tmp_path: Path) -> None:
    """The log comes first: what may have been seen is in it."""
    kit = vault.founded(tmp_path)
    vault.filled(kit)
    secret = ("secret", "--purpose", "x", "--serial", "SN-0001", "--reason", "seen", "--stdout")
    end_at(kit, Step("oem_backend.factory.secret_cli", "_derive", "before"), *secret)
    assert told(kit, "vault", "check")["log_entries"] == 4


@pytest.mark.parametrize("limit", [4_000, 24_000, 48_000, 64_000])
def test_a_full_disk_loses_nothing(tmp_path: Path, limit: int) -> None:
    """RLIMIT_FSIZE stands for the medium's end, at several places; then there is room again."""
    kit = vault.founded(tmp_path)
    records = factory.chips(300)
    batch, _ = kit.batch(records, records_a_chunk=100)
    done = limited(limit, "factory", "intake", str(batch), "-s", str(kit.settings))
    assert done.returncode in (2, 3), done.stderr
    assert "Traceback" not in done.stderr
    assert "internal error" not in done.stderr
    assert told(kit, "factory", "intake", batch)["records"] == 300
    report = told(kit, "vault", "check")
    assert (report["records"], report["unknown_batches"]) == (300, [])


@pytest.mark.parametrize("limit", [3_000, 30_000, 40_000])
def test_a_full_disk_stops_a_destruction_whole(tmp_path: Path, limit: int) -> None:
    """Before it, or with the cleaning left; never with a record that is half there."""
    kit = vault.founded(tmp_path)
    records = factory.chips(300)
    told(kit, "factory", "intake", kit.batch(records, records_a_chunk=100)[0])
    with opened(kit) as v:
        chunk = next(iter(v.database.chunks()))
        record = v.database.records(chunk)[7]
    destroy = ("vault", "destroy", "--chip", record.chip_id.hex(), "--reason", "test", "-y")
    done = limited(limit, *destroy, "-s", str(kit.settings))
    assert done.returncode in (2, 3), done.stderr
    assert "internal error" not in done.stderr
    left = told(kit, "vault", "check")["records"]
    assert left == (299 if "not clean yet" in done.stderr else 300)
    if left == 300:
        told(kit, *destroy)
    assert told(kit, "vault", "check")["records"] == 299
    files = [path.read_bytes() for path in (tmp_path / "vault").iterdir()]
    assert not any(record.sealed in octets for octets in files)


def limited(octets: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The program, for whom no file can grow beyond so many octets."""
    return subprocess.run(
        command(PROGRAM, *arguments),
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (octets, octets)),
    )


def test_two_operators_at_once(tmp_path: Path) -> None:
    """Two programs: each of their changes is there, in one order, or was told to try again."""
    kit = vault.founded(tmp_path)
    vault.filled(kit)
    command = [sys.executable, "-c", PROGRAM, "vault", "destroy", "--reason", "x", "-y"]
    both = [
        subprocess.Popen(
            [*command, "--serial", f"SN-000{n}", "-s", str(kit.settings)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for n in (1, 2)
    ]
    ends = [each.wait() for each in both]
    assert set(ends) <= {0, 3}
    assert 0 in ends
    assert told(kit, "vault", "check")["records"] == 6 - ends.count(0)


# -- on a terminal


def on_a_terminal(command: list[str], answers: Sequence[str]) -> tuple[int, str]:
    """Run *command* with a terminal of its own, and answer its prompts."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(command[0], command)  # noqa: S606 - the child of the fork above
    said, left = b"", list(answers)
    while True:
        ready, _, _ = select.select([terminal], [], [], 60)
        assert ready, said
        try:
            piece = os.read(terminal, 1024)
        except OSError:
            break
        if not piece:
            break
        said += piece
        if piece.rstrip(b" ").endswith((b"vault:", b"more:")) and left:
            os.write(terminal, left.pop(0).encode() + b"\n")
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said.decode()


WORDS = "correct horse battery staple"


@pytest.fixture
def asking(tmp_path: Path) -> FactoryKit:
    """A factory whose vault has a passphrase, and no file of it."""
    kit = factory.found(tmp_path)
    with kit.settings.open("a") as settings:
        settings.write('\n[factory.vault]\nkind = "passphrase"\n')
    return kit


def test_a_passphrase_is_asked_for_by_the_worker(asking: FactoryKit) -> None:
    """Twice for a new vault, not echoed; once for the log and once for the use later on."""
    command = [sys.executable, "-c", PROGRAM, "vault", "init", "-s", str(asking.settings)]
    code, said = on_a_terminal(command, [WORDS, "other words than those"])
    assert (code, "passphrases differ" in said) == (2, True)
    code, said = on_a_terminal(command, [WORDS, WORDS])
    assert (code, WORDS in said) == (0, False), said
    command[4] = "check"
    assert on_a_terminal(command, [WORDS, WORDS])[0] == 0
    code, said = on_a_terminal(command, ["wrong words, all of them"])
    assert (code, "not that of this vault" in said) == (2, True)


def test_where_there_is_no_terminal_nobody_is_asked(asking: FactoryKit) -> None:
    """Not on standard input either, whatever is there."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "vault", "init", "-s", str(asking.settings)],
        input=f"{WORDS}\n{WORDS}\n",
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
    )
    assert (done.returncode, "no terminal" in done.stderr) == (2, True)


def test_many_workers_ask_nobody(asking: FactoryKit) -> None:
    """Intake and make want a file."""
    code, _, err = vault.oem(asking, "factory", "intake", asking.batch(factory.chips(2))[0])
    assert (code, "passphrase_file" in err) == (2, True)
