"""Files that are not what they say, given to the programs: refused whole, and nothing is written.

Every kind of file that comes in from outside (seed batch in both formats, build list, bundle), bent
in every way, through the commands that take it. What a refusal says is tested beside each format.
"""

from __future__ import annotations

import hashlib
import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oem_backend.cli import main
from oem_backend.factory.intake import take_in
from oem_backend.factory.ledger.file import open_ledger
from oem_backend.factory.line import make_bundles
from tests.kit import factory
from tests.kit.factory import FactoryKit

KINDS = ("cose", "cms", "build list", "bundle")
MEASURED = """
import resource, sys
from oem_backend.cli import main
status = main(sys.argv[1:])
print(status, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
LIMITED = """
import resource, sys
from oem_backend.cli import main
octets = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (octets, octets))
sys.exit(main(sys.argv[2:]))
"""
TEN_GB = 10 * 10**9


@dataclass(frozen=True, kw_only=True)
class Room:
    """A factory and a database with some history, and a good file of each kind to come."""

    kit: FactoryKit
    good: dict[str, bytes]

    def command(self, kind: str, path: Path) -> list[str]:
        folder = self.kit.folder
        if kind == "bundle":
            return ["database", "load", str(path), "-s", str(folder / "oem.toml")]
        if kind == "build list":
            made = ["factory", "make", str(path), "-o", str(folder / "given.out")]
            return [*made, "-s", str(self.kit.settings)]
        return ["factory", "intake", str(path), "-s", str(self.kit.settings)]

    def give(self, kind: str, octets: bytes) -> int:
        path = self.kit.folder / "given"
        path.write_bytes(octets)
        return main(self.command(kind, path))

    def books(self) -> dict[str, str]:
        """Everything that a command could have written, but for the file that was given."""
        found = {}
        for path in sorted(self.kit.folder.rglob("*")):
            if path.name in {"given", ".lock"} or path.suffix in {".db-shm", ".db-wal"}:
                continue
            if path.suffix == ".db":
                with closing(sqlite3.connect(path)) as db:
                    found[str(path)] = "\n".join(db.iterdump())
            else:
                octets = path.read_bytes() if path.is_file() else b"folder"
                found[str(path)] = hashlib.sha256(octets).hexdigest()
        return found


def make_room(folder: Path) -> Room:
    kit = factory.found(folder)
    kit.accept_cms()
    chips = factory.chips(4)
    first, minted = kit.batch(chips, "first")
    kit.take(first)
    kit.make(kit.build_list(factory.serials(chips[:2]), "built"), "bundle")
    (folder / "oem.toml").write_text(
        '[database]\n[[database.factory]]\nname = "factory-1"\nkey = "bundle.pub"\n'
    )
    assert main(["database", "load", str(folder / "bundle"), "-s", str(folder / "oem.toml")]) == 0
    return Room(kit=kit, good=dict(_good_files(kit, minted.digest)))


def _good_files(kit: FactoryKit, first: bytes) -> Iterator[tuple[str, bytes]]:
    more = factory.chips(3, start=10)
    second, _ = kit.batch(more, "second", records_a_chunk=2, sequence=2, predecessor=first)
    yield "cose", second.read_bytes()
    third, _ = kit.cms_batch(more, "third", records_a_chunk=2, sequence=2, predecessor=first)
    yield "cms", third.read_bytes()
    later = factory.serials(factory.chips(2, start=2))
    yield "build list", kit.build_list(later, "built-2", generation=10).read_bytes()
    yield "bundle", _another_bundle(kit, later)


def _another_bundle(kit: FactoryKit, built: list[tuple[bytes, str]]) -> bytes:
    """What the same factory would make of two other chips, in a store of its own."""
    elsewhere = replace(kit.line, store=kit.folder / "elsewhere")
    (kit.folder / "elsewhere").mkdir()
    with open_ledger(kit.folder / "elsewhere" / "ledger.db") as ledger:
        take_in(
            kit.folder / "first",
            vendors=elsewhere.vendors,
            keys=elsewhere.keys,
            store=elsewhere.store,
            ledger=ledger,
            executor=factory.InProcess(),
        )
        make_bundles(
            elsewhere,
            kit.build_list(built, "built-elsewhere", generation=10),
            kit.folder / "bundle-elsewhere",
            ledger=ledger,
            executor=factory.InProcess(),
        )
    return (kit.folder / "bundle-elsewhere").read_bytes()


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Room:
    return make_room(tmp_path_factory.mktemp("room"))


def refused(room: Room, kind: str, octets: bytes, capsys: pytest.CaptureFixture[str]) -> str:
    """Give *octets*: refused in a line, without a traceback, and the books are as they were."""
    before = room.books()
    status = room.give(kind, octets)
    said = capsys.readouterr()
    assert status == 1, said.err
    assert said.out == ""
    first, *hints = said.err.splitlines()
    assert first.startswith("brski-oem: error: ")
    assert all(line.startswith("hint: ") for line in hints)
    assert room.books() == before
    return first


@pytest.mark.parametrize("kind", KINDS)
def test_a_good_file_is_taken(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is bent below is good as it stands; and given twice it is nothing new."""
    room = make_room(tmp_path)
    assert room.give(kind, room.good[kind]) == 0, capsys.readouterr().err
    before = room.books()
    assert room.give(kind, room.good[kind]) == 0
    assert room.books() == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_file_writes_nothing(
    room: Room, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """At some offsets through the programs; at every one, beside each format."""
    good = room.good[kind]
    for end in (0, 1, 19, 20, 21, len(good) // 3, len(good) // 2, len(good) - 1):
        refused(room, kind, good[:end], capsys)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("start", [b"\xef\xbb\xbf", b"\r\n", b"\n", b"\x00", b"\xff\xfe"], ids=repr)
def test_something_before_it_writes_nothing(
    room: Room, kind: str, start: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    """Such as a byte order mark that some program has put there."""
    refused(room, kind, start + room.good[kind], capsys)


@pytest.mark.parametrize("kind", KINDS)
def test_translated_line_ends_write_nothing(
    room: Room, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every LF octet made CR LF, as a transfer in text mode does it."""
    good = room.good[kind]
    assert b"\n" in good
    refused(room, kind, good.replace(b"\n", b"\r\n"), capsys)


@pytest.mark.parametrize("kind", KINDS)
def test_something_behind_it_writes_nothing(
    room: Room, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for more in (b"\x00", b"\n", room.good[kind]):
        refused(room, kind, room.good[kind] + more, capsys)


@pytest.mark.parametrize("kind", KINDS)
def test_one_kind_is_none_of_the_others(
    room: Room, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """But for the two formats of a seed batch, which one command takes."""
    for other in KINDS:
        if other != kind and {kind, other} != {"cose", "cms"}:
            refused(room, kind, room.good[other], capsys)


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit_writes_nothing(
    room: Room, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    @settings(max_examples=25)
    @given(st.data())
    def flip(data: st.DataObject) -> None:
        bent = bytearray(room.good[kind])
        position = data.draw(st.integers(0, len(bent) - 1))
        bent[position] ^= 1 << data.draw(st.integers(0, 7))
        refused(room, kind, bytes(bent), capsys)

    flip()


@pytest.mark.parametrize("kind", KINDS)
def test_nonsense_writes_nothing(room: Room, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    numbers = random.Random(kind)
    for length in (1, 100, 100_000):
        refused(room, kind, numbers.randbytes(length), capsys)
        refused(room, kind, room.good[kind][:25] + numbers.randbytes(length), capsys)


# -- what has no end, or a very far one


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", ["pipe", "device", "folder", "missing"])
def test_what_is_no_file_is_misuse_and_nobody_waits(
    room: Room, kind: str, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pipe or a device has no end that could be looked at before anything is done."""
    before = room.books()
    path = room.kit.folder / "given"
    path.unlink(missing_ok=True)
    if what == "pipe":
        os.mkfifo(path)
    given = {"device": Path("/dev/zero"), "folder": room.kit.folder}.get(what, path)
    assert main(room.command(kind, given)) == 2
    said = capsys.readouterr().err
    assert "is no regular file" in said or "No such file" in said
    assert "bug" not in said
    path.unlink(missing_ok=True)
    assert room.books() == before


def _measured(room: Room, kind: str) -> tuple[int, int]:
    """Exit status and peak memory in kB of a process that is given the file."""
    command = room.command(kind, room.kit.folder / "given")
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *command], capture_output=True, text=True, check=False
    )
    status, peak = done.stdout.split()[-2:]
    return int(status), int(peak)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("start", ["nothing", "label", "manifest"])
def test_ten_gigabytes_of_nonsense_cost_no_memory(room: Room, kind: str, start: str) -> None:
    """All zero, after a sound label, and after a sound manifest: one chunk's room at the most."""
    good = room.good[kind]
    path = room.kit.folder / "given"
    path.write_bytes(good[:10])
    status, usual = _measured(room, kind)
    assert status == 1
    begun = {"nothing": 0, "label": 22, "manifest": len(good) - 400}[start]
    path.write_bytes(good[:begun])
    os.truncate(path, TEN_GB)
    status, peak = _measured(room, kind)
    path.unlink()
    assert status == 1
    assert peak < usual + 40_000


# -- a disk that is full, two at once


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_writes_nothing_and_another_try_succeeds(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """No file may grow beyond a few octets: exit 3; with room again, the same command ends well."""
    room = make_room(tmp_path)
    path = room.kit.folder / "given"
    path.write_bytes(room.good[kind])
    before = room.books()
    for octets in (1, 1000, 5000):
        done = subprocess.run(
            [sys.executable, "-c", LIMITED, str(octets), *room.command(kind, path)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "TMPDIR": str(tmp_path)},
        )
        assert done.returncode == 3, (octets, done.stderr)
        assert "Traceback" not in done.stderr
        after = room.books()
        assert {name: after.get(name) for name in before} == before
    assert main(room.command(kind, path)) == 0


@pytest.mark.parametrize("kind", ["cose", "cms"])
def test_two_operators_on_one_batch_enter_it_once(tmp_path: Path, kind: str) -> None:
    """The second is told to try again, or finds it done; every chip is there once."""
    room = make_room(tmp_path)
    path = room.kit.folder / "given"
    path.write_bytes(room.good[kind])
    running = [
        subprocess.Popen(
            [sys.executable, "-c", "import sys; from oem_backend.cli import main; sys.exit(main())",
             *room.command(kind, path)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(3)
    ]  # fmt: skip
    ended = sorted(process.wait(120) for process in running)
    assert ended[0] == 0
    assert set(ended) <= {0, 3}
    assert main(room.command(kind, path)) == 0
    assert room.kit.summary()["chips"] == 7
