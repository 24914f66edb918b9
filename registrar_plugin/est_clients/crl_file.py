"""Revocation lists of other CAs, as the owner brings them: a file, read anew when it changes."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Final

from cryptography import x509

from brski.edge.atomic_file import file_error, read_file
from brski.errors import FileUnusable

Lists = tuple[x509.CertificateRevocationList, ...]

_FILE_LIMIT: Final = 16 * 1024 * 1024
_PEM: Final = re.compile(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", re.DOTALL)


class CRLFile:
    """One file, PEM with any number of lists, or DER with one.

    Raises:
        FileUnusable: it holds no list, or something that is none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mark = _mark(path)
        self._lists = load_crls(path)

    async def lists(self) -> Lists:
        """What the file holds now.

        Raises:
            FileUnusable: it is gone, or holds no lists any more; then nobody is known not to be
                revoked.
        """
        mark = _mark(self._path)
        if mark != self._mark:
            self._lists = await asyncio.to_thread(load_crls, self._path)
            self._mark = mark
        return self._lists


def load_crls(path: Path) -> Lists:
    """Read the revocation lists in *path*.

    Raises:
        FileUnusable: there is none, or one that cannot be read.
    """
    octets = read_file(path, max_octets=_FILE_LIMIT)
    try:
        if not octets.lstrip().startswith(b"-----BEGIN"):
            return (x509.load_der_x509_crl(octets),)
        found = tuple(map(x509.load_pem_x509_crl, _PEM.findall(octets)))
    except ValueError as err:
        raise FileUnusable(f"{path} is no certificate revocation list") from err
    if not found:
        raise FileUnusable(f"{path} holds no certificate revocation list")
    return found


def _mark(path: Path) -> tuple[int, int, int]:
    try:
        seen = path.stat()
    except OSError as err:
        raise file_error(err, path, "read") from err
    return seen.st_ino, seen.st_size, seen.st_mtime_ns
