"""Certificate extensions as facts, in certificates and in requests for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from brski import registry
from brski.pki import der
from brski_lab.inspecting import asn1_values
from brski_lab.inspecting.asn1 import Node, outline
from brski_lab.inspecting.description import Fact, Facts, shown

_KEY_USAGES: Final = (
    *("digitalSignature", "nonRepudiation", "keyEncipherment", "dataEncipherment"),
    *("keyAgreement", "keyCertSign", "cRLSign", "encipherOnly", "decipherOnly"),
)
_TRUE: Final = b"\xff"
_OTHER_NAME: Final = 0xA0
_DIRECTORY_NAME: Final = 0xA4
_GENERAL_NAMES: Final = {0x81: "email", 0x82: "DNS", 0x86: "URI", 0x88: "registered ID"}
_IP_ADDRESS: Final = 0x87


class Extensions:
    """What a SEQUENCE OF Extension holds; the value of each is read as far as it goes."""

    def __init__(self, sequence: Node | None) -> None:
        self.values: dict[str, Node | None] = {}  # dotted -> what is inside the OCTET STRING
        self.critical: set[str] = set()
        self.raw: dict[str, bytes] = {}
        for extension in sequence.children if sequence is not None else ():
            self._add(extension)

    def _add(self, extension: Node) -> None:
        fields = extension.fields()
        oid = asn1_values.dotted(fields.take(der.OBJECT_IDENTIFIER))
        critical = fields.take(der.BOOLEAN)
        value = fields.take(der.OCTET_STRING)
        if critical is not None and critical.value == _TRUE:
            self.critical.add(oid)
        self.raw[oid] = b"" if value is None else value.value
        self.values[oid] = outline(self.raw[oid]).root

    def facts(self) -> Facts:
        """Each extension by its name."""
        return {self._title(oid): self._fact(oid, value) for oid, value in self.values.items()}

    def _title(self, oid: str) -> str:
        name = asn1_values.named(oid)
        return f"{name} (critical)" if oid in self.critical else name

    def _fact(self, oid: str, value: Node | None) -> Fact:
        tell = _TELL.get(oid)
        if tell is None or value is None:
            return asn1_values.hexed(self.raw[oid])
        return tell(value)

    def key_usages(self) -> list[str]:
        """The named usages of keyUsage."""
        value = self.values.get(registry.ID_CE_KEY_USAGE)
        return [] if value is None else _key_usages(value)

    def extended_key_usages(self) -> list[str]:
        """The usages of extKeyUsage, dotted."""
        value = self.values.get(registry.ID_CE_EXT_KEY_USAGE)
        return [] if value is None else [asn1_values.dotted(each) for each in value.children]

    def is_ca(self) -> bool:
        """Whether basicConstraints says so."""
        value = self.values.get(registry.ID_CE_BASIC_CONSTRAINTS)
        said = None if value is None else value.child(0, der.BOOLEAN)
        return said is not None and said.value == _TRUE

    def masa_url(self) -> str | None:
        """The text of the MASA-URL extension."""
        value = self.values.get(registry.ID_PE_MASA_URL)
        return None if value is None else asn1_values.text(value)

    def key_identifier(self) -> bytes | None:
        """subjectKeyIdentifier."""
        value = self.values.get(registry.ID_CE_SUBJECT_KEY_IDENTIFIER)
        return None if value is None else value.value

    def issuer_key_identifier(self) -> bytes | None:
        """keyIdentifier of authorityKeyIdentifier."""
        value = self.values.get(registry.ID_CE_AUTHORITY_KEY_IDENTIFIER)
        found = None if value is None else value.child(0, 0x80)
        return None if found is None else found.value


def _key_usages(value: Node) -> list[str]:
    bits = value.value[1:3]
    return [
        name
        for place, name in enumerate(_KEY_USAGES)
        if place // 8 < len(bits) and bits[place // 8] & 0x80 >> place % 8
    ]


def _basic_constraints(value: Node) -> Fact:
    fields = value.fields()
    said, length = fields.take(der.BOOLEAN), fields.take(der.INTEGER)
    facts: Facts = {"CA": said is not None and said.value == _TRUE}
    if length is not None:
        facts["path length"] = asn1_values.integer(length)
    return facts


def _authority_key_identifier(value: Node) -> Fact:
    named: Facts = {}
    for part in value.children:
        match part.tag:
            case 0x80:
                named["keyIdentifier"] = asn1_values.hexed(part.value)
            case 0xA1:
                named["authorityCertIssuer"] = list(_general_names(part.children))
            case 0x82:
                named["authorityCertSerialNumber"] = asn1_values.hexed(part.value)
    return named


def _alternative_names(value: Node) -> Fact:
    return list(_general_names(value.children))


def _general_names(names: Iterable[Node]) -> Iterable[Fact]:
    for name in names:
        if name.tag in _GENERAL_NAMES:
            yield f"{_GENERAL_NAMES[name.tag]}: {asn1_values.text(name)}"
        elif name.tag == _IP_ADDRESS:
            yield f"IP: {_address(name.value)}"
        elif name.tag == _DIRECTORY_NAME:
            yield f"directory name: {asn1_values.distinguished_name(name.child(0))}"
        elif name.tag == _OTHER_NAME:
            kind = asn1_values.named(asn1_values.dotted(name.child(0)))
            inner = name.child(1)
            yield f"{kind}: {asn1_values.hexed(inner.value) if inner is not None else '?'}"
        else:
            yield f"[{name.tag & 0x1F}]: {asn1_values.hexed(name.value)}"


def _address(octets: bytes) -> str:
    if len(octets) == 4:
        return ".".join(map(str, octets))
    return ":".join(octets[at : at + 2].hex() for at in range(0, len(octets), 2))


def _usages(value: Node) -> Fact:
    return [asn1_values.named(asn1_values.dotted(each)) for each in value.children]


_TELL: Final[dict[str, Callable[[Node], Fact]]] = {
    registry.ID_CE_KEY_USAGE: lambda value: list(_key_usages(value)),
    registry.ID_CE_EXT_KEY_USAGE: _usages,
    registry.ID_CE_BASIC_CONSTRAINTS: _basic_constraints,
    registry.ID_CE_SUBJECT_KEY_IDENTIFIER: lambda value: asn1_values.hexed(value.value),
    registry.ID_CE_AUTHORITY_KEY_IDENTIFIER: _authority_key_identifier,
    registry.ID_CE_SUBJECT_ALT_NAME: _alternative_names,
    registry.ID_PE_MASA_URL: lambda value: shown(asn1_values.text(value)),
}
