"""The seed batch that a vendor can make with OpenSSL and a shell (docs/seed-batch.md).

A row of DER values: one SignedData around the manifest's text, then an AuthEnvelopedData for each
chunk. What is signed, counted and refused is the same as in the first format; so is what comes out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import BinaryIO, Final

from cryptography.hazmat.primitives.asymmetric import ec

from brski.errors import BatchRefused, KeyMismatch, KeyNotAllowed, KeyUnusable, Malformed, TooLarge
from brski.pki import der, signatures
from brski.pki.extensions import key_identifier
from brski.pki.keys import encode_spki
from brski.pki.signer import PublicKey, Signer
from brski.registry import (
    ECDSA_WITH_SHA256,
    ECDSA_WITH_SHA384,
    ID_DATA,
    ID_SHA256,
    ID_SHA384,
    ID_SIGNED_DATA,
)
from brski.seed.batch import (
    MOST_RECORDS_A_CHUNK,
    BatchHeader,
    Manifest,
    check_recipient,
    check_records,
    configured_key,
    key_digest,
)
from brski.seed.batch_file import MintedBatch, SeedBatch, check_chunk, read_exactly
from brski.seed.cms_keys import MOST_ENVELOPE_OCTETS, CMSPrivateKey, CMSPublicKey
from brski.seed.lines import (
    MOST_CHUNK_HEAD_OCTETS,
    MOST_MANIFEST_TEXT_OCTETS,
    MOST_RECORD_LINE_OCTETS,
    encode_chunk_lines,
    encode_header_lines,
    encode_manifest_lines,
    parse_chunk_lines,
    parse_header_lines,
    parse_manifest_lines,
)
from brski.seed.profiles import profile
from brski.seed.record import SeedRecord

MOST_MANIFEST_OCTETS: Final = MOST_MANIFEST_TEXT_OCTETS + 512  # the SignedData around it: 280
LEAST_SEALED_OCTETS: Final = 256
MOST_SEALED_OCTETS: Final = (
    MOST_ENVELOPE_OCTETS + MOST_CHUNK_HEAD_OCTETS + MOST_RECORDS_A_CHUNK * MOST_RECORD_LINE_OCTETS
)

_COPY_OCTETS: Final = 1 << 16
_SECTION: Final = "RFC 5652 §5"
# the vendor's curve -> digest and signature algorithm (RFC 5754 §2, RFC 5758 §3.2)
_ALGORITHMS: Final = {
    "secp256r1": (ID_SHA256, ECDSA_WITH_SHA256),
    "secp384r1": (ID_SHA384, ECDSA_WITH_SHA384),
}


# -- the vendor's side


def mint_cms(
    header: BatchHeader,
    records: Iterable[SeedRecord],
    *,
    recipient: CMSPublicKey,
    signer: Signer,
    out: BinaryIO,
    spool: BinaryIO,
) -> MintedBatch:
    """Write a seed batch in CMS, as the commands of docs/seed-batch.md do.

    Args:
        header: its ``recipient_key_id`` must be *recipient*'s.
        records: as many as the header says.
        out: takes the file, from where it stands.
        spool: seekable, readable and writable, such as a temporary file.

    Raises:
        BatchRefused: fewer or more records than the header says, another recipient, or a chunk that
            the OEM would refuse.
        KeyUnusable: *signer* is not the header's vendor key, or cannot sign now.
        KeyNotAllowed: it is neither P-256 nor P-384.
        UnknownFormat: a derivation profile that is not known.
    """
    check_recipient(header, recipient.key_id)
    header_octets = encode_header_lines(header)
    start = spool.tell()
    digests = []
    left = iter(records)
    for index in range(header.chunk_count):
        chunk = tuple(islice(left, header.records_in(index)))
        sealed = seal_cms_chunk(header_octets, index, chunk, recipient)
        digests.append(hashlib.sha256(sealed).digest())
        spool.write(sealed)
    if next(left, None) is not None:
        raise BatchRefused(f"more records than the {header.record_count} that the header says")
    text = encode_manifest_lines(header_octets, digests)
    manifest = sign_cms(text, signer)
    if header.vendor_key_digest != key_digest(signer.public_key):
        raise KeyUnusable("the batch's header names another vendor key than the one that signs")
    out.write(manifest)
    spool.seek(start)
    while piece := spool.read(_COPY_OCTETS):
        out.write(piece)
    return MintedBatch(
        header_octets=header_octets, manifest=manifest, digest=hashlib.sha256(text).digest()
    )


def seal_cms_chunk(
    header_octets: bytes, index: int, records: tuple[SeedRecord, ...], recipient: CMSPublicKey
) -> bytes:
    """Seal *records* as chunk *index* of the batch whose header has these octets.

    Raises:
        BatchRefused, Malformed, UnknownFormat: as :func:`brski.seed.batch.seal_chunk`.
    """
    header = parse_header_lines(header_octets)
    check_recipient(header, recipient.key_id)
    check_records(header, index, records, profile(header.derivation_profile))
    return recipient.seal(encode_chunk_lines(header, header_octets, index, records))


def sign_cms(content: bytes, signer: Signer) -> bytes:
    """SignedData around *content*, without attributes and certificates, DER.

    Raises:
        KeyNotAllowed: the key is neither P-256 nor P-384.
        KeyUnusable: it cannot sign now.

    RFC 5652 §5.
    """
    _algorithms_of(signer.public_key)
    return _encode_signed(content, signer.public_key, signer.sign(content))


# -- the OEM's side


def open_cms_batch(
    stream: BinaryIO, vendors: Mapping[str, PublicKey], recipient_key_id: bytes
) -> SeedBatch:
    """Verify a whole batch before anything of it is decrypted: signature, counts, every digest.

    Args, Returns and Raises: as :func:`brski.seed.batch_file.open_batch`; KeyNotAllowed also for a
    vendor whose configured key is neither P-256 nor P-384.
    """
    signed = _read_element(stream, MOST_MANIFEST_OCTETS, "manifest")
    manifest = _verify(signed, vendors, recipient_key_id)
    offsets = []
    for index, digest in enumerate(manifest.chunk_digests):
        start = stream.tell()
        head, length = _read_head(stream, MOST_SEALED_OCTETS, f"chunk {index}")
        stream.seek(start)
        whole = len(head) + length
        if whole < LEAST_SEALED_OCTETS:
            raise BatchRefused(f"chunk {index} of {whole} octets is none")
        check_chunk(stream, index, whole, digest)
        offsets.append((start, whole))
    if stream.read(1):
        raise Malformed("octets after the last chunk")
    return SeedBatch(stream, manifest, tuple(offsets))


def open_cms_chunk(
    header_octets: bytes, index: int, sealed: bytes, private_key: CMSPrivateKey
) -> tuple[SeedRecord, ...]:
    """Open chunk *index*; from here on this process holds secrets.

    Args and Raises: as :func:`brski.seed.batch.open_chunk`.
    """
    header = parse_header_lines(header_octets)
    check_recipient(header, private_key.public_key.key_id)
    derivation = profile(header.derivation_profile)
    try:
        plaintext = private_key.open(sealed)
        records = parse_chunk_lines(header, header_octets, index, plaintext)
        check_records(header, index, records, derivation)
    except KeyMismatch:
        raise BatchRefused(f"chunk {index} does not open: not sealed to this key") from None
    except (Malformed, BatchRefused) as err:
        raise type(err)(f"chunk {index}: {err.reason}", section=err.section) from None
    return records


def _verify(signed: bytes, vendors: Mapping[str, PublicKey], recipient_key_id: bytes) -> Manifest:
    content, signature = _take_apart(signed)
    claimed, _, _ = parse_manifest_lines(content)
    vendor_key = configured_key(claimed, vendors)
    if _encode_signed(content, vendor_key, signature) != signed:
        raise Malformed(
            "the manifest is no SignedData of the one form that docs/seed-batch.md has",
            section=_SECTION,
        )
    signatures.verify(vendor_key, signature, content, what="seed batch")
    header, header_octets, chunk_digests = parse_manifest_lines(content)
    check_recipient(header, recipient_key_id)
    profile(header.derivation_profile)
    return Manifest(
        header=header,
        header_octets=header_octets,
        chunk_digests=chunk_digests,
        digest=hashlib.sha256(content).digest(),
    )


# -- the one form of SignedData


def _algorithms_of(key: PublicKey) -> tuple[str, str]:
    name = key.curve.name if isinstance(key, ec.EllipticCurvePublicKey) else ""
    if name not in _ALGORITHMS:
        raise KeyNotAllowed("a vendor signs seed batches in CMS with a P-256 or P-384 key")
    return _ALGORITHMS[name]


def _encode_signed(content: bytes, key: PublicKey, signature: bytes) -> bytes:
    digest, algorithm = (
        der.encode(der.SEQUENCE, der.encode_oid(oid)) for oid in _algorithms_of(key)
    )
    signer_info = der.encode(
        der.SEQUENCE,
        der.encode_integer(3),
        der.encode(0x80, key_identifier(encode_spki(key))),
        digest,
        algorithm,
        der.encode(der.OCTET_STRING, signature),
    )
    enclosed = der.encode(0xA0, der.encode(der.OCTET_STRING, content))
    return der.encode(
        der.SEQUENCE,
        der.encode_oid(ID_SIGNED_DATA),
        der.encode(
            0xA0,
            der.encode(
                der.SEQUENCE,
                der.encode_integer(3),
                der.encode(der.SET, digest),
                der.encode(der.SEQUENCE, der.encode_oid(ID_DATA), enclosed),
                der.encode(der.SET, signer_info),
            ),
        ),
    )


def _take_apart(signed: bytes) -> tuple[bytes, bytes]:
    """Content and signature, by their places; whoever calls compares the rest."""
    der.check_der(signed, max_octets=MOST_MANIFEST_OCTETS)

    def inside(element: der.Element, *path: int) -> der.Element:
        for index in path:
            element = der.children(signed, element)[index]
        return element

    try:
        data = inside(der.read_element(signed), 1, 0)
        content, signature = inside(data, 2, 1, 0), inside(data, 3, 0, 4)
    except IndexError as err:
        raise Malformed("the manifest is no SignedData", section=_SECTION) from err
    return der.content_of(signed, content), der.content_of(signed, signature)


# -- DER values in a stream


def _read_element(stream: BinaryIO, most: int, what: str) -> bytes:
    head, length = _read_head(stream, most, what)
    return head + read_exactly(stream, length, what)


def _read_head(stream: BinaryIO, most: int, what: str) -> tuple[bytes, int]:
    """The head of a SEQUENCE and the length of its content."""
    head = read_exactly(stream, 2, what)
    if head[0] != der.SEQUENCE or head[1] == 0x80:
        raise Malformed(f"{what} is no DER SEQUENCE", section=_SECTION)
    if head[1] < 0x80:
        return head, head[1]
    octets = read_exactly(stream, min(head[1] & 0x7F, 8), what)
    length = int.from_bytes(octets, "big")
    if octets[0] == 0 or length < 0x80:
        raise Malformed(f"{what} has a longer length than needed", section="X.690 §10.1")
    if length > most:
        raise TooLarge(f"{what} of {length} octets, {most} are the most")
    return head + octets, length
