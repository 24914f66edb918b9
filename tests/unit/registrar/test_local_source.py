"""A copy of the OEM's database: whether it can be read, asked before a device comes."""

from __future__ import annotations

from pathlib import Path

import pytest

from brski.errors import StateError, Unavailable
from oem_backend.database.port import Records
from registrar_plugin.health.port import Checkable
from registrar_plugin.oem_source.database import DatabaseSource, _LocalSource
from tests.kit import oem


async def test_a_copy_that_can_be_read_is_ready(tmp_path: Path) -> None:
    """And it says so by the port that readiness asks."""
    factory = oem.Factory()
    factory.load(tmp_path / "devices.db", [factory.make("SN-1")])
    source = DatabaseSource(tmp_path / "devices.db")
    assert isinstance(source, Checkable)
    await source.check()
    await source.close()


@pytest.mark.parametrize("failure", [StateError("damaged"), Unavailable("no server")])
async def test_a_copy_that_cannot_is_not(failure: Exception) -> None:
    """Whatever is wrong with it: a device would be told to come again."""

    async def connect() -> Records:
        raise failure

    source = _LocalSource(connect)
    with pytest.raises(Unavailable):
        await source.check()
    with pytest.raises(Unavailable):
        await source.find(None, "SN-1", spki_sha256=bytes(32))
    await source.close()
