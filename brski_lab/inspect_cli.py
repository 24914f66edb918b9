"""``brski-lab inspect``: what a file is, and what is odd about it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from brski.edge.cli import print_json
from brski.errors import FileUnusable
from brski_lab.inspecting.inspection import MOST_OCTETS, inspect
from brski_lab.inspecting.tree import print_inspection

_STDIN: Final = "-"


def inspect_file(
    file: Annotated[str, typer.Argument(help='A file in DER, PEM, base64 or hex; "-" is stdin.')],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Show a voucher, request, certificate, CSR, bundle, batch, log …, and what is odd about it.

    What it is, is told by its content. A broken file is shown as far as it goes. Nothing is
    believed: a signature is judged only under the certificate that came with it. Private keys and
    fuse files are not shown.
    """
    octets, size = _read(file)
    inspection = inspect(octets, size=size)
    if as_json:
        print_json(_encodable(inspection.as_document()))
    else:
        print_inspection(inspection, Console(highlight=False))


def _read(file: str) -> tuple[bytes, int]:
    """The beginning of *file*, and its size."""
    if file == _STDIN:
        octets = sys.stdin.buffer.read(MOST_OCTETS + 1)
        return octets[:MOST_OCTETS], len(octets)
    try:
        with Path(file).open("rb") as stream:
            octets = stream.read(MOST_OCTETS + 1)
            size = max(len(octets), Path(file).stat().st_size)
    except OSError as err:
        raise FileUnusable(f"{file} cannot be read: {err.strerror}") from err
    return octets[:MOST_OCTETS], size


def _encodable(value: object) -> object:
    """*value* with lone surrogates, which no output takes, as escapes."""
    match value:
        case str():
            return value.encode("utf-8", errors="backslashreplace").decode()
        case list():
            return [_encodable(each) for each in value]
        case dict():
            return {_encodable(key): _encodable(each) for key, each in value.items()}
    return value
