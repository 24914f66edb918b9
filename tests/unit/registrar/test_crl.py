"""Revocation lists, octet by octet and as OpenSSL reads them."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from brski.errors import KeyUnusable, StateError
from brski.pki.names import ldevid_subject
from registrar_plugin.ca_backend.crl import (
    Reason,
    RevokedCertificate,
    encode_entry,
    parse_crl,
    scope_of_tbs,
)
from registrar_plugin.ca_backend.embedded import EmbeddedCA
from registrar_plugin.ca_backend.port import CRLSigner, LDevIDRequest
from tests.kit import pki
from tests.kit.programs import require_program

ISSUER = bytes(range(20))
WEEK = timedelta(days=7)


@pytest.fixture(params=["P-256", "P-384", "Ed25519"])
def owner(request: pytest.FixtureRequest) -> pki.Entity:
    return pki.make_pki("Example Owner", kind=request.param, not_after=pki.NOT_AFTER)


async def make_crl(
    ca: CRLSigner, *revoked: RevokedCertificate, number: int = 1
) -> x509.CertificateRevocationList:
    octets = await ca.complete_crl(
        ca.prepare_crl(
            entries(*revoked), number=number, this_update=pki.NOW, next_update=pki.NOW + WEEK
        )
    )
    return x509.load_der_x509_crl(octets)


def entries(*revoked: RevokedCertificate) -> bytes:
    return b"".join(map(encode_entry, revoked))


def revoked(serial: int, reason: Reason = Reason.UNSPECIFIED) -> RevokedCertificate:
    return RevokedCertificate(serial=serial, at=pki.NOW - timedelta(hours=1), reason=reason)


async def test_an_empty_list_has_no_entries_at_all(owner: pki.Entity) -> None:
    """RFC 5280 §5.1.2.6: revokedCertificates is absent when nothing is revoked."""
    crl = await make_crl(EmbeddedCA(owner.signer), number=7)
    assert len(crl) == 0
    assert crl.is_signature_valid(owner.certificate.public_key())  # type: ignore[arg-type]  # a CA's
    assert crl.issuer == owner.certificate.subject
    assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 7
    authority = crl.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    assert authority.value.key_identifier == pki.key_identifier(owner.private_key.public_key())
    assert (crl.last_update_utc, crl.next_update_utc) == (pki.NOW, pki.NOW + WEEK)


@pytest.mark.parametrize("reason", list(Reason))
async def test_an_entry_says_why(reason: Reason) -> None:
    """Every reason has its code; unspecified is said by leaving the extension out (§5.3.1)."""
    owner = pki.make_pki("Example Owner", not_after=pki.NOT_AFTER)
    crl = await make_crl(EmbeddedCA(owner.signer), revoked(42, reason), revoked(41))
    entry = crl.get_revoked_certificate_by_serial_number(42)
    assert entry is not None
    assert entry.revocation_date_utc == pki.NOW - timedelta(hours=1)
    if reason is Reason.UNSPECIFIED:
        assert len(entry.extensions) == 0
    else:
        said = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
        assert said.value == reason.value


async def test_one_intent_gives_one_list(owner: pki.Entity) -> None:
    """What was fixed is what is signed, and signed again it is the same."""
    ca = EmbeddedCA(owner.signer)
    intent = ca.prepare_crl(
        entries(revoked(3)), number=2, this_update=pki.NOW, next_update=pki.NOW + WEEK
    )
    octets = await ca.complete_crl(intent)
    assert octets == await ca.complete_crl(intent)
    assert x509.load_der_x509_crl(octets).tbs_certlist_bytes == intent
    assert parse_crl(octets).number == 2
    assert parse_crl(octets).next_update == pki.NOW + WEEK


@pytest.mark.parametrize("number", [0, -1, 1 << 160])
def test_a_number_that_is_none_is_refused(number: int) -> None:
    """RFC 5280 §5.2.3: positive, of 20 octets at most."""
    ca = EmbeddedCA(pki.make_pki("Example Owner").signer)
    with pytest.raises(StateError):
        ca.prepare_crl(b"", number=number, this_update=pki.NOW, next_update=pki.NOW + WEEK)


@pytest.mark.parametrize("name", ["Another Owner", "Example Owner"])
async def test_another_cas_list_is_not_signed(name: str) -> None:
    """An open CRL from before the CA was exchanged gets no signature of the new one, not even if
    only its key was.
    """
    other = EmbeddedCA(pki.make_pki(name).signer)
    intent = other.prepare_crl(b"", number=1, this_update=pki.NOW, next_update=pki.NOW + WEEK)
    with pytest.raises(StateError):
        await EmbeddedCA(pki.make_pki("Example Owner").signer).complete_crl(intent)


async def test_a_ca_without_crlsign_signs_no_list() -> None:
    """Who may certify may not yet revoke: keyUsage says it (RFC 5280 §4.2.1.3)."""
    root = pki.make_root()
    issuing = pki.make_ca("Example CA", root, key_usage=pki.key_usage("key_cert_sign"))
    with pytest.raises(KeyUnusable, match="cRLSign"):
        await make_crl(EmbeddedCA(issuing.signer))


@pytest.mark.parametrize("octets", [b"", b"\x30\x00", b"no list"])
def test_what_is_no_list_of_ours_is_told(octets: bytes) -> None:
    """A damaged journal does not become a published list."""
    for read in (parse_crl, scope_of_tbs):
        with pytest.raises(StateError):
            read(octets)


def test_whose_a_list_is_is_told_by_name_and_key() -> None:
    """Before its signature as after it; a CA of the same name with another key has its own."""
    ca = EmbeddedCA(pki.make_pki("Example Owner").signer)
    other = EmbeddedCA(pki.make_pki("Example Owner").signer)
    assert ca.crl_issuer.name == other.crl_issuer.name
    assert ca.crl_issuer.scope != other.crl_issuer.scope
    for listed in (b"", entries(revoked(3), revoked(4))):
        tbs = ca.prepare_crl(listed, number=2, this_update=pki.NOW, next_update=pki.NOW + WEEK)
        assert scope_of_tbs(tbs) == ca.crl_issuer.scope


async def test_openssl_refuses_the_revoked_certificate_and_takes_the_other(
    owner: pki.Entity, tmp_path: Path
) -> None:
    """Another implementation reads the list, and the distribution point in the certificates."""
    url = "http://crl.example.com/owner.crl"
    ca = EmbeddedCA(owner.signer, crl_url=url)
    good, bad = [await _issue(ca, serial) for serial in ("SN-1", "SN-2")]
    crl = await make_crl(ca, revoked(bad.serial_number, Reason.KEY_COMPROMISE))
    root_crl = await make_crl(
        EmbeddedCA(pki.KeySigner(owner.private_key, owner.chain)),
    )
    assert root_crl is not None
    (tmp_path / "good.pem").write_bytes(good.public_bytes(Encoding.PEM))
    (tmp_path / "bad.pem").write_bytes(bad.public_bytes(Encoding.PEM))
    (tmp_path / "crl.pem").write_bytes(crl.public_bytes(Encoding.PEM))
    (tmp_path / "root.pem").write_bytes(owner.root.public_bytes(Encoding.PEM))
    (tmp_path / "sub.pem").write_bytes(owner.certificate.public_bytes(Encoding.PEM))

    def verify(which: str) -> subprocess.CompletedProcess[str]:
        return openssl(
            tmp_path,
            *("verify", "-x509_strict", "-crl_check", "-CRLfile", "crl.pem"),
            *("-attime", str(int(pki.NOW.timestamp())), "-CAfile", "root.pem"),
            *("-untrusted", "sub.pem", which),
        )

    assert verify("good.pem").returncode == 0, verify("good.pem").stderr
    refused = verify("bad.pem")
    assert refused.returncode != 0
    assert "revoked" in refused.stdout + refused.stderr
    text = openssl(tmp_path, "x509", "-in", "good.pem", "-noout", "-text").stdout
    assert f"URI:{url}" in text
    listed = openssl(tmp_path, "crl", "-in", "crl.pem", "-noout", "-text").stdout
    assert "Key Compromise" in listed
    assert "X509v3 CRL Number" in listed


async def _issue(ca: EmbeddedCA, serial_number: str) -> x509.Certificate:
    asked = LDevIDRequest(
        idevid_issuer=ISSUER,
        serial_number=serial_number,
        csr=b"",
        public_key=pki.make_key().public_key(),
        subject=ldevid_subject(serial_number, ISSUER),
    )
    issued = await ca.complete(ca.prepare(asked, now=pki.NOW))
    assert isinstance(issued, x509.Certificate)
    return issued


def openssl(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [require_program("openssl", "openssl"), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
