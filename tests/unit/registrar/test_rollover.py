"""A root's new key: who trusts one of the two reaches what the other has certified."""

from __future__ import annotations

import ssl
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from brski.edge.signers.file import load_chain
from brski.edge.tls_server import server_context
from brski.errors import ChainInvalid, KeyUnusable
from brski.pki.chain import TrustAnchors, validate_to_pin
from registrar_plugin.ca_backend.embedded import EmbeddedCA
from registrar_plugin.ca_backend.rollover import Rollover, make_rollover
from registrar_plugin.cli import main
from tests.kit import pki
from tests.kit.programs import require_program
from tests.kit.tls import connect_in_memory

NEVER = pki.NOW + timedelta(days=3650)


@pytest.fixture(params=["P-256", "Ed25519"])
def old(request: pytest.FixtureRequest) -> pki.Entity:
    return pki.make_root("Example Owner Root", kind=request.param, not_after=pki.NOT_AFTER)


@pytest.fixture
def new_key() -> pki.KeySigner:
    return pki.KeySigner(pki.make_key("P-384"))


@pytest.fixture
def made(old: pki.Entity, new_key: pki.KeySigner) -> Rollover:
    return make_rollover(old.signer, new_key, now=pki.NOW, not_after=NEVER)


@pytest.fixture
def new(made: Rollover, new_key: pki.KeySigner) -> pki.Entity:
    """The new root, as an issuer."""
    return pki.Entity(certificate=made.new_with_new, private_key=new_key.private_key)


def test_the_old_roots_device_reaches_a_registrar_under_the_new_one(
    old: pki.Entity, new: pki.Entity, made: Rollover
) -> None:
    """NewWithOld in the chain, or kept from cacerts: the old pin holds; without it, it does not."""
    registrar = pki.make_registrar(new)
    validate_to_pin((registrar.certificate, made.new_with_old), old.certificate, at=pki.NOW)
    kept = (registrar.certificate, *made.certificates)
    TrustAnchors([old.certificate]).validate(kept[0], kept[1:], at=pki.NOW)
    with pytest.raises(ChainInvalid):
        TrustAnchors([old.certificate]).validate(
            registrar.certificate, [made.new_with_new], at=pki.NOW
        )


def test_the_new_roots_device_reaches_what_the_old_one_certified(
    old: pki.Entity, made: Rollover
) -> None:
    """OldWithNew leads a newcomer to certificates from before."""
    former = pki.make_registrar(old)
    anchors = TrustAnchors([made.new_with_new])
    anchors.validate(former.certificate, [made.old_with_new], at=pki.NOW)
    with pytest.raises(ChainInvalid):
        anchors.validate(former.certificate, [old.certificate], at=pki.NOW)


def test_the_four_say_who_they_are(old: pki.Entity, made: Rollover, new_key: pki.KeySigner) -> None:
    """One name, two keys; each certificate names the key that signed it, and ends as it must."""
    old_id = pki.key_identifier(old.private_key.public_key())
    new_id = pki.key_identifier(new_key.public_key)
    seen = {(_own(each), _authority(each), each.not_valid_after_utc) for each in made.certificates}
    ends = pki.NOT_AFTER
    assert seen == {(new_id, new_id, NEVER), (new_id, old_id, ends), (old_id, new_id, ends)}
    assert {each.subject for each in made.certificates} == {old.certificate.subject}
    assert len({each.serial_number for each in made.certificates}) == 3


def test_openssl_follows_both_ways(
    old: pki.Entity, new: pki.Entity, made: Rollover, tmp_path: Path
) -> None:
    """Another implementation: strict checks, no partial chains."""
    files = {
        "old": old.certificate,
        "new": made.new_with_new,
        "new_with_old": made.new_with_old,
        "old_with_new": made.old_with_new,
        "before": pki.make_registrar(old).certificate,
        "after": pki.make_registrar(new).certificate,
    }
    for name, certificate in files.items():
        (tmp_path / name).write_bytes(certificate.public_bytes(Encoding.PEM))

    def verify(anchor: str, between: str, leaf: str) -> int:
        return subprocess.run(
            [
                require_program("openssl", "openssl"),
                *("verify", "-x509_strict", "-attime", str(int(pki.NOW.timestamp()))),
                *("-CAfile", anchor, "-untrusted", between, leaf),
            ],
            cwd=tmp_path,
            capture_output=True,
            check=False,
        ).returncode

    assert verify("old", "new_with_old", "after") == 0
    assert verify("new", "old_with_new", "before") == 0
    assert verify("old", "new", "after") != 0
    assert verify("new", "old", "before") != 0


