"""Certs-only messages (RFC 5652 §5.2.2): what EST answers with."""

from __future__ import annotations

from typing import Final

from brski.errors import OnboardingError
from brski.est.certs_only import decode_certs_only
from brski_lab.inspecting import certificate
from brski_lab.inspecting.certificate import with_encoding
from brski_lab.inspecting.cms_message import NOTHING, children_of, signed_data_of
from brski_lab.inspecting.content import Content
from brski_lab.inspecting.description import Description, Facts, Finding, refusal
from brski_lab.inspecting.kind import Kind


def recognises(content: Content) -> bool:
    """Whether it is a SignedData without content and signers, and with certificates."""
    parts = signed_data_of(content.asn1.root)
    return (
        parts is not None
        and parts.certificates is not None
        and parts.payload is None
        and parts.signers is not None
        and not parts.signers.children
    )


def describe(content: Content) -> Description:
    """Each certificate in it."""
    parts = signed_data_of(content.asn1.root) or NOTHING
    told = [
        certificate.describe_certificate(each).as_part(f"certificate {number}")
        for number, each in enumerate(children_of(parts.certificates), 1)
    ]
    facts: Facts = {"certificates": [facts for facts, _ in told]}
    findings = [odd for _, odds in told for odd in odds]
    try:
        decode_certs_only(content.octets)
    except OnboardingError as err:
        findings.append(refusal(err))
    if parts.crls is not None:
        findings.append(Finding(text="CRLs, which are passed over", section="RFC 5652 §5.1"))
    described = Description(
        kind=KIND.name, facts=facts, findings=tuple(findings), stop=content.asn1.stop
    )
    return with_encoding(described, content.asn1)


KIND: Final = Kind(name="certs-only message", recognises=recognises, describe=describe)
