"""CSR attributes on the wire: what a server wants requests to be (RFC 7030 §4.5.2; RFC 9908).

Owns the list of object identifiers and attributes. What it says is a
:class:`~brski.est.requirements.CSRRequirements`.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from brski import registry
from brski.errors import LocalError, Malformed
from brski.est.attributes import (
    Attribute,
    RequestedExtension,
    check_once,
    decode_oid,
    encode_attribute,
    extension_request,
    parse_attribute,
    parse_extensions,
    single_value,
)
from brski.est.csr import SIGNATURE_ALGORITHMS
from brski.est.csr_template import (
    CSRTemplate,
    encode_csr_template,
    parse_csr_template,
    template_of,
)
from brski.est.requirements import CSRRequirements, KeyRequirement, SubjectRequirement
from brski.pki import der

CSR_ATTRIBUTES_OCTETS: Final = 8 * 1024  # ours

_SUBJECT_ARC: Final = "2.5.4."  # X.520 attribute types
_EXTENSION_ARC: Final = "2.5.29."  # id-ce
_KEY_ALGORITHMS: Final = (registry.ID_EC_PUBLIC_KEY, registry.RSA_ENCRYPTION, registry.ID_ED25519)


@dataclass(frozen=True, slots=True, kw_only=True)
class CSRAttributes:
    """A server's answer to ``csrattrs``."""

    requirements: CSRRequirements  # out of the template alone, where there is one (RFC 9908 §4)
    template: CSRTemplate | None = None
    ignored: tuple[str, ...] = ()  # dotted; what this client does not know


class Announcement(enum.StrEnum):
    """In which form requirements are announced."""

    LIST = "list"  # RFC 7030 §4.5.2 as RFC 9908 §3.2 straightens it
    TEMPLATE = "template"  # RFC 9908 §3.4
    BOTH = "both"  # the template for those that know it, the list for the others (RFC 9908 §4)
    NONE = "none"  # not at all: the answer is a 204


def encode_csr_attributes(
    requirements: CSRRequirements, form: Announcement = Announcement.LIST
) -> bytes:
    """Return the CsrAttrs (DER) that announce *requirements*; none of them is ``30 00``.

    Of several keys or signature algorithms the first is announced, since neither form knows an
    "or": who follows it is accepted, and so is who takes another of them.

    Raises:
        LocalError: a subject value, for which a list has no place, or an extension twice.

    RFC 7030 §4.5.2; RFC 9908 §3.2, §3.4.
    """
    items: list[bytes] = []
    if form in (Announcement.TEMPLATE, Announcement.BOTH):
        value = encode_csr_template(template_of(requirements))
        items.append(encode_attribute(Attribute(oid=registry.ID_CSR_TEMPLATE, values=(value,))))
    if form in (Announcement.LIST, Announcement.BOTH):
        items += _items(requirements)
    return der.encode(der.SEQUENCE, *dict.fromkeys(items))  # Ed25519 is a key and a signature


def decode_csr_attributes(data: bytes) -> CSRAttributes:
    """Read a server's CsrAttrs; an empty SEQUENCE asks for nothing, as no content at all does.

    Object identifiers and attributes that are not known are passed over (RFC 7030 §4.5.2). Next to
    RFC 9908 the form of RFC 7030's own example is read, in which the extension request lists object
    identifiers instead of extensions: those are extensions whose value is the client's.

    Args:
        data: DER, whole.

    Raises:
        Malformed: not CsrAttrs in DER, a known attribute twice or with a value of another type.
        UnknownFormat: a template whose subject values are not text that is known.
        TooLarge: more than 8 KiB, or nested too deep.

    RFC 7030 §4.5.2; RFC 9908 §3, §4.
    """
    der.check_der(data, max_octets=CSR_ATTRIBUTES_OCTETS, max_depth=16, max_elements=1024)
    root = der.read_element(data)
    if root.tag != der.SEQUENCE:
        raise Malformed("CSR attributes are not a SEQUENCE", section="RFC 7030 §4.5.2")
    reader = _Reader()
    for element in der.children(data, root):
        if element.tag == der.OBJECT_IDENTIFIER:
            reader.take_oid(decode_oid(data, element))
        else:
            reader.take_attribute(parse_attribute(data, element))
    return reader.result()


