"""Headers of seed batches in both formats (docs/seed-batch.md). No seed's key is ever needed."""

from __future__ import annotations

import hashlib
from typing import Final

from brski.errors import OnboardingError
from brski.seed.batch import LABEL
from brski.seed.lines import HEADER_LABEL, parse_manifest_lines
from brski_lab.inspecting.cms_message import signed_data_of
from brski_lab.inspecting.content import Content
from brski_lab.inspecting.description import Description, Facts, refusal, shown
from brski_lab.inspecting.kind import Kind
from brski_lab.inspecting.signed_file import signed_file

NAME: Final = "seed batch"
_MOST_LINES: Final = 16  # of the header


def _recognises(content: Content) -> bool:
    return _text(content).startswith(HEADER_LABEL)


def _text(content: Content) -> bytes:
    parts = signed_data_of(content.asn1.root)
    return b"" if parts is None else parts.payload or b""


def _describe(content: Content) -> Description:
    text = _text(content)
    head, _, _ = text.partition(b"chunk: ")
    header: Facts = {}
    for line in head.removeprefix(HEADER_LABEL).splitlines()[:_MOST_LINES]:
        name, _, value = line.decode("ascii", errors="replace").partition(": ")
        header[shown(name)] = shown(value)
    facts: Facts = {
        "format": "CMS",
        "digest, which names it": hashlib.sha256(text).hexdigest(),
        "signature": "not judged: the vendor's key is configured by those who read it",
        "header": header,
        "chunks signed for": text.count(b"\nchunk: "),
        "sealed chunks in the file": max(0, len(content.asn1.nodes) - 1),
    }
    try:
        parse_manifest_lines(text)
    except OnboardingError as err:
        return Description(kind=NAME, facts=facts, findings=(refusal(err),), stop=content.asn1.stop)
    stop = content.asn1.stop
    if len(content.octets) < content.size:  # its beginning alone was read
        stop = None
    return Description(kind=NAME, facts=facts, stop=stop)


KINDS: Final = (
    signed_file(NAME, LABEL, None),
    Kind(name=NAME, recognises=_recognises, describe=_describe),
)
