"""The pledge's settings file."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from brski.edge.adapters import load_adapter
from brski.edge.settings import load_settings
from brski.errors import SettingsError
from brski.voucher.model import Assertion
from device_client.discovery.port import GROUP
from device_client.identity.from_seed import write_fuse
from device_client.pledge.origin import Origin
from device_client.settings import PledgeSettings
from tests.kit import device, pki
from tests.kit.programs import require_library

CONF = Path(__file__).resolve().parents[3] / "conf" / "pledge.toml"
MINIMAL = '[identity]\nkind = "fuse"\nfile = "device.fuse"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    fuse = device.make_fuse(pki.make_pki(), pki.make_root())
    write_fuse(tmp_path / "device.fuse", fuse)
    for name in ("idevid.key", "idevid-chain.pem", "masa.pem"):
        (tmp_path / name).touch()
    return tmp_path


def load(folder: Path, text: str) -> PledgeSettings:
    path = folder / "pledge.toml"
    path.write_text(text)
    return load_settings(path, PledgeSettings)


def test_the_commented_file_loads(folder: Path) -> None:
    """conf/pledge.toml, as it is."""
    loaded = load(folder, CONF.read_text())
    assert loaded.origins == (Origin("192.0.2.7", 8443),)
    assert loaded.identity == {"kind": "fuse", "file": "device.fuse"}


def test_the_commented_file_tells_every_default(folder: Path) -> None:
    """What is commented out is what is used without it."""
    text = re.sub(r"^# (?=[a-z_]+ = )", "", CONF.read_text(), flags=re.MULTILINE)
    head, rest = text.split('kind = "files"')
    text = head + rest[rest.index("[voucher]") :]
    assert "rounds" in tomllib.loads(text)["timing"]
    assert load(folder, text) == load(folder, CONF.read_text())


def test_a_minimal_file_loads(folder: Path) -> None:
    """Everything but the identity has a default."""
    loaded = load(folder, MINIMAL)
    assert loaded.origins == ()
    assert loaded.keystore == folder / "keystore"
    assert Assertion.AGENT_PROXIMITY not in loaded.voucher.assertions
    assert not loaded.voucher.allow_nonceless
    assert not loaded.voucher.trusted_clock


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "identity: missing"),
        ("identity = 1\n", "identity"),
        ('registrars = ["http://x"]\n' + MINIMAL, "not https"),
        ('registrars = ["https://x/path"]\n' + MINIMAL, "path"),
        (MINIMAL + "[voucher]\nassertions = []\n", "voucher.assertions"),
        (MINIMAL + '[voucher]\nassertions = ["maybe"]\n', "voucher.assertions.0"),
        (MINIMAL + "[timing]\nprogress_s = 0\n", "timing.progress_s"),
        (MINIMAL + "[timing]\nrounds = -1\n", "timing.rounds"),
        (MINIMAL + "[timing]\nvoucher_wait_s = 1.5\n", "timing.voucher_wait_s"),
    ],
)
def test_faults_are_told_with_their_place(folder: Path, text: str, says: str) -> None:
    """Where it is, and what is wrong."""
    with pytest.raises(SettingsError, match=re.escape(says)):
        load(folder, text)


def test_the_discovery_of_the_commented_file_has_every_default() -> None:
    """What the adapter is given where the table says no more than its kind."""
    require_library("zeroconf", extra="mdns")
    commented = CONF.read_text().split("# [discovery]\n")[1].split("[voucher]")[0]
    table = tomllib.loads(re.sub(r"^# ", "", commented, flags=re.MULTILINE))
    model = load_adapter(GROUP, "mdns", where="discovery").Settings
    assert model(**table) == model(kind="mdns")
    with pytest.raises(ValueError, match="window_s"):
        model(kind="mdns", window_s=1)
