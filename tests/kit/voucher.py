"""Voucher documents for tests, and CMS messages in which one thing is wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from brski import registry
from brski.pki import der, signatures
from brski.pki.keys import certificate_der
from brski.pki.signer import Signer
from brski.voucher import signed_data
from brski.voucher.cms import CMSSerialization
from brski.voucher.interoperability import Interoperability
from brski.voucher.model import Assertion, Voucher, VoucherRequest
from tests.kit import pki

CREATED_ON: Final = datetime(2025, 6, 1, 12, 0, 0, tzinfo=UTC)
NONCE: Final = "AAECAwQFBgcICQoLDA0ODw=="
OTHER_NONCE: Final = "//79/Pv6+fj39vX08/Lx8A=="
IDEVID_ISSUER: Final = bytes(range(20))
LENIENT: Final = CMSSerialization(interoperability=Interoperability.PUBLISHED_SAMPLES)
REQUEST_JSON: Final = b'{"ietf-voucher-request:voucher":{"serial-number":"SN-0001"}}'

SHA256: Final = der.encode(der.SEQUENCE, der.encode_oid(registry.ID_SHA256))
SHA384: Final = der.encode(der.SEQUENCE, der.encode_oid(registry.ID_SHA384))
JSON_VOUCHER: Final = der.encode_oid(registry.ID_CT_ANIMA_JSON_VOUCHER)
DATA: Final = der.encode_oid(registry.ID_DATA)


def pledge_request(registrar: pki.Entity, serial_number: str = "SN-0001") -> VoucherRequest:
    """What an honest pledge asks that sees *registrar*."""
    return VoucherRequest(
        serial_number=serial_number,
        assertion=Assertion.PROXIMITY,
        created_on=CREATED_ON,
        nonce=NONCE,
        proximity_registrar_cert=registrar.der,
    )


def voucher_for(request: VoucherRequest, pin: pki.Entity) -> Voucher:
    """What an honest MASA answers, pinning *pin*."""
    return Voucher(
        serial_number=request.serial_number,
        assertion=Assertion.PROXIMITY,
        created_on=CREATED_ON,
        nonce=request.nonce,
        pinned_domain_cert=pin.der,
    )


def attribute(attribute_type: str, *values: bytes) -> bytes:
    """An Attribute with *values*, DER each."""
    return der.encode(der.SEQUENCE, der.encode_oid(attribute_type), der.encode(der.SET, *values))


def content_type_attribute(content_type: bytes = JSON_VOUCHER) -> bytes:
    return attribute(registry.ID_CONTENT_TYPE, content_type)


def digest_attribute(payload: bytes, hash_name: str = "sha256") -> bytes:
    digest = hashlib.new(hash_name, payload).digest()
    return attribute(registry.ID_MESSAGE_DIGEST, der.encode(der.OCTET_STRING, digest))


def explicit_octets(payload: bytes) -> bytes:
    """The payload as eContent: [0] EXPLICIT OCTET STRING."""
    return der.encode(0xA0, der.encode(der.OCTET_STRING, payload))


def signer_info(
    signer: Signer,
    payload: bytes = REQUEST_JSON,
    *,
    version: int | None = None,
    signer_id: bytes | None = None,
    digest: bytes | None = None,
    attributes: Sequence[bytes] | None = (),
    sort: bool = True,
    algorithm: bytes | None = None,
    signature: bytes | None = None,
    after: bytes = b"",
) -> bytes:
    """A SignerInfo whose signature is right over whatever it says; () stands for what is right.

    Args:
        signer_id: DER of the SignerIdentifier; by default its certificate's issuer and number.
        attributes: DER of each signed attribute; None leaves them out and signs the payload.
        sort: put the attributes into DER's order.
        after: DER of what follows the signature.
    """
    oid, hash_name = signatures.digest_algorithm(signer.public_key)
    if attributes is not None:
        chosen = list(attributes) or [
            content_type_attribute(),
            digest_attribute(payload, hash_name),
        ]
        content = b"".join(sorted(chosen) if sort else chosen)
        signed, field = der.encode(der.SET, content), der.encode(0xA0, content)
    else:
        signed, field = payload, b""
    named = signer_id or signed_data.issuer_and_serial(certificate_der(signer.chain[0]))
    return der.encode(
        der.SEQUENCE,
        der.encode_integer(version if version is not None else (3 if named[0] == 0x80 else 1)),
        named,
        digest or der.encode(der.SEQUENCE, der.encode_oid(oid)),
        field,
        algorithm or signatures.signature_algorithm(signer.public_key),
        der.encode(der.OCTET_STRING, signer.sign(signed) if signature is None else signature),
        after,
    )


def cms(
    *signer_infos: bytes,
    content: bytes = explicit_octets(REQUEST_JSON),
    outer_type: str = registry.ID_SIGNED_DATA,
    version: int = 3,
    digests: Sequence[bytes] = (SHA256,),
    content_type: bytes = JSON_VOUCHER,
    certificates: bytes = b"",
    crls: bytes = b"",
    after: bytes = b"",
) -> bytes:
    """A ContentInfo around *signer_infos* with what is asked, sensible or not."""
    body = der.encode(
        der.SEQUENCE,
        der.encode_integer(version),
        der.encode(der.SET, *digests),
        der.encode(der.SEQUENCE, content_type, content),
        certificates,
        crls,
        der.encode(der.SET, *signer_infos),
        after,
    )
    return der.encode(der.SEQUENCE, der.encode_oid(outer_type), der.encode(0xA0, body))
