"""The MASA's settings: what is refused, and what becomes of them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from brski.edge.settings import load_settings
from brski.edge.signers.file import write_chain, write_private_key
from brski.errors import FileUnusable, KeyUnusable, LocalError, NotAuthenticated, SettingsError
from masa_stub.app import issue_policy, load_passwords, load_signers
from masa_stub.customer_files import CustomerFiles, load_crl
from masa_stub.issue import IssuePolicy
from masa_stub.passwords import load_password
from masa_stub.pin import Pin
from masa_stub.settings import MASASettings
from tests.kit import pki
from tests.kit.masa_desk import REGISTRAR, crl

TLS = '[tls]\nkey = "tls.key"\nchain = "tls.pem"\n'
SIGNERS = ("a.key", "a.pem", "b.key", "b.pem")


def loaded(folder: Path, text: str) -> MASASettings:
    for name in ("tls.key", "tls.pem", "ca.pem", "ca.crl", "ca.der", "password", *SIGNERS):
        (folder / name).touch()
    (folder / "masa.toml").write_text(TLS + text)
    return load_settings(folder / "masa.toml", MASASettings)


def test_the_defaults_are_the_decisions_own(tmp_path: Path) -> None:
    """One place says what is usual."""
    assert issue_policy(loaded(tmp_path, "")) == IssuePolicy()


def test_policy_is_spelled_out(tmp_path: Path) -> None:
    """Each key arrives where it decides."""
    text = """
[policy]
pin = "end-entity"
pin_nonceless = "lowest-ca"
unsold = "first"
asserting_without_request = true
[nonceless]
life_s = 60
"""
    policy = issue_policy(loaded(tmp_path, text))
    assert (policy.pin, policy.pin_nonceless) == (Pin.END_ENTITY, Pin.LOWEST_CA)
    assert policy.life == timedelta(seconds=60)
    assert policy.asserting_without_request
    assert issue_policy(loaded(tmp_path, "[nonceless]\nno_end = true")).life is None


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('[[customer]]\nname = "a"', "known by nothing"),
        ('[[customer]]\nname = "a b"\nanchors = "ca.pem"', "pattern"),
        ('[[customer]]\nname = "a"\nuser = "u"', "go together"),
        ('[[customer]]\nname = "a"\nuser = "u:v"\npassword_file = "password"', "pattern"),
        (
            '[[customer]]\nname = "a"\nuser = "u"\npassword_file = "password"\ncrls = ["ca.crl"]',
            "crls need anchors",
        ),
        ('[[customer]]\nname = "a"\nanchors = "ca.pem"\n' * 2, "same name"),
        ("[nonceless]\nlife_s = 0", "life_s"),
        ("[audit_log]\nmost = 0", "most"),
    ],
)
def test_customers_that_are_known_by_nothing_are_refused(
    tmp_path: Path, text: str, fault: str
) -> None:
    """At the start, not when the first of them asks."""
    with pytest.raises(SettingsError, match=fault):
        loaded(tmp_path, text)


def test_customers_are_read_from_their_files(tmp_path: Path) -> None:
    """Anchors, a revocation list in either form, a password that none but the owner may read."""
    text = """
[[customer]]
name = "a"
anchors = "ca.pem"
crls = ["ca.crl", "ca.der"]
user = "u"
password_file = "password"
"""
    settings = loaded(tmp_path, text)
    ca = pki.make_root("Owner")
    write_chain(tmp_path / "ca.pem", [ca.certificate])
    listed = crl(by=ca, until=pki.NOT_AFTER)
    (tmp_path / "ca.crl").write_bytes(listed.public_bytes(Encoding.PEM))
    (tmp_path / "ca.der").write_bytes(listed.public_bytes(Encoding.DER))
    files = CustomerFiles(settings.customer)
    (customer,) = files
    assert customer.anchors is not None
    assert customer.anchors.anchors == (ca.certificate,)
    assert customer.crls == (listed, listed)

    newer = crl(REGISTRAR.certificate, by=ca, until=pki.NOT_AFTER)
    (tmp_path / "ca.der").write_bytes(newer.public_bytes(Encoding.DER))
    assert next(iter(files)).crls == (listed, newer)
    (tmp_path / "ca.crl").write_bytes(b"in the middle of a copy")
    assert next(iter(files)).crls == (listed, newer)
    (tmp_path / "ca.crl").unlink()
    assert next(iter(files)).crls == (listed, newer)
    (tmp_path / "ca.crl").write_bytes(newer.public_bytes(Encoding.PEM))
    assert next(iter(files)).crls == (newer, newer)

    password = tmp_path / "password"
    password.chmod(0o644)
    password.write_bytes(b"secret\n")
    with pytest.raises(KeyUnusable, match="0644"):
        load_passwords(settings)
    password.chmod(0o600)
    accounts = load_passwords(settings)
    assert accounts.customer_of("basic dTpzZWNyZXQ=") == "a"
    with pytest.raises(NotAuthenticated):
        accounts.customer_of("basic dTpzZWNyZXQK")  # with the line's end


@pytest.mark.parametrize("octets", [b"", b"\n", b"one\ntwo\n"])
def test_a_password_is_one_line(tmp_path: Path, octets: bytes) -> None:
    """Neither nothing, which anybody knows, nor a list."""
    path = tmp_path / "password"
    path.write_bytes(octets)
    path.chmod(0o600)
    with pytest.raises(FileUnusable):
        load_password(path)


def test_what_is_no_revocation_list_is_refused(tmp_path: Path) -> None:
    """A certificate, say."""
    write_chain(tmp_path / "ca.pem", [pki.make_root().certificate])
    with pytest.raises(FileUnusable, match="no certificate revocation list"):
        load_crl(tmp_path / "ca.pem")


@pytest.mark.requirement("MASA-17")
def test_two_names_of_one_key_are_not_two_keys(tmp_path: Path) -> None:
    """Else the separation is on paper."""
    text = """
[signer]
key = "a.key"
chain = "a.pem"
[nonceless_signer]
key = "b.key"
chain = "b.pem"
"""
    settings = loaded(tmp_path, text)
    one, two = (pki.make_masa_signer(pki.make_root("R")) for _ in "12")
    for name, signer in (("a", one), ("b", two)):
        (tmp_path / f"{name}.key").unlink()
        write_private_key(tmp_path / f"{name}.key", signer.private_key)
        write_chain(tmp_path / f"{name}.pem", signer.chain)
    signers = load_signers(settings, pki.NOW)
    assert signers.anchors == (one.root, two.root)
    (tmp_path / "b.key").unlink()
    write_private_key(tmp_path / "b.key", one.private_key)
    write_chain(tmp_path / "b.pem", one.chain)
    with pytest.raises(LocalError, match="has the key of"):
        load_signers(settings, pki.NOW)
