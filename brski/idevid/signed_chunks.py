"""A signed file of chunks: what the build list and the bundle have in common (docs/oem-formats.md).

A CBOR sequence: the format's label, a COSE_Sign1 over a header and the digest of every chunk, then
the chunks. A reader verifies the signature and all digests before it hands out the first record,
and holds one chunk at a time. What header and records say is their formats' business. Streams are
given by the caller; no path is opened here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import BinaryIO, Final, TypeVar

from brski.errors import Malformed, PeerError, Refused, TooLarge, UnknownFormat
from brski.idevid import fields
from brski.pki import cbor, cose, keys
from brski.pki.signer import PublicKey, Signer

T = TypeVar("T")

MOST_RECORDS_A_CHUNK: Final = 10_000
MOST_CHUNKS: Final = 16_384
MOST_CHUNK_OCTETS: Final = 1 << 24  # ours: what a reader must hold at once
MOST_MANIFEST_OCTETS: Final = 1 << 20
MOST_RECORDS: Final = MOST_CHUNKS * MOST_RECORDS_A_CHUNK

_MOST_ARRAY_HEAD: Final = 3  # octets, of up to 10,000 items
_COPY_OCTETS: Final = 1 << 16
_BYTE_STRING: Final = 2  # CBOR major type
_SIZES: Final = {24: 1, 25: 2, 26: 4, 27: 8}  # of the length behind a head's first octet


def key_digest(public_key: PublicKey) -> bytes:
    """How a header names its signer's key: SHA-256 of the SubjectPublicKeyInfo, 32 octets."""
    return hashlib.sha256(keys.encode_spki(public_key)).digest()


def select_key(
    configured: Mapping[str, PublicKey], name: str, digest: bytes, refusal: type[Refused]
) -> PublicKey:
    """The configured key of the signer that a header names.

    Args:
        configured: the reader's own settings, signer to public key.
        name: of the signer.
        digest: of its key, as the header says.
        refusal: what a file of another signer is refused with.

    Raises:
        Refused: as *refusal*: nobody of that name is configured, or with another key.
    """
    public_key = configured.get(name)
    if public_key is None:
        raise refusal(
            f"signer {name!r} is not configured",
            hint=f"configured: {', '.join(sorted(configured)) or 'none'}",
        )
    if key_digest(public_key) != digest:
        raise refusal(
            f"signer {name!r} signs with key {digest.hex()}, configured is "
            f"{key_digest(public_key).hex()}"
        )
    return public_key


def check_order(
    previous: str, serial_number: str, refusal: type[Refused], *, what: str, number: int
) -> None:
    """Raise *refusal* unless *serial_number* comes after *previous*, in order of ASCII octets.

    Both are ASCII, so the order of their characters is that of their octets.

    Args:
        what, number: how the record is called in a refusal, and its number in the file, from 0.
    """
    if serial_number == previous:
        raise refusal(f"{what} {number}: serial number {serial_number} comes twice")
    if serial_number < previous:
        raise refusal(f"{what} {number}: serial number {serial_number} comes after {previous}")


def parse_each(
    items: Iterable[cbor.Item], parse: Callable[[cbor.Item], T], what: str
) -> Iterator[T]:
    """Every item as *parse* takes it.

    Args:
        what: how one is called in a refusal.

    Raises:
        PeerError: whatever *parse* raises; the reason begins with the item's number, from 0.
    """
    for number, item in enumerate(items):
        try:
            parsed = parse(item)
        except PeerError as err:
            raise type(err)(f"{what} {number}: {err.reason}", section=err.section) from None
        yield parsed


def check_counts(found: Mapping[str, int], said: Mapping[str, int], refusal: type[Refused]) -> None:
    """Raise *refusal* unless what was *found* is what the header *said*, by the things counted."""
    for what, count in found.items():
        if count != said[what]:
            raise refusal(f"{count} {what}, the header says {said[what]}")


