"""The seed batch as a file that is written and read one chunk at a time.

A CBOR sequence: label, manifest, sealed chunks (docs/seed-batch.md). Streams are given by the
caller; no path is opened here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO, Final

from brski.errors import BatchRefused, Malformed, TooLarge, UnknownFormat
from brski.pki import cbor
from brski.pki.signer import PublicKey, Signer
from brski.seed.batch import (
    LABEL,
    LEAST_SEALED_OCTETS,
    MOST_MANIFEST_OCTETS,
    MOST_SEALED_OCTETS,
    BatchHeader,
    Manifest,
    encode_header,
    encode_payload,
    seal_chunk,
    sign_batch,
    verify_manifest,
)
from brski.seed.recipient_key import HybridPublicKey
from brski.seed.record import SeedRecord

_LABEL_ITEM: Final = cbor.encode(LABEL)
_COPY_OCTETS: Final = 1 << 16
_BYTE_STRING: Final = 2  # CBOR major type
_SIZES: Final = {24: 1, 25: 2, 26: 4, 27: 8}  # of the length behind a head's first octet


@dataclass(frozen=True, slots=True, kw_only=True)
class MintedBatch:
    """What a vendor keeps of a batch that it minted. Public."""

    header_octets: bytes
    manifest: bytes  # the COSE_Sign1
    digest: bytes  # the batch digest: the next batch's predecessor


def mint(
    header: BatchHeader,
    records: Iterable[SeedRecord],
    *,
    recipient: HybridPublicKey,
    signer: Signer,
    out: BinaryIO,
    spool: BinaryIO,
) -> MintedBatch:
    """Write a seed batch; the vendor's side.

    Holds one chunk at a time. The manifest stands before the chunks and names their digests, so
    sealed chunks wait in *spool* until the last one is known; nothing in it is secret. Apart from
    HPKE's and the signer's randomness the file is a function of the arguments.

    Args:
        header: from :func:`brski.seed.batch.build_header`.
        records: as many as the header says. Duplicates are seen within a chunk only; the OEM's
            intake sees the others.
        out: takes the file, from where it stands.
        spool: seekable, readable and writable, such as a temporary file; used from where it stands.

    Raises:
        BatchRefused: fewer or more records than the header says, another recipient, or a chunk that
            the OEM would refuse (see :func:`brski.seed.batch.seal_chunk`).
        KeyUnusable: *signer* is not the header's vendor key, or cannot sign now.
        UnknownFormat: a derivation profile that is not known.

    docs/seed-batch.md.
    """
    header_octets = encode_header(header)
    start = spool.tell()
    digests = []
    left = iter(records)
    for index in range(header.chunk_count):
        chunk = tuple(islice(left, header.records_in(index)))
        sealed = seal_chunk(header_octets, index, chunk, recipient)
        digests.append(hashlib.sha256(sealed).digest())
        spool.write(cbor.encode(sealed))
    if next(left, None) is not None:
        raise BatchRefused(f"more records than the {header.record_count} that the header says")
    manifest = sign_batch(header_octets, digests, signer)
    out.write(_LABEL_ITEM + cbor.encode(manifest))
    spool.seek(start)
    while piece := spool.read(_COPY_OCTETS):
        out.write(piece)
    return MintedBatch(
        header_octets=header_octets,
        manifest=manifest,
        digest=hashlib.sha256(encode_payload(header_octets, digests)).digest(),
    )


class SeedBatch:
    """A verified batch, still sealed; from :func:`open_batch`. Holds no secret.

    Chunks may be read in any order, from the stream that the batch was opened on; one thread at a
    time.
    """

    __slots__ = ("_manifest", "_offsets", "_stream")

    def __init__(
        self, stream: BinaryIO, manifest: Manifest, offsets: tuple[tuple[int, int], ...]
    ) -> None:
        self._stream = stream
        self._manifest = manifest
        self._offsets = offsets

    @property
    def header(self) -> BatchHeader:
        """What the vendor says of the batch."""
        return self._manifest.header

    @property
    def header_octets(self) -> bytes:
        """The header as received; goes with each sealed chunk to whoever opens it."""
        return self._manifest.header_octets

    @property
    def digest(self) -> bytes:
        """The batch digest, 32 octets raw: SHA-256 of the signed payload."""
        return self._manifest.digest

    def sealed_chunk(self, index: int) -> bytes:
        """The octets of chunk *index*, for :func:`brski.seed.batch.open_chunk`.

        Raises:
            BatchRefused: there is no such chunk, or the file has changed since it was opened.
        """
        if not 0 <= index < len(self._offsets):
            raise BatchRefused(f"there is no chunk {index} among {len(self._offsets)}")
        offset, length = self._offsets[index]
        self._stream.seek(offset)
        sealed = self._stream.read(length)
        if hashlib.sha256(sealed).digest() != self._manifest.chunk_digests[index]:
            raise BatchRefused(f"chunk {index} has changed since the batch was opened")
        return sealed

    def sealed_chunks(self) -> Iterator[tuple[int, bytes]]:
        """Each index with its chunk, in order.

        Raises:
            BatchRefused: the file has changed since it was opened.
        """
        for index in range(len(self._offsets)):
            yield index, self.sealed_chunk(index)


def open_batch(
    stream: BinaryIO, vendors: Mapping[str, PublicKey], recipient_key_id: bytes
) -> SeedBatch:
    """Verify a whole batch before anything of it is decrypted: signature, counts, every digest.

    Args:
        stream: seekable; read from where it stands to its end, one piece at a time.
        vendors: the OEM's configuration, vendor id to public key.
        recipient_key_id: of the OEM's own key, 32 octets.

    Returns:
        The batch, whose chunks are still to be opened, elsewhere.

    Raises:
        BatchRefused: a vendor that is not configured, or named with another key; another recipient;
            a chunk that is not the one signed for its place.
        SignatureInvalid: not signed by that vendor's key.
        UnknownFormat: not a seed batch of this version; another algorithm or derivation profile.
        TooLarge: a manifest or chunk beyond its bound.
        Malformed: ends early, goes on after the last chunk, or is not what docs/seed-batch.md says.

    docs/seed-batch.md.
    """
    if read_exactly(stream, len(_LABEL_ITEM), "label") != _LABEL_ITEM:
        raise UnknownFormat(f"this is no {LABEL!r}")
    signed = read_exactly(
        stream, _read_length(stream, MOST_MANIFEST_OCTETS, "manifest"), "manifest"
    )
    manifest = verify_manifest(signed, vendors, recipient_key_id)
    offsets = tuple(
        _find_chunk(stream, index, digest) for index, digest in enumerate(manifest.chunk_digests)
    )
    if stream.read(1):
        raise Malformed("octets after the last chunk")
    return SeedBatch(stream, manifest, offsets)


def _find_chunk(stream: BinaryIO, index: int, digest: bytes) -> tuple[int, int]:
    """Where the chunk at the stream's position is and how long; leaves the stream behind it."""
    length = _read_length(stream, MOST_SEALED_OCTETS, f"chunk {index}")
    offset = stream.tell()
    if length < LEAST_SEALED_OCTETS:
        raise BatchRefused(f"chunk {index} of {length} octets is none")
    check_chunk(stream, index, length, digest)
    return offset, length


