"""The bundle: what the factory publishes of one batch (docs/oem-formats.md).

Certificates and what the OEM database must know of them; no secret. The signature says that the
records come from the factory; whether a certificate is good, its own chain says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import BinaryIO, Final

from cryptography import x509

from brski.errors import BundleRefused, ChainInvalid, Malformed, PeerError
from brski.idevid import fields
from brski.idevid.certificate import check_certifiable
from brski.idevid.record import DeviceRecord, Presentation, certified_spki, check_token
from brski.idevid.shape import Shapes
from brski.idevid.signed_chunks import (
    MOST_CHUNKS,
    MOST_RECORDS,
    ChunkReader,
    ChunkWriter,
    check_counts,
    check_order,
    key_digest,
    parse_each,
    select_key,
)
from brski.pki import cbor, extensions, keys
from brski.pki.chain import check_presented_chain
from brski.pki.signer import PublicKey, Signer
from brski.registry import CERTIFICATES_LIMIT

LABEL: Final = "brski bundle v1"  # the file's first item and the signature's external_aad
VERSION: Final = 1
MOST_CERTIFICATE_OCTETS: Final = 16 * 1024
MOST_REPLACED: Final = 8  # what the chip had, and what the serial number had: two, as a rule

_MEMBERS: Final = {
    *("version", "factory", "factory-key", "batch", "build-list", "generation", "created"),
    *("product", "profile", "chain", "records", "revocations", "chunks"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleOrigin:
    """Where the records of one bundle come from."""

    factory_id: str  # under which the database has configured the factory's key
    batch_digest: bytes  # SHA-256 of the seed batch's signed payload
    build_list_digest: bytes  # SHA-256 of the build list's signed payload
    generation: int  # the build list's
    created_at: datetime  # the build list's; aware UTC, whole seconds
    product: str
    derivation_profile: str
    issuing_chain: tuple[bytes, ...]  # DER: the issuing certificate first, its root last


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleHeader:
    """What the factory says of a bundle."""

    origin: BundleOrigin
    factory_key_digest: bytes  # SHA-256 of its SubjectPublicKeyInfo
    record_count: int
    revocation_count: int  # as they stand at the records; one may be named twice
    chunk_count: int


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Revocation:
    """An earlier certificate that a re-issue replaced."""

    idevid_issuer: bytes  # 20-octet keyIdentifier
    serial_number: str
    certificate_sha256: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CertifiedDevice:
    """What the factory adds to a bundle for one device."""

    serial_number: str
    presentation: Presentation
    certificate: bytes  # IDevID, DER
    chunk: int  # of the seed batch, from 0
    replaces: tuple[Revocation, ...] = ()  # what its chip had before, and its serial number


class BundleWriter:
    """Writes a bundle, record by record; holds one chunk at a time.

    Whether a certificate is of the device that it is added for, the reader checks; a factory reads
    its own bundle once before it lets it go.

    Args:
        spool: seekable, readable and writable, such as a temporary file; used from where it stands.
        origin: what all records have in common.

    Raises:
        Malformed, ChainInvalid: *origin* is out of the bounds of docs/oem-formats.md.
    """

    __slots__ = ("_chunks", "_origin", "_previous", "_record_count", "_revocation_count")

    def __init__(self, spool: BinaryIO, origin: BundleOrigin) -> None:
        self._chunks = ChunkWriter(spool)
        self._origin = origin
        self._previous = ""
        self._record_count = 0
        self._revocation_count = 0
        _parse_header(
            _encode_header(
                BundleHeader(
                    origin=origin,
                    factory_key_digest=bytes(32),
                    record_count=1,
                    revocation_count=0,
                    chunk_count=1,
                )
            )
        )

    def add(self, device: CertifiedDevice) -> None:
        """Append one record; serial numbers come in ascending order of their ASCII octets.

        Args:
            device: its ``replaces`` in any order.

        Raises:
            BundleRefused: its serial number is not after the one before.
            Malformed: a field is out of the bounds of docs/oem-formats.md.
        """
        item = _encode_device(device)
        _parse_device(item)
        check_order(
            self._previous,
            device.serial_number,
            BundleRefused,
            what="record",
            number=self._record_count,
        )
        self._chunks.add(item)
        self._previous = device.serial_number
        self._record_count += 1
        self._revocation_count += len(device.replaces)

    def finish(self, out: BinaryIO, signer: Signer) -> bytes:
        """Sign and write the whole file.

        Args:
            out: takes the file, from where it stands.
            signer: the factory's key; the same octets again where it is deterministic.

        Returns:
            SHA-256 of the signed payload: the bundle digest.

        Raises:
            Malformed: there is no record.
            KeyUnusable: *signer* cannot sign now.

        docs/oem-formats.md.
        """
        header = _encode_header(
            BundleHeader(
                origin=self._origin,
                factory_key_digest=key_digest(signer.public_key),
                record_count=self._record_count,
                revocation_count=self._revocation_count,
                chunk_count=self._chunks.close_chunk(),
            )
        )
        _parse_header(header)
        return self._chunks.finish(out, label=LABEL, header=header, signer=signer)


class Bundle:
    """A verified bundle; from :func:`open_bundle`."""

    __slots__ = ("_chunks", "_idevid_issuer", "digest", "header")

    def __init__(self, chunks: ChunkReader, header: BundleHeader, digest: bytes) -> None:
        self._chunks = chunks
        self._idevid_issuer = _identifier_of(keys.parse_certificate(header.origin.issuing_chain[0]))
        self.header: Final = header
        self.digest: Final = digest  # SHA-256 of the signed payload, 32 octets

    @property
    def idevid_issuer(self) -> bytes:
        """The issuing certificate's SubjectKeyIdentifier, 20 octets; of every record."""
        return self._idevid_issuer

    def revocations(self) -> Iterator[Revocation]:
        """Every certificate that this bundle replaces; some are named twice.

        To be applied, all of them, before the first record is stored: two devices may have changed
        places. Each call reads the file anew.

        Raises:
            BundleRefused: the file has changed since it was opened.
        """
        if not self.header.revocation_count:
            return
        for item in self._chunks.records():
            yield from _parse_device(item).replaces

    def records(self) -> Iterator[DeviceRecord]:
        """Every record, by ascending serial number; each call reads the file anew.

        Raises:
            Malformed, SerialNumberMismatch, IDevIDIssuerMismatch, KeyNotAllowed: a certificate is
                not one of the device and issuer that it stands for; see
                :func:`brski.idevid.record.certified_spki`.
            BundleRefused: the file has changed since it was opened.
        """
        shapes = Shapes()
        for number, item in enumerate(self._chunks.records()):
            yield self._record_of(number, _parse_device(item), shapes)

    def _record_of(self, number: int, device: CertifiedDevice, shapes: Shapes) -> DeviceRecord:
        origin = self.header.origin
        parts = shapes.fit(device.certificate, device.serial_number)
        spki = self._certified_spki(number, device, shapes) if parts is None else parts.spki
        return DeviceRecord(
            idevid_issuer=self._idevid_issuer,
            serial_number=device.serial_number,
            certificate=device.certificate,
            spki=spki,
            intermediates=origin.issuing_chain[:-1],
            presentation=device.presentation,
            derivation_profile=origin.derivation_profile,
            batch_digest=origin.batch_digest,
            chunk=device.chunk,
            generation=origin.generation,
        )

    def _certified_spki(self, number: int, device: CertifiedDevice, shapes: Shapes) -> bytes:
        try:
            spki = certified_spki(
                device.certificate,
                idevid_issuer=self._idevid_issuer,
                serial_number=device.serial_number,
            )
        except PeerError as err:
            raise type(err)(f"record {number}, {device.serial_number}: {err.reason}") from err
        shapes.learn(device.certificate, device.serial_number)
        return spki


