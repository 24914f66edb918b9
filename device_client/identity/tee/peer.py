"""Who is at the other end of a Unix socket, and whose folder a socket is in. Linux alone."""

from __future__ import annotations

import os
import socket
import stat
import struct
from pathlib import Path
from typing import Final

from brski.errors import SettingsError

_UCRED: Final = struct.Struct("3i")  # pid, uid, gid: unix(7), SO_PEERCRED


def user_of_peer(connection: socket.socket) -> int:
    """The user id of the process at the other end, as the kernel has it.

    Raises:
        SettingsError: the system has no SO_PEERCRED.
    """
    if not hasattr(socket, "SO_PEERCRED"):
        raise SettingsError("a signer of its own needs Linux (SO_PEERCRED)")
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    uid: int = _UCRED.unpack(credentials)[1]
    return uid


def owner_of_folder(folder: Path) -> int:
    """The user id of the owner of *folder*, into which nobody else may write.

    Raises:
        SettingsError: group or others may, or it is no folder.
    """
    try:
        status = folder.lstat()
    except OSError as err:
        raise SettingsError(f"{folder}: {os.strerror(err.errno or 0)}") from err
    if not stat.S_ISDIR(status.st_mode):
        raise SettingsError(f"{folder} is no folder")
    if status.st_mode & 0o022:
        raise SettingsError(
            f"others may write into {folder}, and put another socket there",
            hint="give the signer's socket a folder of its own",
        )
    return status.st_uid
