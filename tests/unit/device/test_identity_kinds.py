"""The kinds of identity, found by entry point and opened from their tables in the settings."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from brski.edge.adapters import open_adapter
from brski.edge.settings import read_settings
from brski.edge.signers.file import write_chain, write_private_key
from brski.errors import SettingsError
from device_client.identity.from_files import FileIdentity
from device_client.identity.from_seed import SeedIdentity, write_fuse
from device_client.identity.kinds import GROUP
from device_client.identity.port import Device
from device_client.keystore.keys import FileKeys
from tests.kit import device, pki
from tests.kit.programs import require_library

CONF = Path(__file__).resolve().parents[3] / "conf" / "pledge.toml"
OEM = pki.make_pki()
MASA = pki.make_root()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_fuse(tmp_path / "device.fuse", device.make_fuse(OEM, MASA))
    idevid = device.make_idevid(OEM)
    write_private_key(tmp_path / "idevid.key", idevid.private_key)
    write_chain(tmp_path / "idevid-chain.pem", idevid.chain[:-1])
    write_chain(tmp_path / "masa.pem", [MASA.certificate])
    (tmp_path / "device.tpm").touch()
    return tmp_path


def tables() -> dict[str, dict[str, Any]]:
    """Each kind's table as conf/pledge.toml has it, defaults and all."""
    text = CONF.read_text().split("[identity]")[1].split("# How registrars")[0]
    text = re.sub(r"^# (?=[a-z_]+ = )", "", text, flags=re.MULTILINE)
    parts = re.split(r"^(?=kind = )", text, flags=re.MULTILINE)[1:]
    return {table["kind"]: table for table in map(tomllib.loads, parts)}


def opened(folder: Path, table: dict[str, Any]) -> Device:
    found: Device = open_adapter(GROUP, table, source=folder / "pledge.toml", where="identity")
    return found


def test_every_kind_is_in_the_commented_file() -> None:
    assert set(tables()) == {point.name for point in entry_points(group=GROUP)}


def test_a_fuse(folder: Path) -> None:
    found = opened(folder, tables()["fuse"])
    assert isinstance(found.identity, SeedIdentity)
    assert isinstance(found.ldevid_keys, FileKeys)


def test_files(folder: Path) -> None:
    found = opened(folder, tables()["files"])
    assert isinstance(found.identity, FileIdentity)
    assert isinstance(found.ldevid_keys, FileKeys)


def test_the_tables_of_a_tpm_tell_its_defaults(folder: Path) -> None:
    require_library("tpm2_pytss", "tpm")
    (point,) = entry_points(group=GROUP, name="tpm")
    model = point.load().Settings
    source = folder / "pledge.toml"
    least = {"kind": "tpm", "file": "device.tpm"}
    assert read_settings(tables()["tpm"], model, source=source) == read_settings(
        least, model, source=source
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kind": "fuses"}, "identity.kind is 'fuses'; installed are"),
        ({"kind": None}, "identity.kind is None"),
        ({"file": "none"}, "no file at"),
        ({"seed": "00"}, "seed: unknown key"),
    ],
)
def test_faults_are_told_with_their_place(folder: Path, change: dict[str, Any], says: str) -> None:
    """The nearest acceptance is above: each differs from a fuse's table in one thing."""
    with pytest.raises(SettingsError, match=re.escape(says)):
        opened(folder, {**tables()["fuse"], **change})


@pytest.mark.parametrize("handle", [0x81000001, 0x81800000, 1])
def test_a_handle_where_no_key_of_ours_may_be(folder: Path, handle: int) -> None:
    """The storage key's, the platform's, and none."""
    require_library("tpm2_pytss", "tpm")
    with pytest.raises(SettingsError, match="handle"):
        opened(folder, {**tables()["tpm"], "handle": handle})


def test_a_tpm_without_its_library_names_the_extra(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the extra is not installed."""
    for name in ("tpm2_pytss", "device_client.identity.tpm_kind"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(SettingsError, match="cannot be loaded") as caught:
        opened(folder, tables()["tpm"])
    assert caught.value.hint == "install the extra [tpm]"