def open_bundle(file: BinaryIO, factories: Mapping[str, PublicKey]) -> Bundle:
    """Verify a whole bundle before anything of it is used: signature, every chunk, order, counts.

    Holds one chunk at a time. The certificates are looked into by :meth:`Bundle.records`.

    Args:
        file: seekable; read from where it stands to its end.
        factories: the reader's configuration, factory id to public key.

    Raises:
        UnknownFormat: no bundle of this version; another algorithm.
        Malformed: ends early, goes on after its end, or is not what docs/oem-formats.md says.
        TooLarge: a manifest or chunk beyond its bound.
        SignatureInvalid: not signed by the key of the factory that it names.
        ChainInvalid: the issuing chain does not hang together up to a self-signed root.
        BundleRefused: a factory that is not configured, or named with another key; a chunk that is
            not the one signed for its place; a serial number twice; records out of order; other
            numbers of records, revocations or chunks than the header says.

    docs/oem-formats.md.
    """
    chunks = ChunkReader(file, label=LABEL, refusal=BundleRefused)
    claimed = _parse_header(chunks.header)
    digest = chunks.verify(
        select_key(factories, claimed.origin.factory_id, claimed.factory_key_digest, BundleRefused)
    )
    header = _parse_header(chunks.header)
    _check_counts(header, chunks)
    return Bundle(chunks, header, digest)


def _check_counts(header: BundleHeader, chunks: ChunkReader) -> None:
    records = revocations = 0
    previous = ""
    for device in parse_each(chunks.records(), _parse_device, "record"):
        check_order(previous, device.serial_number, BundleRefused, what="record", number=records)
        previous = device.serial_number
        records += 1
        revocations += len(device.replaces)
    check_counts(
        {"records": records, "revocations": revocations, "chunks": chunks.chunk_count},
        {
            "records": header.record_count,
            "revocations": header.revocation_count,
            "chunks": header.chunk_count,
        },
        BundleRefused,
    )


