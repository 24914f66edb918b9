"""A vendor and an OEM for each format of the seed batch, and the parts that a batch is made of.

What a test bends is bent in the same words for both formats.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any, ClassVar

from brski.pki import cbor, cose
from brski.pki.signer import PublicKey
from brski.seed.batch import BatchHeader, build_header, chunk_info, encode_header, sign_batch
from brski.seed.batch_file import SeedBatch, mint
from brski.seed.cms_batch import mint_cms, sign_cms
from brski.seed.cms_keys import CMSPrivateKey
from brski.seed.formats import RecipientIds, open_any_batch, open_any_chunk
from brski.seed.lines import encode_header_lines, encode_manifest_lines
from brski.seed.recipient_key import HybridPrivateKey
from brski.seed.record import SeedRecord
from tests.kit import pki
from tests.kit.chunks import cut
from tests.unit.seed.conftest import CREATED_AT, records

Pairs = Sequence[tuple[bytes, bytes]]  # chip id and seed


@dataclass(kw_only=True)
class Bench:
    """One vendor and one OEM."""

    vendor: pki.KeySigner
    vendor_id: str = "example-silicon"

    form: ClassVar[str]

    @property
    def vendors(self) -> Mapping[str, PublicKey]:
        return {self.vendor_id: self.vendor.public_key}

    def header(self, count: int = 5, a_chunk: int = 2, **altered: Any) -> BatchHeader:
        header = build_header(
            vendor_id=self.vendor_id,
            vendor_key=self.vendor.public_key,
            product="Example 1000",
            batch_id="2025/0042",
            sequence=1,
            predecessor=None,
            derivation_profile="hmac-drbg-p256",
            record_count=count,
            created_at=CREATED_AT,
            recipient=self.recipient,
            records_a_chunk=a_chunk,
        )
        return replace(header, **altered)

    def open(self, file: bytes) -> SeedBatch:
        return open_any_batch(BytesIO(file), self.vendors, self.ids)

    def read(self, file: bytes) -> list[SeedRecord]:
        """Everything in it."""
        batch = self.open(file)
        return [
            record
            for index, sealed in batch.sealed_chunks()
            for record in open_any_chunk(batch.header_octets, index, sealed, self.private_octets)
        ]

    def signed_as(self, header_octets: bytes, chunks: Sequence[bytes]) -> bytes:
        """A whole file: what the vendor would have to sign for these chunks."""
        digests = [hashlib.sha256(chunk).digest() for chunk in chunks]
        return self.join(self.manifest(header_octets, digests), chunks)

    def good(self, count: int = 5, a_chunk: int = 2, **altered: Any) -> bytes:
        """A batch as the format's own writer makes it."""
        return self.mint(self.header(count, a_chunk, **altered), records(count))

    # what differs

    @property
    def recipient(self) -> Any:
        raise AssertionError

    @property
    def private_octets(self) -> bytes:
        raise AssertionError

    @property
    def ids(self) -> RecipientIds:
        raise AssertionError

    def octets(self, header: BatchHeader) -> bytes:
        raise AssertionError

    def bend(self, header: BatchHeader, **members: object) -> bytes:
        """The header with members that the writer would refuse."""
        raise AssertionError

    def manifest(self, header_octets: bytes, digests: Sequence[bytes]) -> bytes:
        raise AssertionError

    def plaintext(self, header: BatchHeader, index: int, pairs: Pairs) -> bytes:
        raise AssertionError

    def seal(self, header_octets: bytes, index: int, plaintext: bytes) -> bytes:
        raise AssertionError

    def mint(self, header: BatchHeader, minted: Sequence[SeedRecord]) -> bytes:
        raise AssertionError

    def take(self, file: bytes) -> tuple[bytes, list[bytes]]:
        """Manifest and chunks."""
        raise AssertionError

    def join(self, manifest: bytes, chunks: Sequence[bytes]) -> bytes:
        raise AssertionError


