"""Certificates on their way: CMS SignedData without a signer (RFC 7030 §4.1.3, §4.2.3).

Owns that one degenerate form. Nothing in it is signed, so nothing is believed for standing in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cryptography import x509

from brski.errors import LocalError, Malformed, TooLarge, UnknownFormat
from brski.est.attributes import parse_members
from brski.pki import der
from brski.pki.keys import certificate_der, parse_certificate
from brski.registry import BODY_LIMIT, CERTIFICATES_LIMIT, ID_DATA, ID_SIGNED_DATA

_CONTENT: Final = 0xA0  # [0] EXPLICIT content of ContentInfo, RFC 5652 §3
_CERTIFICATES: Final = 0xA0  # [0] IMPLICIT CertificateSet, RFC 5652 §5.1
_CRLS: Final = 0xA1  # [1] IMPLICIT RevocationInfoChoices
_OTHER_CERTIFICATES: Final = (0xA0, 0xA1, 0xA2, 0xA3)  # CertificateChoices, RFC 5652 §10.2.2
_SECTION: Final = "RFC 5652 §5.1"

_SIGNED_DATA_OID: Final = der.encode_oid(ID_SIGNED_DATA)
_VERSION: Final = der.encode_integer(1)
_EMPTY_SET: Final = der.encode(der.SET)
_NO_CONTENT: Final = der.encode(der.SEQUENCE, der.encode_oid(ID_DATA))


def encode_certs_only(certificates: Sequence[x509.Certificate]) -> bytes:
    """Return the certs-only CMS message (DER) of *certificates*.

    They are a set, and DER puts a set in the order of its octets (X.690 §11.6): a reader tells the
    root by its signature, never by its place. An answer to an enrollment holds one certificate, the
    issued one (RFC 7030 §4.2.3).

    Args:
        certificates: at least one.

    Raises:
        LocalError: none.

    RFC 5652 §5.1, §5.2.2; RFC 7030 §4.1.3.
    """
    if not certificates:
        raise LocalError("a certs-only message holds at least one certificate")
    signed_data = der.encode(
        der.SEQUENCE,
        _VERSION,
        _EMPTY_SET,
        _NO_CONTENT,
        der.encode(_CERTIFICATES, *sorted(map(certificate_der, certificates))),
        _EMPTY_SET,
    )
    return der.encode(der.SEQUENCE, _SIGNED_DATA_OID, der.encode(_CONTENT, signed_data))


def decode_certs_only(
    data: bytes, *, max_certificates: int = CERTIFICATES_LIMIT
) -> tuple[x509.Certificate, ...]:
    """Read the certificates of a certs-only CMS message, in its order, which tells nothing.

    Revocation lists in it are passed over. The certificates are not judged: neither their
    signatures nor their dates.

    Args:
        data: DER, whole; BER's indefinite lengths are refused.
        max_certificates: the most to take.

    Raises:
        Malformed: not such a message in DER, one with content or a signer, no certificate in it, or
            one that cannot be read.
        UnknownFormat: an attribute certificate or another kind in it.
        TooLarge: more octets or certificates than the limit.

    RFC 5652 §5.1, §5.2.2; RFC 7030 §4.1.3.
    """
    der.check_der(data, max_octets=BODY_LIMIT)
    kind, content = parse_members(
        data, der.read_element(data), der.OBJECT_IDENTIFIER, _CONTENT, what="CMS message"
    )
    if der.octets_of(data, kind) != _SIGNED_DATA_OID:
        raise Malformed("CMS message is not SignedData", section=_SECTION)
    found = der.children(data, _certificate_set(data, content))
    if not found:
        raise Malformed("certs-only message without a certificate", section="RFC 7030 §4.1.3")
    if len(found) > max_certificates:
        raise TooLarge(f"{len(found)} certificates, at most {max_certificates} are taken")
    return tuple(_certificate(data, element) for element in found)


def decode_issued_certificate(data: bytes) -> x509.Certificate:
    """Read the answer to an enrollment: a certs-only message of exactly one certificate.

    Raises:
        Malformed: as :func:`decode_certs_only`, or there are several.
        UnknownFormat: as :func:`decode_certs_only`.
        TooLarge: as :func:`decode_certs_only`.

    RFC 7030 §4.2.3.
    """
    certificates = decode_certs_only(data)
    if len(certificates) != 1:
        raise Malformed(
            f"answer to an enrollment holds {len(certificates)} certificates, not one",
            section="RFC 7030 §4.2.3",
        )
    return certificates[0]


def _certificate_set(data: bytes, content: der.Element) -> der.Element:
    signed_data = der.children(data, content)
    whole = [element.tag for element in signed_data] == [der.SEQUENCE]
    members = der.children(data, signed_data[0]) if whole else []
    if len(members) == 6 and members[4].tag == _CRLS:
        del members[4]
    head = [der.octets_of(data, member) for member in members[:3]]
    tail = [der.octets_of(data, member) for member in members[4:]]
    if head != [_VERSION, _EMPTY_SET, _NO_CONTENT] or tail != [_EMPTY_SET]:
        raise Malformed("CMS message is not certs-only", section="RFC 5652 §5.2.2")
    if members[3].tag != _CERTIFICATES:
        raise Malformed("certs-only message without certificates", section="RFC 7030 §4.1.3")
    return members[3]


def _certificate(data: bytes, element: der.Element) -> x509.Certificate:
    if element.tag in _OTHER_CERTIFICATES:
        raise UnknownFormat("certs-only message with another kind of certificate", section=_SECTION)
    return parse_certificate(der.octets_of(data, element))
