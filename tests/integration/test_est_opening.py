"""Profiles out of a settings file: what the registrar makes of them when it starts."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from brski.edge.settings import load_settings
from brski.errors import SettingsError
from brski.est.certs_only import decode_certs_only
from brski.est.transfer import decode_base64
from registrar_plugin.composition import open_registrar
from registrar_plugin.settings import RegistrarSettings
from tests.kit import pki
from tests.kit.est_site import lay_out, served, write_key, write_pem
from tests.kit.programs import require_program

PROFILES = """
[[est.profile]]
label = "sensors"
csrattrs = "none"
[est.profile.ca]
kind = "embedded"
key = "sensors.key"
chain = "sensors.pem"
"""


async def test_each_profile_has_the_ca_of_its_table(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The plain paths keep that of [ca]; that devices could not verify the registrar is logged."""
    sensors = pki.make_pki("Sensor Owner")
    write_key(tmp_path / "sensors.key", sensors)
    write_pem(tmp_path / "sensors.pem", sensors.chain)
    files = lay_out(tmp_path, more=PROFILES)
    caplog.set_level(logging.WARNING)
    async with served(files) as site:
        curl = (require_program("curl", "curl"), "-sk", "--max-time", "20")
        for label, owner in (("", files.owner), ("/sensors", sensors)):
            ran = await files.run(*curl, f"{site.url}/.well-known/est{label}/cacerts")
            shown = decode_certs_only(decode_base64(ran.out))
            assert set(shown) == set(owner.chain), ran.err
    warned = [record for record in caplog.records if "registrar's own root" in record.message]
    assert [record.__dict__["label"] for record in warned] == ["sensors"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('[[est.profile]]\nenrollees = ["strangers"]', "'strangers'"),
        ('[[est.profile]]\nlabel = "x"\n[est.profile.ca]\nkind = "magic"', "'magic'"),
        ('[[est.profile]]\n[est.profile.ca]\nkind = "embedded"\nkey = "no.key"', "no.key"),
        ('[[est.profile]]\nextended_key_usages = ["serverAuth"]', "clientAuth"),
    ],
)
def test_a_profile_that_cannot_be_is_told_at_the_start(
    tmp_path: Path, more: str, said: str
) -> None:
    """With its place in the file."""
    files = lay_out(tmp_path, more=more)
    with pytest.raises(SettingsError, match=said) as caught:
        open_registrar(load_settings(files.settings, RegistrarSettings), source=files.settings)
    assert "est.profile.0" in str(caught.value)
