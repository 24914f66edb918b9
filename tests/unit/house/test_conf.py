"""Every file in conf/ is what its program reads, and explains keys that exist."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from brski.edge.settings import Settings, load_settings
from masa_stub.settings import MASASettings
from oem_backend.factory.settings import FactoryFile
from registrar_plugin.settings import RegistrarSettings

CONF = Path(__file__).parents[3] / "conf"

FILES: dict[str, type[Settings]] = {
    "registrar.toml": RegistrarSettings,
    "masa.toml": MASASettings,
    "factory.toml": FactoryFile,
}
ELSEWHERE = {"oem.toml", "pledge.toml"}  # beside the programs that read them


def test_no_file_is_forgotten() -> None:
    """A file that no test loads is one that nobody keeps true."""
    assert {path.name for path in CONF.iterdir()} == FILES.keys() | ELSEWHERE


@pytest.mark.parametrize("name", FILES)
def test_the_file_is_read_as_it_is(tmp_path: Path, name: str) -> None:
    """With the files that it names beside it, nothing in it is unknown or out of bounds."""
    text = (CONF / name).read_text()
    (tmp_path / name).write_text(text)
    for path in _paths(tomllib.loads(text)):
        (tmp_path / path).touch()
    load_settings(tmp_path / name, FILES[name])


def _paths(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [path for part in value.values() for path in _paths(part)]
    if isinstance(value, list):
        return [path for part in value for path in _paths(part)]
    if isinstance(value, str) and value.endswith((".key", ".pem", ".pub", ".db")):
        return [value]
    return []