def _encode_header(header: BundleHeader) -> bytes:
    origin = header.origin
    return cbor.encode(
        {
            "version": VERSION,
            "factory": origin.factory_id,
            "factory-key": header.factory_key_digest,
            "batch": origin.batch_digest,
            "build-list": origin.build_list_digest,
            "generation": origin.generation,
            "created": fields.encode_time(origin.created_at, "created"),
            "product": origin.product,
            "profile": origin.derivation_profile,
            "chain": origin.issuing_chain,
            "records": header.record_count,
            "revocations": header.revocation_count,
            "chunks": header.chunk_count,
        }
    )


def _parse_header(octets: bytes) -> BundleHeader:
    members = cbor.decode(octets)
    fields.check_version(members, VERSION, "bundle header")
    taken = fields.take_map(members, _MEMBERS, "bundle header")
    origin = BundleOrigin(
        factory_id=fields.take_name(taken["factory"], "factory"),
        batch_digest=fields.take_digest(taken["batch"], "batch"),
        build_list_digest=fields.take_digest(taken["build-list"], "build-list"),
        generation=fields.take_uint(taken["generation"], "generation"),
        created_at=fields.take_time(taken["created"], "created"),
        product=fields.take_name(taken["product"], "product"),
        derivation_profile=check_token(fields.take_text(taken["profile"], "profile"), "profile"),
        issuing_chain=_parse_chain(taken["chain"]),
    )
    return BundleHeader(
        origin=origin,
        factory_key_digest=fields.take_digest(taken["factory-key"], "factory-key"),
        record_count=fields.take_uint(taken["records"], "records", least=1, most=MOST_RECORDS),
        revocation_count=fields.take_uint(taken["revocations"], "revocations"),
        chunk_count=fields.take_uint(taken["chunks"], "chunks", least=1, most=MOST_CHUNKS),
    )


def _parse_chain(item: cbor.Item) -> tuple[bytes, ...]:
    items = fields.take_array(item, "issuing chain", least=1, most=CERTIFICATES_LIMIT)
    octets = tuple(_take_certificate(entry, "issuing certificate") for entry in items)
    issuing, *issuers = [keys.parse_certificate(entry) for entry in octets]
    root = issuers[-1] if issuers else issuing
    check_presented_chain([issuing, *issuers])
    if root.subject != root.issuer:
        raise ChainInvalid("the issuing chain does not end in a root")
    _identifier_of(issuing)
    return octets


def _identifier_of(issuing: x509.Certificate) -> bytes:
    identifier = extensions.subject_key_identifier(issuing)
    if identifier is None or len(identifier) != extensions.KEY_IDENTIFIER_OCTETS:
        raise Malformed("the issuing certificate has no SubjectKeyIdentifier of 20 octets")
    return identifier


def _take_certificate(item: cbor.Item, what: str) -> bytes:
    return fields.take_octets(item, what, least=1, most=MOST_CERTIFICATE_OCTETS)


def _encode_device(device: CertifiedDevice) -> list[cbor.Item]:
    replaced = sorted(
        (entry.idevid_issuer, entry.serial_number, entry.certificate_sha256)
        for entry in device.replaces
    )
    return [
        device.serial_number,
        fields.encode_presentation(device.presentation),
        device.certificate,
        device.chunk,
        [[*entry] for entry in replaced],
    ]


def _parse_device(item: cbor.Item) -> CertifiedDevice:
    serial_number, presentation, certified, chunk, replaced = fields.take_array(
        item, "record", least=5, most=5
    )
    device = CertifiedDevice(
        serial_number=check_certifiable(fields.take_text(serial_number, "serial number")),
        presentation=fields.take_presentation(presentation),
        certificate=_take_certificate(certified, "certificate"),
        chunk=fields.take_uint(chunk, "chunk", most=MOST_CHUNKS - 1),
        replaces=tuple(
            _parse_revocation(entry)
            for entry in fields.take_array(replaced, "replaces", least=0, most=MOST_REPLACED)
        ),
    )
    _check_replaces(device)
    return device


def _parse_revocation(item: cbor.Item) -> Revocation:
    idevid_issuer, serial_number, digest = fields.take_array(item, "revocation", least=3, most=3)
    size = extensions.KEY_IDENTIFIER_OCTETS
    return Revocation(
        idevid_issuer=fields.take_octets(idevid_issuer, "idevid-issuer", least=size, most=size),
        serial_number=check_certifiable(fields.take_text(serial_number, "serial number")),
        certificate_sha256=fields.take_digest(digest, "certificate digest"),
    )


def _check_replaces(device: CertifiedDevice) -> None:
    for before, after in pairwise(device.replaces):
        if before >= after:
            raise Malformed(f"{device.serial_number}: its revocations are out of order")
    if not device.replaces:
        return
    own = hashlib.sha256(device.certificate).digest()
    if any(entry.certificate_sha256 == own for entry in device.replaces):
        raise Malformed(f"{device.serial_number} revokes its own certificate")
