"""Devices that the factory certifies when they are met: what the stage needs for them.

The two folders between the manufacturer's service and its factory, and each program's table.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

POLL_S: Final = 0.1
WAIT_S: Final = 3.0  # an unknown device is told to come again so long


def make_folders(folder: Path) -> None:
    """The factory's inbox and outbox, which are the service's spool and answers."""
    _demands(folder).mkdir()
    _answers(folder).mkdir()


def factory_table(folder: Path) -> str:
    """For ``factory.toml``."""
    return f"""
[factory.on_demand]
inbox = {_toml(_demands(folder))}
outbox = {_toml(_answers(folder))}
poll_s = {POLL_S}
"""


def database_table(folder: Path) -> str:
    """For ``oem.toml``."""
    return f"""
[database.on_demand]
spool = {_toml(_demands(folder))}
answers = {_toml(_answers(folder))}
poll_s = {POLL_S}
"""


def registrar_table() -> str:
    """For ``registrar.toml``; a record is looked for each time that a device comes."""
    return f"""
[on_demand]
wait_s = {WAIT_S}
retry_after_s = 1
"""


def _demands(folder: Path) -> Path:
    return folder / "demands"


def _answers(folder: Path) -> Path:
    return folder / "answers"


def _toml(path: Path) -> str:
    return json.dumps(str(path))
