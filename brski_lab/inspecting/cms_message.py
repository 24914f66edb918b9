"""CMS SignedData: vouchers, voucher-requests, and whatever else is signed that way."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from brski import registry
from brski.errors import OnboardingError
from brski.pki import der
from brski.pki.keys import public_key_of_certificate
from brski.voucher.cms import CMS, CMSSerialization
from brski.voucher.interoperability import Interoperability
from brski_lab.inspecting import asn1_values, certificate, voucher_document
from brski_lab.inspecting.asn1 import Node
from brski_lab.inspecting.certificate import with_encoding
from brski_lab.inspecting.content import Content
from brski_lab.inspecting.description import Description, Fact, Facts, Finding, placed, refusal
from brski_lab.inspecting.kind import Kind

MESSAGE: Final = "CMS message"

_MOST_NESTED: Final = 3  # messages inside one another
_HASHES: Final = {"SHA-256": "sha256", "SHA-384": "sha384", "SHA-512": "sha512", "SHA-1": "sha1"}
_LENIENT: Final = CMSSerialization(interoperability=Interoperability.PUBLISHED_SAMPLES)
_CONTEXT_0: Final = 0xA0
_CONTEXT_1: Final = 0xA1
_KEY_IDENTIFIER: Final = 0x80


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The fields of a SignedData, as far as they are there."""

    version: Node | None = None
    digests: Node | None = None
    content: Node | None = None
    certificates: Node | None = None
    crls: Node | None = None
    signers: Node | None = None

    @property
    def content_type(self) -> str:
        """eContentType, dotted."""
        return "" if self.content is None else asn1_values.dotted(self.content.child(0))

    @property
    def payload(self) -> bytes | None:
        """eContent; None if there is none."""
        explicit = None if self.content is None else self.content.child(1, _CONTEXT_0)
        inner = None if explicit is None else explicit.child(0)
        if inner is None:
            return None
        if inner.children:  # BER: in pieces
            return b"".join(piece.value for piece in inner.children)
        return inner.value


NOTHING: Final = Parts()


def signed_data_of(root: Node | None) -> Parts | None:
    """Take a ContentInfo of SignedData apart; None if *root* is none."""
    if root is None or asn1_values.dotted(root.child(0)) != registry.ID_SIGNED_DATA:
        return None
    explicit = root.child(1, _CONTEXT_0)
    signed = None if explicit is None else explicit.child(0, der.SEQUENCE)
    fields = (signed or Node(root.data, 0, 0, 0, 0)).fields()
    return Parts(
        version=fields.take(der.INTEGER),
        digests=fields.take(der.SET),
        content=fields.take(der.SEQUENCE),
        certificates=fields.take(_CONTEXT_0),
        crls=fields.take(_CONTEXT_1),
        signers=fields.take(der.SET),
    )


def describe(content: Content, nested: int = 0) -> Description:
    """Facts and findings of a message; also of what is in it, to a depth."""
    parts = signed_data_of(content.asn1.root) or NOTHING
    payload = _payload(parts, nested)
    facts: Facts = {
        "version": None if parts.version is None else asn1_values.integer(parts.version),
        "content type": asn1_values.named(parts.content_type),
        "digests": [asn1_values.algorithm(each) for each in children_of(parts.digests)],
    }
    facts["signature"], refused = _signature(content.octets)
    findings = [*_general(parts), *refused]
    signers = [_signer(each, parts) for each in children_of(parts.signers)]
    facts["signer" if len(signers) == 1 else "signers"] = (
        signers[0][0] if len(signers) == 1 else [told for told, _ in signers]
    )
    for _, odd in signers:
        findings += odd
    enclosed = [
        certificate.describe_certificate(each).as_part(f"certificate {number}")
        for number, each in enumerate(children_of(parts.certificates), 1)
    ]
    if enclosed:
        facts["certificates"] = [told for told, _ in enclosed]
    for _, odd in enclosed:
        findings += odd
    if payload is not None:
        facts["document"] = dict(payload.facts)
        findings += placed("document", payload.findings)
    kind = MESSAGE if payload is None else payload.kind
    described = Description(
        kind=kind,
        facts=facts,
        findings=tuple(findings),
        stop=content.asn1.stop,
    )
    return with_encoding(described, content.asn1)


def _payload(parts: Parts, nested: int) -> Description | None:
    if parts.payload is None:
        return None
    document = Content(parts.payload)
    if voucher_document.kind_of(document.members) is None:
        return None

    def open_message(octets: bytes) -> Description | None:
        inner = Content(octets)
        if nested == _MOST_NESTED or not recognises(inner):
            return None
        return describe(inner, nested + 1)

    return voucher_document.describe_document(document, open_message)


def children_of(node: Node | None) -> list[Node]:
    """The elements in *node*; none in what is not there."""
    return [] if node is None else node.children


# -- findings --------------------------------------------------------------------------------------


def _general(parts: Parts) -> Iterator[Finding]:
    version = None if parts.version is None else asn1_values.integer(parts.version)
    if parts.content_type == registry.ID_DATA:
        yield Finding(
            text="content type id-data instead of id-ct-animaJSONVoucher",
            section="RFC 8366 §5.4",
        )
    if version == 1 and parts.content_type != registry.ID_DATA:
        yield Finding(
            text="CMSVersion 1 with another content type than id-data", section="RFC 5652 §5.1"
        )
    elif version == 1:
        yield Finding(text="CMSVersion 1, as of PKCS #7", section="RFC 8366bis §7.1")
    if parts.payload is None and parts.content is not None:
        yield Finding(text="the content is not in it", section="RFC 5652 §5.2")
    if parts.signers is not None and len(parts.signers.children) != 1:
        yield Finding(
            text=f"{len(parts.signers.children)} signers, one is taken", section="docs/voucher.md"
        )
    if parts.crls is not None:
        yield Finding(text="CRLs, which nothing here reads", section="docs/voucher.md")


