"""CMS vouchers: whose signature counts, and how often one is verified."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

from brski import registry
from brski.errors import (
    KeyNotAllowed,
    SignatureInvalid,
    UnknownFormat,
)
from brski.pki import der, signatures
from brski.voucher.cms import CMS
from tests.kit import pki
from tests.kit.voucher import (
    REQUEST_JSON,
    SHA256,
    attribute,
    cms,
    explicit_octets,
    signer_info,
)
from tests.unit.voucher.cms_cases import (
    BY_KIND,
    DEVICE,
    ECDSA_OID,
    GOOD,
    GOOD_DIGEST,
    GOOD_TYPE,
    info,
    opens,
    public_key,
    with_attributes,
)


@dataclass
class Verifications:
    """Counts the signature verifications that a test causes."""

    count: int = 0
    real: Callable[..., None] = field(default=signatures.verify)

    def __call__(self, *args: Any, **knobs: Any) -> None:
        self.count += 1
        self.real(*args, **knobs)


@pytest.fixture
def verifications(monkeypatch: pytest.MonkeyPatch) -> Verifications:
    counter = Verifications()
    monkeypatch.setattr(signatures, "verify", counter)
    return counter


@pytest.mark.requirement("SEC-10")
def test_opening_verifies_nothing_and_verifying_once(verifications: Verifications) -> None:
    """However many certificates there are: no flood of verifications can be asked for."""
    chains = (*BY_KIND["P-384"].chain, *BY_KIND["RSA-2048"].chain, *BY_KIND["Ed25519"].chain)[:8]
    signed = CMS.open(CMS.sign(REQUEST_JSON, DEVICE.signer, certificates=chains))
    assert signed.signer_certificate() is None
    assert verifications.count == 0
    signed.verify(public_key(DEVICE))
    assert verifications.count == 1


def test_another_payload_is_found_out_before_any_verification(verifications: Verifications) -> None:
    """messageDigest is not the digest of what is in the message: a hash is all it costs."""
    signed = CMS.open(cms(GOOD, content=explicit_octets(REQUEST_JSON + b" ")))
    with pytest.raises(SignatureInvalid, match="messageDigest"):
        signed.verify(public_key(DEVICE))
    for digest in (b"", hashlib.sha256(REQUEST_JSON).digest()[:-1]):
        value = der.encode(der.OCTET_STRING, digest)
        message = with_attributes(GOOD_TYPE, attribute(registry.ID_MESSAGE_DIGEST, value))
        with pytest.raises(SignatureInvalid, match="messageDigest"):
            CMS.open(message).verify(public_key(DEVICE))
    assert verifications.count == 0


def test_the_signature_is_over_the_set_form(verifications: Verifications) -> None:
    """Under the tag [0] that the attributes have in the message it is another signature."""
    attributes = b"".join(sorted((GOOD_TYPE, GOOD_DIGEST)))
    for tag, right in ((der.SET, True), (0xA0, False), (der.SEQUENCE, False)):
        message = cms(info(signature=DEVICE.signer.sign(der.encode(tag, attributes))))
        if right:
            opens(message)
            continue
        with pytest.raises(SignatureInvalid):
            opens(message)
    assert verifications.count == 3


def test_keys_that_may_sign_nothing_verify_nothing() -> None:
    """P-521, short RSA and what else a certificate may hold."""
    signed = CMS.open(cms(GOOD))
    for key in (
        pki.make_key("P-521"),
        pki.make_key("RSA-1024"),
        ec.generate_private_key(ec.SECP256K1()),
    ):
        with pytest.raises(KeyNotAllowed):
            signed.verify(key.public_key())


def test_the_key_dictates_digest_and_algorithm(verifications: Verifications) -> None:
    """P-384 signs with SHA-384 here: its valid signature with SHA-256 is refused unseen."""
    entity = BY_KIND["P-384"]
    key = entity.private_key
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    attributes = der.encode(der.SET, b"".join(sorted((GOOD_TYPE, GOOD_DIGEST))))
    weaker = signer_info(
        entity.signer,
        digest=SHA256,
        attributes=(GOOD_TYPE, GOOD_DIGEST),
        algorithm=der.encode(0x30, ECDSA_OID),
        signature=key.sign(attributes, ec.ECDSA(hashes.SHA256())),
    )
    with pytest.raises(SignatureInvalid, match="its key dictates"):
        CMS.open(cms(weaker)).verify(key.public_key())
    assert verifications.count == 0
    CMS.open(CMS.sign(REQUEST_JSON, entity.signer)).verify(key.public_key())


@pytest.mark.parametrize("oid", [registry.SHA256_WITH_RSA, registry.RSA_ENCRYPTION])
def test_rsa_goes_by_two_names(oid: str) -> None:
    """RFC 5754 §3.2 allows both in a SignerInfo; OpenSSL writes the shorter one."""
    entity = BY_KIND["RSA-2048"]
    algorithm = der.encode(0x30, der.encode_oid(oid), b"\x05\x00")
    message = cms(signer_info(entity.signer, algorithm=algorithm))
    CMS.open(message).verify(public_key(entity))
    with pytest.raises(UnknownFormat):
        CMS.open(
            cms(signer_info(entity.signer, algorithm=algorithm[:1] + b"\x0b" + algorithm[2:-2]))
        )


def test_rsa_with_another_padding_or_digest_does_not_verify() -> None:
    """PKCS #1 v1.5 with SHA-256 and no other."""
    entity = BY_KIND["RSA-2048"]
    key = entity.private_key
    assert isinstance(key, rsa.RSAPrivateKey)
    attributes = der.encode(der.SET, b"".join(sorted((GOOD_TYPE, GOOD_DIGEST))))
    for digest, right in ((hashes.SHA256(), True), (hashes.SHA384(), False)):
        signature = key.sign(attributes, PKCS1v15(), digest)
        signed = CMS.open(cms(signer_info(entity.signer, signature=signature)))
        if right:
            signed.verify(key.public_key())
            continue
        with pytest.raises(SignatureInvalid):
            signed.verify(key.public_key())


def test_equal_messages_are_equal_values() -> None:
    """And frozen: nothing can be swapped between opening and verifying."""
    signed = CMS.open(cms(GOOD))
    assert signed == CMS.open(cms(GOOD))
    with pytest.raises(AttributeError):
        signed.signing_time = pki.NOW  # type: ignore[misc]
    assert replace(signed, signing_time=pki.NOW) != signed
