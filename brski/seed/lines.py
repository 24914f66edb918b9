"""Header, manifest and records of a seed batch as lines of text, for vendors that have a shell.

docs/seed-batch.md, "Second format", has them to the octet. One value has one spelling: lines end in
LF, hex digits are lower case, numbers have no leading zero.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from brski.errors import BatchRefused, Malformed, UnknownFormat
from brski.seed.batch import MOST_CHUNKS, BatchHeader
from brski.seed.record import (
    MOST_CHIP_ID_OCTETS,
    MOST_SEED_OCTETS,
    SeedRecord,
    make_record,
)

HEADER_LABEL: Final = b"brski seed batch v1\n"
CHUNK_LABEL: Final = b"brski seed chunk v1\n"
MOST_HEADER_OCTETS: Final = 1024
MOST_MANIFEST_TEXT_OCTETS: Final = MOST_HEADER_OCTETS + MOST_CHUNKS * 72
MOST_RECORD_LINE_OCTETS: Final = 2 * MOST_CHIP_ID_OCTETS + 1 + 2 * MOST_SEED_OCTETS + 1
MOST_CHUNK_HEAD_OCTETS: Final = len(CHUNK_LABEL) + 64 + 3 * 11 + 1

_NAMES: Final = (
    *("vendor", "vendor-key", "product", "batch", "sequence", "predecessor", "profile"),
    *("records", "chunks", "created", "recipient"),
)
_MANIFEST: Final = re.compile(
    b"(" + HEADER_LABEL + b"".join(b"%s: ([ -~]{1,64})\n" % name.encode() for name in _NAMES) + b")"
    rb"((?:chunk: [0-9a-f]{64}\n)*)"
)
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,15}")
_RECORD: Final = re.compile(rb"((?:[0-9a-f]{2})+) ((?:[0-9a-f]{2})+)")
_NO_PREDECESSOR: Final = "none"
_CHUNK_LINE: Final = b"chunk: %s\n"
_CHUNK_LINE_OCTETS: Final = 72


def encode_header_lines(header: BatchHeader) -> bytes:
    """The header as text, ASCII; from here on it is hashed and never encoded again."""
    predecessor = header.predecessor
    values = (
        header.vendor_id,
        header.vendor_key_digest.hex(),
        header.product,
        header.batch_id,
        header.sequence,
        _NO_PREDECESSOR if predecessor is None else predecessor.hex(),
        header.derivation_profile,
        header.record_count,
        header.chunk_count,
        int(header.created_at.timestamp()),
        header.recipient_key_id.hex(),
    )
    lines = (f"{name}: {value}\n" for name, value in zip(_NAMES, values, strict=True))
    return HEADER_LABEL + "".join(lines).encode("ascii")


def encode_manifest_lines(header_octets: bytes, chunk_digests: Sequence[bytes]) -> bytes:
    """What the vendor signs: the header, and a line for each chunk, in order."""
    lines = (_CHUNK_LINE % digest.hex().encode() for digest in chunk_digests)
    return header_octets + b"".join(lines)


def parse_manifest_lines(octets: bytes) -> tuple[BatchHeader, bytes, tuple[bytes, ...]]:
    """Header, its octets, and the digest of each chunk's octets.

    Raises:
        UnknownFormat: another label.
        Malformed: not the lines of docs/seed-batch.md in their one spelling, or values that do not
            fit together.
    """
    found = _MANIFEST.fullmatch(octets)
    if found is None:
        raise _not_lines(octets, HEADER_LABEL, "manifest")
    header_octets, *values, digests = found.groups()
    header = _header(dict(zip(_NAMES, (value.decode("ascii") for value in values), strict=True)))
    count = len(digests) // _CHUNK_LINE_OCTETS
    if count != header.chunk_count:
        raise Malformed(f"{count} digests for {header.chunk_count} chunks")
    lines = digests.decode("ascii").splitlines()
    return header, header_octets, tuple(bytes.fromhex(line[7:]) for line in lines)


def parse_header_lines(octets: bytes) -> BatchHeader:
    """The header alone; raises as :func:`parse_manifest_lines`."""
    found = _MANIFEST.fullmatch(octets)
    if found is None or found[1] != octets:
        raise _not_lines(octets, HEADER_LABEL, "header")
    values = (value.decode("ascii") for value in found.groups()[1:-1])
    return _header(dict(zip(_NAMES, values, strict=True)))


def _header(values: dict[str, str]) -> BatchHeader:
    predecessor = values["predecessor"]
    created = _number(values, "created")
    if created > 253402300799:  # 9999-12-31T23:59:59Z
        raise Malformed("seed batch: created is out of range")
    return BatchHeader(
        vendor_id=values["vendor"],
        vendor_key_digest=_digest(values, "vendor-key"),
        product=values["product"],
        batch_id=values["batch"],
        sequence=_number(values, "sequence"),
        predecessor=None if predecessor == _NO_PREDECESSOR else _digest(values, "predecessor"),
        derivation_profile=values["profile"],
        record_count=_number(values, "records"),
        chunk_count=_number(values, "chunks"),
        created_at=datetime.fromtimestamp(created, UTC),
        recipient_key_id=_digest(values, "recipient"),
    )


def _digest(values: dict[str, str], name: str) -> bytes:
    if not _DIGEST.fullmatch(values[name]):
        raise Malformed(f"seed batch: {name} is not 64 hex digits in lower case")
    return bytes.fromhex(values[name])


def _number(values: dict[str, str], name: str) -> int:
    if not _NUMBER.fullmatch(values[name]):
        raise Malformed(f"seed batch: {name} is no number, or not in its one spelling")
    return int(values[name])


# -- a chunk


def encode_chunk_lines(
    header: BatchHeader, header_octets: bytes, index: int, records: Sequence[SeedRecord]
) -> bytes:
    """The secret text that is sealed as chunk *index*."""
    lines = (b"%s %s\n" % (_hex(r.chip_id), _hex(r.seed.octets)) for r in records)
    return _chunk_head(header, header_octets, index) + b"".join(lines)


def _hex(octets: bytes) -> bytes:
    return octets.hex().encode("ascii")


def _chunk_head(header: BatchHeader, header_octets: bytes, index: int) -> bytes:
    """What ties a chunk to its batch, its place and its size; the seal covers it."""
    digest = hashlib.sha256(header_octets).hexdigest().encode("ascii")
    numbers = (index, header.chunk_count, header.records_in(index))
    return CHUNK_LABEL + digest + b" %d %d %d\n" % numbers


def parse_chunk_lines(
    header: BatchHeader, header_octets: bytes, index: int, plaintext: bytes
) -> tuple[SeedRecord, ...]:
    """The records of chunk *index*; from here on this process holds secrets.

    Raises:
        BatchRefused: another batch's chunk, or another place's.
        UnknownFormat: another label.
        Malformed: lines that are no records; the reason has their number, from 0, never a seed.
    """
    head = _chunk_head(header, header_octets, index)
    if not plaintext.startswith(CHUNK_LABEL) or b"\r" in plaintext:
        raise _not_lines(plaintext, CHUNK_LABEL, "plaintext")
    if not plaintext.startswith(head):
        raise BatchRefused(
            "it does not name this batch, this place in it and its number of records"
        )
    *lines, rest = plaintext[len(head) :].split(b"\n")
    if rest:
        raise Malformed("the plaintext does not end with a line feed")
    return tuple(_parse_record(number, line) for number, line in enumerate(lines))


def _parse_record(number: int, line: bytes) -> SeedRecord:
    found = _RECORD.fullmatch(line)
    if found is None:
        raise Malformed(
            f"record {number} is not chip id and seed in hex, lower case, with a space between"
        )
    chip_id, seed = (bytes.fromhex(part.decode("ascii")) for part in found.groups())
    return make_record(number, chip_id, seed)


def _not_lines(octets: bytes, label: bytes, what: str) -> UnknownFormat | Malformed:
    """Why *octets* are not what they should be, as far as a person can mend it."""
    if octets.startswith(b"\xef\xbb\xbf"):
        return Malformed(f"the {what} begins with a byte order mark")
    if b"\r" in octets:
        return Malformed(f"the {what} has CR in it; lines end in LF alone")
    if not octets.startswith(label):
        return UnknownFormat(f"the {what} does not begin with {label.decode('ascii').strip()!r}")
    return Malformed(f"the {what} is not the lines that docs/seed-batch.md has, in their order")
