"""Files are there whole or not at all."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from brski.edge.atomic_file import (
    open_atomically,
    open_input,
    read_file,
    remove_leftovers,
    write_atomically,
)
from brski.errors import FileUnusable, StateError, Unavailable


def test_written_file_has_its_content_and_exactly_its_mode(tmp_path: Path) -> None:
    """The umask has no say in the mode, neither more nor less than asked."""
    path = tmp_path / "key.pem"
    before = os.umask(0o777)
    try:
        write_atomically(path, b"content", mode=0o640)
    finally:
        os.umask(before)
    assert path.read_bytes() == b"content"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_mode_is_private_unless_told(tmp_path: Path) -> None:
    """A forgotten argument does not publish a secret."""
    write_atomically(tmp_path / "a", b"")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600


def test_replacing_keeps_the_old_file_until_the_new_one_is_whole(tmp_path: Path) -> None:
    """A reader inside the block still sees the former content; after it, the new."""
    path = tmp_path / "state"
    write_atomically(path, b"old")
    with open_atomically(path) as stream:
        stream.write(b"new")
        stream.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["state"]


def test_block_that_raises_changes_nothing(tmp_path: Path) -> None:
    """A half-made file never takes its place and leaves nothing beside it."""
    path = tmp_path / "state"
    write_atomically(path, b"old")
    with pytest.raises(ZeroDivisionError), open_atomically(path) as stream:  # noqa: PT012 - the block is what is tested
        stream.write(b"half")
        raise ZeroDivisionError
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["state"]


def test_existing_file_is_refused_where_it_may_not_be_replaced(tmp_path: Path) -> None:
    """A key file is written once; the second writer is told, the first one's octets stay."""
    path = tmp_path / "key"
    write_atomically(path, b"first", may_replace=False)
    with pytest.raises(StateError, match="exists"):
        write_atomically(path, b"second", may_replace=False)
    assert path.read_bytes() == b"first"
    assert [p.name for p in tmp_path.iterdir()] == ["key"]


def test_missing_folder_is_our_fault(tmp_path: Path) -> None:
    """The message names the file and what the system said."""
    with pytest.raises(FileUnusable, match="No such file") as caught:
        write_atomically(tmp_path / "none" / "f", b"")
    assert str(tmp_path / "none" / "f") in caught.value.reason


def test_folder_in_the_place_is_our_fault(tmp_path: Path) -> None:
    """A folder is not replaced by a file."""
    (tmp_path / "f").mkdir()
    with pytest.raises(FileUnusable):
        write_atomically(tmp_path / "f", b"")
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_full_disk_may_pass_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ENOSPC at the flush is Unavailable; the former content stays."""
    path = tmp_path / "state"
    write_atomically(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(Unavailable, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["state"]


def test_error_about_another_file_in_the_block_stays_what_it_is(tmp_path: Path) -> None:
    """The block's own failing read is not blamed on the file being written."""
    with pytest.raises(FileNotFoundError), open_atomically(tmp_path / "state"):
        (tmp_path / "source").read_bytes()
    assert list(tmp_path.iterdir()) == []


def test_folder_is_flushed_after_the_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Content first, then the name: else a power failure could leave an empty file."""
    synced: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        synced.append(kind + (" named" if (tmp_path / "state").exists() else " unnamed"))
        real(descriptor)

    monkeypatch.setattr("os.fsync", fsync)
    write_atomically(tmp_path / "state", b"x")
    assert synced == ["file unnamed", "folder named"]


def test_killed_writer_leaves_the_old_file_and_a_draft_that_is_removed(tmp_path: Path) -> None:
    """SIGKILL inside the block: the file is the old one, the draft is known for what it is."""
    path = tmp_path / "state"
    write_atomically(path, b"old")
    (tmp_path / ".other.tmp").write_bytes(b"not ours")
    program = (
        "import os, sys, signal, pathlib\n"
        "from brski.edge.atomic_file import open_atomically\n"
        "with open_atomically(pathlib.Path(sys.argv[1])) as stream:\n"
        "    stream.write(b'half'); stream.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert ended.returncode == -9
    assert path.read_bytes() == b"old"
    assert remove_leftovers(tmp_path) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == [".other.tmp", "state"]


def test_reading_more_than_the_limit_is_refused(tmp_path: Path) -> None:
    """Exactly the limit is read; one octet more is not."""
    (tmp_path / "f").write_bytes(b"x" * 11)
    assert read_file(tmp_path / "f", max_octets=11) == b"x" * 11
    with pytest.raises(FileUnusable, match="longer than 10"):
        read_file(tmp_path / "f", max_octets=10)


def test_reading_a_missing_file_is_our_fault(tmp_path: Path) -> None:
    """Not an OSError: the caller's table knows LocalError."""
    with pytest.raises(FileUnusable, match="cannot be read"):
        read_file(tmp_path / "none")


def test_input_is_a_regular_file(tmp_path: Path) -> None:
    """Opened without waiting for anybody; what has no end is refused."""
    good, pipe = tmp_path / "good", tmp_path / "pipe"
    good.write_bytes(b"content")
    os.mkfifo(pipe)
    (tmp_path / "link").symlink_to(good)
    for path in (good, tmp_path / "link"):
        with open_input(path) as stream:
            assert stream.read() == b"content"
    for path in (pipe, tmp_path, Path("/dev/zero")):
        with pytest.raises(FileUnusable, match="is no regular file"):
            open_input(path)
    with pytest.raises(FileUnusable, match="No such file"):
        open_input(tmp_path / "none")
