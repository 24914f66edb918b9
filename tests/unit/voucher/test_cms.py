"""CMS messages: what is written to the octet, and what is taken for one."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from hypothesis import given
from hypothesis import strategies as st

from brski import registry
from brski.errors import (
    KeyNotAllowed,
    KeyUnusable,
    LocalError,
    Malformed,
    SignatureInvalid,
    StateError,
    TooLarge,
    UnknownFormat,
)
from brski.pki import der, signatures
from brski.pki.keys import certificate_der, parse_certificate
from brski.pki.signer import PublicKey
from brski.voucher import signed_data
from brski.voucher.cms import CMS, CMSSerialization
from brski.voucher.serialization import Signed, Unsigned, VoucherSerialization
from tests.kit import pki
from tests.kit.voucher import (
    DATA,
    JSON_VOUCHER,
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

LENIENT = CMSSerialization(accept_id_data=True)
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


# -- what is written -------------------------------------------------------------------------------


def test_the_adapter_fits_its_port() -> None:
    """Checked by mypy, and once at run time."""
    serialization: VoucherSerialization = CMS
    unsigned: Unsigned = serialization.prepare(REQUEST_JSON, DEVICE.signer)
    signed: Signed = serialization.open(serialization.sign(REQUEST_JSON, DEVICE.signer))
    assert serialization.media_type == "application/voucher-cms+json"
    assert unsigned.to_be_signed
    assert signed.payload == REQUEST_JSON


@pytest.mark.requirement("CMS-1", "CMS-2", "CMS-4", "CMS-5", "CMS-6")
def test_a_message_to_the_octet() -> None:
    """SignedData 3, id-ct-animaJSONVoucher, SignerInfo 1, attributes in DER's order."""
    at = datetime(2025, 6, 1, 12, tzinfo=UTC)
    message = CMS.sign(REQUEST_JSON, DEVICE.signer, signing_time=at)
    digest = hashlib.sha256(REQUEST_JSON).digest()
    content_type = bytes.fromhex("301a06092a864886f70d010903310d060b2a864886f70d0109100128")
    signing_time = bytes.fromhex("301c06092a864886f70d010905310f170d") + b"250601120000Z"
    message_digest = bytes.fromhex("302f06092a864886f70d01090431220420") + digest
    attributes = content_type + signing_time + message_digest
    signature = DEVICE.signer.sign(bytes((0x31, len(attributes))) + attributes)
    assert message == cms(
        der.encode(
            0x30,
            bytes.fromhex("020101"),
            BY_NAME,
            bytes.fromhex("300b0609608648016503040201"),
            bytes((0xA0, len(attributes))) + attributes,
            bytes.fromhex("300a06082a8648ce3d040302"),
            bytes((4, len(signature))) + signature,
        )
    )


