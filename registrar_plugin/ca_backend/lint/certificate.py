"""Is it fit to be signed: a TBSCertificate held to RFC 5280 before it is recorded and signed.

Reads the very octets, not what a library makes of them, and knows nothing of how they were laid
out: what one module wrote wrong, or a damaged journal gave back, the other sees. End-entity
certificates only (docs/ca.md).
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from cryptography import x509

from brski.errors import CertificateUnsound, PeerError
from brski.pki import der
from brski.pki.extensions import key_identifier, subject_key_identifier
from brski.pki.keys import load_spki, public_key_of_certificate, spki_of
from brski.pki.signatures import signature_algorithm
from registrar_plugin.ca_backend.lint.extensions import check_extensions, check_granted
from registrar_plugin.ca_backend.lint.verdict import unsound

_REMEMBERED: Final = 256  # ours: certificates found sound, a few hundred octets each
_SERIAL_OCTETS: Final = 20  # RFC 5280 §4.1.2.2
_ATTRIBUTE_LIMIT: Final = 64  # RFC 5280 App. A: of commonName and of serialNumber
_FIRST_GENERALIZED_YEAR: Final = 2050
_VERSION_3: Final = der.encode(0xA0, der.encode_integer(2))
_PRINTABLE: Final = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 '()+,-./:=?"
)
_STRINGS: Final = frozenset({der.UTF8_STRING, der.PRINTABLE_STRING, der.IA5_STRING})
_PRINTABLE_ONLY: Final = frozenset(  # RFC 5280 App. A: countryName, dnQualifier, serialNumber
    map(der.encode_oid, ("2.5.4.6", "2.5.4.46", "2.5.4.5"))
)
_TAGS: Final = [
    *(0xA0, der.INTEGER, der.SEQUENCE, der.SEQUENCE),
    *(der.SEQUENCE, der.SEQUENCE, der.SEQUENCE, 0xA3),
]


def check_certificate(
    tbs: bytes, issuer: x509.Certificate, *, extended_key_usages: Collection[str] | None = None
) -> None:
    """Raise unless *tbs* may be signed as an end-entity certificate under *issuer*.

    Args:
        tbs: DER TBSCertificate.
        issuer: whose key will sign; what it may do itself is judged where it is loaded.
        extended_key_usages: dotted, what the profile grants, neither more nor less; None where
            the profile is not at hand, then there must be some and never anyExtendedKeyUsage.

    Raises:
        CertificateUnsound: which rule is broken, by which field.

    RFC 5280 §4.1, §4.2.
    """
    try:
        purposes = _purposes_of_sound(tbs, issuer)
    except PeerError as err:  # what the parsers below say of octets that are not a peer's
        raise CertificateUnsound(f"not signed: {err.reason}", section="RFC 5280 §4.1") from err
    if extended_key_usages is not None:
        check_granted(purposes, extended_key_usages)


@lru_cache(maxsize=_REMEMBERED)
def _purposes_of_sound(tbs: bytes, issuer: x509.Certificate) -> frozenset[bytes]:
    """What *tbs* may be used for, once all but that has been judged.

    Nothing but the two arguments decides, so the same octets need not be judged again between
    their intent and their signature; what is refused is not remembered.
    """
    der.check_der(tbs)
    version, serial, algorithm, issuer_name, validity, subject, spki, extensions = _fields(tbs)
    if version != _VERSION_3:
        unsound("version is not 3", "4.1.2.1")
    _check_serial(serial)
    if algorithm != _algorithm_of(issuer):
        unsound("signature names another algorithm than the issuer's key has", "4.1.2.3")
    if issuer_name != issuer.subject.public_bytes():
        unsound("issuer is not the subject of the issuing certificate", "4.1.2.4")
    _check_validity(validity, issuer)
    check_subject(subject)
    _check_key(spki, issuer)
    return check_extensions(
        extensions, own_key=key_identifier(spki), issuer_key=_identifier_of(issuer)
    )


def _fields(tbs: bytes) -> list[bytes]:
    whole = der.read_element(tbs)
    fields = der.children(tbs, whole)
    if whole.tag != der.SEQUENCE or [field.tag for field in fields] != _TAGS:
        unsound("it is no TBSCertificate of version 3 without unique identifiers", "4.1")
    return [der.octets_of(tbs, field) for field in fields]


@lru_cache(maxsize=8)
def _algorithm_of(issuer: x509.Certificate) -> bytes:
    return signature_algorithm(public_key_of_certificate(issuer))


@lru_cache(maxsize=8)
def _identifier_of(issuer: x509.Certificate) -> bytes:
    return subject_key_identifier(issuer) or key_identifier(spki_of(issuer))


def _check_serial(serial: bytes) -> None:
    octets = der.content_of(serial, der.read_element(serial))
    if octets[0] & 0x80 or not any(octets):
        unsound("serialNumber is not positive", "4.1.2.2")
    if len(octets) > _SERIAL_OCTETS:
        unsound(f"serialNumber has {len(octets)} octets, not 20 at most", "4.1.2.2")


def _check_validity(validity: bytes, issuer: x509.Certificate) -> None:
    times = der.children(validity, der.read_element(validity))
    if len(times) != 2:
        unsound("validity is not two times", "4.1.2.5")
    not_before, not_after = (
        _time(time.tag, der.content_of(validity, time).decode("ascii", "replace")) for time in times
    )
    if not_after <= not_before:
        unsound(f"notAfter {not_after} is not after notBefore {not_before}", "4.1.2.5")
    if not_after > issuer.not_valid_after_utc:
        unsound(
            f"notAfter {not_after} is beyond the issuer's, {issuer.not_valid_after_utc}", "4.1.2.5"
        )


def _time(tag: int, text: str) -> datetime:
    """UTCTime until 2049, GeneralizedTime from 2050 on, both in seconds and Z."""
    digits = {der.UTC_TIME: 12, der.GENERALIZED_TIME: 14}.get(tag)
    body = text[:-1]
    if digits is None or not (len(body) == digits and body.isdecimal() and body.isascii()):
        unsound(f"time {text!r:.40} is neither UTCTime nor GeneralizedTime", "4.1.2.5")
    if not text.endswith("Z"):
        unsound(f"time {text!r} does not end in Z", "4.1.2.5")
    if tag == der.UTC_TIME:
        body = ("19" if body[:2] >= "50" else "20") + body
    try:
        month, day, hour, minute, second = (int(body[at : at + 2]) for at in range(4, 14, 2))
        moment = datetime(int(body[:4]), month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        unsound(f"time {text!r} is none", "4.1.2.5")
    if (tag == der.GENERALIZED_TIME) != (moment.year >= _FIRST_GENERALIZED_YEAR):
        unsound(f"time {text!r} is of the type of other years", "4.1.2.5")
    return moment


def check_subject(subject: bytes) -> None:
    """Raise unless *subject*, DER Name, may stand in an end-entity certificate.

    Raises:
        CertificateUnsound: which rule is broken.

    RFC 5280 §4.1.2.4, §4.1.2.6.
    """
    names = der.children(subject, der.read_element(subject))
    if not names:
        unsound("subject is empty", "4.1.2.6")
    kinds = []
    for name in names:
        attributes = der.children(subject, name) if name.tag == der.SET else []
        if not attributes:
            unsound("subject has a relative name without an attribute", "4.1.2.4")
        kinds += [_attribute(subject, attribute) for attribute in attributes]
    if len(set(kinds)) != len(kinds):
        unsound("subject has an attribute twice", "4.1.2.6")


def _attribute(subject: bytes, attribute: der.Element) -> bytes:
    """Its type, DER; its value is judged."""
    parts = der.children(subject, attribute) if attribute.tag == der.SEQUENCE else []
    if [part.tag for part in parts[:1]] != [der.OBJECT_IDENTIFIER] or len(parts) != 2:
        unsound("subject has an attribute that is none", "4.1.2.4")
    kind = der.octets_of(subject, parts[0])
    value = der.content_of(subject, parts[1])
    tag = parts[1].tag
    if tag not in _STRINGS or (kind in _PRINTABLE_ONLY and tag != der.PRINTABLE_STRING):
        unsound("subject has an attribute of another string type than it may", "4.1.2.4")
    if not 1 <= len(_text(tag, value)) <= _ATTRIBUTE_LIMIT:
        unsound("subject has an attribute that is empty or longer than 64 characters", "4.1.2.4")
    return kind


def _text(tag: int, value: bytes) -> str:
    if tag == der.PRINTABLE_STRING and not _PRINTABLE.issuperset(value):
        unsound("subject has a PrintableString with other characters", "4.1.2.4")
    try:
        return value.decode("utf-8" if tag == der.UTF8_STRING else "ascii")
    except UnicodeDecodeError:
        unsound("subject has a string that is not in its encoding", "4.1.2.4")


def _check_key(spki: bytes, issuer: x509.Certificate) -> None:
    load_spki(spki)
    if spki == spki_of(issuer):
        unsound("the key is the issuing CA's own", "4.1.2.7")
