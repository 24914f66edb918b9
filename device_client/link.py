"""Whether the device has been plugged into something else since it last looked."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_INTERFACES: Final = Path("/sys/class/net")


def link_state(folder: Path = _INTERFACES) -> tuple[tuple[str, str], ...]:
    """How often each interface's carrier has come or gone; another value means another link.

    Linux counts it since the start. Elsewhere, or where nothing can be read, always the same.
    """
    try:
        return tuple(sorted((each.name, _changes_of(each)) for each in folder.iterdir()))
    except OSError:
        return ()


def _changes_of(interface: Path) -> str:
    try:
        return (interface / "carrier_changes").read_text().strip()
    except OSError:
        return ""
