"""A settings file of conf/ in a folder of its own, with the files that it names beside it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any


def beside(conf: Path, folder: Path) -> Path:
    """Copy *conf* into *folder*; what it names exists there, empty."""
    for path in named_files(tomllib.loads(conf.read_text())):
        (folder / path).touch()
    copy = folder / conf.name
    copy.write_text(conf.read_text())
    return copy


def named_files(value: Any) -> list[str]:
    """The paths in a settings document."""
    if isinstance(value, dict):
        return [path for part in value.values() for path in named_files(part)]
    if isinstance(value, list):
        return [path for part in value for path in named_files(part)]
    if isinstance(value, str) and value.endswith((".key", ".pem", ".pub", ".db")):
        return [value]
    return []
