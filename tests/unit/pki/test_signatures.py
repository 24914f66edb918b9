"""One algorithm for each key."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from brski import registry
from brski.errors import KeyNotAllowed, SignatureInvalid
from brski.pki import der, signatures
from tests.kit import pki

KINDS = ("P-256", "P-384", "Ed25519", "RSA-2048", "ML-DSA-44", "ML-DSA-65", "ML-DSA-87")
KEYS: dict[str, Any] = {kind: pki.make_key(kind) for kind in KINDS}
DATA = b"what is signed"


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_key_signs_verifies_under_it(kind: str) -> None:
    signature = signatures.sign(KEYS[kind], DATA)
    signatures.verify(KEYS[kind].public_key(), signature, DATA, what="voucher")


@pytest.mark.parametrize("kind", KINDS)
def test_another_message_another_key_and_an_altered_signature_are_refused(kind: str) -> None:
    signature = signatures.sign(KEYS[kind], DATA)
    public_key = KEYS[kind].public_key()
    other = pki.make_key(kind).public_key()
    if kind == "RSA-2048":
        other = KEYS["P-256"].public_key()
    altered = signature[:-1] + bytes([signature[-1] ^ 1])
    for key, octets, data in [
        (public_key, signature, DATA + b"."),
        (public_key, altered, DATA),
        (public_key, signature[:-1], DATA),
        (public_key, signature + b"\0", DATA),
        (public_key, b"", DATA),
        (other, signature, DATA),
    ]:
        with pytest.raises(SignatureInvalid, match="voucher"):
            signatures.verify(key, octets, data, what="voucher")


def test_the_key_dictates_the_digest() -> None:
    """A P-256 key signs with SHA-256 and with nothing else, P-384 with SHA-384."""
    for kind, wrong in (("P-256", hashes.SHA384()), ("P-384", hashes.SHA256())):
        signature = KEYS[kind].sign(DATA, ec.ECDSA(wrong))
        with pytest.raises(SignatureInvalid):
            signatures.verify(KEYS[kind].public_key(), signature, DATA, what="x")


def test_rsa_is_pkcs1_with_sha256() -> None:
    key = KEYS["RSA-2048"]
    good = key.sign(DATA, padding.PKCS1v15(), hashes.SHA256())
    signatures.verify(key.public_key(), good, DATA, what="x")
    pss = key.sign(DATA, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
    sha1 = key.sign(DATA, padding.PKCS1v15(), hashes.SHA1())  # noqa: S303 - to be refused
    for wrong in (pss, sha1):
        with pytest.raises(SignatureInvalid):
            signatures.verify(key.public_key(), wrong, DATA, what="x")


@pytest.mark.parametrize(
    ("kind", "algorithm", "digest"),
    [
        ("P-256", "300a06082a8648ce3d040302", (registry.ID_SHA256, "sha256")),
        ("P-384", "300a06082a8648ce3d040303", (registry.ID_SHA384, "sha384")),
        ("Ed25519", "300506032b6570", (registry.ID_SHA512, "sha512")),
        ("RSA-2048", "300d06092a864886f70d01010b0500", (registry.ID_SHA256, "sha256")),
        ("ML-DSA-44", "300b0609608648016503040311", (registry.ID_SHA512, "sha512")),
        ("ML-DSA-65", "300b0609608648016503040312", (registry.ID_SHA512, "sha512")),
        ("ML-DSA-87", "300b0609608648016503040313", (registry.ID_SHA512, "sha512")),
    ],
)
def test_algorithm_identifiers(kind: str, algorithm: str, digest: tuple[str, str]) -> None:
    """RFC 5758 §3.2, RFC 9881 §3: no parameters for ECDSA, ML-DSA; RFC 4055 §5: NULL for RSA."""
    public_key = KEYS[kind].public_key()
    assert signatures.signature_algorithm(public_key) == bytes.fromhex(algorithm)
    assert signatures.digest_algorithm(public_key) == digest
    assert hashlib.new(digest[1]).name == digest[1]
    der.check_der(signatures.signature_algorithm(public_key))


@pytest.mark.parametrize("kind", KINDS)
def test_certificates_carry_the_same_algorithm(kind: str) -> None:
    """What the library writes into a certificate is what this module says."""
    data = pki.certify(pki.common_name("x"), key=KEYS[kind]).der
    algorithm = der.octets_of(data, der.children(data, der.read_element(data))[1])
    assert algorithm == signatures.signature_algorithm(KEYS[kind].public_key())


@pytest.mark.parametrize("kind", ["P-521", "RSA-1024"])
def test_a_key_that_is_not_accepted_neither_signs_nor_verifies(kind: str) -> None:
    key = pki.make_key(kind)
    with pytest.raises(KeyNotAllowed):
        signatures.sign(key, DATA)
    for call in (signatures.signature_algorithm, signatures.digest_algorithm):
        with pytest.raises(KeyNotAllowed):
            call(key.public_key())
    with pytest.raises(KeyNotAllowed):
        signatures.verify(key.public_key(), b"", DATA, what="x")
    with pytest.raises(KeyNotAllowed):
        signatures.public_key_of(pki.KeySigner(key))


@pytest.mark.parametrize("kind", KINDS[:4])
def test_deterministic_signatures_are_the_same_octets(kind: str) -> None:
    first, second = (signatures.sign(KEYS[kind], DATA, deterministic=True) for _ in range(2))
    assert first == second
    signatures.verify(KEYS[kind].public_key(), first, DATA, what="x")


@pytest.mark.parametrize("kind", KINDS[4:])
def test_ml_dsa_is_hedged_even_so(kind: str) -> None:
    """FIPS 204 §3.4: the library draws randomness for each signature, and cannot be told not to."""
    first, second = (signatures.sign(KEYS[kind], DATA, deterministic=True) for _ in range(2))
    assert first != second


def test_ml_dsa_signs_with_an_empty_context() -> None:
    """RFC 9881 §3: pure ML-DSA; the same message under another context does not verify."""
    key = KEYS["ML-DSA-65"]
    signatures.verify(key.public_key(), key.sign(DATA, b""), DATA, what="x")
    with pytest.raises(SignatureInvalid):
        signatures.verify(key.public_key(), key.sign(DATA, b"voucher"), DATA, what="x")


def test_ecdsa_signatures_differ_unless_asked() -> None:
    assert signatures.sign(KEYS["P-256"], DATA) != signatures.sign(KEYS["P-256"], DATA)


def test_deterministic_signature_is_the_one_of_rfc_6979() -> None:
    """RFC 6979 §A.2.5, P-256 with SHA-256, message "sample"."""
    secret = 0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721
    key = ec.derive_private_key(secret, ec.SECP256R1())
    r, s = decode_dss_signature(signatures.sign(key, b"sample", deterministic=True))
    assert r == 0xEFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716
    assert s == 0xF7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8


def test_public_key_of_a_signer() -> None:
    signer = pki.make_idevid(pki.make_pki()).signer
    assert signatures.public_key_of(signer) == signer.public_key
    signatures.verify(signer.public_key, signer.sign(DATA), DATA, what="x")
