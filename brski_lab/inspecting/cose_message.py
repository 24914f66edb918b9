"""COSE vouchers and requests (draft-ietf-anima-constrained-voucher): shown, though none takes them.

The CBOR documents inside are told by their names, and then described as if they were JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from brski.errors import OnboardingError
from brski.pki import cbor
from brski_lab.inspecting import certificate, sids, voucher_document
from brski_lab.inspecting.asn1_values import hexed
from brski_lab.inspecting.content import Content
from brski_lab.inspecting.description import Description, Facts, Finding, placed, shown
from brski_lab.inspecting.kind import Kind

MESSAGE: Final = "COSE_Sign1 message"

_TAG_18: Final = b"\xd2"
_MOST_NESTED: Final = 3
_MOST_CERTIFICATES: Final = 16
_CHAINS: Final = {32: "x5bag", 33: "x5chain"}  # RFC 9360 §2
_ALGORITHM: Final = 1
_ALGORITHMS: Final = {-7: "ES256", -35: "ES384", -8: "EdDSA"}


class _Parts(NamedTuple):
    protected: Mapping[object, object]
    unprotected: Mapping[object, object]
    payload: bytes
    signature: bytes


def _parts(octets: bytes) -> _Parts | None:
    if not octets.startswith(_TAG_18):
        return None
    match _decoded(octets[1:]):
        case [bytes(protected), dict(unprotected), bytes(payload), bytes(signature)]:
            header = _decoded(protected)
            known = header if isinstance(header, dict) else {}
            return _Parts(known, unprotected, payload, signature)
    return None


def _decoded(octets: bytes) -> object:
    try:
        return cbor.decode(octets)
    except OnboardingError:
        return None


def recognises(content: Content) -> bool:
    """Tag 18 around two headers, a payload and a signature."""
    return _parts(content.octets) is not None


def describe(content: Content, nested: int = 0) -> Description:
    """Its headers, certificates and document; the signature is not judged."""
    parts = _parts(content.octets) or _Parts({}, {}, b"", b"")
    enclosed, odd = _certificates({**parts.protected, **parts.unprotected})
    findings = [
        Finding(
            text="COSE: no program here takes it yet, and its signature is not judged",
            section="docs/divergences.md",
        ),
        *odd,
    ]
    facts: Facts = {
        "algorithm": _algorithm(parts.protected.get(_ALGORITHM)),
        "unprotected header": [shown(str(name)) for name in parts.unprotected],
        "certificates": [*enclosed],
        "signature octets": len(parts.signature),
    }
    document = _document(parts.payload, nested)
    if document is None:
        facts["payload"] = hexed(parts.payload)
        return Description(kind=MESSAGE, facts=facts, findings=tuple(findings))
    facts["document"] = dict(document.facts)
    findings += placed("document", document.findings)
    return Description(kind=document.kind, facts=facts, findings=tuple(findings))


def _algorithm(value: object) -> str:
    return _ALGORITHMS.get(value, str(value)) if isinstance(value, int) else shown(repr(value))


def _document(octets: bytes, nested: int) -> Description | None:
    text = sids.as_json(_decoded(octets))
    if text is None:
        return None

    def open_message(inner: bytes) -> Description | None:
        content = Content(inner)
        if nested == _MOST_NESTED or not recognises(content):
            return None
        return describe(content, nested + 1)

    return voucher_document.describe_document(Content(text), open_message)


def _certificates(header: Mapping[object, object]) -> tuple[list[Facts], list[Finding]]:
    told: list[Facts] = []
    findings: list[Finding] = []
    for label, name in _CHAINS.items():
        value = header.get(label, [])
        for number, octets in enumerate(value if isinstance(value, list) else [value], 1):
            root = Content(octets).asn1.root if isinstance(octets, bytes) else None
            if root is None or number > _MOST_CERTIFICATES:
                continue
            if certificate.looks_like_certificate(root):
                place = f"{name} {number}"
                facts, odd = certificate.describe_certificate(root).as_part(place)
                told.append(facts)
                findings += odd
    return told, findings


def _bare(content: Content) -> Description:
    described = _document(content.octets, 0)
    unsigned = Finding(text="the document alone: nobody has signed it", section="RFC 8366 §5.4")
    if described is None:
        return Description(kind=MESSAGE, facts={}, findings=(unsigned,))
    return Description(
        kind=described.kind, facts=described.facts, findings=(unsigned, *described.findings)
    )


KINDS: Final = (
    Kind(name=MESSAGE, recognises=recognises, describe=describe),
    Kind(
        name=voucher_document.VOUCHER,
        recognises=lambda content: sids.as_json(content.cbor) is not None,
        describe=_bare,
    ),
)
