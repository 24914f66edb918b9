"""Certificates: IDevIDs, assertion certificates, registrars', CAs', LDevIDs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from brski import registry
from brski.errors import OnboardingError
from brski.pki import der
from brski.pki.extensions import masa_url
from brski.pki.keys import parse_certificate, public_key_of_certificate
from brski_lab.inspecting import asn1_values
from brski_lab.inspecting.asn1 import Node, Outline
from brski_lab.inspecting.content import Content
from brski_lab.inspecting.description import Description, Facts, Finding, refusal
from brski_lab.inspecting.extensions import Extensions
from brski_lab.inspecting.kind import Kind

_VERSION: Final = 0xA0
_EXTENSIONS: Final = 0xA3
_PRINTABLE_STRING: Final = 0x13
_GENERALIZED_TIME: Final = 0x18
_MOST_SERIAL_OCTETS: Final = 20
_UNDERSTOOD: Final = frozenset(
    {
        *(registry.ID_CE_BASIC_CONSTRAINTS, registry.ID_CE_KEY_USAGE),
        *(registry.ID_CE_EXT_KEY_USAGE, registry.ID_CE_SUBJECT_ALT_NAME),
        *(registry.ID_CE_SUBJECT_KEY_IDENTIFIER, registry.ID_CE_AUTHORITY_KEY_IDENTIFIER),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The fields of a certificate, as far as they are there."""

    octets: bytes
    version: int
    number: Node | None
    issuer: Node | None
    not_before: Node | None
    not_after: Node | None
    subject: Node | None
    spki: Node | None
    extensions: Extensions
    algorithm: Node | None

    @property
    def issuer_and_number(self) -> bytes | None:
        """Content of the IssuerAndSerialNumber that names it (RFC 5652 §10.2.4)."""
        if self.issuer is None or self.number is None:
            return None
        return self.issuer.octets + self.number.octets

    @property
    def self_issued(self) -> bool:
        """Whether issuer and subject are the same octets."""
        both = self.issuer is not None and self.subject is not None
        return both and self.issuer.octets == self.subject.octets  # type: ignore[union-attr]  # both

    @property
    def serial_numbers(self) -> list[Node]:
        """The subject's serialNumber attributes (2.5.4.5)."""
        return asn1_values.name_values(self.subject, registry.ID_AT_SERIAL_NUMBER)

    @property
    def serves_tls(self) -> bool:
        """Whether extKeyUsage has id-kp-serverAuth."""
        return registry.ID_KP_SERVER_AUTH in self.extensions.extended_key_usages()

    @property
    def role(self) -> str:
        """What the certificate seems to be for."""
        if self.extensions.is_ca():
            return "CA"
        if registry.ID_KP_CMC_RA in self.extensions.extended_key_usages():
            return "registrar"
        if not self.serial_numbers:
            return "end entity"
        if self.self_issued:
            return "assertion certificate"
        qualified = asn1_values.name_values(self.subject, registry.ID_AT_DN_QUALIFIER)
        return "LDevID" if qualified and self.extensions.masa_url() is None else "IDevID"


def parts_of(certificate: Node) -> Parts:
    """Take *certificate* apart, as far as it goes."""
    tbs = certificate.child(0, der.SEQUENCE)
    fields = (tbs or Node(certificate.data, 0, 0, 0, 0)).fields()
    version = fields.take(_VERSION)
    number = fields.take(der.INTEGER)
    fields.take(der.SEQUENCE)
    issuer = fields.take(der.SEQUENCE)
    validity = fields.take(der.SEQUENCE)
    subject = fields.take(der.SEQUENCE)
    spki = fields.take(der.SEQUENCE)
    others = {node.tag: node for node in fields.rest()}
    extensions = others.get(_EXTENSIONS)
    said = None if version is None else asn1_values.integer(version.child(0))
    return Parts(
        octets=certificate.octets,
        version=1 + (said or 0),
        number=number,
        issuer=issuer,
        not_before=None if validity is None else validity.child(0),
        not_after=None if validity is None else validity.child(1),
        subject=subject,
        spki=spki,
        extensions=Extensions(None if extensions is None else extensions.child(0)),
        algorithm=certificate.child(1, der.SEQUENCE),
    )


def describe_certificate(certificate: Node) -> Description:
    """Facts and findings of one certificate."""
    parts = parts_of(certificate)
    key, weak = asn1_values.public_key(parts.spki)
    number = b"" if parts.number is None else parts.number.value
    facts: Facts = {
        "role": parts.role,
        "SHA-256": hashlib.sha256(parts.octets).hexdigest(),
        "version": parts.version,
        "certificate serial number": asn1_values.hexed(number),
        "issuer": asn1_values.distinguished_name(parts.issuer),
        "subject": asn1_values.distinguished_name(parts.subject),
        "not before": asn1_values.time_text(parts.not_before),
        "not after": asn1_values.time_text(parts.not_after),
        "public key": key,
        "extensions": parts.extensions.facts(),
        "signature algorithm": asn1_values.algorithm(parts.algorithm),
    }
    findings = (*weak, *_general(parts), *_of_role(parts), *_by_reader(parts.octets))
    return Description(kind="certificate", facts=facts, findings=findings)


