"""Finds the adapters that the settings name, by entry point; imports none that is not named."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Protocol

from brski.edge.settings import Settings, read_settings
from brski.errors import SettingsError


class Adapter(Protocol):
    """What an entry point leads to: a class with its own settings table and a way to open it."""

    Settings: type[Settings]

    @classmethod
    def open(cls, settings: Any) -> Any:
        """Build the adapter from its table."""


def open_adapter(group: str, table: Mapping[str, Any], *, source: Path, where: str) -> Any:
    """Build the adapter that *table* names by its ``kind``.

    Args:
        group: entry-point group, such as ``"brski.signer"``.
        table: as it stands in the settings file.
        source: the settings file; relative paths count from its folder.
        where: the table's dotted path, for messages.

    Raises:
        SettingsError: no such kind, a broken plug-in, or a fault in its table.
    """
    adapter: type[Adapter] = load_adapter(group, table.get("kind"), where=where)
    try:
        settings = read_settings(dict(table), adapter.Settings, source=source)
    except SettingsError as err:
        raise SettingsError(f"[{where}] {err.reason}", hint=err.hint) from err
    return adapter.open(settings)


def load_adapter(group: str, kind: object, *, where: str) -> Any:
    """The class that the entry point *kind* of *group* leads to.

    Args:
        where: the table's dotted path, for messages.

    Raises:
        SettingsError: no such kind, or a broken plug-in.
    """
    found = {point.name: point for point in entry_points(group=group)}
    if not isinstance(kind, str) or kind not in found:
        raise SettingsError(f"{where}.kind is {kind!r}; installed are {', '.join(sorted(found))}")
    return _load(found[kind], where)


def _load(point: EntryPoint, where: str) -> Any:
    try:
        loaded = point.load()
    except Exception as err:  # a plug-in may fail in any way, and must not take the program down
        lacks = isinstance(err, ModuleNotFoundError)
        raise SettingsError(
            f"{where}: plug-in {point.value} cannot be loaded: {err}",
            hint=f"install the extra [{point.name}]" if lacks else "",
        ) from err
    return loaded
