"""The manifest for an owner: public records of the devices of one order (docs/manifest.md).

For a registrar without a line to the manufacturer's service. The signature says that the records
come from the manufacturer; whether a certificate is good, its own chain says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import BinaryIO, Final, TypeVar

from brski.errors import Malformed, ManifestRefused, PeerError
from brski.idevid import fields
from brski.idevid.certificate import check_certifiable
from brski.idevid.record import (
    DeviceRecord,
    DeviceStatus,
    certified_spki,
    check_status,
    check_token,
)
from brski.idevid.signed_chunks import (
    MOST_CHUNKS,
    MOST_RECORDS,
    ChunkReader,
    ChunkWriter,
    check_counts,
    key_digest,
    select_key,
)
from brski.pki import cbor
from brski.pki.extensions import KEY_IDENTIFIER_OCTETS
from brski.pki.signer import PublicKey, Signer
from brski.registry import CERTIFICATES_LIMIT

LABEL: Final = "brski owner manifest v1"  # the file's first item and the signature's external_aad
VERSION: Final = 1
MOST_CHAINS: Final = 64
MOST_ORIGINS: Final = 1024
MOST_CERTIFICATE_OCTETS: Final = 16 * 1024

_STATUSES: Final = (DeviceStatus.ACTIVE, DeviceStatus.FLAGGED, DeviceStatus.REVOKED)
_MEMBERS: Final = {
    *("version", "signer", "signer-key", "owner", "order", "created", "expires", "generation"),
    *("chains", "origins", "records", "chunks"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestTerms:
    """For whom a manifest is, and how long it counts."""

    signer_id: str  # under which the registrar has configured the signer's key
    owner: str
    order: str
    created_at: datetime  # aware UTC, whole seconds
    expires_at: datetime  # likewise; from then on it counts no more
    generation: int  # of the order


@dataclass(frozen=True, slots=True)
class _Chain:
    idevid_issuer: bytes
    intermediates: tuple[bytes, ...]  # DER, the IDevID's issuer first, without the root

    def item(self) -> list[cbor.Encodable]:
        return [self.idevid_issuer, self.intermediates]


@dataclass(frozen=True, slots=True)
class _Origin:
    derivation_profile: str
    batch_digest: bytes
    generation: int

    def item(self) -> list[cbor.Encodable]:
        return [self.derivation_profile, self.batch_digest, self.generation]


_Shared = TypeVar("_Shared", _Chain, _Origin)  # what many records have in common


@dataclass(frozen=True, slots=True, kw_only=True)
class _Header:
    terms: ManifestTerms
    signer_key_digest: bytes
    chains: tuple[_Chain, ...]
    origins: tuple[_Origin, ...]
    record_count: int
    chunk_count: int


def write_manifest(
    out: BinaryIO,
    spool: BinaryIO,
    records: Sequence[DeviceRecord],
    terms: ManifestTerms,
    signer: Signer,
) -> bytes:
    """Write a manifest of *records*, in any order.

    Args:
        out: takes the file, from where it stands.
        spool: seekable, readable and writable, such as a temporary file; used from where it stands.
        records: with the status that stands now.
        signer: the manufacturer's manifest key; the same octets again where it is deterministic.

    Returns:
        SHA-256 of the signed payload: the manifest digest.

    Raises:
        ManifestRefused: two records of one serial number and issuer.
        Malformed: a field out of the bounds of docs/manifest.md; no record.
        KeyUnusable: *signer* cannot sign now.

    docs/manifest.md.
    """
    chains = _ascending({_chain_of(record) for record in records})
    origins = _ascending({_origin_of(record) for record in records})
    places: dict[_Chain | _Origin, int] = {each: place for place, each in enumerate(chains)}
    places |= {each: place for place, each in enumerate(origins)}
    chunks = ChunkWriter(spool)
    previous: tuple[str, bytes] | None = None
    for record in sorted(records, key=_pair_of):
        previous = _check_order(previous, _pair_of(record))
        chunks.add(_encode_record(record, places))
    header = _encode_header(
        _Header(
            terms=terms,
            signer_key_digest=key_digest(signer.public_key),
            chains=tuple(chains),
            origins=tuple(origins),
            record_count=len(records),
            chunk_count=chunks.close_chunk(),
        )
    )
    _parse_header(header)
    return chunks.finish(out, label=LABEL, header=header, signer=signer)


class Manifest:
    """A verified manifest; from :func:`open_manifest`."""

    __slots__ = ("_chunks", "_header", "digest")

    def __init__(self, chunks: ChunkReader, header: _Header, digest: bytes) -> None:
        self._chunks = chunks
        self._header = header
        self.digest: Final = digest  # SHA-256 of the signed payload, 32 octets

    @property
    def terms(self) -> ManifestTerms:
        """For whom it is, and how long it counts."""
        return self._header.terms

    @property
    def record_count(self) -> int:
        """How many records it has."""
        return self._header.record_count

    def records(self) -> Iterator[DeviceRecord]:
        """Every record, by ascending serial number and issuer; each call reads the file anew.

        Raises:
            Malformed, SerialNumberMismatch, IDevIDIssuerMismatch, KeyNotAllowed: a certificate is
                not one of the device and issuer that it stands for; see
                :func:`brski.idevid.record.certified_spki`.
            ManifestRefused: the file has changed since it was opened.
        """
        for item in self._chunks.records():
            yield _parse_record(item, self._header)


def open_manifest(
    file: BinaryIO, signers: Mapping[str, PublicKey], *, owner: str, now: datetime
) -> Manifest:
    """Verify a whole manifest before anything of it is used.

    Holds one chunk at a time. The certificates are looked into by :meth:`Manifest.records`.

    Args:
        file: seekable; read from where it stands to its end.
        signers: the registrar's configuration, signer id to public key.
        owner: whose manifests are taken.
        now: aware; compared with ``expires`` to the second.

    Raises:
        UnknownFormat: no manifest of this version; another algorithm.
        Malformed: ends early, goes on after its end, or is not what docs/manifest.md says.
        TooLarge: the envelope or a chunk beyond its bound.
        SignatureInvalid: not signed by the key of the signer that it names.
        ManifestRefused: a signer that is not configured, or named with another key; for another
            owner; past its life; a chunk that is not the one signed for its place; a device twice
            or out of order; other numbers of records or chunks than the header says.

    docs/manifest.md.
    """
    chunks = ChunkReader(file, label=LABEL, refusal=ManifestRefused)
    claimed = _parse_header(chunks.header)
    digest = chunks.verify(
        select_key(signers, claimed.terms.signer_id, claimed.signer_key_digest, ManifestRefused)
    )
    header = _parse_header(chunks.header)
    _check_terms(header.terms, owner, now)
    _check_records(header, chunks)
    return Manifest(chunks, header, digest)


def _check_terms(terms: ManifestTerms, owner: str, now: datetime) -> None:
    if terms.owner != owner:
        raise ManifestRefused(f"the manifest is for {terms.owner!r}, not for {owner!r}")
    if terms.expires_at <= now:
        raise ManifestRefused(
            f"the manifest of order {terms.order!r} ended at {terms.expires_at.isoformat()}",
            hint="ask the manufacturer for a new one",
        )


def _check_records(header: _Header, chunks: ChunkReader) -> None:
    count = 0
    previous: tuple[str, bytes] | None = None
    for item in chunks.records():
        serial_number, chain, *_ = fields.take_array(item, "record", least=8, most=8)
        pair = (
            fields.take_text(serial_number, "serial number"),
            header.chains[_take_place(chain, "chain", header.chains)].idevid_issuer,
        )
        previous = _check_order(previous, pair)
        count += 1
    check_counts(
        {"records": count, "chunks": chunks.chunk_count},
        {"records": header.record_count, "chunks": header.chunk_count},
        ManifestRefused,
    )


def _check_order(previous: tuple[str, bytes] | None, pair: tuple[str, bytes]) -> tuple[str, bytes]:
    # serial numbers are ASCII: the order of their characters is that of their octets
    if previous is not None and pair <= previous:
        raise ManifestRefused(
            f"device {pair[0]}@{pair[1].hex()} comes twice or out of order",
        )
    return pair


# -- from records to items and back


def _pair_of(record: DeviceRecord) -> tuple[str, bytes]:
    return record.serial_number, record.idevid_issuer


def _chain_of(record: DeviceRecord) -> _Chain:
    return _Chain(record.idevid_issuer, record.intermediates)


def _origin_of(record: DeviceRecord) -> _Origin:
    return _Origin(record.derivation_profile, record.batch_digest, record.generation)


def _ascending(group: set[_Shared]) -> list[_Shared]:
    return sorted(group, key=lambda each: cbor.encode(each.item()))


def _encode_record(
    record: DeviceRecord, places: Mapping[_Chain | _Origin, int]
) -> list[cbor.Encodable]:
    return [
        record.serial_number,
        places[_chain_of(record)],
        places[_origin_of(record)],
        fields.encode_presentation(record.presentation),
        record.certificate,
        record.chunk,
        _STATUSES.index(record.status),
        record.status_reason,
    ]


def _parse_record(item: cbor.Item, header: _Header) -> DeviceRecord:
    serial, chain_at, origin_at, presentation, certificate, chunk, status, reason = (
        fields.take_array(item, "record", least=8, most=8)
    )
    serial_number = check_certifiable(fields.take_text(serial, "serial number"))
    chain = header.chains[_take_place(chain_at, "chain", header.chains)]
    origin = header.origins[_take_place(origin_at, "origin", header.origins)]
    octets = _take_certificate(certificate)
    standing = _STATUSES[fields.take_uint(status, "status", most=len(_STATUSES) - 1)]
    said = fields.take_text(reason, "reason")
    check_status(standing, said)
    return DeviceRecord(
        idevid_issuer=chain.idevid_issuer,
        serial_number=serial_number,
        certificate=octets,
        spki=_spki_of(octets, chain.idevid_issuer, serial_number),
        intermediates=chain.intermediates,
        presentation=fields.take_presentation(presentation),
        derivation_profile=origin.derivation_profile,
        batch_digest=origin.batch_digest,
        chunk=fields.take_uint(chunk, "chunk", most=MOST_CHUNKS - 1),
        generation=origin.generation,
        status=standing,
        status_reason=said,
    )


def _spki_of(certificate: bytes, idevid_issuer: bytes, serial_number: str) -> bytes:
    try:
        return certified_spki(certificate, idevid_issuer=idevid_issuer, serial_number=serial_number)
    except PeerError as err:
        raise type(err)(f"record of {serial_number}: {err.reason}") from err


def _take_place(item: cbor.Item, what: str, group: Sequence[object]) -> int:
    return fields.take_uint(item, f"place in {what}s", most=len(group) - 1)


def _take_certificate(item: cbor.Item) -> bytes:
    return fields.take_octets(item, "certificate", least=1, most=MOST_CERTIFICATE_OCTETS)


# -- the header


def _encode_header(header: _Header) -> bytes:
    terms = header.terms
    return cbor.encode(
        {
            "version": VERSION,
            "signer": terms.signer_id,
            "signer-key": header.signer_key_digest,
            "owner": terms.owner,
            "order": terms.order,
            "created": fields.encode_time(terms.created_at, "created"),
            "expires": fields.encode_time(terms.expires_at, "expires"),
            "generation": terms.generation,
            "chains": [chain.item() for chain in header.chains],
            "origins": [origin.item() for origin in header.origins],
            "records": header.record_count,
            "chunks": header.chunk_count,
        }
    )


def _parse_header(octets: bytes) -> _Header:
    members = cbor.decode(octets)
    fields.check_version(members, VERSION, "manifest header")
    taken = fields.take_map(members, _MEMBERS, "manifest header")
    return _Header(
        terms=_parse_terms(taken),
        signer_key_digest=fields.take_digest(taken["signer-key"], "signer-key"),
        chains=_parse_chains(taken["chains"]),
        origins=_parse_origins(taken["origins"]),
        record_count=fields.take_uint(taken["records"], "records", least=1, most=MOST_RECORDS),
        chunk_count=fields.take_uint(taken["chunks"], "chunks", least=1, most=MOST_CHUNKS),
    )


def _parse_terms(taken: Mapping[str, cbor.Item]) -> ManifestTerms:
    terms = ManifestTerms(
        signer_id=fields.take_name(taken["signer"], "signer"),
        owner=fields.take_name(taken["owner"], "owner"),
        order=fields.take_name(taken["order"], "order"),
        created_at=fields.take_time(taken["created"], "created"),
        expires_at=fields.take_time(taken["expires"], "expires"),
        generation=fields.take_uint(taken["generation"], "generation"),
    )
    if terms.expires_at <= terms.created_at:
        raise Malformed("a manifest that ends before it was created")
    return terms


def _parse_chains(item: cbor.Item) -> tuple[_Chain, ...]:
    items = _take_ascending(item, "chains", MOST_CHAINS)
    size, most = KEY_IDENTIFIER_OCTETS, CERTIFICATES_LIMIT - 1
    chains = []
    for entry in items:
        issuer, certificates = fields.take_array(entry, "chain", least=2, most=2)
        chains.append(
            _Chain(
                fields.take_octets(issuer, "idevid-issuer", least=size, most=size),
                tuple(
                    map(
                        _take_certificate,
                        fields.take_array(certificates, "intermediates", least=0, most=most),
                    )
                ),
            )
        )
    return tuple(chains)


def _parse_origins(item: cbor.Item) -> tuple[_Origin, ...]:
    origins = []
    for entry in _take_ascending(item, "origins", MOST_ORIGINS):
        profile, batch, generation = fields.take_array(entry, "origin", least=3, most=3)
        origins.append(
            _Origin(
                check_token(fields.take_text(profile, "profile"), "profile"),
                fields.take_digest(batch, "batch"),
                fields.take_uint(generation, "generation"),
            )
        )
    return tuple(origins)


def _take_ascending(item: cbor.Item, what: str, most: int) -> list[cbor.Item]:
    items = fields.take_array(item, what, least=1, most=most)
    for before, after in pairwise(map(cbor.encode, items)):
        if before >= after:
            raise Malformed(f"{what} are out of order, or one is there twice")
    return items
