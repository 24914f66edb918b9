"""CMS vouchers: what is taken apart, and what is refused before any key is used."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brski import registry
from brski.errors import (
    Malformed,
    SignatureInvalid,
    TooLarge,
    UnknownFormat,
)
from brski.pki import der
from brski.voucher.cms import CMS, CMSSerialization
from tests.kit import pki
from tests.kit.voucher import (
    DATA,
    JSON_VOUCHER,
    LENIENT,
    REQUEST_JSON,
    SHA256,
    SHA384,
    attribute,
    cms,
    content_type_attribute,
    digest_attribute,
    explicit_octets,
    signer_info,
)
from tests.unit.voucher.cms_cases import (
    BY_KEY,
    BY_KIND,
    BY_NAME,
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


def test_the_kit_writes_what_the_adapter_writes() -> None:
    """So that each refusal below differs from an acceptance in one thing."""
    assert cms(GOOD) == CMS.sign(REQUEST_JSON, DEVICE.signer)
    assert cms(signer_info(DEVICE.signer, signer_id=BY_KEY)) == CMS.sign(
        REQUEST_JSON, DEVICE.signer, name_by_key_identifier=True
    )


@pytest.mark.requirement("CMS-3", "CMS-9")
@pytest.mark.parametrize("version", [1, 3])
def test_id_data_needs_the_switch(version: int) -> None:
    """With either version; all published examples are so."""
    info = signer_info(DEVICE.signer, attributes=(content_type_attribute(DATA), GOOD_DIGEST))
    message = cms(info, content_type=DATA, version=version)
    assert opens(message, LENIENT).payload == REQUEST_JSON
    with pytest.raises(UnknownFormat, match="eContentType"):
        CMS.open(message)


@pytest.mark.requirement("CMS-4", "CMS-9")
def test_version_1_needs_the_switch() -> None:
    """And versions that speak of things that are not taken are refused with it too."""
    opens(cms(GOOD, version=3))
    opens(cms(GOOD, version=1), LENIENT)
    with pytest.raises(UnknownFormat, match="CMSVersion"):
        CMS.open(cms(GOOD, version=1))
    for version in (0, 2, 4, 5, 259, -1):
        with pytest.raises(UnknownFormat, match="CMSVersion"):
            LENIENT.open(cms(GOOD, version=version))


CERTIFICATE = DEVICE.der
WITH_ONE = der.encode(0xA0, CERTIFICATE)
OTHER_OID = der.encode_oid("1.2.3.4")
NO_CERTIFICATE = der.encode(0x30, der.encode(0x30, b"\x02\x01\x01"), SHA256, b"\x03\x01\x00")
PASSING_FOR_ATTRIBUTES = der.encode(der.SET, b"".join(sorted((GOOD_TYPE, GOOD_DIGEST))))


@pytest.mark.requirement("SEC-10", "CMS-5")
@pytest.mark.parametrize(
    ("message", "error", "reason"),
    [
        # ContentInfo
        (lambda: cms(GOOD, outer_type=registry.ID_DATA), UnknownFormat, "not signedData"),
        (lambda: cms(GOOD, outer_type="1.2.840.113549.1.7.3"), UnknownFormat, "not signedData"),
        (lambda: der.encode(der.SET, cms(GOOD)), Malformed, "ContentInfo"),
        (lambda: b"\x30\x00", Malformed, "ContentInfo"),
        (lambda: b"\x05\x00", Malformed, "ContentInfo"),
        # digestAlgorithms
        (lambda: cms(GOOD, digests=()), Malformed, "digestAlgorithms"),
        (lambda: cms(GOOD, digests=(SHA256, SHA256)), Malformed, "digestAlgorithms"),
        (lambda: cms(GOOD, digests=(SHA256, SHA384)), Malformed, "digestAlgorithms"),
        (lambda: cms(GOOD, digests=(SHA384,)), Malformed, "digestAlgorithms"),
        (lambda: cms(GOOD, digests=(der.encode(0x30, OTHER_OID),)), UnknownFormat, "digest"),
        (lambda: cms(GOOD, digests=(der.encode(0x30),)), Malformed, "AlgorithmIdentifier"),
        # the payload
        (lambda: cms(GOOD, content_type=OTHER_OID), UnknownFormat, "eContentType"),
        (lambda: cms(GOOD, content=b""), Malformed, "EncapsulatedContentInfo"),
        (lambda: cms(GOOD, content=explicit_octets(b"")), Malformed, "without payload"),
        (lambda: cms(GOOD, content=explicit_octets(REQUEST_JSON) * 2), Malformed, "too many"),
        (
            lambda: cms(GOOD, content=der.encode(0xA0, der.encode(4, REQUEST_JSON) * 2)),
            Malformed,
            "eContent",
        ),
        (
            lambda: cms(GOOD, content=der.encode(0xA0, der.encode(0x30, REQUEST_JSON[:0]))),
            Malformed,
            "eContent",
        ),
        # certificates, CRLs
        (lambda: cms(GOOD, certificates=b"\xa0\x00"), Malformed, "present and empty"),
        (lambda: cms(GOOD, certificates=der.encode(0xA0, CERTIFICATE * 9)), TooLarge, "9 cert"),
        (lambda: cms(GOOD, certificates=der.encode(0xA0, CERTIFICATE * 40)), TooLarge, "40 cert"),
        (lambda: cms(GOOD, certificates=der.encode(0xA0, NO_CERTIFICATE)), Malformed, "DER"),
        (
            lambda: cms(GOOD, certificates=der.encode(0xA0, CERTIFICATE, b"\xa1\x00")),
            Malformed,
            "something else",
        ),
        (
            lambda: cms(GOOD, certificates=der.encode(0xA0, der.encode(0xA3, OTHER_OID))),
            Malformed,
            "something else",
        ),
        (lambda: cms(GOOD, crls=b"\xa1\x00"), Malformed, "SignedData"),
        (lambda: cms(GOOD, certificates=WITH_ONE + WITH_ONE), Malformed, "SignedData"),
        (lambda: cms(GOOD, after=b"\x05\x00"), Malformed, "too many"),
        # signerInfos
        (lambda: cms(), Malformed, "signerInfos"),
        (lambda: cms(GOOD, GOOD), Malformed, "signerInfos"),
        (lambda: cms(*(GOOD,) * 150), Malformed, "signerInfos"),
        (lambda: cms(der.encode(der.SET, GOOD)), Malformed, "signerInfos"),
        (lambda: cms(info(version=3)), Malformed, "fit its sid"),
        (lambda: cms(info(version=1, signer_id=BY_KEY)), Malformed, "fit its sid"),
        (lambda: cms(info(version=0)), Malformed, "fit its sid"),
        (lambda: cms(info(signer_id=b"\x80\x00")), Malformed, "no octets"),
        (lambda: cms(info(signer_id=b"\x30\x00", version=1)), Malformed, "IssuerAndSerial"),
        (lambda: cms(info(signer_id=b"\x81\x01\x00", version=3)), Malformed, "SignerInfo"),
        (lambda: cms(info(signer_id=der.encode(0xA0, BY_KEY), version=3)), Malformed, "SignerInfo"),
        (lambda: cms(info(digest=SHA384)), Malformed, "the signer's digest"),
        (
            lambda: cms(info(digest=SHA384), digests=(SHA384,)),
            Malformed,
            "do not go together",
        ),
        (lambda: cms(info(algorithm=SHA256)), UnknownFormat, "signature algorithm"),
        (
            lambda: cms(info(algorithm=der.encode(0x30, ECDSA_OID, b"\x05\x00"))),
            UnknownFormat,
            "signature algorithm",
        ),
        (lambda: cms(info(signature=b"")), Malformed, "no octets"),
        (lambda: cms(info(after=b"\xa1\x00")), Malformed, "too many"),
        (lambda: cms(info(after=der.encode(0xA1, GOOD_TYPE))), Malformed, "too many"),
        (lambda: cms(info(after=b"\x05\x00")), Malformed, "too many"),
        # signed attributes
        (lambda: cms(info(attributes=None)), Malformed, "without signed attributes"),
        (lambda: with_attributes(GOOD_TYPE), Malformed, "message-digest"),
        (lambda: with_attributes(GOOD_DIGEST), Malformed, "content-type"),
        (lambda: with_attributes(content_type_attribute(DATA), GOOD_DIGEST), Malformed, "eContent"),
        (
            lambda: with_attributes(attribute(registry.ID_CONTENT_TYPE), GOOD_DIGEST),
            Malformed,
            "eContentType",
        ),
        (
            lambda: with_attributes(
                attribute(registry.ID_CONTENT_TYPE, JSON_VOUCHER, JSON_VOUCHER), GOOD_DIGEST
            ),
            Malformed,
            "eContentType",
        ),
        (lambda: with_attributes(GOOD_TYPE, GOOD_TYPE, GOOD_DIGEST), Malformed, "twice"),
        (lambda: with_attributes(GOOD_TYPE, GOOD_DIGEST, GOOD_DIGEST), Malformed, "twice"),
        (
            lambda: with_attributes(GOOD_TYPE, GOOD_DIGEST, digest_attribute(b"x")),
            Malformed,
            "twice",
        ),
        (
            lambda: with_attributes(GOOD_TYPE, attribute(registry.ID_MESSAGE_DIGEST)),
            Malformed,
            "message-digest",
        ),
        (
            lambda: with_attributes(
                GOOD_TYPE, attribute(registry.ID_MESSAGE_DIGEST, b"\x03\x01\x00")
            ),
            Malformed,
            "message-digest",
        ),
        (
            lambda: with_attributes(GOOD_DIGEST, GOOD_TYPE, sort=False),
            Malformed,
            "DER's order",
        ),
        (
            lambda: with_attributes(
                GOOD_TYPE,
                GOOD_DIGEST,
                *(attribute(f"1.2.3.{n}", b"\x05\x00") for n in range(15)),
            ),
            TooLarge,
            "17 signed attributes",
        ),
        (lambda: with_attributes(GOOD_TYPE, GOOD_DIGEST, b"\x30\x00"), Malformed, "Attribute"),
        (
            lambda: with_attributes(GOOD_TYPE, GOOD_DIGEST, der.encode(0x30, OTHER_OID)),
            Malformed,
            "Attribute",
        ),
        # signature wrapping
        (
            lambda: cms(
                info(attributes=None, signature=DEVICE.signer.sign(PASSING_FOR_ATTRIBUTES)),
                content=explicit_octets(PASSING_FOR_ATTRIBUTES),
            ),
            Malformed,
            "pass for signed attributes",
        ),
        (
            lambda: cms(
                info(payload=PASSING_FOR_ATTRIBUTES),
                content=explicit_octets(PASSING_FOR_ATTRIBUTES),
            ),
            Malformed,
            "pass for signed attributes",
        ),
    ],
)
@pytest.mark.parametrize("serialization", [CMS, LENIENT], ids=["strict", "lenient"])
def test_messages_outside_the_profile(
    message: Callable[[], bytes],
    error: type[Exception],
    reason: str,
    serialization: CMSSerialization,
) -> None:
    """Each differs in one thing from what is taken, and neither way of reading takes it."""
    with pytest.raises(error, match=reason):
        serialization.open(message())


@pytest.mark.parametrize(
    "message",
    [
        lambda: cms(GOOD),
        lambda: cms(GOOD, certificates=WITH_ONE),
        lambda: cms(GOOD, certificates=der.encode(0xA0, CERTIFICATE * 8)),
        lambda: cms(GOOD, digests=(der.encode(0x30, SHA256[2:], b"\x05\x00"),)),
        lambda: cms(info(digest=der.encode(0x30, SHA256[2:], b"\x05\x00"))),
        lambda: cms(info(signer_id=BY_KEY)),
        lambda: cms(info(signer_id=b"\x80\x01\x00")),
        lambda: with_attributes(GOOD_TYPE, GOOD_DIGEST, attribute("1.2.3", b"\x05\x00")),
        lambda: with_attributes(GOOD_TYPE, GOOD_DIGEST, attribute("1.2.3")),
        lambda: with_attributes(
            GOOD_TYPE, GOOD_DIGEST, *(attribute(f"1.2.3.{n}", b"\x05\x00") for n in range(14))
        ),
    ],
)
def test_messages_within_the_profile(message: Callable[[], bytes]) -> None:
    """The nearest neighbours: NULL parameters, attributes that are not known, the limits."""
    assert opens(message()).payload == REQUEST_JSON


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"\x17\x0d250601120000Z", None),
        (b"\x18\x0f20250601120000Z", None),
        (b"\x17\x0b2506011200Z", "to the second"),
        (b"\x17\x11250601120000+0000", "to the second"),
        (b"\x18\x1120250601120000.5Z", "to the second"),
        (b"\x18\x0e20250601120000", "to the second"),
        (b"\x17\x0f20250601120000Z", "to the second"),
        (b"\x18\x0d250601120000Z", "to the second"),
        (b"\x17\x0d250230120000Z", "no such moment"),
        (b"\x17\x0d250601240000Z", "no such moment"),
        (b"\x0c\x0d250601120000Z", "to the second"),
        (b"\x17\x0d250601120000Z" * 2, "one value"),
        (b"", "one value"),
    ],
)
def test_signing_times(value: bytes, reason: str | None) -> None:
    """UTC to the second in either form, or not there."""
    message = with_attributes(GOOD_TYPE, GOOD_DIGEST, attribute(registry.ID_SIGNING_TIME, value))
    if reason is None:
        assert opens(message).signing_time == pki.NOW
        return
    with pytest.raises(Malformed, match=reason):
        CMS.open(message)


@pytest.mark.requirement("CMS-11")
def test_base64_and_pem_are_named_as_such() -> None:
    """BRSKI bodies are raw DER; who sends base64 is told so."""
    message = cms(GOOD)
    text = base64.b64encode(message)
    assert opens(message)
    for wrong in (text, b"-----BEGIN CMS-----\n" + text, b"-----BEGIN PKCS7-----\n" + text):
        with pytest.raises(Malformed, match="raw DER"):
            CMS.open(wrong)


@pytest.mark.requirement("SEC-10")
def test_ber_is_refused() -> None:
    """Indefinite lengths, lengths with zeros before, octets after, strings in pieces."""
    message = cms(GOOD)
    body = message[4:]
    assert message[:2] == b"\x30\x82"
    pieces = der.encode(0xA0, der.encode(0x24, der.encode(4, REQUEST_JSON)))
    for wrong in (
        b"\x30\x80" + body + b"\x00\x00",
        b"\x30\x83\x00" + message[2:],
        message + b"\x00",
        message + message,
        cms(GOOD, content=pieces),
    ):
        with pytest.raises(Malformed):
            CMS.open(wrong)


@pytest.mark.requirement("SEC-10")
def test_a_message_over_the_limit_is_not_parsed() -> None:
    """64 KiB, counted on the whole; Ed25519 signatures are all of one length."""
    signer = BY_KIND["Ed25519"].signer
    room = registry.BODY_LIMIT - len(CMS.sign(b"0" * 60000, signer)) + 60000
    largest = CMS.sign(b"0" * room, signer)
    assert len(largest) == registry.BODY_LIMIT
    CMS.open(largest).verify(signer.public_key)
    with pytest.raises(TooLarge):
        CMS.open(CMS.sign(b"0" * (room + 1), signer))


@pytest.mark.requirement("SEC-10")
def test_every_truncation_is_refused() -> None:
    """A pledge's request cut at each octet."""
    message = CMS.sign(REQUEST_JSON, DEVICE.signer, certificates=(DEVICE.certificate,))
    for cut in range(len(message)):
        with pytest.raises(Malformed):
            CMS.open(message[:cut])


