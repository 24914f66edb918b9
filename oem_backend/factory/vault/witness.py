"""The witness of a vault: the head that was seen last, in a file of its own (docs/vault.md)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from brski.edge.atomic_file import read_file, write_atomically
from brski.errors import FileUnusable, StateError

_LABEL: Final = "brski vault witness v1"
_LINE: Final = re.compile(_LABEL + " ([0-9a-f]{32}) ([0-9]{1,18}) ([0-9a-f]{64})\n")
_LIMIT: Final = 1024


def write_witness(path: Path, vault_id: bytes, counter: int, mac: bytes) -> None:
    """Write the witness of a head.

    Raises:
        Unavailable, FileUnusable: as :func:`brski.edge.atomic_file.write_atomically`.
    """
    line = f"{_LABEL} {vault_id.hex()} {counter} {mac.hex()}\n"
    write_atomically(path, line.encode("ascii"), mode=0o600)


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """The head that was seen last."""

    vault_id: bytes
    counter: int
    mac: bytes


def read_witness(path: Path) -> Witness:
    """What a witness has seen.

    Raises:
        StateError: it is missing, or no witness.
    """
    try:
        text = read_file(path, max_octets=_LIMIT).decode("ascii", "replace")
    except FileUnusable as err:
        raise StateError(f"the vault's witness is missing: {err.reason}") from err
    found_line = _LINE.fullmatch(text)
    if found_line is None:
        raise StateError(f"{path} is no witness of a vault")
    vault_id, counter, mac = found_line.groups()
    return Witness(vault_id=bytes.fromhex(vault_id), counter=int(counter), mac=bytes.fromhex(mac))