def _items(requirements: CSRRequirements) -> Iterator[bytes]:
    if requirements.challenge_password:
        yield der.encode_oid(registry.ID_CHALLENGE_PASSWORD)
    for key in requirements.keys[:1]:
        yield _encode_key(key)
    for part in requirements.subject:
        if part.value is not None:
            raise LocalError(
                f"CSR attributes have no place for a subject's {part.oid}", section="RFC 9908 §3.4"
            )
        yield der.encode_oid(part.oid)
    yield from map(der.encode_oid, requirements.extension_oids)
    if requirements.extensions:
        yield encode_attribute(extension_request(requirements.extensions))
    yield from map(der.encode_oid, requirements.signature_algorithms[:1])


def _encode_key(key: KeyRequirement) -> bytes:
    if key.curve is not None:
        return encode_attribute(Attribute(oid=key.algorithm, values=(der.encode_oid(key.curve),)))
    if key.rsa_bits is not None:
        value = der.encode_integer(key.rsa_bits)
        return encode_attribute(Attribute(oid=key.algorithm, values=(value,)))
    return der.encode_oid(key.algorithm)


class _Reader:
    """Gathers what the items of CsrAttrs say, one after the other."""

    def __init__(self) -> None:
        self.keys: list[KeyRequirement] = []
        self.signature_algorithms: list[str] = []
        self.subject: list[SubjectRequirement] = []
        self.extensions: tuple[RequestedExtension, ...] = ()
        self.extension_oids: list[str] = []
        self.challenge_password = False
        self.template: CSRTemplate | None = None
        self.known: list[Attribute] = []
        self.ignored: list[str] = []

    def take_oid(self, oid: str) -> None:
        if oid in _KEY_ALGORITHMS:
            self.keys.append(KeyRequirement(algorithm=oid))
        if oid in SIGNATURE_ALGORITHMS:
            self.signature_algorithms.append(oid)
        elif oid == registry.ID_CHALLENGE_PASSWORD:
            self.challenge_password = True
        elif oid.startswith(_SUBJECT_ARC):
            self.subject.append(SubjectRequirement(oid=oid))
        elif oid.startswith(_EXTENSION_ARC):
            self.extension_oids.append(oid)
        elif oid not in _KEY_ALGORITHMS:
            self.ignored.append(oid)

    def take_attribute(self, attribute: Attribute) -> None:
        if attribute.oid == registry.ID_EC_PUBLIC_KEY:
            self.keys += [
                KeyRequirement(algorithm=attribute.oid, curve=_oid_of(value))
                for value in attribute.values
            ]
        elif attribute.oid == registry.RSA_ENCRYPTION:
            self.keys += [
                KeyRequirement(algorithm=attribute.oid, rsa_bits=_bits_of(value))
                for value in attribute.values
            ]
        elif attribute.oid == registry.ID_EXTENSION_REQUEST:
            self._take_extensions(attribute)
        elif attribute.oid == registry.ID_CSR_TEMPLATE:
            self.template = parse_csr_template(single_value(attribute))
        else:
            self.ignored.append(attribute.oid)
            return
        self.known.append(attribute)

    def _take_extensions(self, attribute: Attribute) -> None:
        if all(der.read_element(value).tag == der.OBJECT_IDENTIFIER for value in attribute.values):
            self.extension_oids += map(_oid_of, attribute.values)
        else:
            self.extensions = parse_extensions(single_value(attribute))

    def result(self) -> CSRAttributes:
        check_once(self.known)
        requirements = CSRRequirements(
            keys=tuple(self.keys),
            signature_algorithms=tuple(self.signature_algorithms),
            subject=tuple(self.subject),
            extensions=self.extensions,
            extension_oids=tuple(self.extension_oids),
            challenge_password=self.challenge_password,
        )
        if self.template is not None:
            requirements = self.template.requirements()
        return CSRAttributes(
            requirements=requirements, template=self.template, ignored=tuple(self.ignored)
        )


def _oid_of(value: bytes) -> str:
    return decode_oid(value, der.read_element(value))


def _bits_of(value: bytes) -> int:
    element = der.read_element(value)
    bits = int.from_bytes(der.content_of(value, element), "big", signed=True)
    if element.tag != der.INTEGER or not 0 < bits < 2**16:
        raise Malformed("RSA key size is not a number of bits", section="RFC 9908 §3.2")
    return bits
