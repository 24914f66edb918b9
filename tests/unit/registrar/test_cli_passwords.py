"""brski-registrar est-password, as an operator and a script have it."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from brski.edge.only_one import only_one
from registrar_plugin.accounts.book import read_accounts
from registrar_plugin.cli import main
from tests.kit.accounts import account, written

SECRET = "battery staple"
MAIN = "from registrar_plugin.cli import main; raise SystemExit(main())"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "accounts"


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{SECRET}\nmore\n"))


def run(*said: str, file: Path) -> int:
    return main(["est-password", *said, "--file", str(file)])


@pytest.mark.usefixtures("typed")
def test_an_account_is_made(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the first line of standard input, with a salt of its own, in a file for its owner."""
    assert run("set", "gateway", "--dns", "gw.example.com", file=file) == 0
    assert capsys.readouterr().out == "gateway: made (CN=gateway, gw.example.com)\n"
    (made,) = read_accounts(file).values()
    assert made.password.fits(SECRET)
    assert not made.password.fits("more")
    assert file.stat().st_mode & 0o777 == 0o600
    assert SECRET not in file.read_text()


def test_a_salt_is_of_one_password_alone(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two accounts with one password are not alike."""
    for name in ("a", "b"):
        monkeypatch.setattr(sys, "stdin", io.StringIO(SECRET))
        assert run("set", name, file=file) == 0
    one, other = read_accounts(file).values()
    assert one.password.salt != other.password.salt


@pytest.mark.usefixtures("typed")
def test_an_account_keeps_its_names(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another password, the same names, the same place; others stay as they are."""
    named = account(dns_names=("gw.example.com",), subject_text="CN=Gateway 7")
    written(tmp_path, account("first"), named, account("last"))
    before = read_accounts(file)
    assert run("set", "gateway", "--json", file=file) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["done"], said["subject"]) == ("changed", "CN=Gateway 7")
    after = read_accounts(file)
    assert list(after) == ["first", "gateway", "last"]
    assert (after["first"], after["last"]) == (before["first"], before["last"])
    assert after["gateway"].dns_names == ("gw.example.com",)
    assert after["gateway"].password.fits(SECRET)


@pytest.mark.usefixtures("typed")
def test_an_account_is_for_labels(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As many as are said."""
    assert run("set", "gateway", "--label", "/", "--label", "ra", file=file) == 0
    assert capsys.readouterr().out == "gateway: made (CN=gateway, [/ ra])\n"
    assert read_accounts(file)["gateway"].labels == ("/", "ra")


@pytest.mark.usefixtures("typed")
def test_labels_are_taken_away(file: Path, tmp_path: Path) -> None:
    """By an empty one: it is for all again."""
    written(tmp_path, account(labels=("ra",)))
    assert run("set", "gateway", "--label", "", file=file) == 0
    assert read_accounts(file)["gateway"].labels == ()


@pytest.mark.usefixtures("typed")
def test_names_are_taken_away(file: Path, tmp_path: Path) -> None:
    """By an empty one."""
    written(tmp_path, account(dns_names=("gw.example.com",), subject_text="CN=Gateway 7"))
    assert run("set", "gateway", "--dns", "", "--subject", "", file=file) == 0
    changed = read_accounts(file)["gateway"]
    assert (changed.dns_names, changed.subject_text) == ((), "")


@pytest.mark.parametrize(
    "said",
    [
        ("a:b",),
        ("ä",),
        ("gateway", "--dns", "localhost"),
        ("gateway", "--subject", "serial"),
        ("gateway", "--subject", "2.5.4.5=SN-1"),
    ],
)
@pytest.mark.usefixtures("typed")
def test_what_cannot_be_changes_nothing(
    file: Path, tmp_path: Path, said: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    before = written(tmp_path).read_bytes()
    assert run("set", *said, file=file) == 2
    assert file.read_bytes() == before
    assert SECRET not in capsys.readouterr().err


@pytest.mark.parametrize("password", ["", "short", "x" * 257, "tab\tin it here"])
def test_a_password_that_is_none_is_refused(
    file: Path,
    password: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And not repeated."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(password + "\n"))
    assert run("set", "gateway", file=file) == 2
    assert not file.exists()
    err = capsys.readouterr().err
    assert not password or password not in err


def test_accounts_are_listed_and_removed(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing of a hash is shown."""
    written(tmp_path, account(dns_names=("gw.example.com",)), account("other"))
    assert run("list", file=file) == 0
    out = capsys.readouterr().out
    assert [line.split() for line in out.splitlines()] == [
        ["gateway", "CN=gateway", "gw.example.com"],
        ["other", "CN=other"],
    ]
    assert run("list", "--json", file=file) == 0
    document = capsys.readouterr().out
    assert [each["name"] for each in json.loads(document)["accounts"]] == ["gateway", "other"]
    assert "scrypt" not in document
    assert run("remove", "gateway", file=file) == 0
    assert list(read_accounts(file)) == ["other"]
    assert run("remove", "gateway", file=file) == 2
    assert list(read_accounts(file)) == ["other"]


def test_a_file_that_others_may_read_is_refused(file: Path, tmp_path: Path) -> None:
    written(tmp_path).chmod(0o644)
    for said in (("list",), ("remove", "gateway")):
        assert run(*said, file=file) == 2


def test_two_commands_do_not_lose_each_others_work(file: Path, tmp_path: Path) -> None:
    """The second is told to come again."""
    before = written(tmp_path).read_bytes()
    with only_one(tmp_path / ".accounts.lock", what="edits these accounts"):
        assert run("remove", "gateway", file=file) == 2
    assert file.read_bytes() == before


@pytest.mark.parametrize(("again", "code"), [(SECRET, 0), ("battery stable", 2)])
def test_a_person_types_it_twice_and_sees_it_never(file: Path, again: str, code: int) -> None:
    """On a terminal: not on the command line, not echoed."""
    near, far = pty.openpty()
    program = subprocess.Popen(
        [sys.executable, "-c", MAIN, "est-password", "set", "gateway", "-f", file],
        stdin=far,
        stdout=far,
        stderr=far,
        start_new_session=True,
    )
    os.close(far)
    seen = b""
    for question, answer in ((b"Password: ", SECRET), (b"Once more: ", again)):
        while not seen.endswith(question):
            seen += os.read(near, 1024)
        os.write(near, answer.encode() + b"\n")
    while True:
        try:
            got = os.read(near, 1024)
        except OSError:  # the far side is closed
            break
        if not got:
            break
        seen += got
    assert program.wait(30) == code
    os.close(near)
    assert SECRET.encode() not in seen
    assert file.exists() is (code == 0)
