"""Signers and messages that the tests of CMS vouchers share."""

from __future__ import annotations

from typing import Any

from brski import registry
from brski.pki import der
from brski.pki.signer import PublicKey
from brski.voucher import signed_data
from brski.voucher.cms import CMS, CMSSerialization
from brski.voucher.serialization import Signed
from tests.kit import pki
from tests.kit.voucher import (
    REQUEST_JSON,
    cms,
    content_type_attribute,
    digest_attribute,
    signer_info,
)

KINDS = ("P-256", "P-384", "Ed25519", "RSA-2048", "ML-DSA-44", "ML-DSA-65", "ML-DSA-87")
OEM = pki.make_pki()
DEVICE = pki.make_idevid(OEM)
OTHER = pki.make_idevid(OEM, "SN-0002")
BY_KIND = {kind: pki.make_idevid(OEM, kind=kind) for kind in KINDS}
BY_NAME = signed_data.issuer_and_serial(DEVICE.der)
BY_KEY = der.encode(0x80, pki.key_identifier(DEVICE.private_key.public_key()))
GOOD = signer_info(DEVICE.signer)


def public_key(entity: pki.Entity) -> PublicKey:
    return entity.private_key.public_key()


def opens(message: bytes, serialization: CMSSerialization = CMS) -> Signed:
    """Open and verify under the device's key."""
    signed = serialization.open(message)
    signed.verify(public_key(DEVICE))
    return signed


GOOD_DIGEST = digest_attribute(REQUEST_JSON)


GOOD_TYPE = content_type_attribute()


ECDSA_OID = der.encode_oid(registry.ECDSA_WITH_SHA256)


def info(**knobs: Any) -> bytes:
    return signer_info(DEVICE.signer, **knobs)


def with_attributes(*attributes: bytes, **knobs: Any) -> bytes:
    return cms(info(attributes=attributes, **knobs))
