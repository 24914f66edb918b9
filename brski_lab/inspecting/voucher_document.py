"""Voucher and voucher-request documents: the JSON inside of signed messages, or bare."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Final

from brski.errors import OnboardingError
from brski.pki.extensions import decode_idevid_issuer
from brski.voucher.model import Voucher, VoucherRequest
from brski.voucher.yang_json import (
    REQUEST_TOP,
    VOUCHER_TOP,
    decode_voucher,
    decode_voucher_request,
)
from brski.voucher.yang_types import decode_nonce
from brski_lab.inspecting import asn1_values, certificate
from brski_lab.inspecting.armor import unwrap
from brski_lab.inspecting.content import Content
from brski_lab.inspecting.description import (
    Description,
    Fact,
    Facts,
    Finding,
    placed,
    refusal,
    shown,
)
from brski_lab.inspecting.kind import Kind

VOUCHER: Final = "voucher"
REQUEST: Final = "voucher-request"

_MANDATORY: Final = ("created-on", "assertion", "serial-number", "pinned-domain-cert")
_IGNORED: Final = (
    *("pinned-domain-cert", "pinned-domain-pubk", "pinned-domain-pubk-sha256"),
    *("domain-cert-revocation-checks", "last-renewal-date"),
)
_PROXIMITY: Final = (
    *("proximity-registrar-cert", "proximity-registrar-pubk", "proximity-registrar-pubk-sha256"),
)
_PINS: Final = ("pinned-domain-cert", "pinned-domain-pubk", "pinned-domain-pubk-sha256")
_EXTENSION: Final = "extension:"
_MOST_LEAVES: Final = 64  # that are shown


def kind_of(document: Mapping[str, object]) -> str | None:
    """What a JSON object is, by its top member."""
    if VOUCHER_TOP in document:
        return VOUCHER
    return REQUEST if REQUEST_TOP in document else None


def describe_document(
    content: Content, open_message: Callable[[bytes], Description | None]
) -> Description:
    """Facts and findings of one document.

    Args:
        content: JSON with one of the two top members.
        open_message: describes a signed message that is enclosed (prior-signed-voucher-request);
            None if it may not be looked into any deeper.
    """
    kind = kind_of(content.members) or VOUCHER
    top = VOUCHER_TOP if kind == VOUCHER else REQUEST_TOP
    body = content.members[top]
    facts: Facts = {}
    findings: list[Finding] = []
    leaves = body if isinstance(body, dict) else {}
    for leaf, value in islice(leaves.items(), _MOST_LEAVES):
        told, odd = _leaf(leaf, value, open_message)
        facts[shown(leaf)] = told
        findings += odd
        findings += _by_reader(kind, leaf, value)
    findings += _of_voucher(leaves) if kind == VOUCHER else _of_request(leaves)
    findings += _unknown_leaves(kind, leaves)
    if len(content.members) > 1:
        findings.append(Finding(text=f"members beside {top}", section="RFC 8995 §3"))
    read = content.json
    return Description(
        kind=kind,
        facts=facts,
        findings=(*findings, *(read.findings if read else ())),
        stop=read.stop if read else None,
    )


# -- one leaf --------------------------------------------------------------------------------------


def _leaf(
    leaf: str, value: object, open_message: Callable[[bytes], Description | None]
) -> tuple[Fact, tuple[Finding, ...]]:
    if not isinstance(value, str):
        return _plain(value), ()
    if leaf == "nonce":
        return _nonce(value)
    if leaf == "idevid-issuer":
        return _idevid_issuer(value)
    octets = _octets(value)
    if leaf.endswith("-cert"):
        root = Content(octets).asn1
        if certificate.looks_like_certificate(root.root):
            described = certificate.describe_certificate(root.nodes[0])
            return certificate.with_encoding(described, root).as_part(leaf)
    if leaf == "prior-signed-voucher-request":
        enclosed = open_message(octets)
        if enclosed is not None:
            return enclosed.as_part(leaf)
        return f"{len(octets)} octets", ()
    if leaf.endswith(("-pubk", "-pubk-sha256", "-signed-data")):
        return asn1_values.hexed(octets), ()
    return shown(value), ()


def _plain(value: object) -> Fact:
    if value is None or isinstance(value, bool | int):
        return value
    return shown(json.dumps(value, ensure_ascii=True))


def _octets(text: str) -> bytes:
    unwrapped = unwrap(text.encode("utf-8", errors="replace"), size=len(text))
    return unwrapped.contents[0].octets if unwrapped.layers == ("base64",) else b""


def _nonce(text: str) -> tuple[Fact, tuple[Finding, ...]]:
    facts: Facts = {"as spelt": shown(text)}
    try:
        facts["octets"] = len(decode_nonce(text, lenient=True))
    except OnboardingError as err:
        return facts, placed("nonce", (refusal(err),))
    return facts, ()


def _idevid_issuer(text: str) -> tuple[Fact, tuple[Finding, ...]]:
    octets = _octets(text)
    facts: Facts = {"octets": len(octets), "value": asn1_values.hexed(octets)}
    try:
        facts["keyIdentifier"] = decode_idevid_issuer(octets).hex()
    except OnboardingError as err:
        return facts, placed("idevid-issuer", (refusal(err),))
    if octets[:1] == b"\x04":
        return facts, ()
    form = "the bare keyIdentifier" if len(octets) == 20 else "without the OCTET STRING around it"
    return facts, (
        Finding(
            text=f"idevid-issuer of {len(octets)} octets: {form}; the whole extnValue has 26",
            section="RFC 8366bis §6.3",
        ),
    )


def _by_reader(kind: str, leaf: str, value: object) -> Iterator[Finding]:
    """What the programs' own strict reader says of this leaf alone."""
    top, decode = (
        (VOUCHER_TOP, decode_voucher) if kind == VOUCHER else (REQUEST_TOP, decode_voucher_request)
    )
    alone: dict[str, object] = {"serial-number": "SN"} | {leaf: value}
    if leaf.startswith(_EXTENSION):
        alone["extensions"] = [leaf.removeprefix(_EXTENSION)]
    try:
        decode(json.dumps({top: alone}).encode())
    except OnboardingError as err:
        yield refusal(err)


