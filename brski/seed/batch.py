"""What the octets of a seed batch mean: header, sealed chunks, signed manifest.

docs/seed-batch.md has the format to the octet, and what is refused in which order. The file around
it is :mod:`brski.seed.batch_file`; replay and duplicates over batches are the factory's ledger's.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

from brski.errors import BatchRefused, KeyMismatch, KeyUnusable, Malformed, UnknownFormat
from brski.pki import cbor, cose
from brski.pki.keys import encode_spki
from brski.pki.signer import PublicKey, Signer
from brski.seed.profiles import DerivationProfile, profile
from brski.seed.recipient_key import (
    HPKE_CODE_POINTS,
    SEAL_OVERHEAD_OCTETS,
    HybridPrivateKey,
    HybridPublicKey,
)
from brski.seed.record import (
    MOST_CHIP_ID_OCTETS,
    MOST_SEED_OCTETS,
    SeedRecord,
    check_distinct,
    make_record,
)
from brski.seed.secret import LEAST_SEED_OCTETS

LABEL: Final = "brski seed batch v1"  # the file's first item and the signature's external_aad
VERSION: Final = 1
MOST_RECORDS_A_CHUNK: Final = 10_000
MOST_CHUNKS: Final = 16_384
MOST_MANIFEST_OCTETS: Final = 1 << 20
MOST_SEQUENCE: Final = 2**53 - 1
LEAST_SEALED_OCTETS: Final = SEAL_OVERHEAD_OCTETS + 1 + 1 + 2 + (2 + LEAST_SEED_OCTETS)
MOST_PLAINTEXT_OCTETS: Final = 3 + MOST_RECORDS_A_CHUNK * (
    1 + (2 + MOST_CHIP_ID_OCTETS) + (3 + MOST_SEED_OCTETS)
)
MOST_SEALED_OCTETS: Final = SEAL_OVERHEAD_OCTETS + MOST_PLAINTEXT_OCTETS

_CHUNK_LABEL: Final = b"brski seed chunk v1"
_DIGEST_OCTETS: Final = 32
_LAST_SECOND: Final = 253402300799  # 9999-12-31T23:59:59Z
_NAME: Final = re.compile(r"[!-~](?:[ -~]{0,62}[!-~])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchHeader:
    """What a vendor says of one batch. Public.

    Raises:
        Malformed: a member out of the bounds of docs/seed-batch.md, or members that do not fit
            together.
    """

    vendor_id: str  # under which the OEM has configured the vendor's key
    vendor_key_digest: bytes  # SHA-256 of the vendor's SubjectPublicKeyInfo
    product: str
    batch_id: str  # the vendor's own name for it
    sequence: int  # from 1, for each vendor and product
    predecessor: bytes | None  # batch digest of sequence - 1; None exactly for 1
    derivation_profile: str
    record_count: int  # in all chunks
    chunk_count: int
    created_at: datetime  # aware UTC, whole seconds
    recipient_key_id: bytes  # SHA-256 of the OEM's public key file

    def __post_init__(self) -> None:
        for what in ("vendor_id", "product", "batch_id", "derivation_profile"):
            _check(_NAME.fullmatch(getattr(self, what)), f"{what} is not a name")
        for what in ("vendor_key_digest", "recipient_key_id"):
            _check(len(getattr(self, what)) == _DIGEST_OCTETS, f"{what} has not 32 octets")
        _check(1 <= self.sequence <= MOST_SEQUENCE, "sequence is out of range")
        first = self.predecessor is None
        _check(
            first == (self.sequence == 1), "exactly the batch with sequence 1 has no predecessor"
        )
        _check(first or len(self.predecessor or b"") == _DIGEST_OCTETS, "predecessor is no digest")
        _check(1 <= self.chunk_count <= MOST_CHUNKS, f"{self.chunk_count} chunks are not allowed")
        _check(
            self.chunk_count <= self.record_count <= self.chunk_count * MOST_RECORDS_A_CHUNK,
            f"{self.record_count} records do not fit into {self.chunk_count} chunks",
        )
        _check(
            self.created_at.tzinfo is not None
            and self.created_at.microsecond == 0
            and 0 <= self.created_at.timestamp() <= _LAST_SECOND,
            "created is not a whole second since 1970",
        )

    def records_in(self, index: int) -> int:
        """How many records chunk *index* holds: as even as they go, the larger chunks first.

        Raises:
            BatchRefused: there is no such chunk.
        """
        if not 0 <= index < self.chunk_count:
            raise BatchRefused(f"there is no chunk {index} among {self.chunk_count}")
        least, larger = divmod(self.record_count, self.chunk_count)
        return least + (index < larger)


class RecipientKey(Protocol):
    """The OEM's public key of either format."""

    @property
    def key_id(self) -> bytes:
        """What a header names it by, 32 octets."""


