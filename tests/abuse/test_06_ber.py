"""Abuse case 6: CMS in BER, or with nothing where something must be.

Indefinite lengths, lengths longer than needed, octets after the end, empty sets, a content type
other than signedData: refused with 400 (415 for another content type) before any signature is
looked at, by registrar, MASA and pledge.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from brski import registry
from brski.errors import KeyNotAllowed, Malformed, UnknownFormat
from brski.est.certs_only import decode_certs_only, encode_certs_only
from brski.est.csr import build_csr, parse_csr
from brski.est.csr_attributes import decode_csr_attributes
from brski.pki import der, names
from brski.pki.effort import counted
from brski.pki.keys import certificate_der
from tests.abuse.desk import RECEIVERS, Desk
from tests.kit import pki
from tests.kit.voucher import cms, explicit_octets, signer_info

ENVELOPED_DATA = "1.2.840.113549.1.7.3"  # RFC 5652 §6.1
ENCRYPTED_DATA = "1.2.840.113549.1.7.6"  # RFC 5652 §8
AUTH_ENVELOPED_DATA = registry.ID_AUTH_ENVELOPED_DATA

Bend = Callable[[bytes], bytes]


def indefinite(octets: bytes) -> bytes:
    """The outermost length of the message left open."""
    element = der.read_element(octets)
    return octets[:1] + b"\x80" + der.content_of(octets, element) + b"\0\0"


def padded_length(octets: bytes) -> bytes:
    """The same length, with a zero before it."""
    element = der.read_element(octets)
    content = der.content_of(octets, element)
    return octets[:1] + b"\x83" + len(content).to_bytes(3, "big") + content


def deep_inside(bend: Bend) -> Bend:
    """The same, but around SignedData, two levels down."""

    def run(octets: bytes) -> bytes:
        kind, content = der.children(octets, der.read_element(octets))
        signed_data = bend(der.content_of(octets, content))
        return der.encode(der.SEQUENCE, der.octets_of(octets, kind), der.encode(0xA0, signed_data))

    return run


BENT: dict[str, Bend] = {
    "indefinite length": indefinite,
    "indefinite length inside": deep_inside(indefinite),
    "length longer than needed": padded_length,
    "length longer than needed inside": deep_inside(padded_length),
    "octets after": lambda octets: octets + b"\0",
    "a second message after": lambda octets: octets * 2,
    "an octet too few": lambda octets: octets[:-1],
    "nothing": lambda _: b"",
    "an empty sequence": lambda _: b"\x30\x00",
}


@pytest.mark.requirement("SEC-10", "CMS-1")
@pytest.mark.parametrize("receiver", RECEIVERS)
@pytest.mark.parametrize("name", BENT)
async def test_ber(desk: Desk, receiver: str, name: str) -> None:
    """Unbent the message is taken; bent it costs no signature verification."""
    message = desk.signed(receiver, desk.honest(receiver))
    await desk.give(receiver, message)
    refused = await desk.refusal(receiver, BENT[name](message))
    assert isinstance(refused.error, Malformed)
    assert refused.status in (400, None)
    assert refused.spent == 0


@pytest.mark.requirement("SEC-10", "CMS-1", "CMS-5")
@pytest.mark.parametrize("receiver", RECEIVERS)
async def test_nothing_where_something_must_be(desk: Desk, receiver: str) -> None:
    """Empty sets and other content types; OpenSSL's PKCS #7 has crashed over the first."""
    document, signer = desk.honest(receiver), desk.sender(receiver).signer
    info = signer_info(signer, document)
    payload = explicit_octets(document)
    enclosed = der.encode(0xA0, *sorted(certificate_der(c) for c in desk.enclosed(receiver)))
    await desk.give(receiver, cms(info, content=payload, certificates=enclosed))
    for message, error, status in (
        (cms(info, content=payload, digests=()), Malformed, 400),
        (cms(content=payload), Malformed, 400),
        (cms(info, content=payload, certificates=b"\xa0\x00"), Malformed, 400),
        (cms(info, content=payload, crls=b"\xa1\x00"), Malformed, 400),
        (cms(info, content=b""), Malformed, 400),
        (cms(info, content=explicit_octets(b"")), Malformed, 400),
        (cms(signer_info(signer, document, attributes=None), content=payload), Malformed, 400),
        (cms(info, content=payload, outer_type=ENVELOPED_DATA), UnknownFormat, 415),
        (cms(info, content=payload, outer_type=ENCRYPTED_DATA), UnknownFormat, 415),
        (cms(info, content=payload, outer_type=AUTH_ENVELOPED_DATA), UnknownFormat, 415),
        (cms(info, content=payload, outer_type=registry.ID_DATA), UnknownFormat, 415),
    ):
        refused = await desk.refusal(receiver, message)
        assert type(refused.error) is error
        assert refused.status in (status, None)
        assert refused.spent == 0


@pytest.mark.requirement("SEC-10")
@pytest.mark.parametrize("name", [name for name in BENT if "inside" not in name])
def test_est(name: str) -> None:
    """The registrar's reader of requests, and the pledge's of what comes back."""
    signer = pki.KeySigner(pki.make_key())
    csr = build_csr(signer, names.idevid_subject("SN-1"))
    answer = encode_certs_only([pki.make_root().certificate])
    attributes = der.encode(der.SEQUENCE, der.encode_oid("2.5.29.17"))
    assert parse_csr(csr)
    assert decode_certs_only(answer)
    assert decode_csr_attributes(attributes)
    readers: list[tuple[Callable[[bytes], object], bytes]] = [
        *((parse_csr, csr), (decode_certs_only, answer))
    ]
    if name != "an empty sequence":  # of attributes it asks for nothing
        readers.append((decode_csr_attributes, attributes))
    with counted() as effort:
        for parse, octets in readers:
            with pytest.raises((Malformed, KeyNotAllowed)):
                parse(BENT[name](octets))
    assert effort.spent == 0
