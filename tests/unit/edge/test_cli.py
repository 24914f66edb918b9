"""How a console program ends and what it says then."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import typer

from brski.edge.cli import (
    FactsFormatter,
    configure_logging,
    exit_code,
    print_json,
    print_json_line,
    run,
)
from brski.errors import (
    DeviceUnknown,
    NonceMismatch,
    OnboardingError,
    SettingsError,
    SignatureInvalid,
    Unavailable,
)
from brski.voucher.model import Assertion


def _program(command: Callable[..., object]) -> typer.Typer:
    app = typer.Typer()
    app.command()(command)
    return app


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NonceMismatch("nonces differ"), 1),
        (DeviceUnknown("no record"), 1),
        (SettingsError("bad key"), 2),
        (Unavailable("database locked"), 3),
    ],
)
def test_exit_code_says_whose_doing_it_was(
    error: OnboardingError, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """1 the peer or policy, 2 us, 3 try again; the reason alone on stderr."""

    def command() -> None:
        raise error

    assert exit_code(error) == code
    assert run(_program(command), [], "brski-x") == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"brski-x: error: {error.reason}\n"


def test_hint_and_section_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    """A person learns the rule and what to try."""

    def command() -> None:
        raise SignatureInvalid("no", section="RFC 5652 §5.6", hint="look at the key")

    assert run(_program(command), [], "pledge") == 1
    assert capsys.readouterr().err == "pledge: error: no (RFC 5652 §5.6)\nhint: look at the key\n"


def test_success_is_zero_and_a_number_is_itself() -> None:
    """A command that returns nothing is done; an int is its own exit code."""
    assert run(_program(lambda: None), [], "x") == 0
    assert run(_program(lambda: 3), [], "x") == 3
    assert run(_program(lambda: "text"), [], "x") == 0


def test_exit_raised_inside_a_command_is_kept() -> None:
    """typer.Exit carries its code."""

    def command() -> None:
        raise typer.Exit(3)

    assert run(_program(command), [], "x") == 3


@pytest.mark.parametrize("arguments", [["--nonsense"], ["--number", "x"], ["surplus"]])
def test_wrong_command_line_is_misuse(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """One line and where help is, in the shape of every other error."""

    def command(number: int = 1) -> None:
        raise AssertionError

    assert run(_program(command), arguments, "x") == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("x: error: ")
    assert lines[1] == "hint: x --help"


def test_help_is_a_result(capsys: pytest.CaptureFixture[str]) -> None:
    """--help goes to stdout and ends with 0."""
    assert run(_program(lambda: None), ["--help"], "x") == 0
    out, err = capsys.readouterr()
    assert "Usage: x" in out
    assert err == ""


def test_unforeseen_error_is_one_line_that_says_it_is_a_bug(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """No traceback on the terminal; the debug log has it."""

    def command() -> None:
        raise KeyError("missing")

    caplog.set_level(logging.DEBUG, "brski.edge.cli")
    assert run(_program(command), [], "x") == 2
    assert capsys.readouterr().err == (
        "x: error: internal error, this is a bug: KeyError: 'missing'\nhint: --debug shows where\n"
    )
    assert caplog.records[0].exc_info


@pytest.mark.parametrize(
    ("number", "status"), [(errno.ENOSPC, 3), (errno.EFBIG, 3), (errno.EIO, 3), (errno.EACCES, 2)]
)
def test_a_disk_that_may_have_room_again_is_to_be_tried_again(number: int, status: int) -> None:
    """Wherever in a command it was met."""

    def command() -> None:
        raise OSError(number, os.strerror(number))

    assert run(_program(command), [], "x") == status


def test_system_error_is_told_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    """A path on the command line that is not there."""

    def command() -> None:
        Path("/nonexistent/file").read_bytes()

    assert run(_program(command), [], "x") == 2
    assert "No such file or directory: '/nonexistent/file'" in capsys.readouterr().err


def test_interrupt_has_its_own_code(capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C is neither a refusal nor a fault."""

    def command() -> None:
        raise KeyboardInterrupt

    assert run(_program(command), [], "x") == 130
    assert capsys.readouterr().err.count("\n") <= 2


