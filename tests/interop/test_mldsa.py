"""What we sign with ML-DSA, and whom we know by it, by another implementation than the library's.

OpenSSL 3.0 has no ML-DSA; the other one is :mod:`tests.kit.mldsa`, written from FIPS 204 and held
to NIST's known answers. Octets are cut out by asn1crypto, which does not know ML-DSA either.
"""

from __future__ import annotations

import hashlib

import pytest
from asn1crypto import cms, core, csr, x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import mldsa as library

from brski.est.csr import build_csr
from brski.idevid.assertion import assertion_certificate
from brski.idevid.profile import IDevIDProfile
from brski.pki.keys import certificate_der, encode_spki
from brski.pki.names import ldevid_subject
from brski.seed.profiles import NAMES, profile
from brski.seed.secret import Seed
from brski.voucher.cms import CMS
from tests.kit import mldsa, pki

SIZES = (44, 65, 87)
OIDS = {size: f"2.16.840.1.101.3.4.3.{17 + SIZES.index(size)}" for size in SIZES}
CHIP = bytes.fromhex("c0ffee01")


def raw_key(spki: bytes) -> bytes:
    """The subjectPublicKey's octets, all behind the unused-bits octet."""
    sequence = core.Sequence.load(spki)
    algorithm, key = sequence[0], sequence[1]
    assert len(algorithm) == 1  # RFC 9881 §2: no parameters
    return bytes(key.contents[1:])


def judged(size: int, spki: bytes, message: bytes, signature: bytes) -> None:
    """The signature holds, and does not hold for another message."""
    key = raw_key(spki)
    assert mldsa.verifies(size, key, message, signature)
    assert not mldsa.verifies(size, key, message + b"\0", signature)


def signed_parts(encoded: bytes) -> tuple[bytes, str, bytes]:
    """Of a certificate or CSR: what was signed, algorithm, signature."""
    sequence = core.Sequence.load(encoded)
    algorithm = sequence[1]
    assert len(algorithm) == 1
    return sequence[0].dump(), algorithm[0].native, bytes(sequence[2].contents[1:])


@pytest.mark.parametrize("name", [name for name in NAMES if "ml-dsa" in name])
def test_derived_public_keys(name: str) -> None:
    """From the 32 octets of the derivation to the certificate's public key."""
    size = int(name[-2:])
    for seed in (bytes(32), bytes(range(32))):
        *_, xi = profile(name).steps(Seed(seed), CHIP).values()
        spki = encode_spki(profile(name).derive(Seed(seed), CHIP).public_key())
        assert raw_key(spki) == mldsa.public_key(size, xi)
        assert core.Sequence.load(spki)[0][0].native == OIDS[size]


@pytest.mark.parametrize("size", SIZES)
def test_idevid_certificate(size: int) -> None:
    """Issued by an ML-DSA CA to an ML-DSA device; both certificates by the second opinion."""
    issuer = pki.make_pki(kind=f"ML-DSA-{size}")
    key = pki.make_key(f"ML-DSA-{size}")
    layout = IDevIDProfile(
        issuer=issuer.certificate, masa_url=pki.MASA_URL, not_before=pki.NOT_BEFORE
    )
    encoded = layout.certify(encode_spki(key.public_key()), "SN-1", issuer.signer)
    above = (issuer.certificate, issuer.issuers[0])
    for certificate, signer in zip((encoded, issuer.der), above, strict=True):
        spki = x509.Certificate.load(certificate_der(signer)).public_key.dump()
        message, oid, signature = signed_parts(certificate)
        assert oid == OIDS[size]
        judged(size, spki, message, signature)


@pytest.mark.parametrize("size", SIZES)
def test_assertion_certificate(size: int) -> None:
    signer = pki.KeySigner(pki.make_key(f"ML-DSA-{size}"))
    encoded = certificate_der(assertion_certificate(signer, "SN-1", masa_url=pki.MASA_URL))
    message, oid, signature = signed_parts(encoded)
    assert oid == OIDS[size]
    judged(size, encode_spki(signer.public_key), message, signature)


@pytest.mark.parametrize("size", SIZES)
def test_certificate_request(size: int) -> None:
    """RFC 2986 with RFC 9881's algorithm: proof of possession."""
    signer = pki.KeySigner(pki.make_key(f"ML-DSA-{size}"))
    encoded = build_csr(signer, ldevid_subject("SN-1", bytes(20)))
    info = csr.CertificationRequest.load(encoded)["certification_request_info"]
    message, oid, signature = signed_parts(encoded)
    assert (oid, message) == (OIDS[size], info.dump())
    judged(size, encode_spki(signer.public_key), message, signature)


@pytest.mark.parametrize("size", SIZES)
def test_voucher_request(size: int) -> None:
    """RFC 9882: SHA-512 of the payload in the signed attributes, pure ML-DSA over these."""
    signer = pki.KeySigner(pki.make_key(f"ML-DSA-{size}"))
    payload = b'{"ietf-voucher-request:voucher":{}}'
    message = CMS.sign(payload, signer, name_by_key_identifier=True)
    (info,) = cms.ContentInfo.load(message)["content"]["signer_infos"]
    attributes = {each["type"].native: each["values"][0] for each in info["signed_attrs"]}
    assert info["digest_algorithm"]["algorithm"].native == "sha512"
    assert attributes["message_digest"].native == hashlib.sha512(payload).digest()
    assert info["signature_algorithm"]["algorithm"].native == OIDS[size]
    to_be_signed = b"\x31" + info["signed_attrs"].dump()[1:]
    judged(size, encode_spki(signer.public_key), to_be_signed, info["signature"].native)


def test_an_altered_certificate_is_refused_by_both() -> None:
    """The library and the second opinion agree on a bit in the middle."""
    key = library.MLDSA65PrivateKey.generate()
    encoded = certificate_der(assertion_certificate(pki.KeySigner(key), "SN-1"))
    message, _, signature = signed_parts(encoded)
    altered = signature[:2000] + bytes([signature[2000] ^ 1]) + signature[2001:]
    assert not mldsa.verifies(65, raw_key(encode_spki(key.public_key())), message, altered)
    with pytest.raises(InvalidSignature):
        key.public_key().verify(altered, message)
