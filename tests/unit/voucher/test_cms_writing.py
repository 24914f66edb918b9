"""CMS vouchers: what is written, to the octet, and read by openssl."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta, timezone

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa

from brski.errors import (
    KeyNotAllowed,
    KeyUnusable,
    LocalError,
    SignatureInvalid,
)
from brski.pki import der
from brski.pki.keys import certificate_der, parse_certificate
from brski.voucher.cms import CMS
from brski.voucher.serialization import Signed, Unsigned, VoucherSerialization
from tests.kit import pki
from tests.kit.voucher import (
    REQUEST_JSON,
    cms,
)
from tests.unit.voucher.cms_cases import (
    BY_KIND,
    BY_NAME,
    DEVICE,
    KINDS,
    OEM,
    OTHER,
    opens,
    public_key,
)


def test_the_adapter_fits_its_port() -> None:
    """Checked by mypy, and once at run time."""
    serialization: VoucherSerialization = CMS
    unsigned: Unsigned = serialization.prepare(REQUEST_JSON, DEVICE.signer)
    signed: Signed = serialization.open(serialization.sign(REQUEST_JSON, DEVICE.signer))
    assert serialization.media_type == "application/voucher-cms+json"
    assert unsigned.to_be_signed
    assert signed.payload == REQUEST_JSON


@pytest.mark.requirement("CMS-10", "CMS-1", "CMS-2", "CMS-4", "CMS-5", "CMS-6")
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
