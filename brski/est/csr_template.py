"""A certificate request with blanks: the template of RFC 9908 §3.4.

Owns its DER. A client that finds one in the CSR attributes follows it and nothing beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from brski import registry
from brski.errors import Malformed, UnknownFormat
from brski.est.attributes import (
    Attribute,
    ExtensionTemplate,
    RequestedExtension,
    check_once,
    decode_oid,
    encode_attribute,
    encode_extension_template,
    parse_attribute,
    parse_extension_templates,
    parse_members,
    single_value,
)
from brski.est.requirements import CSRRequirements, KeyRequirement, SubjectRequirement
from brski.pki import der

_KEY: Final = 0xA0  # [0] IMPLICIT SubjectPublicKeyInfoTemplate, RFC 9908 App. A
_ATTRIBUTES: Final = 0xA1  # [1] IMPLICIT Attributes
_KEY_FORMS: Final = ((der.SEQUENCE,), (der.SEQUENCE, der.BIT_STRING))
_EXTENSION_LISTS: Final = (registry.ID_EXTENSION_REQUEST, registry.ID_EXTENSION_TEMPLATE)
# GeneralNames that are the client's to fill in: a directory name without parts, an address of none
_BLANK_NAMES: Final = (bytes.fromhex("a4023000"), bytes.fromhex("8700"))
_TEXT_TAGS: Final = (der.UTF8_STRING, der.PRINTABLE_STRING, der.IA5_STRING)
_PRINTABLE_PARTS: Final = ("2.5.4.5", "2.5.4.6", "2.5.4.46")  # RFC 5280 App. A
_RSA_EXPONENT: Final = 65537
_SECTION: Final = "RFC 9908 §3.4"


@dataclass(frozen=True, slots=True, kw_only=True)
class CSRTemplate:
    """A CertificationRequestInfoTemplate: a request with blanks (RFC 9908 §3.4)."""

    subject: tuple[SubjectRequirement, ...] = ()  # in order, parts of one RDN side by side
    key: KeyRequirement | None = None
    extensions: tuple[ExtensionTemplate, ...] = ()
    attributes: tuple[Attribute, ...] = ()  # all of them, those for extensions too

    def requirements(self) -> CSRRequirements:
        """Return what a request must hold to follow this template.

        An alternative name with a blank in it counts as one whose value is the client's; the parts
        that are given stand in :attr:`extensions`.
        """
        given = [e for e in self.extensions if e.value is not None and not _has_blank(e)]
        return CSRRequirements(
            keys=() if self.key is None else (self.key,),
            subject=self.subject,
            extensions=tuple(
                RequestedExtension(oid=e.oid, value=e.value, critical=e.critical)
                for e in given
                if e.value is not None
            ),
            extension_oids=tuple(e.oid for e in self.extensions if e not in given),
            challenge_password=any(
                attribute.oid == registry.ID_CHALLENGE_PASSWORD for attribute in self.attributes
            ),
        )


def template_of(requirements: CSRRequirements) -> CSRTemplate:
    """Return the template that announces *requirements*.

    Of several keys the first is announced, since a template has one; who follows it is accepted,
    and so is who takes another of them. Signature algorithms have no place in it.

    RFC 9908 §3.4.
    """
    extensions = (
        *(
            ExtensionTemplate(oid=e.oid, value=e.value, critical=e.critical)
            for e in requirements.extensions
        ),
        *(ExtensionTemplate(oid=oid, value=None) for oid in requirements.extension_oids),
    )
    return CSRTemplate(
        subject=requirements.subject,
        key=requirements.keys[0] if requirements.keys else None,
        extensions=extensions,
        attributes=tuple(_attributes_of(extensions, requirements)),
    )


def encode_csr_template(template: CSRTemplate) -> bytes:
    """Return the CertificationRequestInfoTemplate, DER; each subject part is an RDN of its own.

    Raises:
        LocalError: a subject value that is no text of its attribute's.

    RFC 9908 §3.4, App. A.
    """
    subject = der.encode(der.SEQUENCE, *map(_encode_part, template.subject))
    key = b"" if template.key is None else _encode_key_template(template.key)
    attributes = sorted(map(encode_attribute, template.attributes))
    return der.encode(
        der.SEQUENCE,
        der.encode_integer(0),
        subject if template.subject else b"",
        key,
        der.encode(_ATTRIBUTES, *attributes),
    )


def _attributes_of(
    extensions: tuple[ExtensionTemplate, ...], requirements: CSRRequirements
) -> Iterator[Attribute]:
    if extensions:
        blank = any(extension.value is None for extension in extensions)
        oid = registry.ID_EXTENSION_TEMPLATE if blank else registry.ID_EXTENSION_REQUEST
        value = der.encode(der.SEQUENCE, *map(encode_extension_template, extensions))
        yield Attribute(oid=oid, values=(value,))
    if requirements.challenge_password:
        blank_password = der.encode(der.PRINTABLE_STRING)
        yield Attribute(oid=registry.ID_CHALLENGE_PASSWORD, values=(blank_password,))


def _encode_part(part: SubjectRequirement) -> bytes:
    value = b"" if part.value is None else der.encode(_text_tag(part.oid), part.value.encode())
    return der.encode(der.SET, der.encode(der.SEQUENCE, der.encode_oid(part.oid), value))


def _text_tag(oid: str) -> int:
    return der.PRINTABLE_STRING if oid in _PRINTABLE_PARTS else der.UTF8_STRING


def _encode_key_template(key: KeyRequirement) -> bytes:
    parameters = b"" if key.curve is None else der.encode_oid(key.curve)
    if key.algorithm == registry.RSA_ENCRYPTION:
        parameters = der.encode(der.NULL)
    algorithm = der.encode(der.SEQUENCE, der.encode_oid(key.algorithm), parameters)
    return der.encode(_KEY, algorithm, b"" if key.rsa_bits is None else _rsa_blank(key.rsa_bits))


def _rsa_blank(bits: int) -> bytes:
    """A public key that stands for nothing but the length of its modulus."""
    numbers = (der.encode_integer(1 << bits - 1), der.encode_integer(_RSA_EXPONENT))
    return der.encode(der.BIT_STRING, b"\x00" + der.encode(der.SEQUENCE, *numbers))


def parse_csr_template(data: bytes) -> CSRTemplate:
    """Read a CertificationRequestInfoTemplate.

    Args:
        data: its DER, whole; it has passed :func:`brski.pki.der.check_der`.

    Raises:
        Malformed: not made as its standard has it, not of version 1, an attribute twice, extensions
            listed in both ways, or a key where only RSA has one.
        UnknownFormat: a subject value of another type than text.

    RFC 9908 §3.4, App. A.
    """
    root = der.read_element(data)
    rest = der.children(data, root) if root.tag == der.SEQUENCE else []
    if not rest or der.octets_of(data, rest.pop(0)) != der.encode_integer(0):
        raise Malformed("CSR template is not of version 1", section=_SECTION)
    subject = rest.pop(0) if rest and rest[0].tag == der.SEQUENCE else None
    key = rest.pop(0) if rest and rest[0].tag == _KEY else None
    if [element.tag for element in rest] != [_ATTRIBUTES]:
        raise Malformed("CSR template is not made as its standard has it", section=_SECTION)
    attributes = tuple(parse_attribute(data, element) for element in der.children(data, rest[0]))
    check_once(attributes)
    return CSRTemplate(
        subject=() if subject is None else tuple(_parse_subject(data, subject)),
        key=None if key is None else _parse_key_template(data, key),
        extensions=_template_extensions(attributes),
        attributes=attributes,
    )


def _template_extensions(attributes: tuple[Attribute, ...]) -> tuple[ExtensionTemplate, ...]:
    found = [attribute for attribute in attributes if attribute.oid in _EXTENSION_LISTS]
    if len(found) > 1:
        raise Malformed("CSR template lists extensions in both ways", section=_SECTION)
    for attribute in found:
        extensions = parse_extension_templates(single_value(attribute))
        if attribute.oid == registry.ID_EXTENSION_REQUEST and None in {e.value for e in extensions}:
            raise Malformed("extension request without a value", section=_SECTION)
        return extensions
    return ()


def _parse_subject(data: bytes, element: der.Element) -> Iterator[SubjectRequirement]:
    for name in der.children(data, element):
        if name.tag != der.SET or name.content == name.end:
            raise Malformed("CSR template's subject is not made of sets", section=_SECTION)
        for part in der.children(data, name):
            kind, *value = der.children(data, part) or [part]
            if part.tag != der.SEQUENCE or len(value) > 1:
                raise Malformed("CSR template's subject has another part", section=_SECTION)
            text = _text_of(data, value[0]) if value else None
            yield SubjectRequirement(oid=decode_oid(data, kind), value=text)


def _parse_key_template(data: bytes, element: der.Element) -> KeyRequirement:
    members = der.children(data, element)
    if tuple(member.tag for member in members) not in _KEY_FORMS:
        raise Malformed("CSR template's key is not made as its standard has it", section=_SECTION)
    algorithm = der.children(data, members[0])
    if not 1 <= len(algorithm) <= 2:
        raise Malformed("CSR template's key has no one algorithm", section=_SECTION)
    oid = decode_oid(data, algorithm[0])
    if len(members) > 1 and oid != registry.RSA_ENCRYPTION:
        raise Malformed("CSR template with a key where only RSA has one", section=_SECTION)
    of_curve = oid == registry.ID_EC_PUBLIC_KEY and len(algorithm) > 1
    return KeyRequirement(
        algorithm=oid,
        curve=decode_oid(data, algorithm[1]) if of_curve else None,
        rsa_bits=_modulus_bits(der.content_of(data, members[1])) if len(members) > 1 else None,
    )


def _modulus_bits(bit_string: bytes) -> int:
    """The length of a modulus that stands for its length."""
    key = bit_string[1:]
    der.check_der(key)
    modulus, _ = parse_members(
        key, der.read_element(key), der.INTEGER, der.INTEGER, what="CSR template's RSA key"
    )
    return int.from_bytes(der.content_of(key, modulus), "big").bit_length()


def _text_of(data: bytes, element: der.Element) -> str:
    if element.tag not in _TEXT_TAGS:
        raise UnknownFormat(f"CSR template with a subject value of tag {element.tag:02x}")
    try:
        return der.content_of(data, element).decode()
    except UnicodeDecodeError as err:
        raise Malformed("CSR template with a subject value that is no UTF-8") from err


def _has_blank(extension: ExtensionTemplate) -> bool:
    if extension.oid != registry.ID_CE_SUBJECT_ALT_NAME or extension.value is None:
        return False
    value = extension.value
    names = der.children(value, der.read_element(value))
    return any(der.octets_of(value, name) in _BLANK_NAMES for name in names)
