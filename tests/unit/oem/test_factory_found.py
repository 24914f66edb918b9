"""A factory is founded once, with keys of its own, in a form that the other programs read."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509

from brski.edge.settings import load_settings
from brski.edge.signers.file import load_chain, load_signer
from brski.errors import SettingsError, StateError
from brski.pki.chain import check_presented_chain
from brski.seed.recipient_key import HybridPrivateKey, HybridPublicKey
from oem_backend.factory.found import Founded, found_factory
from oem_backend.factory.settings import FactoryFile
from tests.kit.factory import CREATED

PRIVATE = ("recipient.key", "intake.key", "issuing.key", "bundle.key")


def found(folder: Path, **changes: object) -> Founded:
    values: dict[str, object] = {
        "name": "factory-1",
        "title": "Example OEM",
        "masa_url": "masa.example.com:9443",
        "levels": 3,
        "algorithm": "P-256",
        "created_at": CREATED,
    }
    return found_factory(folder, **values | changes)  # type: ignore[arg-type]


@pytest.mark.requirement("OEM-15")
@pytest.mark.parametrize("levels", [2, 3])
@pytest.mark.parametrize("algorithm", ["P-256", "P-384", "Ed25519"])
def test_its_cas_never_end(tmp_path: Path, levels: int, algorithm: str) -> None:
    """keyCertSign and cRLSign, a path length, identifiers, 99991231235959Z."""
    folder = tmp_path / "factory"
    found(folder, levels=levels, algorithm=algorithm)
    chain = load_chain(folder / "issuing-chain.pem")
    assert len(chain) == levels - 1
    check_presented_chain(chain)
    (root,) = load_chain(folder / "root.pem")
    assert root == chain[-1]
    for depth, ca in enumerate(chain):
        assert ca.not_valid_before_utc == CREATED
        assert b"99991231235959Z" in ca.tbs_certificate_bytes
        constraints = ca.extensions.get_extension_for_class(x509.BasicConstraints)
        assert constraints.critical
        assert constraints.value == x509.BasicConstraints(ca=True, path_length=depth)
        usage = ca.extensions.get_extension_for_class(x509.KeyUsage).value
        assert (usage.key_cert_sign, usage.crl_sign, usage.digital_signature) == (True, True, False)
        assert (
            len(ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest) == 20
        )
    assert load_signer(folder / "issuing.key", folder / "issuing-chain.pem").chain == chain
    assert (folder / "root.key").exists() == (levels == 3)


def test_its_settings_file_is_read_by_the_factory(tmp_path: Path) -> None:
    """And names the keys beside it; private ones are for their owner alone."""
    folder = tmp_path / "factory"
    told = found(folder, name='fab "7" \\ west')
    loaded = load_settings(folder / "factory.toml", FactoryFile).factory
    assert loaded.name == 'fab "7" \\ west'
    assert loaded.recipient_key == folder / "recipient.key"
    assert folder.stat().st_mode & 0o777 == 0o700
    for name in (*PRIVATE, "root.key"):
        assert (folder / name).stat().st_mode & 0o777 == 0o600
    private = HybridPrivateKey.parse((folder / "recipient.key").read_bytes())
    public = HybridPublicKey.parse((folder / "recipient.pub").read_bytes())
    assert private.public_key == public
    assert told.recipient_key_id == public.key_id.hex()
    assert len((folder / "intake.key").read_bytes()) == 32


def test_two_factories_have_nothing_in_common(tmp_path: Path) -> None:
    for name in ("a", "b"):
        found(tmp_path / name)
    for name in (*PRIVATE, "root.key"):
        assert (tmp_path / "a" / name).read_bytes() != (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("there", ["root.key", "recipient.key", "intake.key", "factory.toml"])
def test_a_factory_that_is_there_is_not_overwritten(tmp_path: Path, there: str) -> None:
    """Whatever of it is there; nothing is made beside it."""
    (tmp_path / there).write_bytes(b"precious")
    whole = there == "factory.toml"
    why = "a factory in this folder" if whole else "was begun in this folder, not finished"
    with pytest.raises(StateError, match=why):
        found(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [there]
    assert (tmp_path / there).read_bytes() == b"precious"


@pytest.mark.parametrize(
    "wrong",
    [
        {"levels": 4},
        {"algorithm": "RSA"},
        {"name": ""},
        {"name": "two\nlines"},
        {"name": "Фабрика"},
        {"name": "n" * 65},
        {"title": ""},
        {"title": "T" * 49},
        {"title": "two\nlines"},
        {"masa_url": "ftp://masa.example.com"},
    ],
)
def test_what_would_not_work_later_is_refused_now(tmp_path: Path, wrong: dict[str, object]) -> None:
    folder = tmp_path / "factory"
    with pytest.raises(SettingsError):
        found(folder, **wrong)
    assert not folder.exists()
    found(folder, title="T" * 48, name="n" * 64)  # the nearest acceptance
