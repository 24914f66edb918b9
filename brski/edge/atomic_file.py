"""Files that are there whole or not at all, also after a power failure.

Every durable file of a program is written through here: to a neighbour first, flushed to the disk,
then renamed. The standard library only; no network stands behind this module.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from brski.errors import FileUnusable, OnboardingError, StateError, Unavailable

_ZEROS: Final = 1 << 20  # octets overwritten at once

_MAY_PASS: Final = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EROFS,
        errno.EFBIG,  # RLIMIT_FSIZE, or a file system's own limit
        errno.EIO,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.EAGAIN,
        errno.EBUSY,
    }
)


def may_pass(error: OSError) -> bool:
    """Whether what the system said may pass by itself: a full, read-only or failing disk, no
    descriptors left.
    """
    return error.errno in _MAY_PASS


def check_room(path: Path, *, octets: int) -> None:
    """Raise unless the disk of *path* has room for so many *octets*.

    Raises:
        Unavailable: it has not, or does not say.
    """
    try:
        disk = os.statvfs(path)
    except OSError as err:
        raise Unavailable(f"{path}: {os.strerror(err.errno or 0)}") from err
    room = disk.f_bavail * disk.f_frsize
    if room < octets:
        raise Unavailable(f"the disk of {path} has room for {room} octets, fewer than {octets}")


def open_input(path: Path) -> BinaryIO:
    """Open a file that came from outside, to be read; never waits.

    Raises:
        FileUnusable: missing, not permitted, or no regular file: a pipe or a device has no end
            that could be looked at before anything is done.
        Unavailable: the disk fails.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as err:
        raise file_error(err, path, "read") from err
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileUnusable(f"{path} is no regular file")
    return os.fdopen(descriptor, "rb")


def file_error(error: OSError, path: Path, doing: str) -> OnboardingError:
    """Say in our terms what the system said about *path*.

    Args:
        error: what was caught; chain it with ``raise … from``.
        path: the file or folder meant.
        doing: a verb phrase for the message, such as ``"written"``.

    Returns:
        :class:`~brski.errors.Unavailable` for what may pass by itself (full, read-only or failing
        disk, no descriptors left), else :class:`~brski.errors.FileUnusable`.
    """
    said = os.strerror(error.errno) if error.errno is not None else str(error)
    reason = f"{path} cannot be {doing}: {said}"
    if may_pass(error):
        return Unavailable(reason)
    return FileUnusable(reason)


def write_atomically(
    path: Path, data: bytes, *, mode: int = 0o600, may_replace: bool = True
) -> None:
    """Put *data* at *path*, durably; a reader sees the former file or the new one, never a part.

    Args:
        path: in an existing folder.
        data: the whole content.
        mode: permission bits, exactly these whatever the umask is.
        may_replace: False refuses when *path* exists.

    Raises:
        Unavailable: the disk is full, read-only or failing; nothing has changed.
        FileUnusable: the folder is missing or not ours to write, *path* is a folder.
        StateError: *path* exists and may not be replaced.
    """
    with open_atomically(path, mode=mode, may_replace=may_replace) as stream:
        stream.write(data)


@contextmanager
def open_atomically(
    path: Path, *, mode: int = 0o600, may_replace: bool = True
) -> Iterator[BinaryIO]:
    """Open a stream whose content stands at *path* once the block ends without an exception.

    For what is too long for :func:`write_atomically`; arguments and errors are the same. When the
    block raises, nothing stays. A process that is killed inside it leaves a neighbour named
    ``.NAME.<hex>.tmp``, which no one reads and :func:`remove_leftovers` removes.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as err:
        raise file_error(err, path, "written") from err
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        if may_replace:
            os.replace(draft, path)  # noqa: PTH105 - beside the other calls by name
        else:
            os.link(draft, path)  # fails where rename would replace
            draft.unlink()
        sync_folder(path.parent)
    except FileExistsError as err:
        draft.unlink(missing_ok=True)
        raise StateError(f"{path} exists and is not replaced") from err
    except OSError as err:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        if err.filename not in (None, draft, str(draft)):
            raise  # the block's own, about another file
        raise file_error(err, path, "written") from err
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def erase_file(path: Path) -> None:
    """Overwrite a file with zeros, durably, and remove it.

    What the medium, its file system or a backup keeps besides is out of reach (docs/vault.md).

    Raises:
        FileUnusable: missing, or not ours to write.
        Unavailable: the disk fails.
    """
    try:
        with path.open("r+b") as stream:
            left = os.fstat(stream.fileno()).st_size
            while left:
                left -= stream.write(bytes(min(left, _ZEROS)))
            stream.flush()
            os.fsync(stream.fileno())
        path.unlink()
        sync_folder(path.parent)
    except OSError as err:
        raise file_error(err, path, "erased") from err


def sync_folder(folder: Path) -> None:
    """Make what was renamed, created or removed in *folder* survive a power failure.

    Raises:
        OSError: as the system says; :func:`file_error` translates it.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path) -> int:
    """Remove the drafts that killed processes left in *folder*; return how many there were.

    Only for a folder that no other process writes to now.

    Raises:
        Unavailable, FileUnusable: a draft cannot be removed.
    """
    drafts = list(folder.glob(".*." + "[0-9a-f]" * 16 + ".tmp"))
    for draft in drafts:
        try:
            draft.unlink()
        except OSError as err:
            raise file_error(err, draft, "removed") from err
    return len(drafts)


def read_file(path: Path, *, max_octets: int = 16 * 1024 * 1024) -> bytes:
    """Read a file of ours, whole.

    Raises:
        FileUnusable: missing, not permitted, a folder, or longer than *max_octets*.
        Unavailable: the disk fails.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(max_octets + 1)
    except OSError as err:
        raise file_error(err, path, "read") from err
    if len(data) > max_octets:
        raise FileUnusable(f"{path} is longer than {max_octets} octets")
    return data
