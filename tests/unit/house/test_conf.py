"""Every file in conf/ is what its program reads, and explains keys that exist."""

from __future__ import annotations

from pathlib import Path

import pytest

from brski.edge.settings import Settings, load_settings
from masa_stub.settings import MASASettings
from oem_backend.factory.settings import FactoryFile
from registrar_plugin.settings import RegistrarSettings
from tests.kit.settings import beside

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
    load_settings(beside(CONF / name, tmp_path), FILES[name])
