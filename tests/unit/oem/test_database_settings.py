"""The OEM database's settings, and the file in conf/ that explains them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from brski.edge.settings import load_settings
from brski.edge.signers.public_key import load_public_key
from brski.errors import FileUnusable, KeyUnusable, SettingsError
from oem_backend.database.registrars import Usage
from oem_backend.database.settings import OEMSettings
from tests.kit import pki

CONF = Path(__file__).parents[3] / "conf" / "oem.toml"
FILES = (
    "factory-1.pem",
    "manifest.key",
    "oem-service.key",
    "oem-service-chain.pem",
    "registrar-cas.pem",
)


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """A copy of conf/oem.toml, with the files that it names beside it."""
    for name in FILES:
        (tmp_path / name).touch()
    copy = tmp_path / "oem.toml"
    copy.write_text(CONF.read_text())
    return copy


def test_the_file_in_conf_loads(conf: Path) -> None:
    settings = load_settings(conf, OEMSettings).database
    assert settings.path == conf.parent / "devices.db"
    assert [factory.name for factory in settings.factory] == ["factory-1"]
    assert settings.service is not None
    assert settings.service.usage is Usage.CMC_RA
    assert not settings.service.require_spki


def test_its_comments_tell_the_defaults(conf: Path) -> None:
    """Each commented key, made active, changes nothing."""
    usual = load_settings(conf, OEMSettings)
    text, count = re.subn(r"(?m)^# (?=[a-z_]+ = )", "", conf.read_text())
    conf.write_text(text)
    assert count == 14
    assert load_settings(conf, OEMSettings) == usual


def test_a_service_is_not_needed_to_load(tmp_path: Path) -> None:
    path = tmp_path / "oem.toml"
    path.write_text("[database]\n")
    settings = load_settings(path, OEMSettings).database
    assert (settings.service, settings.factory) == (None, ())


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        ("[database]", "[database]\npaths = 1", "database.paths: unknown key"),
        ("[database]", "[factory]\n[database]", "factory: unknown key"),
        ("[database.service]", "[database.service]\nlisten = 1", "database.service.listen"),
        ('"registrar-cas.pem"', '"none.pem"', "database.service.registrar_anchors: no file at"),
        ("# usage = .*", 'usage = "server-auth"', "database.service.usage"),
        ("# refused = .*", 'refused = ["ABCD"]', "database.service.refused.0"),
        ("# refused = .*", f'refused = ["{"0" * 64}\\n"]', "database.service.refused.0"),
        ("# burst = .*", "burst = 0", "database.service.burst"),
        ("# queries_per_s = .*", "queries_per_s = 0", "database.service.queries_per_s"),
        ("# queries_per_s = .*", "queries_per_s = inf", "database.service.queries_per_s"),
        ('name = "factory-1"', 'name = ""', "database.factory.0.name"),
        (
            r"\[database.service\]",
            '[[database.factory]]\nname = "factory-1"\nkey = "factory-1.pem"\n[database.service]',
            "database: factory 'factory-1' is there twice",
        ),
    ],
)
def test_a_fault_is_named_by_its_place(conf: Path, before: str, after: str, fault: str) -> None:
    before = before if before.startswith(("#", "\\")) else re.escape(before)
    text, count = re.subn(before, after.replace("\\", "\\\\"), conf.read_text(), count=1)
    assert count == 1
    conf.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_settings(conf, OEMSettings)
    assert fault in caught.value.reason


# -- the factory's key


def _public_pem(kind: str) -> bytes:

    key = pki.make_key(kind).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize("kind", ["P-256", "P-384", "Ed25519", "RSA-2048"])
def test_a_public_key_is_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(_public_pem(kind))
    assert load_public_key(path)


def test_a_certificate_stands_for_its_key(tmp_path: Path) -> None:
    path = tmp_path / "chain.pem"
    entity = pki.make_server(pki.make_pki(), not_after=pki.BEFORE, not_before=pki.BEFORE)
    path.write_bytes(entity.chain_pem)
    assert load_public_key(path) == entity.certificate.public_key()


@pytest.mark.parametrize("kind", ["P-521", "RSA-1024"])
def test_a_key_that_is_not_accepted_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(_public_pem(kind))
    with pytest.raises(KeyUnusable, match=r"key\.pem"):
        load_public_key(path)


def test_a_private_key_is_no_public_key(tmp_path: Path) -> None:
    """It must not lie about on the database's machine, so it is not quietly taken."""
    path = tmp_path / "key.pem"
    path.write_bytes(pki.make_root().key_pem)
    with pytest.raises(KeyUnusable, match="neither PUBLIC KEY nor CERTIFICATE"):
        load_public_key(path)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileUnusable, match=r"none\.pem"):
        load_public_key(tmp_path / "none.pem")
