"""The assembly side: says, signed, which serial number each chip got."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

from brski.edge.atomic_file import open_atomically, read_file
from brski.edge.signers.file import load_signer
from brski.errors import Malformed
from brski.idevid.build_list import BuildEntry, BuildListWriter
from brski.idevid.record import Presentation

_LINE: Final = re.compile(r"((?:[0-9a-f]{2}){1,64}) (\S+) (carried|asserted)( replace)?")


def read_table(path: Path) -> Iterator[BuildEntry]:
    """The entries of a table of chips.

    Args:
        path: text, on each line a chip id in hex, a serial number, and ``carried`` or ``asserted``,
            each behind a space; ``replace`` may follow. Empty lines and lines that begin with ``#``
            are passed over. ASCII; lines end in LF alone.

    Raises:
        Malformed: a line that is something else, with its number.
    """
    for number, line in enumerate(_lines(read_file(path)), start=1):
        if not line or line.startswith("#"):
            continue
        found = _LINE.fullmatch(line)
        if found is None:
            raise Malformed(f"line {number} is no chip, serial number and presentation")
        yield BuildEntry(
            chip_id=bytes.fromhex(found[1]),
            serial_number=found[2],
            presentation=Presentation(found[3]),
            replace=bool(found[4]),
        )


def _lines(octets: bytes) -> list[str]:
    if octets.startswith(b"\xef\xbb\xbf"):
        raise Malformed("the table begins with a byte order mark")
    for number, line in enumerate(octets.split(b"\n"), start=1):
        if b"\r" in line:
            raise Malformed(f"line {number} has CR in it; lines end in LF alone")
        if not line.isascii():
            raise Malformed(f"line {number} is not ASCII")
    return octets.decode("ascii").split("\n")


def sign_build_list(
    table: Path,
    out: Path,
    *,
    key: Path,
    signer_id: str,
    product: str,
    generation: int,
    created_at: datetime,
) -> bytes:
    """Sign the build list of a table of chips.

    Args:
        table: see :func:`read_table`.
        key: the assembly's signing key, PEM.
        created_at: aware UTC, whole seconds: the certificates' notBefore.

    Returns:
        The build list digest, 32 octets raw.

    Raises:
        Malformed, BatchRefused, KeyUnusable, FileUnusable, Unavailable: as its parts.
    """
    entries = sorted(read_table(table), key=lambda entry: entry.serial_number)
    with tempfile.TemporaryFile() as spool, open_atomically(out, mode=0o644) as file:
        writer = BuildListWriter(spool)
        for entry in entries:
            writer.add(entry)
        return writer.finish(
            file,
            signer_id=signer_id,
            created_at=created_at,
            product=product,
            generation=generation,
            signer=load_signer(key),
        )
