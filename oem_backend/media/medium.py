"""Files cross between rooms on media: packed with a list, checked against it, taken over.

A medium is a folder of files, as a stick is mounted. Nothing on it is believed: no link is
followed, no folder entered, no more read of a file than its list says (docs/air-gap.md).
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from brski.edge.atomic_file import file_error, open_atomically, write_atomically
from brski.errors import MediumRefused, StateError
from oem_backend.media.listing import (
    LIST_NAME,
    MOST_OCTETS,
    ListedFile,
    check_file_name,
    encode_list,
    parse_list,
)

_PIECE: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Medium:
    """A medium that is what its list says."""

    digest: bytes  # SHA-256 of the list: what two people compare
    files: tuple[ListedFile, ...]

    @property
    def octets(self) -> int:
        """Of all files."""
        return sum(file.size for file in self.files)


def pack(folder: Path) -> Medium:
    """Write the list of all files in *folder* into it.

    Raises:
        MediumRefused: there is a list already; a link, folder or device file.
        Malformed: a file name that may not cross.
        FileUnusable, Unavailable: *folder* cannot be read or written.
    """
    names = _names(folder)
    if LIST_NAME in names:
        raise MediumRefused(
            f"{folder} has a {LIST_NAME} already", hint="check it, or begin with an empty folder"
        )
    files = tuple(_measured(folder, check_file_name(name)) for name in names)
    octets = encode_list(files)
    try:
        write_atomically(folder / LIST_NAME, octets, mode=0o644, may_replace=False)
    except StateError as err:
        raise MediumRefused(f"{folder} has a {LIST_NAME} already") from err
    return Medium(digest=hashlib.sha256(octets).digest(), files=files)


def check(folder: Path, *, digest: bytes | None = None) -> Medium:
    """Hold *folder* against its list: these files, all of them, and nothing else.

    Args:
        digest: of the list, as the other side has told it by another way.

    Raises:
        MediumRefused: another list than *digest*; a file that is missing, too much, altered, or no
            plain file.
        UnknownFormat, Malformed, TooLarge: the list; see
            :func:`oem_backend.media.listing.parse_list`.
        FileUnusable, Unavailable: *folder* cannot be read.
    """
    names = set(_names(folder))
    if LIST_NAME not in names:
        raise MediumRefused(f"{folder} has no {LIST_NAME}")
    octets = _read_list(folder)
    found = hashlib.sha256(octets).digest()
    if digest is not None and digest != found:
        raise MediumRefused(f"the list is {found.hex()}, not {digest.hex()}")
    files = parse_list(octets)
    _check_names(names - {LIST_NAME}, {file.name for file in files})
    for file in files:
        with _opened(folder, file.name) as stream:
            _compare(stream, file, None)
    return Medium(digest=found, files=files)


def take(folder: Path, medium: Medium, into: Path) -> int:
    """Copy a checked medium's files *into* a folder of ours, each compared once more.

    A file that is there already, and is the same, stays.

    Args:
        medium: what :func:`check` has returned for *folder*.
        into: an existing folder.

    Returns:
        How many files are new.

    Raises:
        MediumRefused: a file has changed since it was checked, or another one of its name is
            there. What was copied before is whole, and stays.
        FileUnusable, Unavailable: *into* cannot be written.
    """
    new = 0
    for file in medium.files:
        target = into / file.name
        if target.exists() or target.is_symlink():
            _check_same(into, file)
            continue
        with (
            _opened(folder, file.name) as stream,
            open_atomically(target, mode=0o600, may_replace=False) as copy,
        ):
            _compare(stream, file, copy)
        new += 1
    return new


def _check_same(folder: Path, file: ListedFile) -> None:
    try:
        with _opened(folder, file.name) as stream:
            _compare(stream, file, None)
    except MediumRefused as err:
        raise MediumRefused(
            f"another {file.name} is in {folder} already", hint="move it away first"
        ) from err


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208 - names, as the system has them
    except OSError as err:
        raise file_error(err, folder, "read") from err


def _check_names(found: set[str], listed: set[str]) -> None:
    for name in sorted(listed - found):
        raise MediumRefused(f"{name} is in the list and not on the medium")
    for name in sorted(found - listed):
        raise MediumRefused(f"{name[:140]!r} is on the medium and not in its list")


@contextmanager
def _opened(folder: Path, name: str) -> Iterator[BinaryIO]:
    """A plain file of *folder*; not what a link leads to, and nothing that would block."""
    path = folder / name
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as err:
        if path.is_symlink():
            raise MediumRefused(f"{name} is a link") from err
        raise file_error(err, path, "read") from err
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise MediumRefused(f"{name} is no plain file")
    with os.fdopen(descriptor, "rb") as stream:
        try:
            yield stream
        except OSError as err:  # the medium fails in the middle
            raise file_error(err, path, "read") from err


def _read_list(folder: Path) -> bytes:
    with _opened(folder, LIST_NAME) as stream:
        return stream.read(MOST_OCTETS + 1)


def _measured(folder: Path, name: str) -> ListedFile:
    with _opened(folder, name) as stream:
        actual = hashlib.sha256()
        while piece := stream.read(_PIECE):
            actual.update(piece)
        return ListedFile(name=name, size=stream.tell(), sha256=actual.digest())


def _compare(stream: BinaryIO, file: ListedFile, copy: BinaryIO | None) -> None:
    """Raise unless *stream* has what is listed; no more is read than that, and one octet."""
    actual, left = hashlib.sha256(), file.size
    while piece := stream.read(min(_PIECE, left + 1)):
        left -= len(piece)
        if left < 0:
            break
        actual.update(piece)
        if copy is not None:
            copy.write(piece)
    if left != 0:
        raise MediumRefused(f"{file.name} is not of the {file.size} octets that are listed")
    if actual.digest() != file.sha256:
        raise MediumRefused(f"{file.name} is not the file that is listed")