@pytest.mark.requirement("ESTS-4")
def test_cacerts_show_the_rollover(old: pki.Entity, made: Rollover) -> None:
    """While the key changes, cacerts holds the chain and the three."""
    ca = EmbeddedCA(pki.make_ca("Example CA", old).signer, rollover=made.certificates)
    shown = ca.ca_certificates()
    assert len(shown) == 5
    assert set(made.certificates) < set(shown)
    assert shown[1] == old.certificate


@pytest.mark.requirement("ESTS-4")
def test_cacerts_show_the_rollover_after_the_switch(new: pki.Entity, made: Rollover) -> None:
    """The new root in the chain, the file the same: devices of both roots find their way."""
    ca = EmbeddedCA(pki.make_ca("Example CA", new).signer, rollover=made.certificates)
    assert set(made.certificates) <= set(ca.ca_certificates())


def test_certificates_of_somebody_else_are_no_rollover(old: pki.Entity, made: Rollover) -> None:
    """Another name, a foreign signature under the right name, or a rollover of another root."""
    namesake = pki.make_root("Example Owner Root")
    for strangers in (
        (pki.make_root("Another Root").certificate,),
        (pki.make_ca("Example Owner Root", namesake).certificate,),
        (namesake.certificate,),
        (*made.certificates, namesake.certificate),
        make_rollover(
            namesake.signer, pki.KeySigner(pki.make_key()), now=pki.NOW, not_after=NEVER
        ).certificates,
    ):
        with pytest.raises(ChainInvalid):
            EmbeddedCA(old.signer, rollover=strangers)


@pytest.mark.parametrize("what", ["same key", "no root", "ended"])
def test_what_cannot_be_rolled_over_is_refused(old: pki.Entity, what: str) -> None:
    """A root's new key is new, and the root is one, and in use."""
    signer = pki.make_ca("Example CA", old).signer if what == "no root" else old.signer
    new = pki.KeySigner(old.private_key if what == "same key" else pki.make_key())
    now = pki.AFTER if what == "ended" else pki.NOW
    with pytest.raises(KeyUnusable):
        make_rollover(signer, new, now=now, not_after=pki.NEVER)


def test_a_tls_client_of_the_old_root_reaches_the_new_registrar(
    old: pki.Entity, new: pki.Entity, made: Rollover
) -> None:
    """A client of the standard library that trusts the old root alone, by NewWithOld."""
    registrar = pki.make_registrar(new)

    def server(*above: x509.Certificate) -> ssl.SSLContext:
        return server_context((registrar.certificate, *above), registrar.private_key)

    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(cadata=old.certificate.public_bytes(Encoding.DER))
    name = "registrar.example.com"
    connect_in_memory(client, server(made.new_with_old), server_hostname=name)
    with pytest.raises(ssl.SSLError):
        connect_in_memory(client, server(made.new_with_new), server_hostname=name)


def test_the_command_makes_what_the_ca_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Keys and certificates in files, 0600 the key; nothing that exists is overwritten."""
    root = pki.make_root("Example Owner Root", not_after=pki.NEVER)
    (tmp_path / "root.pem").write_bytes(root.certificate.public_bytes(Encoding.PEM))
    (tmp_path / "root.key").touch(0o600)
    (tmp_path / "root.key").write_bytes(root.key_pem)
    said = [
        *("ca", "rollover", "--root", str(tmp_path / "root.pem")),
        *("--root-key", str(tmp_path / "root.key"), "--new-key", str(tmp_path / "new.key")),
        *("--out", str(tmp_path / "out")),
    ]
    assert main(said) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert (tmp_path / "new.key").stat().st_mode & 0o777 == 0o600
    made = load_chain(tmp_path / "out" / "rollover.pem")
    EmbeddedCA(root.signer, rollover=made)
    assert load_chain(tmp_path / "out" / "new-root.pem") == made[:1]
    assert load_chain(tmp_path / "out" / "new-with-old.pem") == made[1:2]
    before = (tmp_path / "new.key").read_bytes()
    assert main(said) != 0
    assert (tmp_path / "new.key").read_bytes() == before


def _own(certificate: x509.Certificate) -> bytes:
    return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest


def _authority(certificate: x509.Certificate) -> bytes | None:
    found = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    return found.value.key_identifier