def check_chunk(stream: BinaryIO, index: int, length: int, digest: bytes) -> None:
    """Raise unless the next *length* octets are the chunk that was signed for this place.

    Raises:
        BatchRefused: they are another.
        Malformed: the file ends early.
    """
    actual = hashlib.sha256()
    for start in range(0, length, _COPY_OCTETS):
        actual.update(read_exactly(stream, min(_COPY_OCTETS, length - start), f"chunk {index}"))
    if actual.digest() != digest:
        raise BatchRefused(f"chunk {index} is not the one that the vendor signed for this place")


def _read_length(stream: BinaryIO, most: int, what: str) -> int:
    """The length of the byte string whose head comes next; leaves the stream behind the head."""
    first = read_exactly(stream, 1, what)[0]
    major, length = first >> 5, first & 31
    size = _SIZES.get(length, 0)
    if major != _BYTE_STRING or (length >= min(_SIZES) and not size):
        raise Malformed(f"{what} is no byte string of known length")
    if size:
        length = int.from_bytes(read_exactly(stream, size, what), "big")
    if size and length < (24 if size == 1 else 1 << 4 * size):
        raise Malformed(f"{what} has a longer head than needed", section="RFC 8949 §4.2.1")
    if length > most:
        raise TooLarge(f"{what} of {length} octets, {most} are the most")
    return length


def read_exactly(stream: BinaryIO, octets: int, what: str) -> bytes:
    """The next *octets* octets.

    Raises:
        Malformed: there are fewer; *what* says in what the file ends.
    """
    content = stream.read(octets)
    if len(content) != octets:
        raise Malformed(f"the file ends early, in its {what}")
    return content
