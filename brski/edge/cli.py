"""What the console programs share: exit codes, how errors are told, logging, hardening.

Results go to stdout, all else to stderr. A person never sees a traceback; ``--debug`` logs it.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import resource
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Final

import typer
from typer.main import get_command

from brski.edge.atomic_file import may_pass
from brski.errors import LocalError, OnboardingError, Unavailable

DONE: Final = 0
REFUSED: Final = 1  # the peer, its message or policy said no
MISUSE: Final = 2  # our command line, settings, files, or a bug of ours
TRY_AGAIN: Final = 3  # something is silent, locked or full
INTERRUPTED: Final = 130  # 128 + SIGINT, as shells have it
READER_LEFT: Final = 141  # 128 + SIGPIPE, likewise

_PR_SET_DUMPABLE: Final = 4  # prctl(2)

log = logging.getLogger(__name__)


def exit_code(error: OnboardingError) -> int:
    """The process's exit code for an error: 1 refused, 2 ours, 3 may be tried again."""
    match error:
        case LocalError():
            return MISUSE
        case Unavailable():
            return TRY_AGAIN
    return REFUSED


def run(app: typer.Typer, argv: Sequence[str] | None, program: str) -> int:
    """Run a console program and tell how it ended.

    A command returns None (done), an int (its own exit code), or raises.

    Args:
        app: the program's commands.
        argv: the arguments without the program's name; None takes the process's own.
        program: its name, as messages begin with it.

    Returns:
        0 done, 1 refused, 2 misuse, 3 try again, 130 interrupted. Never raises for an error of the
        program; what no one foresaw ends with 2 and a line that says it is a bug.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        result = get_command(app).main(args=arguments, prog_name=program, standalone_mode=False)
        sys.stdout.flush()
    except OnboardingError as err:
        _tell(program, str(err), err.hint)
        log.debug("refused", exc_info=True)
        return exit_code(err)
    except typer.TyperException as err:
        return _tell_misuse(program, err)
    except (KeyboardInterrupt, typer.Abort):
        _tell(program, "interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        return _reader_left()
    except SystemExit as err:  # typer's own answer to EPIPE, or a command's sys.exit
        if isinstance(err.__context__, BrokenPipeError):
            return _reader_left()
        return err.code if isinstance(err.code, int) else MISUSE
    except OSError as err:
        _tell(program, str(err))
        log.debug("system call failed", exc_info=True)
        return TRY_AGAIN if may_pass(err) else MISUSE
    except Exception as err:  # the last resort of a process: one line, no traceback
        log.debug("unexpected", exc_info=True)
        said = f"{type(err).__name__}: {err}" if str(err) else type(err).__name__
        _tell(program, f"internal error, this is a bug: {said}", "--debug shows where")
        return MISUSE
    return result if isinstance(result, int) else DONE


def _tell(program: str, reason: str, hint: str = "") -> None:
    print(f"{program}: error: {printable(reason)}", file=sys.stderr)
    if hint:
        print(f"hint: {printable(hint)}", file=sys.stderr)


def _tell_misuse(program: str, error: typer.TyperException) -> int:
    message = error.format_message()
    if "\n" in message:  # a program called without a command answers with its help
        print(message, file=sys.stderr)
    else:
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else program
        _tell(program, message, f"{path} --help")
    return MISUSE


def _reader_left() -> int:
    # the reader of our stdout has gone; Python would complain again when it flushes at exit
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return READER_LEFT


def printable(text: str) -> str:
    """*text* with control characters shown as escapes, line feeds kept: safe for a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else _escaped(c) for c in text)


def one_line(text: str) -> str:
    """*text* as :func:`printable` has it, line feeds escaped, too: a stranger's within ours."""
    return printable(text).replace("\n", "\\n")


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def print_json(document: object) -> None:
    """Print one JSON document on stdout, for ``--json``.

    Octets become lower-case hex, times RFC 3339 in UTC, paths and enumerations their text. What is
    not printable is escaped, as a terminal may show it: JSON itself escapes U+0000 to U+001F alone.
    """
    text = json.dumps(document, indent=2, ensure_ascii=False, default=_as_json)
    print("".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text))


def print_json_line(document: Mapping[str, object]) -> None:
    """Print a JSON document on one line of stdout and flush: an event for a waiting program."""
    print(json.dumps(document, default=_as_json), flush=True)


def _as_json(value: object) -> object:
    match value:
        case bytes():
            return value.hex()
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case Enum():
            return value.value
        case Path():
            return str(value)
        case set() | frozenset():
            return sorted(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


_STANDARD: Final = frozenset(
    vars(logging.makeLogRecord({})).keys() | {"message", "asctime", "taskName"}
)


class FactsFormatter(logging.Formatter):
    """``PROGRAM: LEVEL: message key=value …``: the fixed text, then the facts of ``extra``."""

    def __init__(self, program: str) -> None:
        super().__init__("%(asctime)s %(message)s", "%Y-%m-%dT%H:%M:%S%z")
        self._program = program

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        facts = "".join(
            f" {key}={_fact(value)}"
            for key, value in vars(record).items()
            if key not in _STANDARD and not key.startswith("_")
        )
        text = one_line(record.message)
        return f"{record.asctime} {self._program}: {record.levelname.lower()}: {text}{facts}"


def _fact(value: object) -> str:
    text = value.hex() if isinstance(value, bytes) else str(value)
    text = one_line(text)
    return json.dumps(text, ensure_ascii=False) if " " in text or not text else text


def configure_logging(program: str, *, debug: bool = False) -> None:
    """Send this process's log to stderr, one line an event; *debug* adds refusals' tracebacks."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(FactsFormatter(program))
    logging.basicConfig(level=logging.DEBUG if debug else logging.INFO, handlers=[handler])


def harden_process(*, hide_memory: bool = True) -> None:
    """Keep this process's memory out of core files and, with *hide_memory*, of other processes.

    Core dumps are limited to nothing. *hide_memory* also clears the dumpable flag (prctl(2)), so
    that only root reads ``/proc/PID/mem``; a test that looks into the memory leaves it off. Where
    the system has no prctl the limit alone holds.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if not hide_memory:
        return
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
