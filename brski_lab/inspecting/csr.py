"""Certificate signing requests (PKCS #10)."""

from __future__ import annotations

from typing import Final

from brski import registry
from brski.errors import OnboardingError
from brski.est.csr import parse_csr
from brski.pki import der
from brski_lab.inspecting import asn1_values
from brski_lab.inspecting.asn1 import Node
from brski_lab.inspecting.certificate import with_encoding
from brski_lab.inspecting.content import Content
from brski_lab.inspecting.description import Description, Fact, Facts, Finding, refusal
from brski_lab.inspecting.extensions import Extensions
from brski_lab.inspecting.kind import Kind

_ATTRIBUTES: Final = 0xA0
_NAMES_OF_SETS: Final = (der.SET, der.SEQUENCE)


def recognises(content: Content) -> bool:
    """SEQUENCE { SEQUENCE { INTEGER, Name, SubjectPublicKeyInfo …"""
    root = content.asn1.root
    info = None if root is None or root.tag != der.SEQUENCE else root.child(0, der.SEQUENCE)
    if info is None or info.child(0, der.INTEGER) is None or info.child(1, der.SEQUENCE) is None:
        return False
    name, spki = info.child(1, der.SEQUENCE), info.child(2, der.SEQUENCE)
    if name is None or any(part.tag != der.SET for part in name.children):
        return False
    return spki is None or spki.child(0, der.SEQUENCE) is not None


def describe(content: Content) -> Description:
    """Facts and findings of a request; a challengePassword is not shown."""
    fields = (content.root.child(0) or content.root).fields()
    version = fields.take(der.INTEGER)
    subject = fields.take(der.SEQUENCE)
    key, findings = asn1_values.public_key(fields.take(der.SEQUENCE))
    attributes = fields.take(_ATTRIBUTES)
    facts: Facts = {
        "version": asn1_values.integer(version),
        "subject": asn1_values.distinguished_name(subject),
        "public key": key,
        "attributes": {
            asn1_values.named(asn1_values.dotted(each.child(0))): _attribute(each)
            for each in (attributes.children if attributes is not None else ())
        },
        "signature algorithm": asn1_values.algorithm(content.root.child(1, der.SEQUENCE)),
    }
    if attributes is None:
        findings.append(
            Finding(text="no attributes, not even an empty [0]", section="RFC 2986 §4.1")
        )
    try:
        parse_csr(content.octets)
        facts["signature"] = "holds under the key in it"
    except OnboardingError as err:
        facts["signature"] = "not judged, or does not hold"
        findings.append(refusal(err))
    described = Description(
        kind=KIND.name, facts=facts, findings=tuple(findings), stop=content.asn1.stop
    )
    return with_encoding(described, content.asn1)


def _attribute(attribute: Node) -> Fact:
    oid = asn1_values.dotted(attribute.child(0))
    values = attribute.child(1)
    first = None if values is None else values.child(0)
    if first is None:
        return "?"
    if oid == registry.ID_EXTENSION_REQUEST:
        return Extensions(first).facts()
    if oid == registry.ID_CHALLENGE_PASSWORD:
        return f"there, {len(first.value)} octets, not shown"
    return asn1_values.hexed(first.value)


KIND: Final = Kind(name="certificate signing request", recognises=recognises, describe=describe)
