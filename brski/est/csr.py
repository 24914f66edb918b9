"""Certificate requests: PKCS #10, made for any signer, and read strictly (RFC 2986; RFC 7030 §4.2).

Owns the request's form, its proof of possession and what it asks for. Must not know who may ask for
what: that is :class:`brski.est.requirements.CSRRequirements` and the registrar's judgement.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, padding, rsa

from brski import registry
from brski.errors import LocalError, Malformed, SignatureInvalid, UnknownFormat
from brski.est.attributes import (
    Attribute,
    RequestedExtension,
    check_once,
    decode_oid,
    encode_attribute,
    extension_request,
    parse_attribute,
    parse_extensions,
    parse_members,
    single_value,
)
from brski.pki import der, effort
from brski.pki.keys import UNREADABLE, encode_spki, load_spki
from brski.pki.signatures import public_key_of, signature_algorithm
from brski.pki.signer import MLDSAPublicKey, PublicKey, Signer

CSR_OCTETS: Final = 16 * 1024  # ours: one with an RSA-4096 key and ten names needs 2 kB
CHALLENGE_PASSWORD_CHARACTERS: Final = 255  # RFC 2985 §5.4.1, pkcs-9-ub-challengePassword

_ATTRIBUTES: Final = 0xA0  # [0] IMPLICIT SET OF Attribute, RFC 2986 §4.1
_EC_HASHES: Final[dict[str, hashes.HashAlgorithm]] = {
    registry.ECDSA_WITH_SHA256: hashes.SHA256(),
    registry.ECDSA_WITH_SHA384: hashes.SHA384(),
    registry.ECDSA_WITH_SHA512: hashes.SHA512(),
}
_RSA_HASHES: Final[dict[str, hashes.HashAlgorithm]] = {
    registry.SHA256_WITH_RSA: hashes.SHA256(),
    registry.SHA384_WITH_RSA: hashes.SHA384(),
    registry.SHA512_WITH_RSA: hashes.SHA512(),
}
# Algorithms that sign what they are given, each with the one kind of key that it is of.
_RAW: Final[dict[str, type[ed25519.Ed25519PublicKey | MLDSAPublicKey]]] = {
    registry.ID_ED25519: ed25519.Ed25519PublicKey,
    registry.ID_ML_DSA_44: mldsa.MLDSA44PublicKey,
    registry.ID_ML_DSA_65: mldsa.MLDSA65PublicKey,
    registry.ID_ML_DSA_87: mldsa.MLDSA87PublicKey,
}
SIGNATURE_ALGORITHMS: Final = frozenset({*_EC_HASHES, *_RSA_HASHES, *_RAW})  # dotted
# Windows XP's own attribute for extensions: a second list, which a CA behind us could honour
_MS_EXTENSION_REQUEST: Final = "1.3.6.1.4.1.311.2.1.14"
_PRINTABLE: Final = re.compile(r"[A-Za-z0-9 '()+,\-./:=?]*")
_TEXT_TAGS: Final = (der.UTF8_STRING, der.PRINTABLE_STRING, der.IA5_STRING)
# RFC 5280 App. A upper bounds; beyond these the library warns instead of refusing
_NAME_LIMITS: Final = {"2.5.4.6": (2, 2), "1.3.6.1.4.1.311.60.2.1.3": (2, 2), "2.5.4.3": (1, 64)}
_NAME_LIMIT: Final = (1, 256)  # ours
_SECTION: Final = "RFC 2986 §4"


@dataclass(frozen=True, slots=True, kw_only=True)
class CSR:
    """A certificate request whose sender holds the private key; what it asks is not yet granted."""

    der: bytes  # as received
    digest: bytes  # SHA-256 of the DER
    subject: x509.Name
    public_key: PublicKey
    spki: bytes  # SubjectPublicKeyInfo, cut from the DER
    signature_algorithm: str  # dotted
    extensions: tuple[RequestedExtension, ...] = ()  # in the request's order, no two of one kind
    subject_alternative_name: x509.SubjectAlternativeName | None = None
    challenge_password: str | None = None
    attributes: tuple[Attribute, ...] = ()  # all of them, no two of one kind

    def extension(self, oid: str) -> RequestedExtension | None:
        """Return the requested extension of that dotted *oid*."""
        return next((found for found in self.extensions if found.oid == oid), None)


def build_csr(
    signer: Signer,
    subject: x509.Name,
    *,
    extensions: Sequence[x509.ExtensionType | RequestedExtension] = (),
    challenge_password: str | None = None,
) -> bytes:
    """Return a certificate request (DER) for the key of *signer*, signed by it.

    Args:
        signer: its ``public_key`` and ``sign`` are used; a chain is not needed.
        subject: may be empty.
        extensions: to be asked for, in this order; a bare value is not critical.
        challenge_password: such as the base64 of tls-unique (RFC 7030 §3.5).

    Raises:
        LocalError: an extension twice, or a challenge password that is empty or too long.
        KeyNotAllowed: a key that no side accepts.
        KeyUnusable: *signer* cannot sign now.

    RFC 2986 §4; RFC 2985 §5.4; RFC 7030 §4.2.1.
    """
    public_key = public_key_of(signer)
    attributes = []
    if challenge_password is not None:
        attributes.append(_challenge_attribute(challenge_password))
    if extensions:
        attributes.append(extension_request([_as_requested(value) for value in extensions]))
    info = der.encode(
        der.SEQUENCE,
        der.encode_integer(0),
        subject.public_bytes(),
        encode_spki(public_key),
        der.encode(_ATTRIBUTES, *sorted(map(encode_attribute, attributes))),
    )
    signature = der.encode(der.BIT_STRING, b"\x00", signer.sign(info))
    return der.encode(der.SEQUENCE, info, signature_algorithm(public_key), signature)


def parse_csr(data: bytes) -> CSR:
    """Read a certificate request and verify that its sender holds the key.

    ECDSA with SHA-256, SHA-384 or SHA-512 on either curve, RSA PKCS #1 v1.5 with the same,
    Ed25519 and ML-DSA are verified. Attributes that are not known are kept and not judged.

    Args:
        data: DER, whole.

    Raises:
        Malformed: not the DER of a request of version 1; an attribute or a requested extension
            twice; an extension request of anything but one Extensions; a subject, a subject
            alternative name or a challenge password that cannot be read.
        TooLarge: more than 16 KiB, or nested too deep.
        UnknownFormat: a signature algorithm that is not spoken or not the key's, or Microsoft's
            attribute for extensions.
        KeyNotAllowed: see :func:`brski.pki.keys.check_public_key`.
        SignatureInvalid: the proof of possession fails.

    RFC 2986 §4; RFC 7030 §4.2.1; RFC 9908 §3.2.
    """
    layout = _lay_open(data)
    public_key = load_spki(layout.spki)
    oid = _signature_algorithm_of(data, layout.algorithm)
    contents = _contents(data, layout)
    _check_possession(public_key, oid, _bits_of(data, layout.signature), layout.info)
    return CSR(
        der=data,
        digest=contents.digest,
        subject=contents.subject,
        public_key=public_key,
        spki=layout.spki,
        signature_algorithm=oid,
        extensions=contents.extensions,
        subject_alternative_name=contents.subject_alternative_name,
        challenge_password=contents.challenge_password,
        attributes=contents.attributes,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class UnprovenCSR:
    """What a certificate request says, its key and its signature not looked at."""

    digest: bytes  # SHA-256 of the DER
    subject: x509.Name
    extensions: tuple[RequestedExtension, ...]
    subject_alternative_name: x509.SubjectAlternativeName | None
    challenge_password: str | None
    attributes: tuple[Attribute, ...]


def parse_unproven(data: bytes) -> UnprovenCSR:
    """Read a certificate request as :func:`parse_csr`, whatever key and signature it has.

    For a server that makes the key itself (RFC 7030 §4.4.1), and for nobody else.

    Raises:
        Malformed, TooLarge, UnknownFormat: as :func:`parse_csr`, but for the key and the signature.
    """
    return _contents(data, _lay_open(data))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    info: bytes  # CertificationRequestInfo, DER
    subject: der.Element
    spki: bytes
    attributes: der.Element
    algorithm: der.Element
    signature: der.Element


def _lay_open(data: bytes) -> _Layout:
    der.check_der(data, max_octets=CSR_OCTETS, max_depth=16, max_elements=1024)
    info, algorithm, signature = parse_members(
        data, der.read_element(data), der.SEQUENCE, der.SEQUENCE, der.BIT_STRING, what="CSR"
    )
    version, subject, key, attribute_set = parse_members(
        data, info, der.INTEGER, der.SEQUENCE, der.SEQUENCE, _ATTRIBUTES, what="CSR's contents"
    )
    if der.content_of(data, version) != b"\x00":
        raise Malformed("CSR is not of version 1", section=_SECTION)
    return _Layout(
        info=der.octets_of(data, info),
        subject=subject,
        spki=der.octets_of(data, key),
        attributes=attribute_set,
        algorithm=algorithm,
        signature=signature,
    )


def _contents(data: bytes, layout: _Layout) -> UnprovenCSR:
    _check_name(data, layout.subject)
    attributes = tuple(parse_attribute(data, one) for one in der.children(data, layout.attributes))
    _check_attributes(attributes)
    extensions = _extensions_of(attributes)
    challenge_password = _challenge_password_of(attributes)
    request = _load(data)
    alternative_name = _alternative_name_of(request) if extensions else None
    return UnprovenCSR(
        digest=hashlib.sha256(data).digest(),
        subject=request.subject,
        extensions=extensions,
        subject_alternative_name=alternative_name,
        challenge_password=challenge_password,
        attributes=attributes,
    )


def _as_requested(value: x509.ExtensionType | RequestedExtension) -> RequestedExtension:
    return value if isinstance(value, RequestedExtension) else RequestedExtension.of(value)


def _challenge_attribute(text: str) -> Attribute:
    if not 1 <= len(text) <= CHALLENGE_PASSWORD_CHARACTERS:
        raise LocalError(f"challenge password of {len(text)} characters", section="RFC 2985 §5.4.1")
    tag = der.PRINTABLE_STRING if _PRINTABLE.fullmatch(text) else der.UTF8_STRING
    value = der.encode(tag, text.encode())
    return Attribute(oid=registry.ID_CHALLENGE_PASSWORD, values=(value,))


def _signature_algorithm_of(data: bytes, element: der.Element) -> str:
    kind, *parameters = der.children(data, element) or [element]
    oid = decode_oid(data, kind)
    if oid in _RSA_HASHES:  # NULL, and its absence taken (RFC 4055 §5)
        known = [der.octets_of(data, one) for one in parameters] in ([], [der.encode(der.NULL)])
    else:
        known = not parameters and (oid in _EC_HASHES or oid in _RAW)
    if not known:
        raise UnknownFormat(f"CSR signature algorithm {oid} is not spoken", section=_SECTION)
    return oid


def _bits_of(data: bytes, element: der.Element) -> bytes:
    content = der.content_of(data, element)
    if content[:1] != b"\x00":
        raise Malformed("CSR signature is not a whole number of octets", section=_SECTION)
    return content[1:]


def _check_possession(public_key: PublicKey, oid: str, signature: bytes, info: bytes) -> None:
    # Wider than brski.pki.signatures, which has one algorithm for each key: openssl req signs with
    # SHA-256 whatever the curve, and this signature proves possession and nothing else.
    effort.spend()
    try:
        if isinstance(public_key, ec.EllipticCurvePublicKey) and oid in _EC_HASHES:
            public_key.verify(signature, info, ec.ECDSA(_EC_HASHES[oid]))
        elif isinstance(public_key, rsa.RSAPublicKey) and oid in _RSA_HASHES:
            public_key.verify(signature, info, padding.PKCS1v15(), _RSA_HASHES[oid])
        elif oid in _RAW and isinstance(public_key, _RAW[oid]):
            public_key.verify(signature, info)
        else:
            raise UnknownFormat(f"CSR signature algorithm {oid} is not its key's", section=_SECTION)
    except InvalidSignature as err:
        raise SignatureInvalid("CSR does not prove its key", section="RFC 7030 §4.2.1") from err


def _check_name(data: bytes, element: der.Element) -> None:
    for name in der.children(data, element):
        parts = der.children(data, name) if name.tag == der.SET else []
        if not parts:
            raise Malformed("CSR subject with an empty part", section="RFC 5280 §4.1.2.4")
        for part in parts:
            _check_name_part(data, part)


def _check_name_part(data: bytes, element: der.Element) -> None:
    parts = der.children(data, element) if element.tag == der.SEQUENCE else []
    if len(parts) != 2 or parts[1].tag not in _TEXT_TAGS:
        raise Malformed("CSR subject is not made of text", section="RFC 5280 §4.1.2.4")
    oid = decode_oid(data, parts[0])
    least, most = _NAME_LIMITS.get(oid, _NAME_LIMIT)
    if not least <= parts[1].end - parts[1].content <= most:
        raise Malformed(f"CSR subject with an empty or too long {oid}", section="RFC 5280 App. A")


def _check_attributes(attributes: tuple[Attribute, ...]) -> None:
    check_once(attributes)
    if any(attribute.oid == _MS_EXTENSION_REQUEST for attribute in attributes):
        raise UnknownFormat("CSR asks for extensions in Microsoft's way", section="RFC 9908 §3.2")


def _extensions_of(attributes: tuple[Attribute, ...]) -> tuple[RequestedExtension, ...]:
    for attribute in attributes:
        if attribute.oid == registry.ID_EXTENSION_REQUEST:
            return parse_extensions(single_value(attribute))
    return ()


def _challenge_password_of(attributes: tuple[Attribute, ...]) -> str | None:
    for attribute in attributes:
        if attribute.oid == registry.ID_CHALLENGE_PASSWORD:
            return _text_of(single_value(attribute))
    return None


def _text_of(value: bytes) -> str:
    element = der.read_element(value)
    if element.tag not in (der.UTF8_STRING, der.PRINTABLE_STRING):
        raise Malformed("challenge password is no text", section="RFC 2985 §5.4.1")
    try:
        text = der.content_of(value, element).decode()
    except UnicodeDecodeError as err:
        raise Malformed("challenge password is no UTF-8", section="RFC 2985 §5.4.1") from err
    if element.tag == der.PRINTABLE_STRING and not _PRINTABLE.fullmatch(text):
        raise Malformed("challenge password is not printable", section="X.680 §41.4")
    if not 1 <= len(text) <= CHALLENGE_PASSWORD_CHARACTERS:
        raise Malformed("challenge password is empty or too long", section="RFC 2985 §5.4.1")
    return text


def _load(data: bytes) -> x509.CertificateSigningRequest:
    try:
        request = x509.load_der_x509_csr(data)
        _ = request.subject  # decoded when it is asked for
    except (ValueError, TypeError, x509.InvalidVersion) as err:
        raise Malformed(f"CSR cannot be read: {err}", section=_SECTION) from err
    return request


def _alternative_name_of(
    request: x509.CertificateSigningRequest,
) -> x509.SubjectAlternativeName | None:
    try:
        found = request.extensions  # decodes all that it knows
    except UNREADABLE as err:
        raise Malformed(f"CSR with an extension that cannot be read: {err}") from err
    names = [e.value for e in found if isinstance(e.value, x509.SubjectAlternativeName)]
    if names and not list(names[0]):
        raise Malformed("CSR with an alternative name of no name", section="RFC 5280 §4.2.1.6")
    return names[0] if names else None
