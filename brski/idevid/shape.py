"""Certificates that differ from one that was judged whole in nothing but their values.

A bundle has up to a million certificates of one layout (:mod:`brski.idevid.profile`). The first of
each length is parsed and judged as a stranger's would be; of the others it is enough that they have
the same octets around their serial number, name and key. Whatever does not fit goes the long way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography.x509.oid import NameOID

from brski.errors import KeyNotAllowed
from brski.pki import der, extensions, keys

_OUTER_HEAD: Final = 4  # SEQUENCE, 0x82, two octets of length: 256 octets of content or more
_IDENTIFIER_OCTETS: Final = extensions.KEY_IDENTIFIER_OCTETS
_SERIAL, _SUBJECT, _SPKI = 1, 5, 6  # of a TBSCertificate with a version
_SERIAL_NUMBER_TYPE: Final = der.encode_oid(NameOID.SERIAL_NUMBER.dotted_string)
_RDN_HEAD: Final = 11  # SET, SEQUENCE, the type and the value's header, none of 128 octets
_V3_FIELDS: Final = 8  # with extensions, and without the unique identifiers of old


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedParts:
    """What a signature stands under, and the key that it speaks of."""

    tbs: bytes  # DER TBSCertificate
    signature: bytes
    spki: bytes  # DER SubjectPublicKeyInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shape:
    constants: tuple[tuple[int, bytes], ...]  # where in the TBSCertificate, and which octets
    tbs_octets: int
    cert_serial: tuple[int, int]
    names: tuple[tuple[int, int], ...]  # where the device's serial number stands
    spki: tuple[int, int]
    key_identifier: tuple[int, int]
    algorithm: bytes  # DER AlgorithmIdentifier that stands before the signature

    def fit(self, certificate: bytes, serial_number: bytes) -> SignedParts | None:
        tbs, signature = self._split(certificate)
        if not tbs or any(tbs[at : at + len(octets)] != octets for at, octets in self.constants):
            return None
        if not 0 < tbs[self.cert_serial[0]] < 0x80:
            return None
        if any(tbs[start:end] != serial_number for start, end in self.names):
            return None
        spki = tbs[slice(*self.spki)]
        try:
            keys.check_spki(spki)
        except KeyNotAllowed:
            return None
        if tbs[slice(*self.key_identifier)] != extensions.key_identifier(spki):
            return None
        return SignedParts(tbs=tbs, signature=signature, spki=spki)

    def _split(self, certificate: bytes) -> tuple[bytes, bytes]:
        """TBSCertificate and signature, where the one is as long as expected; else nothing."""
        end = _OUTER_HEAD + self.tbs_octets
        signed = end + len(self.algorithm)
        content = len(certificate) - _OUTER_HEAD
        bits = len(certificate) - signed - 2
        if (
            certificate[:_OUTER_HEAD] != der.long_head(der.SEQUENCE, max(content, 256))
            or certificate[end:signed] != self.algorithm
            or not 1 < bits < 0x80
            or certificate[signed : signed + 3] != bytes((der.BIT_STRING, bits, 0))
        ):
            return b"", b""
        return certificate[_OUTER_HEAD:end], certificate[signed + 3 :]


class Shapes:
    """The shapes that have been learned of one issuer's certificates, one for each length."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[int, _Shape] = {}

    def fit(self, certificate: bytes, serial_number: str) -> SignedParts | None:
        """Take *certificate* apart, if it has a shape that is known and is of this device.

        Args:
            certificate: DER, untrusted.
            serial_number: the device's, ASCII.

        Returns:
            Its parts: well-formed DER, the device's serial number in subject and hardwareModuleName
            as in the one learned from, a key that may be used, its identifier. The signature is
            not verified. None where the certificate has to go the long way.
        """
        shape = self._known.get(len(serial_number))
        return None if shape is None else shape.fit(certificate, serial_number.encode("ascii"))

    def learn(self, certificate: bytes, serial_number: str) -> None:
        """Remember the shape of a certificate that has been judged whole, if it has one.

        Args:
            certificate: DER, for which :func:`brski.idevid.record.certified_spki` has returned.
            serial_number: the device's, in its subject.
        """
        shape = _shape_of(certificate, serial_number.encode("ascii"))
        if shape is not None:
            self._known[len(serial_number)] = shape


def _shape_of(certificate: bytes, serial_number: bytes) -> _Shape | None:
    tbs_element, algorithm, _ = der.children(certificate, der.read_element(certificate))
    tbs = der.octets_of(certificate, tbs_element)
    parts = der.children(tbs, der.read_element(tbs))
    if len(parts) != _V3_FIELDS or tbs_element.start != _OUTER_HEAD:
        return None
    if not _ends_with_serial_number(tbs, parts[_SUBJECT], len(serial_number)):
        return None
    spki = der.octets_of(tbs, parts[_SPKI])
    identifier = extensions.key_identifier(spki)
    name = parts[_SUBJECT].end - len(serial_number)
    extended = tbs[parts[_SPKI].end :]
    if extended.count(identifier) != 1 or extended.count(serial_number) > 1:
        return None
    identifier_at = parts[_SPKI].end + extended.index(identifier)
    names = [(name, parts[_SUBJECT].end)]
    if serial_number in extended:
        at = parts[_SPKI].end + extended.index(serial_number)
        names.append((at, at + len(serial_number)))
    values = {
        "cert_serial": (parts[_SERIAL].content, parts[_SERIAL].end),
        "spki": (parts[_SPKI].start, parts[_SPKI].end),
        "key_identifier": (identifier_at, identifier_at + _IDENTIFIER_OCTETS),
    }
    shape = _Shape(
        constants=_between(tbs, [*values.values(), *names]),
        tbs_octets=len(tbs),
        names=tuple(names),
        algorithm=der.octets_of(certificate, algorithm),
        **values,
    )
    return shape if shape.fit(certificate, serial_number) is not None else None


def _ends_with_serial_number(tbs: bytes, subject: der.Element, octets: int) -> bool:
    """Whether what stands last in the subject is serialNumber, alone, with so many octets."""
    rdn = der.octets_of(tbs, der.children(tbs, subject)[-1])
    return (
        len(rdn) == _RDN_HEAD + octets
        and rdn[4:9] == _SERIAL_NUMBER_TYPE
        and rdn[_RDN_HEAD - 1] == octets
    )


def _between(tbs: bytes, values: list[tuple[int, int]]) -> tuple[tuple[int, bytes], ...]:
    """The octets of *tbs* that are in none of *values*, by where they start."""
    constants, at = [], 0
    for start, end in sorted(values):
        constants.append((at, tbs[at:start]))
        at = end
    return (*constants, (at, tbs[at:]))
