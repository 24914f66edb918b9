"""How a directory is opened, wherever it is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from brski.edge.adapters import load_adapter
from oem_backend.database.engine.sqlite import SQLitePlace
from oem_backend.database.engine_settings import EngineSettings
from oem_backend.database.port import Place
from oem_backend.database.reader import Reader

GROUP: Final = "brski.oem_database"  # entry points: engines


def place_of(engine: EngineSettings) -> Place:
    """Where a directory is that is in no file.

    Raises:
        SettingsError: the engine's extra is not installed.
    """
    found: Place = load_adapter(GROUP, engine.kind, where="engine").open(engine)
    return found


def as_place(place: Place | Path) -> Place:
    """A path is that of an SQLite file."""
    return SQLitePlace(place) if isinstance(place, Path) else place


def open_reader(place: Place | Path) -> Reader:
    """For programs that do one thing and end; raises as :meth:`Place.open_to_read`."""
    return Reader(as_place(place).open_to_read())