@dataclass(kw_only=True)
class COSEBench(Bench):
    key: HybridPrivateKey

    form = "cose"

    @property
    def recipient(self) -> Any:
        return self.key.public_key

    @property
    def private_octets(self) -> bytes:
        return self.key.encode()

    @property
    def ids(self) -> RecipientIds:
        return RecipientIds(cose=self.recipient.key_id)

    def octets(self, header: BatchHeader) -> bytes:
        return encode_header(header)

    def bend(self, header: BatchHeader, **members: object) -> bytes:
        decoded = cbor.decode(encode_header(header))
        assert isinstance(decoded, dict)
        return cbor.encode({**decoded, **members})  # type: ignore[dict-item]  # as a test has it

    def manifest(self, header_octets: bytes, digests: Sequence[bytes]) -> bytes:
        try:
            return sign_batch(header_octets, digests, self.vendor)
        except Exception:
            from_hand = cbor.encode([header_octets, list(digests)])
            return pki_sign(self.vendor, from_hand)

    def plaintext(self, header: BatchHeader, index: int, pairs: Pairs) -> bytes:
        return cbor.encode([list(pair) for pair in pairs])

    def seal(self, header_octets: bytes, index: int, plaintext: bytes) -> bytes:
        sealed: bytes = self.recipient.seal(plaintext, chunk_info(header_octets, index))
        return sealed

    def mint(self, header: BatchHeader, minted: Sequence[SeedRecord]) -> bytes:
        out = BytesIO()
        mint(
            header,
            minted,
            recipient=self.recipient,
            signer=self.vendor,
            out=out,
            spool=BytesIO(),
        )
        return out.getvalue()

    def take(self, file: bytes) -> tuple[bytes, list[bytes]]:
        _, manifest, *chunks = cut(file)
        return manifest, chunks

    def join(self, manifest: bytes, chunks: Sequence[bytes]) -> bytes:
        return cbor.encode("brski seed batch v1") + b"".join(map(_item, (manifest, *chunks)))


@dataclass(kw_only=True)
class CMSBench(Bench):
    key: Any  # EC or RSA private key
    other: bytes = bytes(32)  # key id of the OEM's other key

    form = "cms"

    @property
    def recipient(self) -> Any:
        return CMSPrivateKey(self.key).public_key

    @property
    def private_octets(self) -> bytes:
        return pki.Entity(certificate=None, private_key=self.key).key_pem  # type: ignore[arg-type]  # not asked

    @property
    def ids(self) -> RecipientIds:
        return RecipientIds(cose=self.other, cms=self.recipient.key_id)

    def octets(self, header: BatchHeader) -> bytes:
        return encode_header_lines(header)

    def bend(self, header: BatchHeader, **members: object) -> bytes:
        lines = encode_header_lines(header).decode().splitlines()
        for name, value in members.items():
            shown = value.hex() if isinstance(value, bytes) else value
            shown = "none" if shown is None else shown
            number = next(n for n, line in enumerate(lines) if line.startswith(f"{name}: "))
            lines[number] = f"{name}: {shown}"
        return "".join(f"{line}\n" for line in lines).encode()

    def manifest(self, header_octets: bytes, digests: Sequence[bytes]) -> bytes:
        return sign_cms(encode_manifest_lines(header_octets, digests), self.vendor)

    def plaintext(self, header: BatchHeader, index: int, pairs: Pairs) -> bytes:
        digest = hashlib.sha256(encode_header_lines(header)).hexdigest()
        sizes = (index, header.chunk_count, header.records_in(index))
        head = f"brski seed chunk v1\n{digest} {' '.join(map(str, sizes))}\n"
        return head.encode() + b"".join(
            f"{chip_id.hex()} {seed.hex()}\n".encode() for chip_id, seed in pairs
        )

    def seal(self, header_octets: bytes, index: int, plaintext: bytes) -> bytes:
        sealed: bytes = self.recipient.seal(plaintext)
        return sealed

    def mint(self, header: BatchHeader, minted: Sequence[SeedRecord]) -> bytes:
        out = BytesIO()
        mint_cms(
            header,
            minted,
            recipient=self.recipient,
            signer=self.vendor,
            out=out,
            spool=BytesIO(),
        )
        return out.getvalue()

    def take(self, file: bytes) -> tuple[bytes, list[bytes]]:
        values = der_values(file)
        return values[0], values[1:]

    def join(self, manifest: bytes, chunks: Sequence[bytes]) -> bytes:
        return b"".join((manifest, *chunks))


def _item(octets: bytes) -> bytes:
    return cbor.encode(octets)


def pki_sign(signer: pki.KeySigner, payload: bytes) -> bytes:
    """A manifest around any payload."""
    return cose.sign1(payload, signer, external_aad=b"brski seed batch v1")


def der_values(octets: bytes) -> list[bytes]:
    """A row of DER values with lengths of two to four octets, cut by hand."""
    stream, values = io.BytesIO(octets), []
    while start := stream.read(2):
        more = stream.read(start[1] & 0x7F) if start[1] & 0x80 else b""
        length = int.from_bytes(more, "big") if more else start[1]
        values.append(start + more + stream.read(length))
    return values


def benches() -> list[Bench]:
    """Both formats; the second with each kind of recipient key."""
    return [
        COSEBench(
            vendor=pki.KeySigner(pki.make_key()),
            key=HybridPrivateKey.parse(hashlib.shake_256(b"an OEM").digest(96)),
        ),
        CMSBench(vendor=pki.KeySigner(pki.make_key("P-384")), key=pki.make_key("P-256")),
        CMSBench(vendor=pki.KeySigner(pki.make_key()), key=pki.make_key("P-384")),
        CMSBench(vendor=pki.KeySigner(pki.make_key()), key=pki.make_key("RSA-3072")),
    ]
