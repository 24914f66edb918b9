"""JWS vouchers and requests (draft-ietf-anima-jws-voucher): shown, though none takes them yet."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Final

from brski_lab.inspecting import certificate, voucher_document
from brski_lab.inspecting.content import MOST_JSON_OCTETS, Content
from brski_lab.inspecting.description import (
    Description,
    Facts,
    Finding,
    placed,
)
from brski_lab.inspecting.kind import Kind
from brski_lab.inspecting.status_report import fact_of

MESSAGE: Final = "JWS message"
_MOST_CERTIFICATES: Final = 16
_COMPACT: Final = re.compile(rb"(eyJ[\w-]+)\.([\w-]+)\.[\w-]+\s*")


def recognises(content: Content) -> bool:
    """A JSON object with "payload" and "signatures", or three parts of base64url."""
    return {"payload", "signatures"} <= content.members.keys() or bool(_compact(content))


def _compact(content: Content) -> re.Match[bytes] | None:
    return _COMPACT.fullmatch(content.octets) if len(content.octets) <= MOST_JSON_OCTETS else None


def _parts(content: Content) -> tuple[object, list[object]]:
    """Payload and protected headers, as they are spelt."""
    compact = _compact(content)
    if compact is not None:
        header, payload = (part.decode("ascii") for part in compact.groups())
        return payload, [header]
    signatures = content.members["signatures"]
    return content.members["payload"], [
        each.get("protected") if isinstance(each, dict) else None
        for each in (signatures if isinstance(signatures, list) else ())
    ]


def describe(content: Content) -> Description:
    """Its headers, certificates and document; the signature is not judged."""
    payload, headers = _parts(content)
    findings = [
        Finding(
            text="JWS: no program here takes it yet, and its signature is not judged",
            section="docs/divergences.md",
        )
    ]
    if _compact(content):
        findings.append(
            Finding(
                text="compact serialization, where the draft has the general JSON one",
                section="draft-ietf-anima-jws-voucher §3",
            )
        )
    header = Content(_decoded(headers[0])).members if headers else {}
    facts: Facts = {"signatures": len(headers)}
    facts["protected header"] = {
        name: fact_of(value) for name, value in header.items() if name != "x5c"
    }
    enclosed, odd = _certificates(header)
    facts["certificates"] = [*enclosed]
    findings += odd
    document = Content(_decoded(payload))
    kind = MESSAGE
    if voucher_document.kind_of(document.members) is not None:
        described = voucher_document.describe_document(document, lambda _: None)
        kind = described.kind
        facts["document"] = dict(described.facts)
        findings += placed("document", described.findings)
    read = content.json
    return Description(
        kind=kind, facts=facts, findings=tuple(findings), stop=read.stop if read else None
    )


def _certificates(header: Mapping[str, object]) -> tuple[list[Facts], list[Finding]]:
    chain = header.get("x5c")
    told: list[Facts] = []
    findings: list[Finding] = []
    for number, text in enumerate(chain[:_MOST_CERTIFICATES] if isinstance(chain, list) else (), 1):
        root = Content(_decoded(text)).asn1.root
        if root is not None and certificate.looks_like_certificate(root):
            facts, odd = certificate.describe_certificate(root).as_part(f"certificate {number}")
            told.append(facts)
            findings += odd
    return told, findings


def _decoded(text: object) -> bytes:
    """The octets of base64 or base64url, whichever; empty if it is neither."""
    if not isinstance(text, str) or not text.isascii():
        return b""
    bare = text.translate(str.maketrans("-_", "+/", "\\")).rstrip("=")
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except binascii.Error:
        return b""


KIND: Final = Kind(name=MESSAGE, recognises=recognises, describe=describe)
