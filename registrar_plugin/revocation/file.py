"""A revocation list as a file, where a web server finds it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from brski.edge.atomic_file import write_atomically

_PEM: Final = ".pem"


class ListFile:
    """A :class:`~registrar_plugin.revocation.keeper.ListPlace`: one path.

    Args:
        path: PEM if its name ends so, else DER.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written: tuple[int, ...] | None = None

    async def put(self, octets: bytes) -> None:
        """Write the list, DER, whole.

        Raises:
            Unavailable, FileUnusable: as :func:`write_crl`.
        """
        await asyncio.to_thread(write_crl, self._path, octets)
        self._written = self._look()

    def stands(self) -> bool:
        """Whether what was put is still there, as far as a look at the folder tells."""
        return self._written is not None and self._look() == self._written

    def _look(self) -> tuple[int, ...] | None:
        try:
            seen = self._path.stat()
        except OSError:
            return None
        return seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns


def write_crl(path: Path, octets: bytes) -> None:
    """Put a list where a web server finds it: PEM if the name ends so, else DER.

    Raises:
        Unavailable, FileUnusable: as :func:`brski.edge.atomic_file.write_atomically`.
    """
    if path.suffix == _PEM:
        octets = x509.load_der_x509_crl(octets).public_bytes(Encoding.PEM)
    write_atomically(path, octets, mode=0o644)
