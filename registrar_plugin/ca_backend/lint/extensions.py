"""The extensions of an end-entity certificate, as the lint sees them: what must be, what may be.

An extension that is not in the table here is not signed: a CA whose certificates hold something
that nobody has thought of is none to rely on.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, NamedTuple

from brski.pki import der
from brski.registry import (
    ANY_EXTENDED_KEY_USAGE,
    ID_CE_AUTHORITY_KEY_IDENTIFIER,
    ID_CE_BASIC_CONSTRAINTS,
    ID_CE_CRL_DISTRIBUTION_POINTS,
    ID_CE_EXT_KEY_USAGE,
    ID_CE_KEY_USAGE,
    ID_CE_SUBJECT_ALT_NAME,
    ID_CE_SUBJECT_KEY_IDENTIFIER,
)
from registrar_plugin.ca_backend.lint.verdict import unsound

_oid: Final = der.encode_oid
_TRUE: Final = der.encode(der.BOOLEAN, b"\xff")
_EMPTY: Final = der.encode(der.SEQUENCE)
_LEAF_BITS: Final = 0xF8  # keyCertSign, cRLSign and encipherOnly are not among them


class _Rule(NamedTuple):
    name: str
    section: str
    needed: bool
    critical: bool


_RULES: Final = {
    der.encode_oid(oid): _Rule(name, section, needed, critical)
    for oid, name, section, needed, critical in (
        (ID_CE_BASIC_CONSTRAINTS, "basicConstraints", "4.2.1.9", True, True),
        (ID_CE_KEY_USAGE, "keyUsage", "4.2.1.3", True, True),
        (ID_CE_EXT_KEY_USAGE, "extKeyUsage", "4.2.1.12", True, False),
        (ID_CE_SUBJECT_KEY_IDENTIFIER, "subjectKeyIdentifier", "4.2.1.2", True, False),
        (ID_CE_AUTHORITY_KEY_IDENTIFIER, "authorityKeyIdentifier", "4.2.1.1", True, False),
        (ID_CE_SUBJECT_ALT_NAME, "subjectAltName", "4.2.1.6", False, False),
        (ID_CE_CRL_DISTRIBUTION_POINTS, "cRLDistributionPoints", "4.2.1.13", False, False),
    )
}


def check_extensions(octets: bytes, *, own_key: bytes, issuer_key: bytes) -> frozenset[bytes]:
    """Raise unless these extensions may stand in an end-entity certificate.

    Args:
        octets: the whole [3] element of the TBSCertificate, DER.
        own_key, issuer_key: key identifiers, 20 octets.

    Returns:
        The purposes of extKeyUsage, DER, for :func:`check_granted`.

    Raises:
        CertificateUnsound: one that is missing, there twice, unknown, of the wrong criticality, or
            says what it must not.

    RFC 5280 §4.2.
    """
    found = _found(octets)
    for oid, rule in _RULES.items():
        if rule.needed and oid not in found:
            unsound(f"{rule.name} is missing", rule.section)
    if found[_oid(ID_CE_BASIC_CONSTRAINTS)] != _EMPTY:
        unsound("basicConstraints are not those of an end entity", "4.2.1.9")
    _check_key_usage(found[_oid(ID_CE_KEY_USAGE)])
    purposes = _purposes(found[_oid(ID_CE_EXT_KEY_USAGE)])
    if found[_oid(ID_CE_SUBJECT_KEY_IDENTIFIER)] != der.encode(der.OCTET_STRING, own_key):
        unsound("subjectKeyIdentifier is not that of the key", "4.2.1.2")
    authority = der.encode(der.SEQUENCE, der.encode(0x80, issuer_key))
    if found[_oid(ID_CE_AUTHORITY_KEY_IDENTIFIER)] != authority:
        unsound("authorityKeyIdentifier is not the issuer's subjectKeyIdentifier", "4.2.1.1")
    for optional in map(_oid, (ID_CE_SUBJECT_ALT_NAME, ID_CE_CRL_DISTRIBUTION_POINTS)):
        if found.get(optional) == _EMPTY:
            unsound(f"{_RULES[optional].name} is empty", _RULES[optional].section)
    return purposes


def check_granted(purposes: frozenset[bytes], granted: Collection[str]) -> None:
    """Raise unless a certificate's *purposes*, DER, are those that the profile grants, dotted.

    Raises:
        CertificateUnsound: there are more or fewer.

    RFC 5280 §4.2.1.12.
    """
    if purposes != set(map(_oid, granted)):
        unsound("extKeyUsage is not what the profile grants", "4.2.1.12")


def _found(octets: bytes) -> dict[bytes, bytes]:
    """What is inside each extnValue, by the OBJECT IDENTIFIER, both DER."""
    lists = der.children(octets, der.read_element(octets))
    if [each.tag for each in lists] != [der.SEQUENCE]:
        unsound("extensions are no list", "4.2")
    found: dict[bytes, bytes] = {}
    for extension in der.children(octets, lists[0]):
        parts = der.children(octets, extension)
        if len(parts) < 2:
            unsound("an extension without a value", "4.2")
        oid = der.octets_of(octets, parts[0])
        rule = _RULES.get(oid)
        if rule is None:
            unsound(f"an extension that this CA does not issue: {oid.hex()}", "4.2")
        if oid in found:
            unsound(f"{rule.name} is there twice", "4.2")
        middle = [der.octets_of(octets, part) for part in parts[1:-1]]
        if middle != ([_TRUE] if rule.critical else []):
            unsound(f"{rule.name} has the wrong criticality", rule.section)
        found[oid] = _inner(octets, parts[-1], rule)
    return found


def _inner(octets: bytes, value: der.Element, rule: _Rule) -> bytes:
    if value.tag != der.OCTET_STRING:
        unsound(f"{rule.name} has no value", rule.section)
    inner = der.content_of(octets, value)
    der.check_der(inner)
    return inner


def _check_key_usage(value: bytes) -> None:
    """One octet of bits, none of them a CA's, at least one set."""
    element = der.read_element(value)
    content = der.content_of(value, element)
    if element.tag != der.BIT_STRING or len(content) != 2:
        unsound("keyUsage has bits that no end entity has, or none", "4.2.1.3")
    bits = content[1]
    if not bits or bits & ~_LEAF_BITS:
        unsound("keyUsage has bits that no end entity has, or none", "4.2.1.3")
    if bits >> content[0] & 1 == 0:
        unsound("keyUsage has trailing zero bits", "4.2.1.3")


def _purposes(value: bytes) -> frozenset[bytes]:
    listed = [der.octets_of(value, each) for each in der.children(value, der.read_element(value))]
    purposes = frozenset(listed)
    if not purposes or len(purposes) != len(listed):
        unsound("extKeyUsage is empty or has a purpose twice", "4.2.1.12")
    if _oid(ANY_EXTENDED_KEY_USAGE) in purposes:
        unsound("extKeyUsage allows every purpose", "4.2.1.12")
    return purposes
