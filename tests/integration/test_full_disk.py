"""A disk that fills up in the middle of the factory's work, wherever that is.

The store lies on a file system of its own, with so much room and no more. The command ends with 3;
with more room the same command ends well, and what comes out has the octets of an undisturbed run.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from oem_backend.factory.ledger.file import open_ledger
from tests.kit import factory
from tests.kit.factory import FactoryKit
from tests.kit.programs import require_program

PROGRAM = "import sys; from oem_backend.cli import main; sys.exit(main())"
CHIPS = factory.chips(400)
KIB = 1024
# In a mount namespace of its own, where it may mount: the store, with little room, then with much.
SCRIPT = """
set -eu
room=$1 size=$2 kept=$3
shift 3
mount -t tmpfs -o "size=$size" tmpfs "$room"
cp -a "$kept/." "$room/"
status=0
"$@" >/dev/null 2>"$room.err" || status=$?
mount -o remount,size=64m "$room"
"$@" >/dev/null
rm -rf "$kept"
cp -a "$room" "$kept"
echo "$status"
"""


@pytest.fixture
def namespace(tmp_path: Path) -> list[str]:
    """A command that runs another where it may mount file systems that nobody else sees."""
    unshare = require_program("unshare", "util-linux")
    command = [unshare, "--map-root-user", "--mount"]
    folder = tmp_path / "probe"
    folder.mkdir()
    probe = [*command, "mount", "-t", "tmpfs", "tmpfs", str(folder)]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("this machine allows no mount namespaces")
    return command


def _room_of(folder: Path) -> int:
    """What a copy of *folder* takes, in octets of whole pages."""
    return sum(
        -(-path.stat().st_size // 4096) * 4096 if path.is_file() else 0
        for path in folder.rglob("*")
    )


def _founded(folder: Path) -> tuple[FactoryKit, Path, Path]:
    """A factory whose settings have the store elsewhere; a batch and a build list."""
    kit = factory.found(folder)
    batch, _ = kit.batch(CHIPS, records_a_chunk=200)
    built = kit.build_list(factory.serials(CHIPS))
    return kit, batch, built


def _interrupted(
    kit: FactoryKit, namespace: list[str], spare: int, command: list[str]
) -> tuple[int, str]:
    """Run *command* with *spare* octets of room in the store, then again with enough.

    Returns:
        The first run's exit status, and what it said.
    """
    kept, room = kit.folder / "kept", kit.folder / "room"
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(kit.store, kept)
    room.mkdir(exist_ok=True)
    settings = kit.settings.with_name("room.toml")
    settings.write_text(
        kit.settings.read_text().replace("[factory]", '[factory]\nstore = "room"', 1)
    )
    done = subprocess.run(
        [
            *(*namespace, "/bin/sh", "-c", SCRIPT, "sh", str(room), str(_room_of(kept) + spare)),
            *(str(kept), sys.executable, "-c", PROGRAM, *command, "-s", str(settings)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout), Path(f"{room}.err").read_text()


@pytest.mark.slow
def test_intake_is_done_once_there_is_room(tmp_path: Path, namespace: list[str]) -> None:
    kit, batch, _ = _founded(tmp_path)
    with kit.ledger() as ledger:
        assert ledger.batches.find(bytes(32)) is None
    ends = []
    for spare in (0, 8 * KIB, 40 * KIB, 80 * KIB, 4096 * KIB):
        status, said = _interrupted(kit, namespace, spare, ["factory", "intake", str(batch)])
        ends.append(status)
        assert "Traceback" not in said
        with open_ledger(kit.folder / "kept" / "ledger.db") as ledger:
            summary = ledger.summary()
        assert summary["chips"] == len(CHIPS)
        assert len(list((kit.folder / "kept" / "batches").iterdir())) == 1
    assert (ends[0], ends[-1]) == (3, 0)
    assert set(ends) == {0, 3}


@pytest.mark.slow
def test_bundles_are_made_once_there_is_room(tmp_path: Path, namespace: list[str]) -> None:
    kit, batch, built = _founded(tmp_path)
    kit.take(batch)
    kit.make(built, "undisturbed")
    whole = (tmp_path / "undisturbed").read_bytes()
    shutil.rmtree(kit.store)
    kit.take(batch)
    ends = []
    for spare in (0, 40 * KIB, 200 * KIB, 400 * KIB, 600 * KIB, 800 * KIB, 8192 * KIB):
        out = tmp_path / "out"
        out.unlink(missing_ok=True)
        command = ["factory", "make", str(built), "-o", str(out)]
        status, said = _interrupted(kit, namespace, spare, command)
        ends.append(status)
        assert "Traceback" not in said
        assert out.read_bytes() == whole
    assert (ends[0], ends[-1]) == (3, 0)
    assert set(ends) == {0, 3}
