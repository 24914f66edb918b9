"""The list that goes with every medium: name, size and digest of each file (docs/air-gap.md).

Pure: text in, values out. What it protects against is a file that was lost, added or damaged on
the way; who made a file, the file's own signature says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from brski.errors import Malformed, TooLarge, UnknownFormat

LIST_NAME: Final = "MEDIA.txt"
FIRST_LINE: Final = "brski media v1"
MOST_FILES: Final = 10_000
MOST_OCTETS: Final = 4 * 1024 * 1024  # of the list
_LARGEST: Final = 2**53 - 1

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_LINE: Final = re.compile(r"([0-9a-f]{64}) (0|[1-9][0-9]{0,15}) (.+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedFile:
    """One file of a medium."""

    name: str
    size: int  # octets
    sha256: bytes


def check_file_name(name: str) -> str:
    """Return *name* if a file of a medium may have it.

    Raises:
        Malformed: not 1 to 128 of ``A-Z a-z 0-9 . _ -``, the first a letter or digit; or the
            list's own name, in whatever case.
    """
    if not _NAME.fullmatch(name):
        raise Malformed(f"file name {name[:140]!r} is not 1 to 128 of A-Z a-z 0-9 . _ -")
    if name.lower() == LIST_NAME.lower():
        raise Malformed(f"{name} is the list itself")
    return name


def encode_list(files: Iterable[ListedFile]) -> bytes:
    """The list of *files*, in any order.

    Raises:
        Malformed: a name that no reader would take, two that differ only in case, or no file.
        TooLarge: more than 10,000 files.
    """
    lines = [f"{file.sha256.hex()} {file.size} {file.name}\n" for file in sorted(files, key=_name)]
    octets = "".join([FIRST_LINE + "\n", *lines]).encode("ascii", "replace")
    parse_list(octets)
    return octets


def parse_list(octets: bytes) -> tuple[ListedFile, ...]:
    """Read a medium's list.

    Raises:
        UnknownFormat: its first line is another.
        Malformed: anything else that docs/air-gap.md does not say; the line's number is told.
        TooLarge: more than 4 MiB, or more than 10,000 files.
    """
    if len(octets) > MOST_OCTETS:
        raise TooLarge(f"a list of {len(octets)} octets, {MOST_OCTETS} are the most")
    first, *lines = octets.split(b"\n")
    if first != FIRST_LINE.encode():
        raise UnknownFormat(f"its first line is not {FIRST_LINE!r}")
    if lines[-1:] != [b""]:
        raise Malformed("the list does not end with a line end")
    del lines[-1]
    if not 1 <= len(lines) <= MOST_FILES:
        raise (TooLarge if lines else Malformed)(f"a list of {len(lines)} files")
    files = tuple(_parse_line(line, number) for number, line in enumerate(lines, start=2))
    _check_names(files)
    return files


def _parse_line(line: bytes, number: int) -> ListedFile:
    found = _LINE.fullmatch(line.decode("ascii", "replace"))
    if found is None or int(found[2]) > _LARGEST:
        raise Malformed(f"line {number} is not digest, size and name")
    return ListedFile(
        name=check_file_name(found[3]), size=int(found[2]), sha256=bytes.fromhex(found[1])
    )


def _check_names(files: tuple[ListedFile, ...]) -> None:
    for before, after in pairwise(files):
        if before.name >= after.name:
            raise Malformed(f"{after.name} comes twice or out of order")
    folded: dict[str, str] = {}
    for file in files:
        other = folded.setdefault(file.name.lower(), file.name)
        if other != file.name:
            raise Malformed(f"{other} and {file.name} differ only in case")


def _name(file: ListedFile) -> str:
    return file.name
