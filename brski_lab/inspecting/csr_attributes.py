"""CSR attributes (RFC 7030 §4.5.2; RFC 9908)."""

from __future__ import annotations

from typing import Final

from brski.errors import OnboardingError
from brski.est.csr_attributes import decode_csr_attributes
from brski.pki import der
from brski_lab.inspecting import asn1_values
from brski_lab.inspecting.asn1 import Node
from brski_lab.inspecting.certificate import with_encoding
from brski_lab.inspecting.content import Content
from brski_lab.inspecting.description import Description, Fact, Facts, refusal
from brski_lab.inspecting.kind import Kind

_MOST_ITEMS: Final = 256
_NOTHING_ASKED: Final = b"\x30\x00"


def recognises(content: Content) -> bool:
    """A SEQUENCE of object identifiers and of SEQUENCE { object identifier, SET }, one at least."""
    root = content.asn1.root
    if root is None or root.tag != der.SEQUENCE or len(root.children) > _MOST_ITEMS:
        return False
    if not root.children:
        return content.octets == _NOTHING_ASKED
    return all(_is_item(node) for node in root.children)


def _is_item(node: Node) -> bool:
    if node.tag == der.OBJECT_IDENTIFIER:
        return True
    if node.tag != der.SEQUENCE or node.child(0, der.OBJECT_IDENTIFIER) is None:
        return False
    return len(node.children) == 2 and node.child(1, der.SET) is not None


def describe(content: Content) -> Description:
    """What the server asks for."""
    items = content.root.children
    oids = [each for each in items if each.tag == der.OBJECT_IDENTIFIER]
    attributes = [each for each in items if each.tag != der.OBJECT_IDENTIFIER]
    facts: Facts = {
        "object identifiers": [asn1_values.named(asn1_values.dotted(each)) for each in oids],
        "attributes": {
            asn1_values.named(asn1_values.dotted(each.child(0))): _values(each.child(1))
            for each in attributes
        },
    }
    findings = []
    try:
        read = decode_csr_attributes(content.octets)
        facts["not known here, and passed over"] = [asn1_values.named(oid) for oid in read.ignored]
        facts["template"] = read.template is not None
    except OnboardingError as err:
        findings.append(refusal(err))
    described = Description(
        kind=KIND.name, facts=facts, findings=tuple(findings), stop=content.asn1.stop
    )
    return with_encoding(described, content.asn1)


def _values(values: Node | None) -> Fact:
    if values is None:
        return "?"
    return [_value(each) for each in values.children]


def _value(value: Node) -> Fact:
    if value.tag == der.OBJECT_IDENTIFIER:
        return asn1_values.named(asn1_values.dotted(value))
    number = asn1_values.integer(value)
    return number if number is not None else asn1_values.hexed(value.octets)


KIND: Final = Kind(name="CSR attributes", recognises=recognises, describe=describe)
