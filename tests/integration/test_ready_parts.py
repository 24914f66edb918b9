"""What /readyz says of keys, certificates and lists, of a registrar as its settings build it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from brski.edge.settings import load_settings
from registrar_plugin.composition import MountableRegistrar, open_registrar
from registrar_plugin.health.readiness import Finding
from registrar_plugin.settings import RegistrarSettings
from tests.kit import pki
from tests.kit.est_site import Files, lay_out, write_key, write_pem

NOW = datetime.now(UTC)
PROFILE = """
[[est.profile]]
label = "iot"
[est.profile.ca]
kind = "embedded"
key = "iot.key"
chain = "iot.pem"
"""


@asynccontextmanager
async def opened(files: Files, *, now: datetime = NOW) -> AsyncIterator[MountableRegistrar]:
    settings = load_settings(files.settings, RegistrarSettings)
    registrar = open_registrar(settings, source=files.settings, clock=lambda: now)
    try:
        yield registrar
    finally:
        await registrar.close()


async def found(registrar: MountableRegistrar) -> dict[str, Finding]:
    return {finding.name: finding for finding in await registrar.readiness.findings()}


async def test_every_ca_is_told_by_the_label_of_its_profile(tmp_path: Path) -> None:
    """One that has ended is red, and the others are not; one that ends soon warns."""
    files = lay_out(tmp_path, more=PROFILE)
    for days, ready, warned in ((-1, False, False), (10, True, True), (60, True, False)):
        iot = pki.make_ca("Example IoT", pki.make_root(), not_after=NOW + timedelta(days=days))
        write_key(tmp_path / "iot.key", iot)
        write_pem(tmp_path / "iot.pem", iot.chain)
        async with opened(files) as registrar:
            told = await found(registrar)
            assert told["ca"].is_ready
            assert (told["ca iot"].is_ready, bool(told["ca iot"].warning)) == (ready, warned)


async def test_the_registrars_own_certificate_is_told(tmp_path: Path) -> None:
    """With one that has ended no pledge of the domain goes on."""
    files = lay_out(tmp_path)
    registrar = pki.make_registrar(files.owner, not_after=NOW - timedelta(days=1))
    write_key(tmp_path / "registrar.key", registrar)
    write_pem(tmp_path / "registrar.pem", registrar.chain)
    async with opened(files) as open_:
        told = await found(open_)
        assert not told["certificate"].is_ready
        assert told["ca"].is_ready


async def test_a_key_file_that_is_gone_warns(tmp_path: Path) -> None:
    """The registrar goes on; its next start would not."""
    files = lay_out(tmp_path)
    async with opened(files) as registrar:
        assert (await found(registrar))["ca"].warning == ""
        (tmp_path / "owner.key").unlink()
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("registrar_plugin.health.readiness.KEPT_S", 0.0)
            told = (await found(registrar))["ca"]
        assert told.is_ready
        assert "the next start would fail" in told.warning


async def test_the_list_is_told_where_there_is_one(tmp_path: Path) -> None:
    """No table, no check; with it red until the first list is there."""
    files = lay_out(tmp_path)
    async with opened(files) as registrar:
        assert "crl" not in await found(registrar)
    files.settings.write_text(files.settings.read_text() + "\n[crl]\n")
    async with opened(files) as registrar:
        assert not (await found(registrar))["crl"].is_ready
        await registrar.crls["crl"].keeper.refresh()
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("registrar_plugin.health.readiness.KEPT_S", 0.0)
            assert (await found(registrar))["crl"].is_ready
