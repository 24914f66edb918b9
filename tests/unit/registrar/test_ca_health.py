"""Whether a CA could issue now: its certificates' time, and the files that it came from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from brski.errors import KeyUnusable
from registrar_plugin.ca_backend.embedded import EmbeddedCA, EmbeddedCASettings
from registrar_plugin.ca_backend.rollover import make_rollover
from registrar_plugin.health.ca import WARNED, CAHealth, issuing_path
from tests.kit import pki
from tests.kit.est_site import write_key, write_pem

ROOT_ENDS = pki.NOW + timedelta(days=1000)
ENDS = pki.NOW + timedelta(days=100)


@pytest.fixture
def owner() -> pki.Entity:
    """A root, and an issuing CA that ends before it."""
    return pki.make_ca("Example CA", pki.make_root(not_after=ROOT_ENDS), not_after=ENDS)


async def told(ca: EmbeddedCA, now: datetime) -> str | None:
    return await CAHealth(ca, lambda: now).check()


async def test_a_certificate_that_ends_is_told_before_and_after(owner: pki.Entity) -> None:
    """Good, a warning for its last days, then red; to the second."""
    ca = EmbeddedCA(owner.signer)
    assert await told(ca, ENDS - WARNED - timedelta(seconds=1)) is None
    said = await told(ca, ENDS - WARNED)
    assert said is not None
    assert "Example CA" in said
    assert f"{ENDS:%FT%TZ}" in said
    assert await told(ca, ENDS) is not None
    with pytest.raises(KeyUnusable, match="Example CA has ended"):
        await told(ca, ENDS + timedelta(seconds=1))


async def test_so_is_its_root(owner: pki.Entity) -> None:
    """Below an ended root nothing is good, however long the issuing certificate says that it is."""
    root = pki.make_root("Example Root", not_after=pki.NOW + timedelta(days=10))
    ca = EmbeddedCA(pki.make_ca("Example CA", root, not_after=ENDS).signer)
    said = await told(ca, pki.NOW)
    assert said is not None
    assert "Example Root" in said
    with pytest.raises(KeyUnusable, match="Example Root has ended"):
        await told(ca, pki.NOW + timedelta(days=11))


async def test_a_clock_that_is_behind_is_told(owner: pki.Entity) -> None:
    """What it would certify begins before its issuer does."""
    early = owner.certificate.not_valid_before_utc - timedelta(seconds=1)
    with pytest.raises(KeyUnusable, match="begins at"):
        await told(EmbeddedCA(owner.signer), early)


def test_what_only_leads_to_another_root_is_left_out() -> None:
    """OldWithNew ends with the old root, and nobody's certificate with it."""
    old = pki.make_root("Example Root", not_after=ROOT_ENDS)
    made = make_rollover(
        old.signer,
        pki.KeySigner(pki.make_key(), deterministic=True),
        now=pki.NOW,
        not_after=ROOT_ENDS + timedelta(days=1000),
    )
    issuing = pki.make_ca("Example CA", old)
    shown: Sequence[x509.Certificate] = (*issuing.chain, *made.certificates)
    assert issuing_path(shown) == issuing.chain
    assert issuing_path(issuing.chain[:1]) == issuing.chain[:1]
    assert issuing_path(()) == ()


def in_files(folder: Path, owner: pki.Entity) -> EmbeddedCA:
    write_key(folder / "owner.key", owner)
    write_pem(folder / "owner.pem", owner.chain)
    return EmbeddedCA.open(EmbeddedCASettings(key=folder / "owner.key", chain=folder / "owner.pem"))


async def test_files_that_the_next_start_would_not_take(tmp_path: Path, owner: pki.Entity) -> None:
    """Gone, readable by others, another key, another CA: a warning each, since the key that is
    loaded signs on; good again when they are.
    """
    ca, key, chain = in_files(tmp_path, owner), tmp_path / "owner.key", tmp_path / "owner.pem"
    assert await ca.check() is None
    key.rename(tmp_path / "elsewhere")
    assert "would fail" in str(await ca.check())
    (tmp_path / "elsewhere").rename(key)
    assert await ca.check() is None
    key.chmod(0o640)
    assert "others can read" in str(await ca.check())
    key.chmod(0o600)
    other = pki.make_ca("Example CA", pki.make_root())
    write_key(key, other)
    assert "another key" in str(await ca.check())
    write_pem(chain, other.chain)
    assert "another chain" in str(await ca.check())
    write_key(key, owner)
    write_pem(chain, owner.chain)
    assert await ca.check() is None


async def test_files_are_read_again_only_when_they_have_changed(
    tmp_path: Path, owner: pki.Entity, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked each second it costs two looks at a folder; what was found once is said again."""
    ca = in_files(tmp_path, owner)
    (tmp_path / "owner.key").unlink()
    said = await ca.check()
    monkeypatch.setattr("registrar_plugin.ca_backend.key_files.load_signer", None)
    assert await ca.check() == said
    assert said is not None
    assert os.fspath(tmp_path / "owner.key") in said
