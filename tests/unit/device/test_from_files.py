"""A device whose IDevID is in files."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509

from brski.edge.signers.key import KeySigner
from brski.errors import FileUnusable, KeyUnusable
from brski.pki.keys import encode_spki, spki_of
from device_client.identity.from_files import FileIdentity, load_identity
from tests.kit import pki

OEM = pki.make_pki()
MASA = pki.make_root("Example MASA Root")
IDEVID = pki.make_idevid(OEM)


def write(folder: Path, idevid: pki.Entity, key: pki.Entity | None = None) -> tuple[Path, ...]:
    paths = (folder / "idevid.key", folder / "idevid.pem", folder / "masa.pem")
    paths[0].touch(mode=0o600)
    paths[0].write_bytes((key or idevid).key_pem)
    paths[1].write_bytes(idevid.chain_pem)
    paths[2].write_bytes(MASA.chain_pem)
    return paths


def test_it_is_who_its_certificate_says(tmp_path: Path) -> None:
    """Serial number and issuer come out of the IDevID."""
    identity = load_identity(*write(tmp_path, IDEVID))
    assert identity.carried
    assert identity.serial_number == pki.SERIAL_NUMBER
    assert identity.idevid_issuer == pki.key_identifier(OEM.private_key.public_key())
    assert identity.client_chain == (IDEVID.certificate, *IDEVID.intermediates)
    assert identity.voucher_anchors == (MASA.certificate,)
    assert encode_spki(identity.signer().public_key) == spki_of(IDEVID.certificate)
    assert identity.signer().private_key.public_key() == IDEVID.private_key.public_key()
    assert pki.SERIAL_NUMBER in repr(identity)


@pytest.mark.requirement("VR-12")
def test_an_idevid_without_aki_has_an_issuer_all_the_same(tmp_path: Path) -> None:
    """As RFC 8366bis §6.1 makes it up, from the IDevID's own key."""
    bare = pki.make_idevid(OEM, aki=False)
    identity = load_identity(*write(tmp_path, bare))
    assert identity.idevid_issuer == pki.key_identifier(bare.private_key.public_key())


def test_what_is_no_idevid_of_this_key_is_refused(tmp_path: Path) -> None:
    """Another key, a certificate without a serial number, no certificate, an open key file."""
    for name, idevid, key in (
        ("key", IDEVID, pki.make_idevid(OEM)),
        ("name", pki.make_server(OEM), None),
    ):
        folder = tmp_path / name
        folder.mkdir()
        with pytest.raises(KeyUnusable):
            load_identity(*write(folder, idevid, key))
    with pytest.raises(KeyUnusable, match="needs its certificate"):
        FileIdentity(KeySigner(IDEVID.private_key), (MASA.certificate,))
    paths = write(tmp_path, IDEVID)
    paths[0].chmod(0o644)
    with pytest.raises(KeyUnusable, match="mode"):
        load_identity(*paths)
    paths[0].chmod(0o600)
    paths[2].unlink()
    with pytest.raises(FileUnusable):
        load_identity(*paths)


def test_a_chain_that_does_not_hang_together_is_refused() -> None:
    """The device finds out by itself, before a registrar has to."""
    stranger: x509.Certificate = pki.make_root("Stranger").certificate
    with pytest.raises(KeyUnusable, match="unusable"):
        FileIdentity(
            KeySigner(IDEVID.private_key, (IDEVID.certificate, stranger)), (MASA.certificate,)
        )
