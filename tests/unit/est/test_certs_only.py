"""Certs-only messages: one form, written in microseconds, read strictly."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from hypothesis import given
from hypothesis import strategies as st

from brski.errors import LocalError, Malformed, PeerError, TooLarge, UnknownFormat
from brski.est.certs_only import decode_certs_only, decode_issued_certificate, encode_certs_only
from brski.pki import der
from tests.kit import pki

ROOT = pki.make_root("Owner Root")
CA = pki.make_ca("Owner CA", ROOT, kind="P-384")
LEAF = pki.certify(pki.common_name("device"), issuer=CA)
CHAIN = LEAF.chain
MESSAGE = encode_certs_only([LEAF.certificate])

SIGNED_DATA = der.encode_oid("1.2.840.113549.1.7.2")
NO_CONTENT = der.encode(der.SEQUENCE, der.encode_oid("1.2.840.113549.1.7.1"))
CERTIFICATES = der.encode(0xA0, LEAF.der)


def message(
    *members: bytes, content_type: bytes = SIGNED_DATA, outer: int = 0xA0, inner: int = der.SEQUENCE
) -> bytes:
    """A ContentInfo of a SignedData of these members."""
    return der.encode(der.SEQUENCE, content_type, der.encode(outer, der.encode(inner, *members)))


PARTS = (b"\x02\x01\x01", b"\x31\x00", NO_CONTENT, CERTIFICATES, b"\x31\x00")


def with_part(index: int, part: bytes) -> bytes:
    return message(*PARTS[:index], part, *PARTS[index + 1 :])


@pytest.mark.requirement("ESTS-4")
@given(st.lists(st.sampled_from(CHAIN), min_size=1, unique_by=id))
def test_every_certificate_comes_back(certificates: list[x509.Certificate]) -> None:
    """cacerts as a set: all that went in, in whatever order they were given."""
    written = encode_certs_only(certificates)
    assert set(decode_certs_only(written)) == set(certificates)
    assert written == encode_certs_only(certificates[::-1])


def test_a_set_out_of_order_is_read() -> None:
    """openssl leaves certificates as they were given; each is taken as it stands."""
    ders = [certificate.public_bytes(Encoding.DER) for certificate in CHAIN]
    for order in (sorted(ders), sorted(ders, reverse=True)):
        found = decode_certs_only(with_part(3, der.encode(0xA0, *order)))
        assert [certificate.public_bytes(Encoding.DER) for certificate in found] == order


def test_the_message_to_the_octet() -> None:
    """The degenerate SignedData of RFC 5652 §5.2.2, version 1, nothing else in it."""
    assert message(*PARTS) == MESSAGE


def test_the_library_agrees() -> None:
    """pyca/cryptography reads ours, and we read what it writes."""
    assert set(pkcs7.load_der_pkcs7_certificates(encode_certs_only(CHAIN))) == set(CHAIN)
    theirs = pkcs7.serialize_certificates(list(CHAIN), Encoding.DER)
    assert set(decode_certs_only(theirs)) == set(CHAIN)


@pytest.mark.requirement("ESTS-9")
def test_an_issued_certificate_comes_alone() -> None:
    """One is the answer; with its chain beside it, it is not."""
    assert decode_issued_certificate(MESSAGE) == LEAF.certificate
    with pytest.raises(Malformed, match="3 certificates"):
        decode_issued_certificate(encode_certs_only(CHAIN))


def test_nothing_is_not_sent() -> None:
    """A message of no certificate has no reader."""
    with pytest.raises(LocalError):
        encode_certs_only([])


def test_more_certificates_than_wanted_are_refused() -> None:
    """The limit is the caller's."""
    assert len(decode_certs_only(encode_certs_only(CHAIN), max_certificates=3)) == 3
    with pytest.raises(TooLarge):
        decode_certs_only(encode_certs_only(CHAIN), max_certificates=2)