def _general(parts: Parts) -> Iterator[Finding]:
    if parts.version != 3:
        yield Finding(text=f"version {parts.version}, not 3", section="RFC 5280 §4.1.2.1")
    number = b"" if parts.number is None else parts.number.value
    if len(number) > _MOST_SERIAL_OCTETS or number[:1] >= b"\x80" or number in (b"", b"\0"):
        yield Finding(
            text=f"certificate serial number of {len(number)} octets is not positive, or too long",
            section="RFC 5280 §4.1.2.2",
        )
    for name, time in (("not before", parts.not_before), ("not after", parts.not_after)):
        when = asn1_values.moment(time)
        if when is None:
            yield Finding(text=f"{name} is no time of RFC 5280", section="RFC 5280 §4.1.2.5")
        elif (when.year >= 2050) != (time is not None and time.tag == _GENERALIZED_TIME):
            yield Finding(
                text=f"{name} is in the encoding of the other century half",
                section="RFC 5280 §4.1.2.5",
            )
    for oid in sorted(parts.extensions.critical - _UNDERSTOOD):
        yield Finding(
            text=f"critical extension {asn1_values.named(oid)}, which is not understood here",
            section="RFC 5280 §4.2",
        )
    if asn1_values.algorithm(parts.algorithm).lower().endswith(("sha1", "sha1withrsaencryption")):
        yield Finding(text="signature with SHA-1", section="RFC 5280 §4.1.1.2")


def _of_role(parts: Parts) -> Iterator[Finding]:
    for value in parts.serial_numbers:
        if value.tag != _PRINTABLE_STRING:
            yield Finding(
                text="the subject's serialNumber is no PrintableString", section="RFC 5280 App. A"
            )
    if len(parts.serial_numbers) > 1:
        yield Finding(text="more than one serialNumber in the subject", section="RFC 8995 §2.3.1")
    if parts.role == "IDevID":
        yield from _of_idevid(parts)
    elif parts.role == "CA" and not {"keyCertSign"} & set(parts.extensions.key_usages()):
        yield Finding(text="a CA without keyCertSign", section="RFC 5280 §4.2.1.3")
    elif parts.role == "registrar" and not parts.serves_tls:
        yield Finding(
            text="a registrar's certificate without id-kp-serverAuth", section="RFC 5280 §4.2.1.12"
        )


def _of_idevid(parts: Parts) -> Iterator[Finding]:
    not_after = asn1_values.moment(parts.not_after)
    if not_after is not None and f"{not_after:%Y%m%d%H%M%SZ}" != registry.NEVER_EXPIRES:
        yield Finding(
            text="an IDevID that ends: not after is not 99991231235959Z",
            section="RFC 8995 §2.6.2; RFC 5280 §4.1.2.5",
        )
    if registry.ID_CE_KEY_USAGE in parts.extensions.values:
        yield Finding(
            text=f"an IDevID with keyUsage {', '.join(parts.extensions.key_usages()) or 'empty'}",
            section="RFC 8995 §2.3",
        )
    if parts.extensions.issuer_key_identifier() is None:
        yield Finding(
            text="an IDevID without authorityKeyIdentifier: idevid-issuer is made from its own key",
            section="RFC 8366bis §6.1",
        )
    if parts.extensions.masa_url() is None:
        yield Finding(text="an IDevID without MASA-URL extension", section="RFC 8995 §2.3.2")
    if registry.ID_PE_MASA_URL in parts.extensions.critical:
        yield Finding(text="the MASA-URL extension is critical", section="RFC 8995 §2.3.2")


def _by_reader(octets: bytes) -> Iterator[Finding]:
    """What the programs' own reader says."""
    try:
        read = parse_certificate(octets)
        public_key_of_certificate(read)
        masa_url(read)
    except OnboardingError as err:
        yield refusal(err)


def looks_like_certificate(root: Node | None) -> bool:
    """Whether *root* begins as a certificate does: SEQUENCE { SEQUENCE { [0] {…}, INTEGER …"""
    tbs = None if root is None or root.tag != der.SEQUENCE else root.child(0, der.SEQUENCE)
    if tbs is None:
        return False
    fields = tbs.fields()
    fields.take(_VERSION)
    number, algorithm = fields.take(der.INTEGER), fields.take(der.SEQUENCE)
    return number is not None and (
        algorithm is None or algorithm.child(0, der.OBJECT_IDENTIFIER) is not None
    )


def describe(content: Content) -> Description:
    """A file that is one certificate."""
    return with_encoding(describe_certificate(content.root), content.asn1)


def with_encoding(description: Description, read: Outline) -> Description:
    """*description* with what is odd about the encoding, and where reading stopped."""
    trailing: tuple[Finding, ...] = ()
    if len(read.nodes) > 1:
        offset = read.nodes[1].start
        trailing = (Finding(text=f"more octets after it, from {offset} on", section="X.690 §8.1"),)
    return Description(
        kind=description.kind,
        facts=description.facts,
        findings=(*description.findings, *read.findings, *trailing),
        stop=description.stop or read.stop,
    )


KIND: Final = Kind(
    name="certificate",
    recognises=lambda content: looks_like_certificate(content.asn1.root),
    describe=describe,
)