def build_header(
    *,
    vendor_id: str,
    vendor_key: PublicKey,
    product: str,
    batch_id: str,
    sequence: int,
    predecessor: bytes | None,
    derivation_profile: str,
    record_count: int,
    created_at: datetime,
    recipient: RecipientKey,
    records_a_chunk: int = MOST_RECORDS_A_CHUNK,
) -> BatchHeader:
    """The header of a batch to be minted.

    Args:
        vendor_key: the key that will sign.
        predecessor: batch digest of the batch before; None for sequence 1.
        created_at: aware UTC; whole seconds.
        records_a_chunk: no chunk gets more.

    Raises:
        Malformed: see :class:`BatchHeader`.
    """
    return BatchHeader(
        vendor_id=vendor_id,
        vendor_key_digest=key_digest(vendor_key),
        product=product,
        batch_id=batch_id,
        sequence=sequence,
        predecessor=predecessor,
        derivation_profile=derivation_profile,
        record_count=record_count,
        chunk_count=-(-record_count // records_a_chunk),
        created_at=created_at,
        recipient_key_id=recipient.key_id,
    )


def key_digest(public_key: PublicKey) -> bytes:
    """SHA-256 of the key's SubjectPublicKeyInfo in DER, 32 octets raw."""
    return hashlib.sha256(encode_spki(public_key)).digest()


def encode_header(header: BatchHeader) -> bytes:
    """The header's octets, CBOR; from here on they are hashed and never encoded again.

    docs/seed-batch.md.
    """
    return cbor.encode(
        {
            "version": VERSION,
            "hpke": HPKE_CODE_POINTS,
            "vendor": header.vendor_id,
            "vendor-key": header.vendor_key_digest,
            "product": header.product,
            "batch": header.batch_id,
            "sequence": header.sequence,
            "predecessor": header.predecessor,
            "profile": header.derivation_profile,
            "records": header.record_count,
            "chunks": header.chunk_count,
            "created": int(header.created_at.timestamp()),
            "recipient": header.recipient_key_id,
        }
    )


def parse_header(octets: bytes) -> BatchHeader:
    """Read a header from the byte string inside a manifest's payload.

    Raises:
        UnknownFormat: another version, or other HPKE code points.
        Malformed: not the map of docs/seed-batch.md, or not in its one encoding.
    """
    members = cbor.decode(octets)
    if not isinstance(members, dict):
        raise Malformed("the header of a seed batch is no map")
    if not _is_integer(members.get("version"), VERSION):
        raise UnknownFormat(f"seed batch of version {members.get('version')!r:.40}, not {VERSION}")
    if members.keys() != _MEMBERS:
        raise Malformed("the header of a seed batch has members missing, or too many")
    if not _are_code_points(members["hpke"]):
        raise UnknownFormat("seed batch sealed with other HPKE algorithms than 647a, 1, 2")
    created = _integer(members, "created")
    _check(0 <= created <= _LAST_SECOND, "created is out of range")
    return BatchHeader(
        vendor_id=_text(members, "vendor"),
        vendor_key_digest=_octets(members, "vendor-key"),
        product=_text(members, "product"),
        batch_id=_text(members, "batch"),
        sequence=_integer(members, "sequence"),
        predecessor=None if members["predecessor"] is None else _octets(members, "predecessor"),
        derivation_profile=_text(members, "profile"),
        record_count=_integer(members, "records"),
        chunk_count=_integer(members, "chunks"),
        created_at=datetime.fromtimestamp(created, UTC),
        recipient_key_id=_octets(members, "recipient"),
    )


_MEMBERS: Final = {
    *("version", "hpke", "vendor", "vendor-key", "product", "batch", "sequence", "predecessor"),
    *("profile", "records", "chunks", "created", "recipient"),
}


def chunk_info(header_octets: bytes, index: int) -> bytes:
    """HPKE's ``info`` for chunk *index*: what ties it to its batch, its place and its size.

    Args:
        header_octets: as received.

    Raises:
        BatchRefused: there is no such chunk.
        Malformed, UnknownFormat: see :func:`parse_header`.

    docs/seed-batch.md.
    """
    return _chunk_info(parse_header(header_octets), header_octets, index)


def _chunk_info(header: BatchHeader, header_octets: bytes, index: int) -> bytes:
    numbers = (index, header.chunk_count, header.records_in(index))
    return b"".join(
        [
            _CHUNK_LABEL,
            hashlib.sha256(header_octets).digest(),
            *(number.to_bytes(4, "big") for number in numbers),
        ]
    )


def seal_chunk(
    header_octets: bytes, index: int, records: Sequence[SeedRecord], recipient: HybridPublicKey
) -> bytes:
    """Seal *records* as chunk *index* of the batch whose header has these octets.

    Raises:
        BatchRefused: what :func:`open_chunk` would refuse: another recipient than the header's,
            another number of records, a short seed, a chip id or seed twice.
        Malformed, UnknownFormat: see :func:`parse_header`; UnknownFormat also for an unknown
            derivation profile.

    docs/seed-batch.md.
    """
    header = parse_header(header_octets)
    check_recipient(header, recipient.key_id)
    check_records(header, index, records, profile(header.derivation_profile))
    plaintext = cbor.encode([[record.chip_id, record.seed.octets] for record in records])
    return recipient.seal(plaintext, _chunk_info(header, header_octets, index))


def open_chunk(
    header_octets: bytes, index: int, sealed: bytes, private_key: HybridPrivateKey
) -> tuple[SeedRecord, ...]:
    """Open chunk *index*; from here on this process holds secrets.

    Args:
        header_octets: from a manifest that :func:`verify_manifest` accepted.
        sealed: octets whose digest that manifest names for *index*.

    Raises:
        BatchRefused: sealed to another key, for another place or another batch, or altered; another
            number of records than the header gives this chunk; a seed shorter than the profile
            asks; a chip id or a seed twice.
        Malformed: the plaintext is not what docs/seed-batch.md says.
        UnknownFormat: another version, HPKE algorithms or derivation profile.

    Nothing of a seed is in any message. docs/seed-batch.md; RFC 9180 §6.1.
    """
    header = parse_header(header_octets)
    check_recipient(header, private_key.public_key.key_id)
    derivation = profile(header.derivation_profile)
    try:
        plaintext = private_key.open(sealed, _chunk_info(header, header_octets, index))
    except KeyMismatch:
        raise BatchRefused(
            f"chunk {index} does not open: not sealed to this key for this place in this batch"
        ) from None
    try:
        records = _parse_records(plaintext)
        check_records(header, index, records, derivation)
    except (Malformed, BatchRefused) as err:
        raise type(err)(f"chunk {index}: {err.reason}", section=err.section) from None
    return records


def _parse_records(plaintext: bytes) -> tuple[SeedRecord, ...]:
    items = cbor.decode(plaintext, max_octets=MOST_PLAINTEXT_OCTETS, max_depth=2)
    if not isinstance(items, list):
        raise Malformed("the plaintext is no list of records")
    return tuple(_parse_record(number, item) for number, item in enumerate(items))


def _parse_record(number: int, item: cbor.Item) -> SeedRecord:
    match item:
        case [bytes() as chip_id, bytes() as seed]:
            return make_record(number, chip_id, seed)
        case _:
            raise Malformed(f"record {number} is no chip id and seed")


def check_recipient(header: BatchHeader, key_id: bytes) -> None:
    """Raise BatchRefused unless a batch was sealed to the key with this id."""
    if header.recipient_key_id != key_id:
        raise BatchRefused(
            f"sealed to recipient key {header.recipient_key_id.hex()}, not to {key_id.hex()}"
        )


def check_records(
    header: BatchHeader, index: int, records: Sequence[SeedRecord], derivation: DerivationProfile
) -> None:
    """Raise unless *records* are what *header* and its profile allow as chunk *index*.

    Raises:
        BatchRefused: another number of them, a seed too short or too long, a chip id or seed twice.
    """
    if len(records) != header.records_in(index):
        raise BatchRefused(f"{len(records)} records, the header says {header.records_in(index)}")
    least, most = derivation.least_seed_octets, derivation.most_seed_octets
    for number, record in enumerate(records):
        if not least <= len(record.seed) <= most:
            asked = f"{least}" if least == most else f"{least} to {most}"
            raise BatchRefused(
                f"record {number}: the seed of chip {record.chip_id.hex()} has "
                f"{len(record.seed)} octets, {derivation.name} needs {asked}"
            )
    check_distinct(records)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What the vendor signed, verified. Public."""

    header: BatchHeader
    header_octets: bytes  # as received
    chunk_digests: tuple[bytes, ...]  # SHA-256 of each sealed chunk, in order
    digest: bytes  # the batch digest: SHA-256 of the signed payload


def encode_payload(header_octets: bytes, chunk_digests: Sequence[bytes]) -> bytes:
    """What the vendor signs, CBOR; its SHA-256 is the batch digest.

    docs/seed-batch.md.
    """
    return cbor.encode([header_octets, chunk_digests])


def sign_batch(header_octets: bytes, chunk_digests: Sequence[bytes], signer: Signer) -> bytes:
    """The manifest: a COSE_Sign1 by the vendor over the header and the digests.

    Raises:
        KeyUnusable: *signer* is not the key that the header names, or cannot sign now.

    docs/seed-batch.md; RFC 9052 §4.2.
    """
    if parse_header(header_octets).vendor_key_digest != key_digest(signer.public_key):
        raise KeyUnusable("the batch's header names another vendor key than the one that signs")
    payload = encode_payload(header_octets, chunk_digests)
    return cose.sign1(payload, signer, external_aad=LABEL.encode("ascii"))


def verify_manifest(
    signed: bytes, vendors: Mapping[str, PublicKey], recipient_key_id: bytes
) -> Manifest:
    """Verify a manifest by the configured key of the vendor that it names.

    Args:
        signed: the COSE_Sign1, untrusted.
        vendors: the OEM's configuration, vendor id to public key.
        recipient_key_id: of the OEM's own key, 32 octets.

    Raises:
        BatchRefused: a vendor that is not configured, or named with another key; another recipient.
        SignatureInvalid: not signed by that vendor's key.
        UnknownFormat: another version, algorithm or derivation profile.
        TooLarge: more than 1 MiB.
        Malformed: not what docs/seed-batch.md says.
        KeyNotAllowed: the configured key is none of P-256, P-384 and Ed25519.

    docs/seed-batch.md; RFC 9052 §4.4.
    """
    claimed, _, _ = _parse_payload(cose.unverified_payload(signed, max_octets=MOST_MANIFEST_OCTETS))
    vendor_key = configured_key(claimed, vendors)
    payload = cose.verify1(signed, vendor_key, external_aad=LABEL.encode("ascii"))
    header, header_octets, chunk_digests = _parse_payload(payload)
    check_recipient(header, recipient_key_id)
    profile(header.derivation_profile)
    return Manifest(
        header=header,
        header_octets=header_octets,
        chunk_digests=chunk_digests,
        digest=hashlib.sha256(payload).digest(),
    )


def configured_key(claimed: BatchHeader, vendors: Mapping[str, PublicKey]) -> PublicKey:
    """The key of the vendor that a header names, as the OEM knows it; the header is not believed.

    Raises:
        BatchRefused: a vendor that is not configured, or named with another key.
    """
    vendor_key = vendors.get(claimed.vendor_id)
    if vendor_key is None:
        raise BatchRefused(
            f"vendor {claimed.vendor_id!r} is not configured",
            hint=f"configured: {', '.join(sorted(vendors)) or 'none'}",
        )
    if claimed.vendor_key_digest != key_digest(vendor_key):
        raise BatchRefused(
            f"vendor {claimed.vendor_id!r} signs with key {claimed.vendor_key_digest.hex()}, "
            f"configured is {key_digest(vendor_key).hex()}"
        )
    return vendor_key


def _parse_payload(payload: bytes) -> tuple[BatchHeader, bytes, tuple[bytes, ...]]:
    match cbor.decode(payload):
        case [bytes() as header_octets, list() as digests]:
            header = parse_header(header_octets)
        case _:
            raise Malformed("the payload of a seed batch is no header and digests")
    if len(digests) != header.chunk_count:
        raise Malformed(f"{len(digests)} digests for {header.chunk_count} chunks")
    checked = tuple(d for d in digests if isinstance(d, bytes) and len(d) == _DIGEST_OCTETS)
    _check(len(checked) == len(digests), "a chunk's digest has not 32 octets")
    return header, header_octets, checked


def _check(holds: object, reason: str) -> None:
    if not holds:
        raise Malformed(f"seed batch: {reason}")


def _is_integer(item: cbor.Item, value: int) -> bool:
    """Equal and an integer: true is 1 to Python, and no number to CBOR."""
    return type(item) is int and item == value


def _are_code_points(item: cbor.Item) -> bool:
    if not isinstance(item, list) or len(item) != len(HPKE_CODE_POINTS):
        return False
    return all(map(_is_integer, item, HPKE_CODE_POINTS))


def _integer(members: Mapping[int | str, cbor.Item], name: str) -> int:
    value = members[name]
    if isinstance(value, bool) or not isinstance(value, int):
        raise Malformed(f"seed batch: {name} is no integer")
    return value


def _octets(members: Mapping[int | str, cbor.Item], name: str) -> bytes:
    value = members[name]
    if not isinstance(value, bytes):
        raise Malformed(f"seed batch: {name} is no byte string")
    return value


def _text(members: Mapping[int | str, cbor.Item], name: str) -> str:
    value = members[name]
    if not isinstance(value, str):
        raise Malformed(f"seed batch: {name} is no text")
    return value
