"""Abuse case 8: a signature over one thing, shown as one over another.

A payload that is the DER of signed attributes, no signed attributes, another message-digest, two
payloads, an attribute's value exchanged: refused by registrar, MASA and pledge.
draft-ietf-lamps-cms-euf-cma-signeddata tells the attack.
"""

from __future__ import annotations

import pytest

from brski import registry
from brski.errors import Malformed, SignatureInvalid
from brski.pki import der
from brski.pki.keys import certificate_der
from brski.voucher.cms import CMS
from tests.abuse.desk import RECEIVERS, Desk
from tests.kit.voucher import (
    DATA,
    attribute,
    cms,
    content_type_attribute,
    digest_attribute,
    explicit_octets,
    signer_info,
)


def _message(desk: Desk, receiver: str, info: bytes, payload: bytes, content: bytes = b"") -> bytes:
    enclosed = der.encode(0xA0, *map(certificate_der, desk.enclosed(receiver)))
    return cms(info, content=content or explicit_octets(payload), certificates=enclosed)


@pytest.mark.requirement("CMS-5", "CMS-6", "SEC-10")
@pytest.mark.parametrize("receiver", RECEIVERS)
async def test_attributes_shown_as_a_payload(desk: Desk, receiver: str) -> None:
    """The sender signed attributes, once; their octets are shown as what was signed.

    Without signed attributes the signature is over the payload itself, so it would verify.
    """
    document, signer = desk.honest(receiver), desk.sender(receiver).signer
    honest = desk.signed(receiver, document)
    await desk.give(receiver, honest)
    signed = CMS.open(honest)
    attributes = signed._parts.to_be_signed  # of the honest message
    signature = signed._signature
    assert attributes.startswith(b"\x31")
    bare = signer_info(signer, attributes=None, signature=signature)
    for info in (bare, signer_info(signer, attributes)):
        refused = await desk.refusal(receiver, _message(desk, receiver, info, attributes))
        assert isinstance(refused.error, Malformed)
        assert refused.spent == 0


@pytest.mark.requirement("CMS-5", "CMS-6")
@pytest.mark.parametrize("receiver", RECEIVERS)
async def test_signature_over_the_payload_alone(desk: Desk, receiver: str) -> None:
    """A right signature, and no signed attributes: what CMS allows and vouchers do not."""
    document, signer = desk.honest(receiver), desk.sender(receiver).signer
    info = signer_info(signer, document, attributes=None)
    refused = await desk.refusal(receiver, _message(desk, receiver, info, document))
    assert isinstance(refused.error, Malformed)
    assert "without signed attributes" in refused.error.reason
    assert refused.spent == 0


@pytest.mark.requirement("CMS-5")
@pytest.mark.parametrize("receiver", RECEIVERS)
async def test_another_payload_under_a_signature(desk: Desk, receiver: str) -> None:
    """The digest in the attributes is not the payload's: no signature is looked at for it."""
    document, signer = desk.honest(receiver), desk.sender(receiver).signer
    other = document.replace(b"SN-1", b"SN-2")
    refused = await desk.refusal(
        receiver, _message(desk, receiver, signer_info(signer, document), other)
    )
    assert isinstance(refused.error, SignatureInvalid)
    assert "messageDigest" in refused.error.reason


@pytest.mark.requirement("CMS-5")
@pytest.mark.parametrize("receiver", RECEIVERS)
async def test_two_payloads_and_twisted_attributes(desk: Desk, receiver: str) -> None:
    """Each signed as it stands, by whom it should be."""
    document, signer = desk.honest(receiver), desk.sender(receiver).signer
    good = signer_info(signer, document)
    right_type, right_digest = content_type_attribute(), digest_attribute(document)
    octets = der.encode(der.OCTET_STRING, document)
    twice = der.encode(0xA0, octets, octets)
    pieces = der.encode(0xA0, der.encode(0x24, octets))  # OCTET STRING in pieces: BER
    twisted = (
        (content_type_attribute(DATA), right_digest),  # says it signed other content
        (right_type, right_digest, digest_attribute(b"another")),
        (right_type, attribute(registry.ID_MESSAGE_DIGEST)),
        (right_type,),
        (right_digest,),
    )
    messages = [
        _message(desk, receiver, good, document, twice),
        _message(desk, receiver, good, document, pieces),
        _message(desk, receiver, good, document, explicit_octets(document) * 2),
        *(
            _message(desk, receiver, signer_info(signer, document, attributes=attributes), document)
            for attributes in twisted
        ),
    ]
    for message in messages:
        refused = await desk.refusal(receiver, message)
        assert isinstance(refused.error, Malformed)
        assert refused.spent == 0


@pytest.mark.requirement("CMS-12")
@pytest.mark.parametrize("receiver", RECEIVERS)
async def test_the_right_document_of_a_wrong_signer(desk: Desk, receiver: str) -> None:
    """Pledges sign with their IDevID, registrars are cmcRA, vouchers come from under the anchor."""
    await desk.give(receiver, desk.signed(receiver, desk.honest(receiver)))
    for other in RECEIVERS:
        if other != receiver:
            signer = desk.sender(other)
            message = CMS.sign(desk.honest(receiver), signer.signer, certificates=signer.chain)
            await desk.refusal(receiver, message)