def test_reader_of_stdout_that_leaves_is_no_error() -> None:
    """``program | head -1`` prints no complaint."""
    program = (
        "import sys, typer\n"
        "from brski.edge.cli import run\n"
        "app = typer.Typer()\n"
        "@app.command()\n"
        "def main():\n"
        "    for _ in range(100000): print('x' * 100)\n"
        "sys.exit(run(app, [], 'x'))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.readline()
        child.stdout.close()
        assert child.stderr.read() == b""
        assert child.wait(timeout=20) == 141


def test_what_a_peer_says_cannot_drive_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Escape sequences in a reason are shown, not obeyed."""

    def command() -> None:
        raise DeviceUnknown("serial \x1b[2J\r\u202e")

    run(_program(command), [], "x")
    assert capsys.readouterr().err == "x: error: serial \\x1b[2J\\r\\u202e\n"


def test_json_document_has_one_form_for_our_values(capsys: pytest.CaptureFixture[str]) -> None:
    """Octets as hex, times as RFC 3339 in UTC, paths and enumerations as text."""
    at = datetime(2030, 1, 2, 5, 4, 5, tzinfo=timezone(timedelta(hours=2)))
    document = {
        "at": at,
        "path": Path("/a"),
        "octets": b"\x01\xff",
        "assertion": Assertion.PROXIMITY,
        "set": {2, 1},
        "text": "ü",
    }
    print_json(document)
    assert json.loads(capsys.readouterr().out) == {
        "at": "2030-01-02T03:04:05Z",
        "path": "/a",
        "octets": "01ff",
        "assertion": "proximity",
        "set": [1, 2],
        "text": "ü",
    }
    print_json_line({"event": "listening"})
    assert capsys.readouterr().out == '{"event": "listening"}\n'
    with pytest.raises(TypeError, match="object has no JSON form"):
        print_json(object())


def test_json_is_safe_for_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """A stranger's text moves no cursor, turns no line around, and is what it was to a parser."""
    hostile = "SN\x1b[2J\x7f\x9b31m\u202e\u2028\ud800\U000e0001\r\n"
    document = {hostile: [hostile]}
    for show in (print_json, print_json_line):
        show(document)
        said = capsys.readouterr().out
        assert said.replace("\n", "").isprintable()
        assert json.loads(said) == document


def test_log_line_is_one_line_with_its_facts(capsys: pytest.CaptureFixture[str]) -> None:
    """Fixed text first, facts after; a forged line feed stays inside its fact."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(FactsFormatter("brski-x"))
    record = logging.LogRecord("n", logging.WARNING, "f", 1, "pledge refused", None, None)
    record.serial_number = "A\nbrski-x: info: pledge admitted"
    record.domain_id = b"\x01\x02"
    record.attempt = 2
    handler.emit(record)
    (line,) = stream.getvalue().splitlines()
    assert line.split(" ", 1)[1] == (
        'brski-x: warning: pledge refused serial_number="A\\\\nbrski-x: info: pledge admitted"'
        " domain_id=0102 attempt=2"
    )
    assert datetime.fromisoformat(line.split(" ", 1)[0]).astimezone(UTC).year == record_year(record)


def record_year(record: logging.LogRecord) -> int:
    return datetime.fromtimestamp(record.created, UTC).year


@pytest.mark.parametrize(("debug", "level"), [(False, logging.INFO), (True, logging.DEBUG)])
def test_debug_opens_the_log(debug: bool, level: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Handlers are the application's, and this is what it calls."""
    root = logging.RootLogger(logging.WARNING)
    monkeypatch.setattr(logging, "root", root)
    configure_logging("x", debug=debug)
    assert root.level == level
    assert len(root.handlers) == 1


@pytest.mark.parametrize(("hide", "dumpable"), [(True, "0"), (False, "1")])
def test_process_leaves_no_core_and_hides_its_memory_when_told(hide: bool, dumpable: str) -> None:
    """The limit is zero in any case; the dumpable flag only where asked."""
    program = (
        "import ctypes, resource\n"
        "from brski.edge.cli import harden_process\n"
        f"harden_process(hide_memory={hide})\n"
        "print(resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3))\n"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True
    ).stdout
    assert printed == f"(0, 0) {dumpable}\n"
