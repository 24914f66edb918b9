"""Signers over keys in memory and in files."""

from __future__ import annotations

import pickle
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)

from brski.edge.signers.file import (
    load_chain,
    load_private_key,
    load_signer,
    pem_of,
    write_chain,
    write_private_key,
)
from brski.edge.signers.key import KeySigner
from brski.errors import FileUnusable, KeyUnusable, StateError
from brski.pki import signatures
from brski.pki.signer import Signer
from tests.kit import pki
from tests.kit.programs import require_program

KINDS = ["P-256", "P-384", "Ed25519", "RSA-2048", "ML-DSA-44", "ML-DSA-65", "ML-DSA-87"]


@pytest.mark.parametrize("kind", KINDS)
def test_signature_verifies_under_the_key_and_its_one_algorithm(kind: str) -> None:
    """What the port promises, judged by the code that judges our peers."""
    signer: Signer = KeySigner(pki.make_key(kind))
    signature = signer.sign(b"data")
    signatures.verify(signer.public_key, signature, b"data", what="test")


@pytest.mark.parametrize("kind", KINDS[:4])
def test_deterministic_signer_signs_the_same_octets(kind: str) -> None:
    """RFC 6979 for ECDSA: the same data at every boot gives the same certificate."""
    signer = KeySigner(pki.make_key(kind), deterministic=True)
    assert signer.sign(b"data") == signer.sign(b"data") != signer.sign(b"other")


def test_ecdsa_is_random_unless_told() -> None:
    """Two signatures of an ordinary signer differ."""
    signer = KeySigner(pki.make_key())
    assert signer.sign(b"data") != signer.sign(b"data")


@pytest.mark.parametrize("kind", ["P-521", "RSA-1024"])
def test_key_of_another_kind_is_not_signed_with(kind: str) -> None:
    """What we would refuse of a peer we do not make ourselves."""
    with pytest.raises(KeyUnusable) as caught:
        KeySigner(pki.make_key(kind))
    assert "P-256" in caught.value.hint


def test_object_that_is_no_key_is_refused() -> None:
    """A wrong argument from settings code."""
    wrong: Any = "key.pem"
    with pytest.raises(KeyUnusable, match="a str is not a key"):
        KeySigner(wrong)


def test_certificate_of_another_key_is_refused() -> None:
    """A chain and a key that do not belong together."""
    ours, other = pki.make_root(), pki.make_root()
    assert KeySigner(ours.private_key, ours.chain).chain == ours.chain
    with pytest.raises(KeyUnusable, match="for another key"):
        KeySigner(ours.private_key, other.chain)


def test_signer_shows_and_ships_no_key() -> None:
    """Neither its repr nor a process boundary gets the key."""
    signer = KeySigner(pki.make_key())
    assert "0x" not in repr(signer)
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(signer)


@pytest.mark.parametrize("kind", KINDS)
def test_written_key_and_chain_load_again(tmp_path: Path, kind: str) -> None:
    """Key at 0600, certificates in order."""
    issuer = pki.make_pki()
    leaf = pki.make_masa_signer(issuer, kind=kind)
    key, chain = tmp_path / "key.pem", tmp_path / "chain.pem"
    write_private_key(key, leaf.private_key)
    write_chain(chain, leaf.chain)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    signer = load_signer(key, chain)
    assert signer.chain == leaf.chain
    assert signer.public_key == leaf.certificate.public_key()
    assert load_signer(key).chain == ()


def test_existing_key_is_not_overwritten(tmp_path: Path) -> None:
    """A second set-up does not destroy the first one's key."""
    path = tmp_path / "key.pem"
    write_private_key(path, pki.make_key())
    before = path.read_bytes()
    with pytest.raises(StateError):
        write_private_key(path, pki.make_key())
    assert path.read_bytes() == before
    write_private_key(path, pki.make_key(), may_replace=True)
    assert path.read_bytes() != before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602])
def test_key_that_others_can_touch_is_refused(tmp_path: Path, mode: int) -> None:
    """Group or world, reading or writing; the hint says what to type."""
    path = tmp_path / "key.pem"
    write_private_key(path, pki.make_key())
    load_private_key(path)
    path.chmod(mode)
    with pytest.raises(KeyUnusable, match=f"mode {mode:04o}") as caught:
        load_private_key(path)
    assert caught.value.hint == f"chmod 600 {path}"


def test_encrypted_key_is_told_as_such(tmp_path: Path) -> None:
    """Not as a damaged one."""
    path = tmp_path / "key.pem"
    path.touch(0o600)
    path.write_bytes(
        pki.make_key().private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
        )
    )
    with pytest.raises(KeyUnusable, match="is encrypted"):
        load_private_key(path)


@pytest.mark.parametrize("content", [b"", b"-----BEGIN PRIVATE KEY-----\nAAAA\n", b"\xff" * 99])
def test_file_without_a_key_is_refused(tmp_path: Path, content: bytes) -> None:
    """Empty, truncated, not PEM."""
    path = tmp_path / "key.pem"
    path.touch(0o600)
    path.write_bytes(content)
    with pytest.raises(KeyUnusable, match="not a PEM private key"):
        load_private_key(path)


def test_missing_key_and_folder_are_refused(tmp_path: Path) -> None:
    """Each by its name."""
    with pytest.raises(FileUnusable, match=r"key\.pem"):
        load_private_key(tmp_path / "key.pem")
    with pytest.raises(FileUnusable, match="not a regular file"):
        load_private_key(tmp_path)


def test_weak_key_in_a_file_is_refused_by_path(tmp_path: Path) -> None:
    """The message names the file."""
    path = tmp_path / "key.pem"
    weak = pki.make_key("RSA-1024")
    assert isinstance(weak, rsa.RSAPrivateKey)
    write_private_key(path, weak)
    with pytest.raises(KeyUnusable, match=r"key\.pem.*1024"):
        load_private_key(path)


def test_key_and_chain_that_differ_are_told_by_both_paths(tmp_path: Path) -> None:
    """The operator sees which two files do not belong together."""
    write_private_key(tmp_path / "key.pem", pki.make_key())
    write_chain(tmp_path / "chain.pem", pki.make_root().chain)
    with pytest.raises(KeyUnusable, match=r"key\.pem with .*chain\.pem"):
        load_signer(tmp_path / "key.pem", tmp_path / "chain.pem")


def test_chain_file_must_hold_certificates(tmp_path: Path) -> None:
    """Empty is a fault; so is a certificate that is cut."""
    path = tmp_path / "chain.pem"
    path.write_bytes(b"")
    with pytest.raises(FileUnusable, match=r"chain\.pem"):
        load_chain(path)
    path.write_bytes(pem_of(pki.make_root().chain).replace(b"MII", b"MIJ", 1))
    with pytest.raises(FileUnusable, match=r"chain\.pem"):
        load_chain(path)


@pytest.mark.parametrize(
    "command",
    [
        ["ecparam", "-name", "prime256v1", "-genkey", "-noout"],
        ["genpkey", "-algorithm", "ed25519"],
        ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
    ],
)
def test_key_that_openssl_wrote_is_read(tmp_path: Path, command: list[str]) -> None:
    """PKCS #8 and the traditional EC form."""
    openssl = require_program("openssl", "openssl")
    path = tmp_path / "key.pem"
    subprocess.run([openssl, *command, "-out", str(path)], check=True, capture_output=True)
    path.chmod(0o600)
    load_signer(path)