@pytest.mark.requirement("CMS-1")
@pytest.mark.parametrize("by_key", [False, True], ids=["by-name", "by-key"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_signed_opens_and_verifies(kind: str, by_key: bool) -> None:
    """Every kind of key, and both ways to name it."""
    entity = BY_KIND[kind]
    message = CMS.sign(
        REQUEST_JSON,
        entity.signer,
        certificates=entity.chain,
        signing_time=pki.NOW,
        name_by_key_identifier=by_key,
    )
    der.check_der(message)
    signed = CMS.open(message)
    signed.verify(public_key(entity))
    assert signed.payload == REQUEST_JSON
    assert signed.signing_time == pki.NOW
    assert set(signed.certificates) == set(entity.chain)
    assert signed.signer_certificate() == entity.certificate
    if by_key:
        assert signed.signer.subject_key_identifier == pki.key_identifier(public_key(entity))
        assert signed.signer.issuer is None
        assert signed.signer.certificate_serial is None
    else:
        assert signed.signer.issuer == entity.certificate.issuer.public_bytes()
        assert signed.signer.certificate_serial == entity.certificate.serial_number
        assert signed.signer.subject_key_identifier is None


@pytest.mark.parametrize("kind", KINDS)
def test_under_another_key_it_does_not_verify(kind: str) -> None:
    """Another of the same kind, and one of each other kind."""
    signed = CMS.open(CMS.sign(REQUEST_JSON, BY_KIND[kind].signer))
    another = pki.make_key(kind) if kind != "RSA-2048" else rsa.generate_private_key(65537, 2048)
    for key in (another, *(BY_KIND[other].private_key for other in KINDS if other != kind)):
        with pytest.raises(SignatureInvalid):
            signed.verify(key.public_key())


@pytest.mark.parametrize("certificates", [(), OEM.chain], ids=["none", "others"])
def test_a_message_need_not_hold_its_signer(certificates: tuple[x509.Certificate, ...]) -> None:
    """An asserting device has no certificate to enclose; its key verifies all the same."""
    bare = pki.KeySigner(DEVICE.private_key)
    message = CMS.sign(REQUEST_JSON, bare, certificates=certificates, name_by_key_identifier=True)
    signed = opens(message)
    assert signed.signer_certificate() is None
    assert set(signed.certificates) == set(certificates)


def test_a_signer_without_certificate_is_named_by_key_only() -> None:
    """There is no issuer and serial number to name it by."""
    with pytest.raises(KeyUnusable):
        CMS.prepare(REQUEST_JSON, pki.KeySigner(DEVICE.private_key))


def test_a_signer_by_name_is_found_by_issuer_and_number_both() -> None:
    """A certificate with the one or the other is somebody else's."""
    another_oem = pki.make_pki("Another OEM")
    number = DEVICE.certificate.serial_number
    same_number = (
        x509.CertificateBuilder()
        .subject_name(DEVICE.certificate.subject)
        .issuer_name(another_oem.certificate.subject)
        .public_key(DEVICE.certificate.public_key())
        .serial_number(number)
        .not_valid_before(pki.NOT_BEFORE)
        .not_valid_after(pki.NOT_AFTER)
        .sign(another_oem.private_key, hashes.SHA256())
    )
    message = CMS.sign(REQUEST_JSON, DEVICE.signer, certificates=(same_number, OTHER.certificate))
    assert CMS.open(message).signer_certificate() is None


def test_a_signer_with_a_certificate_of_version_1_is_found() -> None:
    """Such a certificate has no version field, so its number stands elsewhere in it."""
    certificate, tbs = DEVICE.der, DEVICE.certificate.tbs_certificate_bytes
    fields = [der.octets_of(tbs, f) for f in der.children(tbs, der.read_element(tbs))]
    plain = der.encode(der.SEQUENCE, *fields[1:-1])  # without version and extensions
    rest = der.children(certificate, der.read_element(certificate))[1:]
    version_1 = parse_certificate(
        der.encode(der.SEQUENCE, plain, *(der.octets_of(certificate, r) for r in rest))
    )
    assert version_1.version is x509.Version.v1
    signer = pki.KeySigner(DEVICE.private_key, (version_1,))
    signed = opens(CMS.sign(REQUEST_JSON, signer, certificates=signer.chain))
    assert signed.signer_certificate() == version_1


def test_certificates_are_sorted_as_der_demands() -> None:
    """A SET OF has no order of its own; the same set gives the same message."""
    one = CMS.sign(REQUEST_JSON, DEVICE.signer, certificates=DEVICE.chain)
    other = CMS.sign(REQUEST_JSON, DEVICE.signer, certificates=DEVICE.chain[::-1])
    assert one == other
    encoded = [certificate_der(certificate) for certificate in CMS.open(one).certificates]
    assert encoded == sorted(encoded)


@pytest.mark.parametrize(
    ("moment", "written"),
    [
        (datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC), b"\x17\x0d491231235959Z"),
        (datetime(2050, 1, 1, tzinfo=UTC), b"\x18\x0f20500101000000Z"),
        (datetime(1950, 1, 1, tzinfo=UTC), b"\x17\x0d500101000000Z"),
        (datetime(1949, 12, 31, 23, 59, 59, tzinfo=UTC), b"\x18\x0f19491231235959Z"),
        (datetime(999, 1, 1, tzinfo=UTC), b"\x18\x0f09990101000000Z"),
        (datetime(2025, 6, 1, 1, tzinfo=timezone(timedelta(hours=2))), b"\x17\x0d250531230000Z"),
    ],
)
def test_signing_time_is_utc_time_until_2049(moment: datetime, written: bytes) -> None:
    """GeneralizedTime before and after (RFC 5652 §11.3), and read back either way."""
    message = CMS.sign(REQUEST_JSON, DEVICE.signer, signing_time=moment)
    assert written in message
    assert opens(message).signing_time == moment


def test_signing_time_is_written_to_the_second() -> None:
    """No form has a fraction here; without zone it is not written, without time it is absent."""
    message = CMS.sign(REQUEST_JSON, DEVICE.signer, signing_time=pki.NOW.replace(microsecond=7))
    assert opens(message).signing_time == pki.NOW
    assert opens(CMS.sign(REQUEST_JSON, DEVICE.signer)).signing_time is None
    with pytest.raises(LocalError, match="zone"):
        CMS.sign(REQUEST_JSON, DEVICE.signer, signing_time=pki.NOW.replace(tzinfo=None))


def test_what_no_reader_would_take_is_not_written() -> None:
    """Ours has its own limits, and the same that it has for others."""
    CMS.sign(b"0", DEVICE.signer, certificates=(DEVICE.certificate,) * 8)
    with pytest.raises(LocalError, match="8 are allowed"):
        CMS.sign(b"0", DEVICE.signer, certificates=(DEVICE.certificate,) * 9)
    with pytest.raises(LocalError, match="without payload"):
        CMS.sign(b"", DEVICE.signer)
    with pytest.raises(LocalError, match="pass for signed attributes"):
        CMS.sign(b"1", DEVICE.signer)


def test_a_key_that_may_sign_nothing_signs_nothing() -> None:
    """P-521 and short RSA are refused before anything is laid out."""
    for kind in ("P-521", "RSA-1024"):
        with pytest.raises(KeyNotAllowed):
            CMS.prepare(
                REQUEST_JSON, pki.KeySigner(pki.make_key(kind)), name_by_key_identifier=True
            )


# -- two steps -------------------------------------------------------------------------------------


@given(st.binary(min_size=1, max_size=300).filter(lambda p: p[0] != 0x31), st.booleans())
def test_a_message_in_two_steps_is_that_in_one(payload: bytes, by_key: bool) -> None:
    """Through the journal and back: what was to be signed is what is signed."""
    knobs: dict[str, Any] = {"certificates": DEVICE.chain, "name_by_key_identifier": by_key}
    unsigned = CMS.prepare(payload, DEVICE.signer, **knobs)
    kept = CMS.decode_unsigned(unsigned.encode())
    assert kept == unsigned
    message = kept.assemble(DEVICE.signer.sign(kept.to_be_signed))
    assert message == CMS.sign(payload, DEVICE.signer, **knobs)
    assert opens(message).payload == payload


def test_an_unsigned_message_is_none() -> None:
    """Its journal form is CMS that every tool can show, and no reader takes for signed."""
    with pytest.raises(Malformed, match="no octets"):
        CMS.open(CMS.prepare(REQUEST_JSON, DEVICE.signer).encode())


def test_a_signed_message_is_no_journal_entry() -> None:
    """Nor is one that another writer made, or half of one."""
    with pytest.raises(StateError):
        CMS.decode_unsigned(CMS.sign(REQUEST_JSON, DEVICE.signer))
    unsorted = signer_info(
        DEVICE.signer, digest=der.encode(0x30, SHA256[2:], b"\x05\x00"), signature=b""
    )
    with pytest.raises(StateError, match="of ours"):
        CMS.decode_unsigned(cms(unsorted))


def test_a_damaged_journal_entry_is_found_out() -> None:
    """Cut or altered at any octet: it is refused, or it is plainly another message's."""
    unsigned = CMS.prepare(REQUEST_JSON, DEVICE.signer)
    octets = unsigned.encode()
    for place in range(len(octets)):
        with pytest.raises(StateError):
            CMS.decode_unsigned(octets[:place])
        altered = octets[:place] + bytes((octets[place] ^ 1,)) + octets[place + 1 :]
        try:
            assert CMS.decode_unsigned(altered) != unsigned
        except StateError:
            continue


# -- what is taken apart ---------------------------------------------------------------------------


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


GOOD_DIGEST = digest_attribute(REQUEST_JSON)
GOOD_TYPE = content_type_attribute()
CERTIFICATE = DEVICE.der
WITH_ONE = der.encode(0xA0, CERTIFICATE)
OTHER_OID = der.encode_oid("1.2.3.4")
ECDSA_OID = der.encode_oid(registry.ECDSA_WITH_SHA256)
NO_CERTIFICATE = der.encode(0x30, der.encode(0x30, b"\x02\x01\x01"), SHA256, b"\x03\x01\x00")
PASSING_FOR_ATTRIBUTES = der.encode(der.SET, b"".join(sorted((GOOD_TYPE, GOOD_DIGEST))))


def info(**knobs: Any) -> bytes:
    return signer_info(DEVICE.signer, **knobs)


def with_attributes(*attributes: bytes, **knobs: Any) -> bytes:
    return cms(info(attributes=attributes, **knobs))


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


# -- verification ----------------------------------------------------------------------------------


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
