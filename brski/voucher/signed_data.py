"""One strict profile of CMS SignedData, as octets: laid out for signing, and taken apart again.

Written on :mod:`brski.pki.der` rather than on a CMS library, since those take BER, many signers and
content types that this profile refuses, or cannot set the content type at all. Owns the layout
alone: no key, no certificate object, no signature is touched here. :mod:`brski.voucher.cms` gives
it meaning.

RFC 5652 §5; docs/voucher.md tells the profile in words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from brski.errors import LocalError, Malformed, TooLarge, UnknownFormat
from brski.pki import der
from brski.registry import (
    BODY_LIMIT,
    CERTIFICATES_LIMIT,
    ECDSA_WITH_SHA256,
    ECDSA_WITH_SHA384,
    ID_CONTENT_TYPE,
    ID_CT_ANIMA_JSON_VOUCHER,
    ID_DATA,
    ID_ED25519,
    ID_MESSAGE_DIGEST,
    ID_ML_DSA_44,
    ID_ML_DSA_65,
    ID_ML_DSA_87,
    ID_SHA256,
    ID_SHA384,
    ID_SHA512,
    ID_SIGNED_DATA,
    ID_SIGNING_TIME,
    RSA_ENCRYPTION,
    SHA256_WITH_RSA,
)

ATTRIBUTES_LIMIT: Final = 16  # ours: OpenSSL signs four, Bouncy Castle five

JSON_VOUCHER: Final = der.encode_oid(ID_CT_ANIMA_JSON_VOUCHER)
DATA: Final = der.encode_oid(ID_DATA)
KEY_IDENTIFIER: Final = 0x80  # [0] IMPLICIT OCTET STRING: a SignerIdentifier by key identifier

_SIGNED_DATA: Final = der.encode_oid(ID_SIGNED_DATA)
_CONTENT_TYPE: Final = der.encode_oid(ID_CONTENT_TYPE)
_MESSAGE_DIGEST: Final = der.encode_oid(ID_MESSAGE_DIGEST)
_SIGNING_TIME: Final = der.encode_oid(ID_SIGNING_TIME)

_SECTION: Final = "RFC 5652 §5"
_CONTEXT_0: Final = 0xA0  # [0], constructed
_VERSION_1: Final = b"\x01"
_VERSION_3: Final = b"\x03"
_LIKE_ATTRIBUTES: Final = b"\x31"  # how DER of SignedAttributes begins
_UTC_TIME: Final = re.compile(rb"\d{12}Z")
_GENERALIZED_TIME: Final = re.compile(rb"\d{14}Z")

_DIGESTS: Final = {
    der.encode_oid(ID_SHA256): "sha256",
    der.encode_oid(ID_SHA384): "sha384",
    der.encode_oid(ID_SHA512): "sha512",
}


def _algorithm(oid: str, *parameters: bytes) -> bytes:
    return der.encode(der.SEQUENCE, der.encode_oid(oid), *parameters)


_NULL: Final = der.encode(der.NULL)
_RSA: Final = _algorithm(SHA256_WITH_RSA, _NULL)
_BARE_RSA: Final = _algorithm(RSA_ENCRYPTION, _NULL)
# Signature AlgorithmIdentifier -> the one digest that goes with it (RFC 5754 §3; RFC 8419 §3.1;
# RFC 9882 §3.3).
_SIGNATURES: Final = {
    _algorithm(ECDSA_WITH_SHA256): der.encode_oid(ID_SHA256),
    _algorithm(ECDSA_WITH_SHA384): der.encode_oid(ID_SHA384),
    _algorithm(ID_ED25519): der.encode_oid(ID_SHA512),
    **{
        _algorithm(oid): der.encode_oid(ID_SHA512)  # RFC 9882 §3.3
        for oid in (ID_ML_DSA_44, ID_ML_DSA_65, ID_ML_DSA_87)
    },
    _RSA: der.encode_oid(ID_SHA256),
    _BARE_RSA: der.encode_oid(ID_SHA256),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedData:
    """What a message of the profile consists of, its signature apart; all of it DER.

    An object identifier is held as its whole element, an AlgorithmIdentifier too.
    """

    content_type: bytes  # object identifier
    payload: bytes
    certificates: tuple[bytes, ...]  # in the order of the message
    signer_id: bytes  # SignerIdentifier
    digest: bytes  # object identifier
    attributes: bytes  # the signed ones, one after the other, without the header around them
    signature_algorithm: bytes  # AlgorithmIdentifier

    @property
    def to_be_signed(self) -> bytes:
        """The attributes as SET OF, not under the [0] of the message (RFC 5652 §5.4)."""
        return der.encode(der.SET, self.attributes)

    @property
    def digest_name(self) -> str:
        """What hashlib calls :attr:`digest`."""
        return _DIGESTS[self.digest]

    @property
    def full_signature_algorithm(self) -> bytes:
        """:attr:`signature_algorithm`, RSA spelt with its digest.

        A SignerInfo may name RSA by its key type alone, as OpenSSL does (RFC 5754 §3.2).
        """
        return _RSA if self.signature_algorithm == _BARE_RSA else self.signature_algorithm


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedAttributes:
    """What is read from the signed attributes; others are allowed and not looked at."""

    message_digest: bytes
    signing_time: datetime | None  # aware UTC


# -- writing ---------------------------------------------------------------------------------------


def encode_attributes(message_digest: bytes, signing_time: datetime | None) -> bytes:
    """Lay out the signed attributes of a JSON voucher.

    Args:
        message_digest: of the payload.
        signing_time: aware, written to the second; left out when None.

    Returns:
        content-type, message-digest and signing-time in DER's order, without a header around them.

    Raises:
        LocalError: *signing_time* is without zone.

    RFC 5652 §11; X.690 §11.6.
    """
    attributes = [
        _encode_attribute(_CONTENT_TYPE, JSON_VOUCHER),
        _encode_attribute(_MESSAGE_DIGEST, der.encode(der.OCTET_STRING, message_digest)),
    ]
    if signing_time is not None:
        attributes.append(_encode_attribute(_SIGNING_TIME, _encode_time(signing_time)))
    return b"".join(sorted(attributes))


def _encode_attribute(attribute_type: bytes, value: bytes) -> bytes:
    return der.encode(der.SEQUENCE, attribute_type, der.encode(der.SET, value))


def _encode_time(moment: datetime) -> bytes:
    if moment.tzinfo is None:
        raise LocalError("signing time without zone", section="RFC 5652 §11.3")
    utc = moment.astimezone(UTC)
    text = f"{utc.year:04}{utc:%m%d%H%M%S}Z".encode("ascii")
    if 1950 <= utc.year < 2050:
        return der.encode(der.UTC_TIME, text[2:])
    return der.encode(der.GENERALIZED_TIME, text)


def encode_message(parts: SignedData, signature: bytes) -> bytes:
    """Write ContentInfo, DER.

    The version of SignedData is 3, as a content type other than id-data wants it; that of
    SignerInfo follows from how the signer is named.

    RFC 5652 §3, §5.1, §5.3.
    """
    digest_algorithm = der.encode(der.SEQUENCE, parts.digest)
    by_key_identifier = parts.signer_id[0] == KEY_IDENTIFIER
    signer_info = der.encode(
        der.SEQUENCE,
        der.encode(der.INTEGER, _VERSION_3 if by_key_identifier else _VERSION_1),
        parts.signer_id,
        digest_algorithm,
        der.encode(_CONTEXT_0, parts.attributes),
        parts.signature_algorithm,
        der.encode(der.OCTET_STRING, signature),
    )
    content = der.encode(
        der.SEQUENCE,
        parts.content_type,
        der.encode(_CONTEXT_0, der.encode(der.OCTET_STRING, parts.payload)),
    )
    signed_data = der.encode(
        der.SEQUENCE,
        der.encode(der.INTEGER, _VERSION_3),
        der.encode(der.SET, digest_algorithm),
        content,
        der.encode(_CONTEXT_0, *parts.certificates) if parts.certificates else b"",
        der.encode(der.SET, signer_info),
    )
    return der.encode(der.SEQUENCE, _SIGNED_DATA, der.encode(_CONTEXT_0, signed_data))


def issuer_and_serial(certificate: bytes) -> bytes:
    """Return IssuerAndSerialNumber of *certificate*, both cut out of its own octets.

    Args:
        certificate: DER, known to be a certificate.

    RFC 5652 §10.2.4.
    """
    tbs = der.read_element(certificate, der.read_element(certificate).content)
    number = der.read_element(certificate, tbs.content)
    if number.tag == _CONTEXT_0:  # the version
        number = der.read_element(certificate, number.end)
    algorithm = der.read_element(certificate, number.end)
    issuer = der.read_element(certificate, algorithm.end)
    return der.encode(
        der.SEQUENCE, der.octets_of(certificate, issuer), der.octets_of(certificate, number)
    )


# -- reading ---------------------------------------------------------------------------------------


class _Fields:
    """The elements inside one SEQUENCE, SET or explicit tag, taken in order by their tags."""

    __slots__ = ("_data", "_name", "_rest")

    def __init__(self, data: bytes, element: der.Element, name: str) -> None:
        self._data = data
        self._rest = der.children(data, element)[::-1]  # the next one last
        self._name = name

    def take(self, tag: int) -> der.Element:
        rest = self._rest
        if rest and rest[-1][0] == tag:
            return rest.pop()
        raise Malformed(f"{self._name} lacks element {tag:02x} in its place", section=_SECTION)

    def take_if(self, tag: int) -> der.Element | None:
        rest = self._rest
        return rest.pop() if rest and rest[-1][0] == tag else None

    def take_octets(self, tag: int) -> bytes:
        return der.octets_of(self._data, self.take(tag))

    def take_content(self, tag: int) -> bytes:
        return der.content_of(self._data, self.take(tag))

    def finish(self) -> None:
        if self._rest:
            tag = self._rest[-1].tag
            raise Malformed(f"{self._name} holds an element {tag:02x} too many", section=_SECTION)


def _only(data: bytes, element: der.Element, tag: int, name: str) -> der.Element:
    fields = _Fields(data, element, name)
    found = fields.take(tag)
    fields.finish()
    return found


def read_message(data: bytes, *, accept_id_data: bool = False) -> tuple[SignedData, bytes]:
    """Take a message apart; nothing is verified.

    Args:
        data: ContentInfo, raw, as received.
        accept_id_data: take the content type id-data, and CMSVersion 1, too.

    Returns:
        The parts, and the signature, which may be empty here.

    Raises:
        Malformed: not DER, or not this profile: one digest algorithm, one payload within, only
            certificates beside it (and none is not an empty set), no CRLs, one SignerInfo whose
            version fits how it names its signer, signed attributes, no unsigned ones.
        UnknownFormat: another content, content type, version, digest or signature algorithm.
        TooLarge: more than 64 KiB or 8 certificates.

    RFC 5652 §5; RFC 8366 §5.4.
    """
    der.check_der(data, max_octets=BODY_LIMIT)
    fields = _Fields(data, _signed_data(data), "SignedData")
    version = fields.take_content(der.INTEGER)
    digest = _read_digest(data, _only(data, fields.take(der.SET), der.SEQUENCE, "digestAlgorithms"))
    content_type, payload = _read_content(data, fields.take(der.SEQUENCE))
    _check_spoken(content_type, version, accept_id_data)
    certificates = _read_certificates(data, fields.take_if(_CONTEXT_0))
    signer_info = _only(data, fields.take(der.SET), der.SEQUENCE, "signerInfos")
    fields.finish()
    signer_id, signer_digest, attributes, algorithm, signature = _read_signer_info(
        data, signer_info
    )
    if signer_digest != digest:
        raise Malformed("digestAlgorithms is not the signer's digest", section="RFC 5652 §5.1")
    _check_algorithm(algorithm, digest)
    parts = SignedData(
        content_type=content_type,
        payload=payload,
        certificates=certificates,
        signer_id=signer_id,
        digest=digest,
        attributes=attributes,
        signature_algorithm=algorithm,
    )
    return parts, signature


def _signed_data(data: bytes) -> der.Element:
    root = der.read_element(data)
    if root.tag != der.SEQUENCE:
        raise Malformed("not a CMS ContentInfo", section="RFC 5652 §3")
    fields = _Fields(data, root, "ContentInfo")
    if fields.take_octets(der.OBJECT_IDENTIFIER) != _SIGNED_DATA:
        raise UnknownFormat("CMS content is not signedData", section="RFC 8366 §5.4")
    content = fields.take(_CONTEXT_0)
    fields.finish()
    return _only(data, content, der.SEQUENCE, "ContentInfo's content")


def _read_content(data: bytes, element: der.Element) -> tuple[bytes, bytes]:
    fields = _Fields(data, element, "EncapsulatedContentInfo")
    content_type = fields.take_octets(der.OBJECT_IDENTIFIER)
    explicit = fields.take(_CONTEXT_0)
    fields.finish()
    payload = der.content_of(data, _only(data, explicit, der.OCTET_STRING, "eContent"))
    check_payload(payload, Malformed)
    return content_type, payload


def check_payload(payload: bytes, error: type[Malformed | LocalError]) -> None:
    """Raise *error* unless *payload* may be signed: present, and no DER of signed attributes.

    Without the latter a signature made over attributes could be presented as one that was made
    over a payload, without attributes. JSON never begins with that octet.

    RFC 5652 §5.4; draft-ietf-lamps-cms-euf-cma-signeddata.
    """
    if not payload:
        raise error("CMS message without payload", section="RFC 5652 §5.2")
    if payload.startswith(_LIKE_ATTRIBUTES):
        raise error("CMS payload that could pass for signed attributes", section="RFC 5652 §5.4")


def _check_spoken(content_type: bytes, version: bytes, accept_id_data: bool) -> None:
    if content_type != JSON_VOUCHER and not (accept_id_data and content_type == DATA):
        raise UnknownFormat(
            "CMS eContentType is not id-ct-animaJSONVoucher", section="RFC 8366 §5.4"
        )
    if version != _VERSION_3 and not (accept_id_data and version == _VERSION_1):
        raise UnknownFormat("CMSVersion of SignedData is not 3", section="RFC 5652 §5.1")


def _read_certificates(data: bytes, element: der.Element | None) -> tuple[bytes, ...]:
    if element is None:
        return ()
    found = der.children(data, element)
    if not found:
        raise Malformed("CMS certificates present and empty", section="RFC 5652 §5.1")
    if len(found) > CERTIFICATES_LIMIT:
        raise TooLarge(f"CMS with {len(found)} certificates, at most {CERTIFICATES_LIMIT}")
    if any(choice.tag != der.SEQUENCE for choice in found):
        raise Malformed("CMS with something else than certificates", section="RFC 5652 §10.2.2")
    return tuple(der.octets_of(data, certificate) for certificate in found)


def _read_signer_info(
    data: bytes, element: der.Element
) -> tuple[bytes, bytes, bytes, bytes, bytes]:
    """signer identifier, digest, signed attributes, signature algorithm, signature."""
    fields = _Fields(data, element, "SignerInfo")
    version = fields.take_content(der.INTEGER)
    by_certificate = fields.take_if(der.SEQUENCE)
    signer = by_certificate or fields.take(KEY_IDENTIFIER)
    if version != (_VERSION_1 if by_certificate else _VERSION_3):
        raise Malformed("CMSVersion of SignerInfo does not fit its sid", section="RFC 5652 §5.3")
    digest = _read_digest(data, fields.take(der.SEQUENCE))
    attributes = fields.take_if(_CONTEXT_0)
    if attributes is None:
        raise Malformed("CMS without signed attributes", section="RFC 5652 §5.3")
    algorithm = fields.take_octets(der.SEQUENCE)
    signature = fields.take_content(der.OCTET_STRING)
    fields.finish()
    return (
        der.octets_of(data, signer),
        digest,
        der.content_of(data, attributes),
        algorithm,
        signature,
    )


def _read_digest(data: bytes, element: der.Element) -> bytes:
    fields = _Fields(data, element, "digest AlgorithmIdentifier")
    digest = fields.take_octets(der.OBJECT_IDENTIFIER)
    fields.take_if(der.NULL)  # absent or NULL mean the same, RFC 5754 §2
    fields.finish()
    if digest not in _DIGESTS:
        raise UnknownFormat("CMS digest is not SHA-256, SHA-384 or SHA-512", section="RFC 5754 §2")
    return digest


def _check_algorithm(algorithm: bytes, digest: bytes) -> None:
    expected = _SIGNATURES.get(algorithm)
    if expected is None:
        raise UnknownFormat("CMS signature algorithm is not spoken", section="RFC 5652 §10.1.2")
    if expected != digest:
        raise Malformed("CMS signature and digest do not go together", section="RFC 5754 §3")


def read_signer_id(signer_id: bytes) -> tuple[bytes | None, tuple[bytes, int] | None]:
    """Read a SignerIdentifier, DER: the key identifier, or issuer (DER Name) and serial number.

    Raises:
        Malformed: neither of the two.

    RFC 5652 §5.3.
    """
    element = der.read_element(signer_id)
    if element.tag == KEY_IDENTIFIER:
        if element.content == element.end:
            raise Malformed("CMS signer named by no octets", section="RFC 5652 §5.3")
        return der.content_of(signer_id, element), None
    fields = _Fields(signer_id, element, "IssuerAndSerialNumber")
    issuer = fields.take_octets(der.SEQUENCE)
    number = fields.take_content(der.INTEGER)
    fields.finish()
    return None, (issuer, int.from_bytes(number, "big", signed=True))


def read_attributes(parts: SignedData) -> SignedAttributes:
    """Read the signed attributes of *parts*.

    Raises:
        Malformed: not in DER's order, one there twice, content-type missing or other than the
            message's, message-digest missing, or a value amiss.
        TooLarge: more than 16.

    RFC 5652 §5.3, §11; X.690 §11.6.
    """
    values = _read_values(parts.to_be_signed)
    if values.get(_CONTENT_TYPE) != (parts.content_type,):
        raise Malformed("content-type attribute is not eContentType", section="RFC 5652 §11.1")
    return SignedAttributes(
        message_digest=_read_message_digest(values.get(_MESSAGE_DIGEST, ())),
        signing_time=_read_signing_time(values.get(_SIGNING_TIME)),
    )


def read_own_attributes(to_be_signed: bytes) -> SignedAttributes:
    """Read signed attributes that :func:`encode_attributes` laid out, and no others.

    Args:
        to_be_signed: as SET OF, not under the [0] of a message; untrusted.

    Raises:
        Malformed, TooLarge: any other octets.

    RFC 5652 §5.4.
    """
    der.check_der(to_be_signed)
    if not to_be_signed.startswith(_LIKE_ATTRIBUTES):
        raise Malformed("no SET OF Attribute", section="RFC 5652 §5.4")
    values = _read_values(to_be_signed)
    read = SignedAttributes(
        message_digest=_read_message_digest(values.get(_MESSAGE_DIGEST, ())),
        signing_time=_read_signing_time(values.get(_SIGNING_TIME)),
    )
    laid_out = encode_attributes(read.message_digest, read.signing_time)
    if to_be_signed != der.encode(der.SET, laid_out):
        raise Malformed("signed attributes other than ours", section="RFC 5652 §5.4")
    return read


def _read_values(data: bytes) -> dict[bytes, tuple[bytes, ...]]:
    found = der.children(data, der.read_element(data))
    if len(found) > ATTRIBUTES_LIMIT:
        raise TooLarge(f"CMS with {len(found)} signed attributes, at most {ATTRIBUTES_LIMIT}")
    octets = [der.octets_of(data, attribute) for attribute in found]
    if octets != sorted(octets):
        raise Malformed("signed attributes not in DER's order", section="X.690 §11.6")
    values = dict(_read_attribute(data, attribute) for attribute in found)
    if len(values) != len(found):
        raise Malformed("a signed attribute is there twice", section="RFC 5652 §5.3")
    return values


def _read_attribute(data: bytes, element: der.Element) -> tuple[bytes, tuple[bytes, ...]]:
    fields = _Fields(data, element, "Attribute")
    attribute_type = fields.take_octets(der.OBJECT_IDENTIFIER)
    values = fields.take(der.SET)
    fields.finish()
    return attribute_type, tuple(der.octets_of(data, v) for v in der.children(data, values))


def _read_message_digest(values: tuple[bytes, ...]) -> bytes:
    if len(values) != 1 or values[0][0] != der.OCTET_STRING:
        raise Malformed("message-digest attribute missing or amiss", section="RFC 5652 §11.2")
    return der.content_of(values[0], der.read_element(values[0]))


def _read_signing_time(values: tuple[bytes, ...] | None) -> datetime | None:
    if values is None:
        return None
    if len(values) != 1:
        raise Malformed(
            "signing-time attribute with other than one value", section="RFC 5652 §11.3"
        )
    element = der.read_element(values[0])
    return _read_time(element.tag, der.content_of(values[0], element))


def _read_time(tag: int, text: bytes) -> datetime:
    if tag == der.UTC_TIME and _UTC_TIME.fullmatch(text):
        text = (b"19" if text >= b"50" else b"20") + text
    elif tag != der.GENERALIZED_TIME or not _GENERALIZED_TIME.fullmatch(text):
        raise Malformed("signing-time is no time to the second", section="RFC 5652 §11.3")
    digits = text.decode("ascii")
    try:
        return datetime.fromisoformat(f"{digits[:8]}T{digits[8:]}")
    except ValueError as err:
        raise Malformed("signing-time is no such moment", section="RFC 5652 §11.3") from err