def test_revocation_lists_are_passed_over() -> None:
    """Some servers send them; they are not looked into. Behind the signers is not their place."""
    crls = der.encode(0xA1, b"\x30\x00")
    assert decode_certs_only(message(*PARTS[:4], crls, PARTS[4])) == (LEAF.certificate,)
    with pytest.raises(Malformed):
        decode_certs_only(message(*PARTS, crls))
    with pytest.raises(Malformed):
        decode_certs_only(message(*PARTS[:4], crls, crls, PARTS[4]))


@pytest.mark.parametrize(
    ("index", "part"),
    [
        (0, b"\x02\x01\x03"),
        (0, b"\x02\x01\x00"),
        (0, b""),
        (1, b"\x30\x00"),
        (
            1,
            der.encode(der.SET, der.encode(der.SEQUENCE, der.encode_oid("2.16.840.1.101.3.4.2.1"))),
        ),
        (1, b""),
        (2, der.encode(der.SEQUENCE, der.encode_oid("1.2.840.113549.1.9.16.1.40"))),
        (2, der.encode(der.SEQUENCE, der.encode_oid("1.2.840.113549.1.7.1"), b"\xa0\x02\x04\x00")),
        (2, b""),
        (3, b""),
        (3, b"\xa0\x00"),
        (3, b"\x31\x00"),
        (3, der.encode(0xA0, b"\x30\x00")),
        (3, der.encode(0xA0, b"\x05\x00")),
        (3, der.encode(0x80, LEAF.der)),
        (3, der.encode(0xA0, LEAF.der[:-1])),
        (4, der.encode(der.SET, b"\x30\x00")),
        (4, b"\x30\x00"),
        (4, b""),
    ],
)
def test_any_other_part_is_refused(index: int, part: bytes) -> None:
    """Another version, digests, content, no certificates, a signer, or a part missing."""
    assert decode_certs_only(message(*PARTS)) == (LEAF.certificate,)
    with pytest.raises(Malformed):
        decode_certs_only(with_part(index, part))


@pytest.mark.parametrize("tag", [0xA0, 0xA1, 0xA2, 0xA3])
def test_other_kinds_of_certificate_are_refused(tag: int) -> None:
    """Attribute certificates and other formats stand in the same set."""
    with pytest.raises(UnknownFormat):
        decode_certs_only(with_part(3, der.encode(0xA0, LEAF.der, der.encode(tag, b"\x30\x00"))))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x30\x00",
        b"\x30\x80\x00\x00",
        MESSAGE + b"\x00",
        LEAF.der,
        message(*PARTS, content_type=der.encode_oid("1.2.840.113549.1.7.1")),
        message(*PARTS, outer=0xA1),
        message(*PARTS, outer=der.SEQUENCE),
        message(*PARTS, inner=der.SET),
        der.encode(der.SEQUENCE, SIGNED_DATA),
        der.encode(der.SEQUENCE, SIGNED_DATA, b"\xa0\x00"),
        der.encode(der.SEQUENCE, SIGNED_DATA, b"\xa0\x04\x30\x00\x30\x00"),
    ],
)
def test_what_is_no_certs_only_message_is_refused(data: bytes) -> None:
    """Nothing, BER, a bare certificate, another content type, another wrapping."""
    with pytest.raises(Malformed):
        decode_certs_only(data)


def test_every_truncation_is_refused() -> None:
    """Cut at any octet."""
    for end in range(len(MESSAGE)):
        with pytest.raises(Malformed):
            decode_certs_only(MESSAGE[:end])


@given(st.integers(0, len(MESSAGE) - 1), st.binary(max_size=8), st.integers(0, 8))
def test_whatever_comes_is_certificates_or_a_peers_fault(
    start: int, junk: bytes, length: int
) -> None:
    """Altered octets give another certificate (its signature is not judged here) or a refusal."""
    data = MESSAGE[:start] + junk + MESSAGE[start + length :]
    try:
        found = decode_certs_only(data)
    except PeerError:
        return
    assert sum(len(certificate.public_bytes(Encoding.DER)) for certificate in found) < len(data)