@pytest.mark.requirement("SEC-10")
@pytest.mark.parametrize("by_key", [False, True], ids=["by-name", "by-key"])
def test_every_octet_counts(by_key: bool) -> None:
    """Each octet altered: it does not open, does not verify, or only the hints differ.

    What the signature does not cover is how the signer is named and what certificates came along;
    neither is believed.
    """
    message = CMS.sign(
        REQUEST_JSON,
        DEVICE.signer,
        certificates=(DEVICE.certificate,),
        name_by_key_identifier=by_key,
    )
    signer_id = BY_KEY if by_key else BY_NAME
    hints = range(message.index(CERTIFICATE), len(message))
    start = message.rindex(signer_id)
    for place in range(len(message)):
        for mask in (0x01, 0x80):
            altered = message[:place] + bytes((message[place] ^ mask,)) + message[place + 1 :]
            try:
                opens(altered)
            except (Malformed, UnknownFormat, TooLarge, SignatureInvalid):
                continue
            in_certificate = hints.start <= place < hints.start + len(CERTIFICATE)
            assert in_certificate or start <= place < start + len(signer_id)


@given(st.binary(max_size=400))
def test_any_octets_are_refused(octets: bytes) -> None:
    """Nothing but the three refusals comes out."""
    with pytest.raises((Malformed, UnknownFormat, TooLarge)):
        CMS.open(octets)


@given(st.data())
def test_spliced_messages_do_not_verify(data: st.DataObject) -> None:
    """A piece of the message overwritten with another piece of it."""
    message = CMS.sign(REQUEST_JSON, DEVICE.signer)
    source = data.draw(st.integers(0, len(message) - 1))
    target = data.draw(st.integers(0, len(message) - 1))
    length = data.draw(st.integers(1, 64))
    piece = message[source : source + length]
    spliced = (message[:target] + piece + message[target + len(piece) :])[: len(message)]
    if spliced == message:
        return
    try:
        signed = CMS.open(spliced)
        signed.verify(public_key(DEVICE))
    except (Malformed, UnknownFormat, TooLarge, SignatureInvalid):
        return
    assert signed.signer_certificate() is None
    assert signed.payload == REQUEST_JSON
