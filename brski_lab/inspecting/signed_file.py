"""Signed files of chunks: what build lists, bundles, manifests and seed batches have in common.

Read from their beginning: label, signed manifest, header. Chunks are counted and their digests
compared where the whole file was read. No signature is verified, since the keys are configured
elsewhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Final

from brski.errors import OnboardingError
from brski.pki import cbor, cose
from brski_lab.inspecting import certificate
from brski_lab.inspecting.asn1_values import hexed
from brski_lab.inspecting.content import Content
from brski_lab.inspecting.description import (
    Description,
    Fact,
    Facts,
    Finding,
    Stop,
    placed,
    refusal,
    shown,
)
from brski_lab.inspecting.kind import Kind

MOST_RECORDS: Final = 20  # that are shown

_SIZES: Final = {24: 1, 25: 2, 26: 4, 27: 8}
_BYTE_STRING: Final = 2
_LAST_SECOND: Final = 253402300799
_TIMES: Final = ("created", "expires")
_MOST_CHUNK_OCTETS: Final = 1 << 24

TellRecords = Callable[[cbor.Item], Fact]


def signed_file(name: str, label: str, record: TellRecords | None) -> Kind:
    """The kind of file that begins with *label*.

    Args:
        record: tells one record of a chunk; None where chunks are sealed.
    """
    item = cbor.encode(label)
    return Kind(
        name=name,
        recognises=lambda content: content.octets.startswith(item),
        describe=lambda content: _describe(name, content, len(item), record),
    )


def _describe(name: str, content: Content, start: int, record: TellRecords | None) -> Description:
    facts: Facts = {"label": shown(content.octets[1:start].decode("ascii", errors="replace"))}
    manifest, end = _byte_string(content.octets, start)
    if manifest is None:
        broken = Stop(offset=start, reason="the manifest is not whole, or no byte string")
        return Description(kind=name, facts=facts, stop=broken)
    findings: list[Finding] = []
    try:
        payload = cose.unverified_payload(manifest)
        header, digests = _payload(payload)
    except OnboardingError as err:
        broken = Stop(offset=start, reason="the manifest cannot be read")
        return Description(kind=name, facts=facts, findings=(refusal(err),), stop=broken)
    facts["digest, which names it"] = hashlib.sha256(payload).hexdigest()
    facts["signature"] = "not judged: the key is configured by those who read it"
    facts["header"], odd = _header(header)
    findings += odd
    told, stop, of_chunks = _chunks(content, end, digests, record)
    return Description(kind=name, facts=facts | told, findings=(*findings, *of_chunks), stop=stop)


def _payload(payload: bytes) -> tuple[cbor.Item, list[bytes]]:
    match cbor.decode(payload):
        case [bytes(header), list(digests)]:
            return cbor.decode(header), [each for each in digests if isinstance(each, bytes)]
    return None, []


def _header(header: cbor.Item) -> tuple[Facts, list[Finding]]:
    facts: Facts = {}
    findings: list[Finding] = []
    for name, value in header.items() if isinstance(header, dict) else ():
        if name in ("chain", "chains"):
            told, odd = _certificates(value, str(name))
            facts[str(name)] = told
            findings += odd
        else:
            facts[shown(str(name))] = fact_of(value, name=str(name))
    return facts, findings


def _certificates(value: cbor.Item, place: str) -> tuple[Fact, list[Finding]]:
    if isinstance(value, bytes):
        root = Content(value).asn1.root
        if certificate.looks_like_certificate(root) and root is not None:
            facts, odd = certificate.describe_certificate(root).as_part(place)
            return facts, list(odd)
        return hexed(value), []
    if not isinstance(value, list):
        return fact_of(value), []
    told = [_certificates(each, f"{place} {number}") for number, each in enumerate(value, 1)]
    return [fact for fact, _ in told], [odd for _, odds in told for odd in odds]


def fact_of(value: cbor.Item, *, name: str = "") -> Fact:
    """A CBOR item as a fact: octets in hex, a time as RFC 3339."""
    match value:
        case bytes():
            return hexed(value)
        case str():
            return shown(value)
        case int() if name in _TIMES and 0 <= value <= _LAST_SECOND:
            return datetime.fromtimestamp(value, UTC).isoformat().replace("+00:00", "Z")
        case list():
            return [fact_of(each) for each in value[:MOST_RECORDS]]
        case dict():
            return {shown(str(key)): fact_of(each) for key, each in value.items()}
    return value


# -- chunks ----------------------------------------------------------------------------------------


def _chunks(
    content: Content, at: int, digests: list[bytes], record: TellRecords | None
) -> tuple[Facts, Stop | None, tuple[Finding, ...]]:
    facts: Facts = {"chunks signed for": len(digests)}
    if len(content.octets) < content.size:
        facts["chunks read"] = "none: the file is large, its beginning was read"
        return facts, None, ()
    records: list[Fact] = []
    findings: list[Finding] = []
    for number, digest in enumerate(digests):
        chunk, end = _byte_string(content.octets, at)
        if chunk is None:
            facts["chunks read"] = number
            return facts, Stop(offset=at, reason=f"chunk {number} is not whole"), tuple(findings)
        if hashlib.sha256(chunk).digest() != digest:
            odd = Finding(text="not the chunk that was signed for its place")
            findings += placed(f"chunk {number}", (odd,))
        if record is not None and len(records) < MOST_RECORDS:
            records += _records(chunk, record, MOST_RECORDS - len(records))
        at = end
    facts["chunks read"] = len(digests)
    if record is not None:
        facts[f"records, the first {MOST_RECORDS} at most"] = records
    if at != len(content.octets):
        findings.append(Finding(text=f"octets after the last chunk, from {at} on"))
    return facts, None, tuple(findings)


def _records(chunk: bytes, record: TellRecords, most: int) -> Iterator[Fact]:
    try:
        items = cbor.decode(chunk, max_octets=_MOST_CHUNK_OCTETS)
    except OnboardingError as err:
        yield f"cannot be read: {err.reason}"
        return
    for item in items[:most] if isinstance(items, list) else ():
        yield record(item)


def _byte_string(octets: bytes, at: int) -> tuple[bytes | None, int]:
    """The content of the CBOR byte string at *at*, if it is whole, and where it ends."""
    if at >= len(octets) or octets[at] >> 5 != _BYTE_STRING:
        return None, at
    length, start = octets[at] & 31, at + 1
    if length >= min(_SIZES):
        size = _SIZES.get(length, 0)
        if not size or start + size > len(octets):
            return None, at
        length, start = int.from_bytes(octets[start : start + size], "big"), start + size
    if start + length > len(octets):
        return None, at
    return octets[start : start + length], start + length
