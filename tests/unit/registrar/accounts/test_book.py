"""The file of accounts: who may read it, and what becomes of a change."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from brski.errors import FileUnusable, KeyUnusable, StateError
from registrar_plugin.accounts.book import AccountBook, read_accounts, write_accounts
from tests.kit.accounts import Seconds, account, written

ONE, TWO = account("one"), account("two")


@pytest.fixture
def clock() -> Seconds:
    return Seconds()


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """In its order; none but the owner may read it; an empty file is nobody."""
    path = written(tmp_path, TWO, ONE)
    assert list(read_accounts(path).values()) == [TWO, ONE]
    assert path.stat().st_mode & 0o777 == 0o600
    write_accounts(path, [])
    assert read_accounts(path) == {}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path)
    path.chmod(mode)
    with pytest.raises(KeyUnusable, match=f"{mode:04o}"):
        read_accounts(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{ONE}\n{ONE}\n".encode(), "line 2: a second account one"),
        (f"{ONE}\n\n{TWO}\n".encode(), "line 2"),
        (f"{ONE}\nsecret\n".encode(), "line 2"),
        (f"{ONE}\r\n".encode(), "line 1"),
        (b"\xff", "UTF-8"),
    ],
)
def test_a_fault_is_told_by_its_line(tmp_path: Path, text: bytes, said: str) -> None:
    """And the line itself is not."""
    path = written(tmp_path)
    path.write_bytes(text)
    with pytest.raises(StateError, match=said) as caught:
        read_accounts(path)
    assert "secret" not in str(caught.value)
    assert "$" not in str(caught.value)


def test_no_file_is_no_book(tmp_path: Path, clock: Seconds) -> None:
    with pytest.raises(FileUnusable):
        AccountBook(tmp_path / "accounts", clock=clock)


async def test_a_change_is_seen_within_a_second(tmp_path: Path, clock: Seconds) -> None:
    """Or at once for who asks for it; in between the file is not looked at."""
    path = written(tmp_path, ONE)
    book = AccountBook(path, clock=clock)
    written(tmp_path, ONE, TWO)
    clock.now = 0.9
    assert list(await book.accounts()) == ["one"]
    assert list(await book.accounts(now=True)) == ["one", "two"]
    written(tmp_path, TWO)
    clock.now = 2.0
    assert list(await book.accounts()) == ["two"]


async def test_a_file_as_long_as_before_is_read_anew(tmp_path: Path, clock: Seconds) -> None:
    """Whatever its time says: a rewritten file is another one."""
    path = written(tmp_path, ONE)
    at = path.stat()
    book = AccountBook(path, clock=clock)
    written(tmp_path, TWO)
    os.utime(path, ns=(at.st_atime_ns, at.st_mtime_ns))
    assert list(await book.accounts(now=True)) == ["two"]


async def test_a_file_that_is_broken_lets_nobody_in(tmp_path: Path, clock: Seconds) -> None:
    """Not by what it said before either; mended, it counts again."""
    path = written(tmp_path, ONE)
    book = AccountBook(path, clock=clock)
    for break_it in (
        lambda: path.write_bytes(b"one\n"),
        lambda: path.chmod(0o644),
        path.unlink,
    ):
        break_it()
        with pytest.raises(StateError, match="cannot be used"):
            await book.accounts(now=True)
        with pytest.raises(StateError):
            await book.accounts()
        with pytest.raises(StateError):
            await book.check()
        written(tmp_path, ONE)
        assert await book.accounts(now=True) == {"one": ONE}
        await book.check()