# -- leaves together -------------------------------------------------------------------------------


def _of_voucher(body: Mapping[str, object]) -> Iterator[Finding]:
    for leaf in _MANDATORY:
        if leaf not in body:
            yield Finding(text=f"no {leaf}, which RFC 8366 wants", section="RFC 8366 §5.3")
    if "nonce" in body and "expires-on" in body:
        yield Finding(
            text="nonce and expires-on, which exclude one another", section="RFC 8366 §5.3"
        )
    if not {"nonce", "expires-on"} & body.keys():
        yield Finding(
            text="neither nonce nor expires-on: whoever has it can use it for ever",
            section="RFC 8366 §5.3",
        )
    if "last-renewal-date" in body and "expires-on" not in body:
        yield Finding(text="last-renewal-date without expires-on", section="RFC 8366 §5.3")
    if "prior-signed-voucher-request" in body:
        yield Finding(text="a voucher with a prior-signed-voucher-request", section="RFC 8995 §3.4")
    if not set(_PINS) & body.keys():
        yield Finding(text="it pins nothing", section="RFC 8995 §5.6.1")
    yield from _several(body, _PINS, "RFC 8366bis §8")


def _of_request(body: Mapping[str, object]) -> Iterator[Finding]:
    of_registrar = "prior-signed-voucher-request" in body
    near = set(_PROXIMITY) & body.keys()
    if of_registrar and near:
        yield Finding(
            text=f"a registrar's request with {', '.join(sorted(near))}", section="RFC 8995 §5.5"
        )
    if of_registrar and "idevid-issuer" not in body:
        yield Finding(
            text="a registrar's request without idevid-issuer", section="RFC 8366bis §6.1"
        )
    if body.get("assertion") == "proximity" and not near and not of_registrar:
        yield Finding(
            text="assertion proximity, and nothing that shows it", section="RFC 8995 §5.2"
        )
    if "nonce" not in body:
        yield Finding(text="a request without nonce", section="RFC 8995 §5.2")
    if "nonce" in body and "expires-on" in body:
        yield Finding(
            text="nonce and expires-on, which exclude one another", section="RFC 8366 §5.3"
        )
    for leaf in _IGNORED:
        if leaf in body:
            yield Finding(text=f"{leaf} in a request, where it is ignored", section="RFC 8995 §3.2")
    yield from _several(body, _PROXIMITY, "RFC 8366bis §9")


def _several(
    body: Mapping[str, object], leaves: tuple[str, ...], section: str
) -> Iterator[Finding]:
    there = [leaf for leaf in leaves if leaf in body]
    if len(there) > 1:
        yield Finding(text=f"{', '.join(there)}: one of them counts", section=section)


def _unknown_leaves(kind: str, body: Mapping[str, object]) -> Iterator[Finding]:
    model = Voucher if kind == VOUCHER else VoucherRequest
    known = {name.replace("_", "-") for name in model.__dataclass_fields__} | set(_IGNORED)
    for leaf in islice(body, _MOST_LEAVES):
        if leaf not in known and not leaf.startswith(_EXTENSION):
            yield Finding(
                text=f"{leaf[:64]!a} is no leaf of it, and is ignored",
                section="RFC 8995 §5.6.1",
            )


def bare_kind(name: str) -> Kind:
    """The document by itself, without a signature."""

    def describe(content: Content) -> Description:
        described = describe_document(content, lambda _: None)
        unsigned = Finding(text="the document alone: nobody has signed it", section="RFC 8366 §5.4")
        return Description(
            kind=described.kind,
            facts=described.facts,
            findings=(unsigned, *described.findings),
            stop=described.stop,
        )

    return Kind(
        name=name, recognises=lambda content: kind_of(content.members) == name, describe=describe
    )


KINDS: Final = (bare_kind(VOUCHER), bare_kind(REQUEST))
