"""What this device's CSR holds: its own knowledge, and what the registrar asked for.

RFC 8995 §5.9.2 has the pledge follow the CSR attributes. What it cannot follow it refuses: a CSR
that lacks something would be refused by the registrar with less to say about it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from brski import registry
from brski.errors import UnknownFormat
from brski.est.attributes import RequestedExtension
from brski.est.requirements import (
    ED25519,
    P256,
    P384,
    CSRRequirements,
    KeyRequirement,
    SubjectRequirement,
)
from brski.pki.names import idevid_subject, ldevid_subject

_SECTION: Final = "RFC 8995 §5.9.2"
# The keys that this device can make, the favourite first, each with what it signs by.
_KEYS: Final = (
    (P256, registry.ECDSA_WITH_SHA256),
    (P384, registry.ECDSA_WITH_SHA384),
    (ED25519, registry.ID_ED25519),
    *(
        (KeyRequirement(algorithm=registry.RSA_ENCRYPTION, rsa_bits=bits), registry.SHA256_WITH_RSA)
        for bits in (2048, 3072, 4096)
    ),
)
_DIGITAL_SIGNATURE: Final = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)
_ALTERNATIVE_NAME: Final = x509.SubjectAlternativeName.oid.dotted_string
# Extensions whose value is the client's to choose, where a device has something to say.
_OWN_VALUES: Final = {
    _DIGITAL_SIGNATURE.oid.dotted_string: RequestedExtension.of(_DIGITAL_SIGNATURE, critical=True),
    x509.ExtendedKeyUsage.oid.dotted_string: RequestedExtension.of(
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CSRContents:
    """Everything of a CSR but the key itself."""

    subject: x509.Name
    key: KeyRequirement  # complete: the one kind to make
    extensions: tuple[RequestedExtension, ...] = ()
    channel_binding: bool = False  # the challengePassword proves this TLS connection

    @property
    def digest(self) -> bytes:
        """SHA-256 over all of it: tells one wish from another."""
        parts = [self.subject.public_bytes(), str(self.key).encode()]
        for extension in self.extensions:
            parts += [extension.oid.encode(), bytes([extension.critical]), extension.value]
        parts.append(bytes([self.channel_binding]))
        hashed = hashlib.sha256()
        for part in parts:
            hashed.update(len(part).to_bytes(4, "big") + part)
        return hashed.digest()


def csr_contents(
    requirements: CSRRequirements, *, serial_number: str, idevid_issuer: bytes | None
) -> CSRContents:
    """Say what to ask for.

    Args:
        requirements: what the registrar announced; the empty one leaves it to the device.
        serial_number: the device's.
        idevid_issuer: 20-octet keyIdentifier; None leaves the subject's qualifier out.

    Returns:
        A P-256 key unless another is asked for; the device's own subject, and what is asked for
        beside it.

    Raises:
        UnknownFormat: a key, a subject part or an extension that this device cannot give.

    RFC 7030 §4.5.2; RFC 9908 §3.
    """
    own = (
        idevid_subject(serial_number)
        if idevid_issuer is None
        else ldevid_subject(serial_number, idevid_issuer)
    )
    return CSRContents(
        subject=_subject(own, requirements.subject, serial_number),
        key=_key(requirements),
        extensions=(
            *requirements.extensions,
            *(_own_extension(oid) for oid in dict.fromkeys(requirements.extension_oids)),
        ),
        channel_binding=requirements.challenge_password,
    )


def renewal_contents(requirements: CSRRequirements, certificate: x509.Certificate) -> CSRContents:
    """Say what to ask for to have *certificate* renewed: its own subject and subjectAltName, and
    nothing else of a name, whatever is announced.

    Args:
        requirements: what the registrar announced.
        certificate: the LDevID that is there.

    Raises:
        UnknownFormat: a key or an extension that this device cannot give.

    RFC 7030 §4.2.2.
    """
    announced = (
        *requirements.extensions,
        *(
            _own_extension(oid)
            for oid in dict.fromkeys(requirements.extension_oids)
            if oid != _ALTERNATIVE_NAME
        ),
    )
    return CSRContents(
        subject=certificate.subject,
        key=_key(requirements),
        extensions=(
            *(extension for extension in announced if extension.oid != _ALTERNATIVE_NAME),
            *_alternative_name_of(certificate),
        ),
        channel_binding=requirements.challenge_password,
    )


def _alternative_name_of(certificate: x509.Certificate) -> tuple[RequestedExtension, ...]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    return (RequestedExtension.of(found.value, critical=found.critical),)


def _key(requirements: CSRRequirements) -> KeyRequirement:
    for key, signature_algorithm in _KEYS:
        fits = not requirements.keys or any(_covers(wanted, key) for wanted in requirements.keys)
        signs = requirements.signature_algorithms
        if fits and (not signs or signature_algorithm in signs):
            return key
    wanted = " or ".join(map(str, (*requirements.keys, *requirements.signature_algorithms)))
    raise UnknownFormat(f"the registrar wants a key of {wanted}", section=_SECTION)


def _covers(wanted: KeyRequirement, key: KeyRequirement) -> bool:
    return (
        wanted.algorithm == key.algorithm
        and wanted.curve in (None, key.curve)
        and wanted.rsa_bits in (None, key.rsa_bits)
    )


def _subject(
    own: x509.Name, wanted: tuple[SubjectRequirement, ...], serial_number: str
) -> x509.Name:
    added = tuple(_subject_parts(own, wanted, serial_number))
    return x509.Name([*own.rdns, *(x509.RelativeDistinguishedName([part]) for part in added)])


def _subject_parts(
    own: x509.Name, wanted: tuple[SubjectRequirement, ...], serial_number: str
) -> Iterator[x509.NameAttribute[str]]:
    for part in wanted:
        oid = x509.ObjectIdentifier(part.oid)
        present = [attribute.value for attribute in own.get_attributes_for_oid(oid)]
        if present and part.value in (None, *present):
            continue
        value = part.value
        if value is None and oid == NameOID.COMMON_NAME:
            value = serial_number
        if value is None or present:
            raise UnknownFormat(
                f"the registrar wants another {part.oid} in the subject than the device has",
                section=_SECTION,
            )
        yield _attribute(oid, value)


def _attribute(oid: x509.ObjectIdentifier, value: str) -> x509.NameAttribute[str]:
    try:
        return x509.NameAttribute(oid, value)
    except ValueError as err:
        raise UnknownFormat(
            f"the registrar wants a {oid.dotted_string} that no subject can hold", section=_SECTION
        ) from err


def _own_extension(oid: str) -> RequestedExtension:
    if oid not in _OWN_VALUES:
        raise UnknownFormat(
            f"the registrar wants extension {oid}, for which this device has no value",
            section=_SECTION,
        )
    return _OWN_VALUES[oid]