def _signature(octets: bytes) -> tuple[str, tuple[Finding, ...]]:
    """Whether the signature holds, and what the programs' own reader says of the message."""
    refused: tuple[Finding, ...] = ()
    try:
        signed = CMS.open(octets)
    except OnboardingError as err:
        refused = (Finding(text=f"refused: {err.reason}", section=err.section),)
        try:
            signed = _LENIENT.open(octets)
        except OnboardingError:
            return "not judged: the message is refused", refused
    try:
        signer = signed.signer_certificate()
        if signer is None:
            return "not judged: the signer's certificate is not enclosed", refused
        signed.verify(public_key_of_certificate(signer))
    except OnboardingError as err:
        return "does not hold", (*refused, refusal(err))
    return "holds under the enclosed certificate, whosever that is", refused


# -- the signer ------------------------------------------------------------------------------------


def _signer(info: Node, parts: Parts) -> tuple[Facts, tuple[Finding, ...]]:
    fields = info.fields()
    version = fields.take(der.INTEGER)
    identifier = fields.take(der.SEQUENCE, _KEY_IDENTIFIER)
    digest = fields.take(der.SEQUENCE)
    attributes = fields.take(_CONTEXT_0)
    algorithm = fields.take(der.SEQUENCE)
    signature = fields.take(der.OCTET_STRING)
    unsigned = fields.take(_CONTEXT_1)
    facts: Facts = {
        "version": asn1_values.integer(version),
        **_named_by(identifier),
        "certificate enclosed": _is_enclosed(identifier, parts),
        "digest": asn1_values.algorithm(digest),
        "signature algorithm": asn1_values.algorithm(algorithm),
        "signature octets": 0 if signature is None else len(signature.value),
    }
    findings = list(_of_attributes(attributes, parts, asn1_values.algorithm(digest)))
    if attributes is not None:
        facts["signed attributes"] = {
            asn1_values.named(oid): _attribute(oid, values)
            for oid, values in _attributes(attributes).items()
        }
    if unsigned is not None:
        findings.append(Finding(text="unsigned attributes", section="docs/voucher.md"))
    return facts, placed("signer", findings)


def _named_by(identifier: Node | None) -> Facts:
    if identifier is None:
        return {"named by": "?"}
    if identifier.tag == _KEY_IDENTIFIER:
        return {"named by": "subjectKeyIdentifier", "identifier": identifier.value.hex()}
    number = identifier.child(1, der.INTEGER)
    return {
        "named by": "issuer and serial number",
        "issuer": asn1_values.distinguished_name(identifier.child(0)),
        "certificate serial number": "?" if number is None else asn1_values.hexed(number.value),
    }


def _is_enclosed(identifier: Node | None, parts: Parts) -> bool:
    if identifier is None:
        return False
    for each in map(certificate.parts_of, children_of(parts.certificates)):
        if identifier.tag == _KEY_IDENTIFIER:
            if each.extensions.key_identifier() == identifier.value:
                return True
        elif identifier.value == each.issuer_and_number:
            return True
    return False


def _attributes(attributes: Node) -> dict[str, list[Node]]:
    found = {}
    for attribute in attributes.children:
        values = attribute.child(1)
        found[asn1_values.dotted(attribute.child(0))] = children_of(values)
    return found


def _attribute(oid: str, values: list[Node]) -> Fact:
    if not values:
        return "?"
    if oid == registry.ID_CONTENT_TYPE:
        return asn1_values.named(asn1_values.dotted(values[0]))
    if oid == registry.ID_SIGNING_TIME:
        return asn1_values.time_text(values[0])
    return asn1_values.hexed(values[0].value)


def _of_attributes(attributes: Node | None, parts: Parts, digest: str) -> Iterator[Finding]:
    if attributes is None:
        yield Finding(text="no signed attributes", section="RFC 5652 §5.3; RFC 8366bis §7.1")
        return
    found = _attributes(attributes)
    said = [asn1_values.dotted(each) for each in found.get(registry.ID_CONTENT_TYPE, ())]
    if said != [parts.content_type]:
        yield Finding(text="contentType is not the message's", section="RFC 5652 §11.1")
    values = [each.value for each in found.get(registry.ID_MESSAGE_DIGEST, ())]
    if len(values) != 1:
        yield Finding(text="no messageDigest", section="RFC 5652 §11.2")
    elif parts.payload is not None and digest in _HASHES:
        right = hashlib.new(_HASHES[digest], parts.payload).digest()
        if not hmac.compare_digest(right, values[0]):
            yield Finding(text="messageDigest is not the payload's", section="RFC 5652 §11.2")
    if registry.ID_SIGNING_TIME not in found:
        yield Finding(text="no signingTime", section="RFC 5652 §11.3")
    octets = [each.octets for each in attributes.children]
    if octets != sorted(octets):
        yield Finding(text="signed attributes not in DER's order", section="X.690 §11.6")


def recognises(content: Content) -> bool:
    """Whether it begins as a ContentInfo of SignedData."""
    return signed_data_of(content.asn1.root) is not None


KIND: Final = Kind(name=MESSAGE, recognises=recognises, describe=describe)
