"""The build list: which product serial number each chip got at assembly (docs/oem-formats.md).

Comes from the side that the method trusts least, so it is signed, and refused whole where two
entries contradict each other. What contradicts an earlier list, the factory's ledger knows.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice, pairwise
from typing import BinaryIO, Final

from brski.errors import BatchRefused
from brski.idevid import certificate, fields
from brski.idevid.record import Presentation
from brski.idevid.signed_chunks import (
    MOST_CHUNKS,
    MOST_RECORDS,
    MOST_RECORDS_A_CHUNK,
    ChunkReader,
    ChunkWriter,
    check_counts,
    check_order,
    key_digest,
    parse_each,
    select_key,
)
from brski.pki import cbor
from brski.pki.signer import PublicKey, Signer

LABEL: Final = "brski build list v1"  # the file's first item and the signature's external_aad
VERSION: Final = 1
MOST_CHIP_ID_OCTETS: Final = 64

_MARK_OCTETS: Final = 16
_MEMBERS: Final = {
    *("version", "signer", "signer-key", "created", "product", "generation"),
    *("entries", "chunks"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildEntry:
    """One chip on one product."""

    chip_id: bytes  # 1 to 64 octets, as the silicon vendor writes it
    serial_number: str  # the device's
    presentation: Presentation
    replace: bool = False  # certifies anew; what this chip or this serial number had is revoked


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildListHeader:
    """What the assembly side says of one build list."""

    signer_id: str  # under which the factory has configured the signer's key
    signer_key_digest: bytes  # SHA-256 of its SubjectPublicKeyInfo
    created_at: datetime  # aware UTC, whole seconds: the certificates' notBefore
    product: str
    generation: int  # of the bundle that comes of it
    entry_count: int
    chunk_count: int


class BuildListWriter:
    """Writes a build list, entry by entry; holds one chunk at a time.

    Args:
        spool: seekable, readable and writable, such as a temporary file; used from where it stands.
    """

    __slots__ = ("_chunks", "_count", "_previous")

    def __init__(self, spool: BinaryIO) -> None:
        self._chunks = ChunkWriter(spool)
        self._count = 0
        self._previous = ""

    def add(self, entry: BuildEntry) -> None:
        """Append *entry*; serial numbers come in ascending order of their ASCII octets.

        A chip that comes twice is seen by the reader only.

        Raises:
            BatchRefused: its serial number is not after the one before.
            Malformed: a chip id or serial number that no reader would take.
        """
        item: list[cbor.Item] = [
            entry.chip_id,
            entry.serial_number,
            fields.encode_presentation(entry.presentation),
            entry.replace,
        ]
        _parse_entry(item)
        check_order(
            self._previous, entry.serial_number, BatchRefused, what="entry", number=self._count
        )
        self._chunks.add(item)
        self._previous = entry.serial_number
        self._count += 1

    def finish(
        self,
        out: BinaryIO,
        *,
        signer_id: str,
        created_at: datetime,
        product: str,
        generation: int,
        signer: Signer,
    ) -> bytes:
        """Sign and write the whole file.

        Args:
            out: takes the file, from where it stands.
            signer_id: under which the factory has configured *signer*'s key.
            created_at: aware, whole seconds.
            product: 1 to 64 printable ASCII characters, as in the seed batch.
            generation: of the bundle; higher than that of the product's list before.
            signer: the same octets again where it is deterministic.

        Returns:
            SHA-256 of the signed payload: the build list digest.

        Raises:
            Malformed: one of these is out of its bounds, or there is no entry.
            KeyUnusable: *signer* cannot sign now.

        docs/oem-formats.md.
        """
        header = cbor.encode(
            {
                "version": VERSION,
                "signer": signer_id,
                "signer-key": key_digest(signer.public_key),
                "created": fields.encode_time(created_at, "created"),
                "product": product,
                "generation": generation,
                "entries": self._count,
                "chunks": self._chunks.close_chunk(),
            }
        )
        _parse_header(header)
        return self._chunks.finish(out, label=LABEL, header=header, signer=signer)


class BuildList:
    """A verified build list; from :func:`open_build_list`."""

    __slots__ = ("_chunks", "digest", "header")

    def __init__(self, chunks: ChunkReader, header: BuildListHeader, digest: bytes) -> None:
        self._chunks = chunks
        self.header: Final = header
        self.digest: Final = digest  # SHA-256 of the signed payload, 32 octets

    @property
    def chunk_count(self) -> int:
        """How many chunks were signed."""
        return self._chunks.chunk_count

    def entries(self) -> Iterator[BuildEntry]:
        """Every entry, by ascending serial number; each call reads the file anew.

        Raises:
            Malformed: one that is none; the reason has its number, from 0.
            BatchRefused: the file has changed since it was opened.
        """
        return parse_each(self._chunks.records(), _parse_entry, "entry")


def open_build_list(file: BinaryIO, signers: Mapping[str, PublicKey]) -> BuildList:
    """Verify a whole build list before anything of it is used.

    Holds one chunk, and 16 octets for each entry to find a chip that comes twice.

    Args:
        file: seekable; read from where it stands to its end.
        signers: the factory's configuration, signer id to public key.

    Raises:
        UnknownFormat: no build list of this version; another algorithm.
        Malformed: ends early, goes on after its end, or is not what docs/oem-formats.md says.
        TooLarge: a manifest or chunk beyond its bound.
        SignatureInvalid: not signed by the key of the signer that it names.
        BatchRefused: a signer that is not configured, or named with another key; a chunk that is
            not the one signed for its place; a serial number or a chip twice; entries out of order;
            other numbers of entries or chunks than the header says.

    docs/oem-formats.md.
    """
    chunks = ChunkReader(file, label=LABEL, refusal=BatchRefused)
    claimed = _parse_header(chunks.header)
    digest = chunks.verify(
        select_key(signers, claimed.signer_id, claimed.signer_key_digest, BatchRefused)
    )
    found = BuildList(chunks, _parse_header(chunks.header), digest)
    _check_entries(found)
    return found


def _parse_header(octets: bytes) -> BuildListHeader:
    members = cbor.decode(octets)
    fields.check_version(members, VERSION, "build list header")
    taken = fields.take_map(members, _MEMBERS, "build list header")
    return BuildListHeader(
        signer_id=fields.take_name(taken["signer"], "signer"),
        signer_key_digest=fields.take_digest(taken["signer-key"], "signer-key"),
        created_at=fields.take_time(taken["created"], "created"),
        product=fields.take_name(taken["product"], "product"),
        generation=fields.take_uint(taken["generation"], "generation"),
        entry_count=fields.take_uint(taken["entries"], "entries", least=1, most=MOST_RECORDS),
        chunk_count=fields.take_uint(taken["chunks"], "chunks", least=1, most=MOST_CHUNKS),
    )


def _parse_entry(item: cbor.Item) -> BuildEntry:
    chip_id, serial_number, presentation, replace = fields.take_array(
        item, "entry", least=4, most=4
    )
    return BuildEntry(
        chip_id=fields.take_octets(chip_id, "chip id", least=1, most=MOST_CHIP_ID_OCTETS),
        serial_number=certificate.check_certifiable(
            fields.take_text(serial_number, "serial number")
        ),
        presentation=fields.take_presentation(presentation),
        replace=fields.take_bool(replace, "replace"),
    )


def _check_entries(found: BuildList) -> None:
    count = 0
    previous = ""
    runs = []
    entries = found.entries()
    while run := list(islice(entries, MOST_RECORDS_A_CHUNK)):
        for number, entry in enumerate(run, start=count):
            check_order(previous, entry.serial_number, BatchRefused, what="entry", number=number)
            previous = entry.serial_number
        count += len(run)
        runs.append(b"".join(sorted(_mark(entry.chip_id) for entry in run)))
    check_counts(
        {"entries": count, "chunks": found.chunk_count},
        {"entries": found.header.entry_count, "chunks": found.header.chunk_count},
        BatchRefused,
    )
    for mark, following in pairwise(heapq.merge(*map(_marks_of, runs))):
        if mark == following:
            raise BatchRefused(_two_serial_numbers(found, mark))


def _mark(chip_id: bytes) -> bytes:
    # 16 octets, to hold 16 MB a million. Two chips do not have one mark by chance; on purpose only
    # the signer could bring it about, to see its own list refused.
    return hashlib.sha256(chip_id).digest()[:_MARK_OCTETS]


def _marks_of(run: bytes) -> Iterator[bytes]:
    return (run[at : at + _MARK_OCTETS] for at in range(0, len(run), _MARK_OCTETS))


def _two_serial_numbers(found: BuildList, mark: bytes) -> str:
    entries = enumerate(found.entries())
    same = [(number, entry) for number, entry in entries if _mark(entry.chip_id) == mark]
    numbers = " and ".join(entry.serial_number for _, entry in same[:2])
    at, entry = same[1]
    return f"entry {at}: chip {entry.chip_id.hex()} has two serial numbers, {numbers}"