class ChunkWriter:
    """Gathers records into chunks, and writes the file when the last one is known.

    Holds one chunk at a time. The manifest stands before the chunks and names their digests, so
    they wait in *spool*.

    Args:
        spool: seekable, readable and writable, such as a temporary file; used from where it stands.
    """

    __slots__ = ("_digests", "_octets", "_records", "_spool", "_start")

    def __init__(self, spool: BinaryIO) -> None:
        self._spool = spool
        self._start = spool.tell()
        self._digests: list[bytes] = []
        self._records: list[bytes] = []
        self._octets = 0

    def add(self, record: cbor.Encodable) -> None:
        """Put *record* into the current chunk, or into the next one where that is full.

        A chunk is full with 10,000 records, or where another would bring it over 16 MiB.
        """
        encoded = cbor.encode(record)
        room = MOST_CHUNK_OCTETS - _MOST_ARRAY_HEAD - self._octets
        if len(self._records) == MOST_RECORDS_A_CHUNK or len(encoded) > room:
            self.close_chunk()
        self._records.append(encoded)
        self._octets += len(encoded)

    def close_chunk(self) -> int:
        """End the current chunk, if there is anything in it.

        Returns:
            How many chunks there are now.

        Raises:
            TooLarge: there are more than 16,384, or a record alone is over 16 MiB.
        """
        if self._records:
            chunk = _array_head(len(self._records)) + b"".join(self._records)
            self._digests.append(hashlib.sha256(chunk).digest())
            if len(self._digests) > MOST_CHUNKS or len(chunk) > MOST_CHUNK_OCTETS:
                raise TooLarge(f"chunk {len(self._digests)} of {len(chunk)} octets does not fit")
            self._spool.write(cbor.encode(chunk))
            self._records.clear()
            self._octets = 0
        return len(self._digests)

    def finish(self, out: BinaryIO, *, label: str, header: bytes, signer: Signer) -> bytes:
        """Write the whole file; :meth:`close_chunk` was the last call before.

        Args:
            out: takes the file, from where it stands.
            label: the format's; also the signature's external_aad.
            header: CBOR, the format's own.
            signer: the same octets again where it is deterministic.

        Returns:
            SHA-256 of the signed payload, which names the file from then on.

        Raises:
            KeyUnusable: *signer* cannot sign now.

        RFC 9052 §4.4.
        """
        payload = cbor.encode([header, self._digests])
        manifest = cose.sign1(payload, signer, external_aad=label.encode("ascii"))
        out.write(cbor.encode(label) + cbor.encode(manifest))
        self._spool.seek(self._start)
        while piece := self._spool.read(_COPY_OCTETS):
            out.write(piece)
        return hashlib.sha256(payload).digest()


def _array_head(length: int) -> bytes:
    unsigned = cbor.encode(length)
    return bytes((unsigned[0] | 4 << 5,)) + unsigned[1:]


