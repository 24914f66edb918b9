"""A renewal that asks for another name: the ChangeSubjectName attribute (RFC 6402 §2.8).

Owns its DER. Whether the name is granted is the registrar's judgement (RFC 7030 §4.2.2).
"""

from __future__ import annotations

from dataclasses import dataclass

from brski.errors import Malformed
from brski.est.attributes import single_value
from brski.est.csr import CSR
from brski.pki import der
from brski.registry import ID_CMC_CHANGE_SUBJECT_NAME

_SECTION = "RFC 6402 §2.8"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeSubjectName:
    """The names that the new certificate shall have; at least one of the two."""

    subject: bytes | None  # DER Name
    alternative_name: bytes | None  # DER GeneralNames


def change_of_subject_name(csr: CSR) -> ChangeSubjectName | None:
    """Return what the attribute of *csr* asks for, or None where it has none.

    Its two members are both SEQUENCEs without a tag of their own; they are told apart by what they
    hold: a Name holds SETs, GeneralNames hold context-specific tags, and an empty one is a Name.

    Raises:
        Malformed: several values, neither of the two names, or another shape.

    RFC 6402 §2.8; RFC 7030 §4.2.2.
    """
    for attribute in csr.attributes:
        if attribute.oid == ID_CMC_CHANGE_SUBJECT_NAME:
            return _parse(single_value(attribute))
    return None


def encode_change_subject_name(change: ChangeSubjectName) -> bytes:
    """Return the attribute's value, DER."""
    return der.encode(der.SEQUENCE, change.subject or b"", change.alternative_name or b"")


def _parse(data: bytes) -> ChangeSubjectName:
    root = der.read_element(data)
    members = der.children(data, root) if root.tag == der.SEQUENCE else []
    if not 1 <= len(members) <= 2 or any(member.tag != der.SEQUENCE for member in members):
        raise Malformed("ChangeSubjectName is not made as its standard has it", section=_SECTION)
    names = [_is_subject(data, member) for member in members]
    if names not in ([True], [False], [True, False]):
        raise Malformed("ChangeSubjectName does not hold one name of a kind", section=_SECTION)
    octets = [der.octets_of(data, member) for member in members]
    return ChangeSubjectName(
        subject=octets[0] if names[0] else None,
        alternative_name=None if names[-1] else octets[-1],
    )


def _is_subject(data: bytes, member: der.Element) -> bool:
    return all(part.tag == der.SET for part in der.children(data, member))
