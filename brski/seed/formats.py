"""Both formats of a seed batch behind one door; a file's first octets tell which it is.

docs/seed-batch.md.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO

from brski.errors import BatchRefused
from brski.pki import der
from brski.pki.signer import PublicKey
from brski.seed.batch import BatchHeader, open_chunk, parse_header
from brski.seed.batch_file import SeedBatch, open_batch
from brski.seed.cms_batch import open_cms_batch, open_cms_chunk
from brski.seed.cms_keys import CMSPrivateKey
from brski.seed.lines import HEADER_LABEL, parse_header_lines
from brski.seed.recipient_key import HybridPrivateKey
from brski.seed.record import SeedRecord


class BatchFormat(enum.StrEnum):
    """How a batch is signed and sealed."""

    COSE = "cose"  # COSE_Sign1 and HPKE with ML-KEM-768 and X25519
    CMS = "cms"  # what OpenSSL alone can make; not safe against quantum computers


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientIds:
    """Key ids of the OEM's recipient keys, 32 octets each."""

    cose: bytes
    cms: bytes | None = None  # None: batches in CMS are not taken


def open_any_batch(
    stream: BinaryIO, vendors: Mapping[str, PublicKey], recipients: RecipientIds
) -> SeedBatch:
    """Verify a whole batch of either format before anything of it is decrypted.

    Args:
        stream: seekable, from where it stands to its end.

    Raises:
        BatchRefused: also a batch in CMS where none is taken.
        OnboardingError: as :func:`brski.seed.batch_file.open_batch`.
    """
    start = stream.tell()
    first = stream.read(1)
    stream.seek(start)
    if first != bytes([der.SEQUENCE]):
        return open_batch(stream, vendors, recipients.cose)
    if recipients.cms is None:
        raise BatchRefused(
            "this is a batch in CMS, and no recipient key for that is configured",
            hint="factory.cms_recipient_key, see docs/seed-batch.md",
        )
    return open_cms_batch(stream, vendors, recipients.cms)


def format_of(header_octets: bytes) -> BatchFormat:
    """Of which format a batch with such a header is."""
    return BatchFormat.CMS if header_octets.startswith(HEADER_LABEL) else BatchFormat.COSE


def parse_any_header(octets: bytes) -> BatchHeader:
    """Read a header as :attr:`brski.seed.batch_file.SeedBatch.header_octets` has it."""
    if format_of(octets) is BatchFormat.CMS:
        return parse_header_lines(octets)
    return parse_header(octets)


def open_any_chunk(
    header_octets: bytes, index: int, sealed: bytes, private_key: bytes
) -> tuple[SeedRecord, ...]:
    """Open a chunk of either format; from here on this process holds secrets.

    Args:
        private_key: content of the recipient key's file, of the batch's format.

    Raises:
        OnboardingError: as :func:`brski.seed.batch.open_chunk`; KeyUnusable for the key's octets.
    """
    if format_of(header_octets) is BatchFormat.CMS:
        return open_cms_chunk(header_octets, index, sealed, CMSPrivateKey.parse(private_key))
    return open_chunk(header_octets, index, sealed, HybridPrivateKey.parse(private_key))