class ChunkReader:
    """Reads the file: :attr:`header`, then :meth:`verify`, then :meth:`records`.

    Args:
        file: seekable; read from where it stands to its end.
        label: the format's.
        refusal: what a well-formed file is refused with.

    Raises:
        UnknownFormat: the file does not begin with *label*, or its signature has another algorithm.
        Malformed: the manifest is not what docs/oem-formats.md says, or ends early.
        TooLarge: a manifest of more than 1 MiB.
    """

    __slots__ = ("_digests", "_file", "_label", "_manifest", "_refusal", "_start", "header")

    def __init__(self, file: BinaryIO, *, label: str, refusal: type[Refused]) -> None:
        self._file = file
        self._label = label
        self._refusal = refusal
        self._check_label()
        self._manifest = self._read_item(MOST_MANIFEST_OCTETS, "manifest")
        self._start = file.tell()
        self._digests: tuple[bytes, ...] = ()
        #: the format's own CBOR, not believed before :meth:`verify` has returned
        self.header, _ = _parse_payload(cose.unverified_payload(self._manifest))

    def verify(self, public_key: PublicKey) -> bytes:
        """Verify the signature, then that every chunk is the one signed for its place.

        Args:
            public_key: of the signer that :attr:`header` names, from the reader's own settings.

        Returns:
            SHA-256 of the signed payload, which names the file.

        Raises:
            SignatureInvalid: not signed by that key as this format.
            Malformed: ends early, goes on after the last chunk, or a chunk is no byte string.
            TooLarge: a chunk of more than 16 MiB.
            Refused: as *refusal*: a chunk altered, missing, twice or in another place.

        RFC 9052 §4.4.
        """
        aad = self._label.encode("ascii")
        payload = cose.verify1(self._manifest, public_key, external_aad=aad)
        self.header, self._digests = _parse_payload(payload)
        self._file.seek(self._start)
        for index in range(len(self._digests)):
            self._read_chunk(index)
        if self._file.read(1):
            raise Malformed("octets after the last chunk")
        return hashlib.sha256(payload).digest()

    @property
    def chunk_count(self) -> int:
        """How many chunks were signed; 0 before :meth:`verify`."""
        return len(self._digests)

    def records(self) -> Iterator[cbor.Item]:
        """Every record in order; each call reads anew. Nothing before :meth:`verify`.

        Raises:
            Malformed: a chunk is not an array of 1 to 10,000 records in deterministic CBOR.
            Refused: as *refusal*: the file has changed since it was verified.
        """
        position = self._start
        for index in range(len(self._digests)):
            self._file.seek(position)  # the caller may have moved it between two records
            chunk = self._read_chunk(index)
            position = self._file.tell()
            yield from _parse_chunk(chunk, index)

    def _read_chunk(self, index: int) -> bytes:
        chunk = self._read_item(MOST_CHUNK_OCTETS, f"chunk {index}")
        if hashlib.sha256(chunk).digest() != self._digests[index]:
            raise self._refusal(f"chunk {index} is not the one that was signed for this place")
        return chunk

    def _check_label(self) -> None:
        item = cbor.encode(self._label)
        if self._file.read(len(item)) != item:
            raise UnknownFormat(f"this is no {self._label!r}")

    def _read_item(self, most: int, what: str) -> bytes:
        """The content of the byte string that comes next."""
        first = self._read(1, what)[0]
        major, length = first >> 5, first & 31
        size = _SIZES.get(length, 0)
        if major != _BYTE_STRING or (length >= min(_SIZES) and not size):
            raise Malformed(f"{what} is no byte string of known length")
        if size:
            length = int.from_bytes(self._read(size, what), "big")
        if size and length < (24 if size == 1 else 1 << 4 * size):
            raise Malformed(f"{what} has a longer head than needed", section="RFC 8949 §4.2.1")
        if length > most:
            raise TooLarge(f"{what} of {length} octets, {most} are the most")
        return self._read(length, what)

    def _read(self, octets: int, what: str) -> bytes:
        content = self._file.read(octets)
        if len(content) != octets:
            raise Malformed(f"the file ends early, in its {what}")
        return content


def _parse_chunk(chunk: bytes, index: int) -> list[cbor.Item]:
    try:
        items = cbor.decode(chunk, max_octets=MOST_CHUNK_OCTETS)
    except PeerError as err:
        raise type(err)(f"chunk {index}: {err.reason}", section=err.section) from None
    return fields.take_array(items, f"chunk {index}", least=1, most=MOST_RECORDS_A_CHUNK)


def _parse_payload(payload: bytes) -> tuple[bytes, tuple[bytes, ...]]:
    members = cbor.decode(payload, max_octets=MOST_MANIFEST_OCTETS)
    header, digests = fields.take_array(members, "payload", least=2, most=2)
    return (
        fields.take_octets(header, "header", least=1, most=MOST_MANIFEST_OCTETS),
        tuple(
            fields.take_digest(digest, "chunk digest")
            for digest in fields.take_array(digests, "chunk digests", least=1, most=MOST_CHUNKS)
        ),
    )
