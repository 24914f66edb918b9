"""Attributes and extensions as PKCS #9 has them: what CSRs and CSR attributes are both made of.

Owns their DER. Must not know which are wanted. What comes here has passed
:func:`brski.pki.der.check_der`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Final

from cryptography import x509

from brski.errors import LocalError, Malformed, TooLarge
from brski.pki import der
from brski.registry import ID_EXTENSION_REQUEST

OID_OCTETS: Final = 63  # pyca/cryptography's bound; the longest in use have half of that

_TRUE: Final = b"\xff"
_EXTENSION_FORMS: Final = frozenset(
    (der.OBJECT_IDENTIFIER, *critical, *value)
    for critical in ((), (der.BOOLEAN,))
    for value in ((), (der.OCTET_STRING,))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """One attribute, its values not looked into (RFC 2986 §4.1)."""

    oid: str  # dotted
    values: tuple[bytes, ...]  # DER, at least one


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedExtension:
    """An extension that a certificate shall have (RFC 5280 §4.1)."""

    oid: str  # dotted
    value: bytes  # DER, what extnValue holds
    critical: bool = False

    @classmethod
    def of(cls, value: x509.ExtensionType, *, critical: bool = False) -> RequestedExtension:
        """Take an extension value of ``cryptography``."""
        return cls(oid=value.oid.dotted_string, value=value.public_bytes(), critical=critical)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtensionTemplate:
    """An extension whose value is the client's to fill in where it is None (RFC 9908 §3.4)."""

    oid: str  # dotted
    value: bytes | None  # DER
    critical: bool = False


def encode_attribute(attribute: Attribute) -> bytes:
    """Return the DER of *attribute*, its values in the order of a SET OF (X.690 §11.6)."""
    values = der.encode(der.SET, *sorted(attribute.values))
    return der.encode(der.SEQUENCE, der.encode_oid(attribute.oid), values)


def extension_request(extensions: Sequence[RequestedExtension]) -> Attribute:
    """Return the one attribute that carries all of *extensions*, in their order.

    Raises:
        LocalError: none, or one of them twice.

    RFC 2985 §5.4.2; RFC 9908 §3.2.
    """
    if not extensions or len({extension.oid for extension in extensions}) != len(extensions):
        raise LocalError("extensions are asked for once each", section="RFC 9908 §3.2")
    value = der.encode(der.SEQUENCE, *map(encode_extension_template, extensions))
    return Attribute(oid=ID_EXTENSION_REQUEST, values=(value,))


def encode_extension_template(extension: RequestedExtension | ExtensionTemplate) -> bytes:
    """Return the DER of *extension*, its value left out where it is None (RFC 9908 §3.4)."""
    critical = der.encode(der.BOOLEAN, _TRUE) if extension.critical else b""
    value = b"" if extension.value is None else der.encode(der.OCTET_STRING, extension.value)
    return der.encode(der.SEQUENCE, der.encode_oid(extension.oid), critical, value)


def parse_attribute(data: bytes, element: der.Element) -> Attribute:
    """Read the attribute at *element*.

    Raises:
        Malformed: not a SEQUENCE of an object identifier and a SET of at least one value.
    """
    kind, values = parse_members(data, element, der.OBJECT_IDENTIFIER, der.SET, what="attribute")
    found = tuple(der.octets_of(data, value) for value in der.children(data, values))
    if not found:
        raise Malformed("attribute without a value", section="RFC 2986 §4.1")
    return Attribute(oid=decode_oid(data, kind), values=found)


def check_once(attributes: Iterable[Attribute]) -> None:
    """Raise :class:`~brski.errors.Malformed` if an attribute is there twice."""
    oids = sorted(attribute.oid for attribute in attributes)
    for one, next_ in pairwise(oids):
        if one == next_:
            raise Malformed(f"attribute {one} is there twice", section="RFC 2986 §4.1")


def single_value(attribute: Attribute) -> bytes:
    """Return the one value (DER) of *attribute*.

    Raises:
        Malformed: it has several.
    """
    if len(attribute.values) != 1:
        raise Malformed(
            f"attribute {attribute.oid} has {len(attribute.values)} values where it has one",
            section="RFC 9908 §3.2",
        )
    return attribute.values[0]


def parse_extensions(data: bytes) -> tuple[RequestedExtension, ...]:
    """Read an Extensions value, such as the one in an extension request.

    Args:
        data: its DER, whole.

    Raises:
        Malformed: none, one twice, a criticality written though FALSE, or a value that is no DER.

    RFC 5280 §4.1; RFC 9908 §3.2.
    """
    return tuple(
        RequestedExtension(oid=template.oid, value=_present(template), critical=template.critical)
        for template in parse_extension_templates(data)
    )


def parse_extension_templates(data: bytes) -> tuple[ExtensionTemplate, ...]:
    """Read Extensions whose values may be left out. Raises as :func:`parse_extensions`.

    RFC 9908 §3.4.
    """
    root = der.read_element(data)
    if root.tag != der.SEQUENCE:
        raise Malformed("extensions are not a SEQUENCE", section="RFC 9908 §3.2")
    found = tuple(_parse_extension(data, child) for child in der.children(data, root))
    if not found or len({extension.oid for extension in found}) != len(found):
        raise Malformed("extensions without one, or with one twice", section="RFC 9908 §3.2")
    return found


def parse_members(data: bytes, element: der.Element, *tags: int, what: str) -> list[der.Element]:
    """Return the members of the SEQUENCE at *element*, which have exactly these *tags*.

    Raises:
        Malformed: another type, or other members than those.
    """
    members = der.children(data, element) if element.tag == der.SEQUENCE else []
    if tuple(member.tag for member in members) != tags:
        raise Malformed(f"{what} is not made as its standard has it")
    return members


def decode_oid(data: bytes, element: der.Element) -> str:
    """Return the dotted form of the OBJECT IDENTIFIER at *element*.

    Raises:
        Malformed: another type.
        TooLarge: more than 63 octets.
    """
    if element.tag != der.OBJECT_IDENTIFIER:
        raise Malformed(f"DER element of tag {element.tag:02x} where an object identifier must be")
    if element.end - element.content > OID_OCTETS:
        raise TooLarge(f"object identifier of {element.end - element.content} octets")
    return _dotted(der.content_of(data, element))


@lru_cache(maxsize=256)
def _dotted(content: bytes) -> str:
    arcs = [0]
    for octet in content:
        arcs[-1] = arcs[-1] << 7 | octet & 0x7F
        if octet < 0x80:
            arcs.append(0)
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, (first, arcs[0] - first * 40, *arcs[1:-1])))


def _parse_extension(data: bytes, element: der.Element) -> ExtensionTemplate:
    members = der.children(data, element) if element.tag == der.SEQUENCE else []
    if tuple(member.tag for member in members) not in _EXTENSION_FORMS:
        raise Malformed("extension is not made as its standard has it", section="RFC 5280 §4.1")
    oid = decode_oid(data, members[0])
    critical = len(members) > 1 and members[1].tag == der.BOOLEAN
    if critical and der.content_of(data, members[1]) != _TRUE:
        raise Malformed(
            f"extension {oid} with its default criticality written", section="X.690 §11.5"
        )
    if members[-1].tag != der.OCTET_STRING:
        return ExtensionTemplate(oid=oid, value=None, critical=critical)
    value = der.content_of(data, members[-1])
    der.check_der(value)
    return ExtensionTemplate(oid=oid, value=value, critical=critical)


def _present(template: ExtensionTemplate) -> bytes:
    if template.value is None:
        raise Malformed(f"extension {template.oid} has no value", section="RFC 5280 §4.1")
    return template.value
