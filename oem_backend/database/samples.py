"""Sample devices against the public records alone (docs/check-samples.md)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from brski.idevid.record import DeviceRecord
from brski.idevid.samples import BatchSamples, Published, Sample, by_batch, compare
from oem_backend.database.reader import Reader


def check_samples(
    samples: Sequence[Sample], reader: Reader
) -> tuple[tuple[BatchSamples, ...], tuple[str, ...]]:
    """Hold *samples* against what *reader* has of their serial numbers and keys.

    Returns:
        The batches that the samples are of, and the serial numbers that are not on record.

    Raises:
        Unavailable, StateError: as :meth:`Reader.find`.
    """
    published = {
        sample.serial_number: [
            _published(record) for record in reader.find(None, sample.serial_number)
        ]
        for sample in samples
    }
    holders = {
        sample.spki_sha256: holder
        for sample in samples
        if (holder := reader.holder_of(sample.spki_sha256)) is not None
    }
    compared, unknown = compare(samples, published, holders)
    return by_batch(compared), unknown


def _published(record: DeviceRecord) -> Published:
    return Published(
        serial_number=record.serial_number,
        spki_sha256=hashlib.sha256(record.spki).digest(),
        batch_digest=record.batch_digest,
        derivation_profile=record.derivation_profile,
    )
