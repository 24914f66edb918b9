"""What sample devices report of their keys, and how that compares with what was published.

Knows public keys only; why a key differs, the factory finds out (docs/check-samples.md).
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from brski.errors import Malformed, TooLarge
from brski.pki.names import check_serial_number

MOST_SAMPLES: Final = 10_000
MOST_OCTETS: Final = 1 << 20

_LINE: Final = re.compile(r"(\S+) ([0-9A-Fa-f]{64})")
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


class Cause(enum.StrEnum):
    """Why a device has the key that it has, as far as that is known."""

    MATCHING = "matching"
    RIGHT_KEY = "right-key"  # and the certificate is for another
    WRONG_PROFILE = "wrong-profile"
    ALL_ZERO_SEED = "all-zero-seed"
    ALL_ONE_SEED = "all-one-seed"
    REVERSED_SEED = "reversed-seed"
    SWAPPED_IDENTITY = "swapped-identity"
    SWAPPED_SEED = "swapped-seed"
    SWAPPED_CHIP_ID = "swapped-chip-id"
    UNEXPLAINED = "unexplained"
    MIXED = "mixed"  # of a batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What one device reported."""

    serial_number: str
    spki_sha256: bytes  # of its SubjectPublicKeyInfo, 32 octets


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What the OEM has on record of one device."""

    serial_number: str
    spki_sha256: bytes
    batch_digest: bytes
    derivation_profile: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One sample of a known device, and what became of it."""

    sample: Sample
    published: Published
    cause: Cause
    detail: str = ""  # a profile, serial number or chip id (hex)

    def explained(self, cause: Cause, detail: str = "") -> Compared:
        """The same with a cause that was found out."""
        return replace(self, cause=cause, detail=detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSamples:
    """The samples of one batch."""

    batch_digest: bytes
    derivation_profile: str
    compared: tuple[Compared, ...]

    @property
    def differing(self) -> tuple[Compared, ...]:
        """Those whose key is not the published one."""
        return tuple(each for each in self.compared if each.cause is not Cause.MATCHING)

    @property
    def cause(self) -> Cause:
        """What the differing samples share; MIXED if nothing, MATCHING if there are none."""
        causes = {each.cause for each in self.differing} or {Cause.MATCHING}
        return causes.pop() if len(causes) == 1 else Cause.MIXED


def parse_samples(octets: bytes) -> tuple[Sample, ...]:
    """Read a file of samples.

    Raises:
        Malformed: a line that is no serial number and digest, a serial number twice, no sample, a
            carriage return, a byte order mark, or octets that are not ASCII; names the line.
        TooLarge: more than 1 MiB, or 10,000 samples.

    docs/check-samples.md.
    """
    if len(octets) > MOST_OCTETS:
        raise TooLarge(f"a file of samples of {len(octets)} octets, {MOST_OCTETS} are the most")
    if octets.startswith(_BYTE_ORDER_MARK):
        raise Malformed("line 1: begins with a byte order mark")
    samples: dict[str, Sample] = {}
    for number, line in enumerate(octets.split(b"\n"), 1):
        sample = _parse_line(line, number)
        if sample is None:
            continue
        if sample.serial_number in samples:
            raise Malformed(f"line {number}: serial number {sample.serial_number} comes twice")
        samples[sample.serial_number] = sample
    if not samples:
        raise Malformed("there is no sample in the file")
    if len(samples) > MOST_SAMPLES:
        raise TooLarge(f"{len(samples)} samples, {MOST_SAMPLES} are the most")
    return tuple(samples.values())


def _parse_line(line: bytes, number: int) -> Sample | None:
    if b"\r" in line:
        raise Malformed(f"line {number}: ends with, or has, a carriage return")
    if not line or line.startswith(b"#"):
        return None
    try:
        found = _LINE.fullmatch(line.decode("ascii"))
    except UnicodeDecodeError:
        found = None
    if found is None:
        raise Malformed(
            f"line {number}: is not a serial number, one space and 64 hex digits",
            hint="docs/check-samples.md has the format",
        )
    try:
        serial_number = check_serial_number(found[1])
    except Malformed as err:
        raise Malformed(f"line {number}: {err.reason}") from err
    return Sample(serial_number=serial_number, spki_sha256=bytes.fromhex(found[2]))


def compare(
    samples: Iterable[Sample],
    published: Mapping[str, Sequence[Published]],
    holders: Mapping[bytes, str],
) -> tuple[tuple[Compared, ...], tuple[str, ...]]:
    """Hold samples against what was published.

    Args:
        published: by serial number; of several issuers, one with the reported key is enough.
        holders: serial number by SHA-256 of the SubjectPublicKeyInfo, for keys that were reported.

    Returns:
        The samples of known devices, and the serial numbers that are not known.
    """
    compared, unknown = [], []
    for sample in samples:
        found = published.get(sample.serial_number, ())
        if not found:
            unknown.append(sample.serial_number)
            continue
        same = [each for each in found if each.spki_sha256 == sample.spki_sha256]
        result = Compared(
            sample=sample,
            published=(same or found)[0],
            cause=Cause.MATCHING if same else Cause.UNEXPLAINED,
        )
        holder = holders.get(sample.spki_sha256)
        if not same and holder is not None:
            result = result.explained(Cause.SWAPPED_IDENTITY, holder)
        compared.append(result)
    return tuple(compared), tuple(unknown)


def by_batch(compared: Iterable[Compared]) -> tuple[BatchSamples, ...]:
    """Samples sorted into their batches, in the order in which these first come."""
    batches: dict[bytes, list[Compared]] = {}
    for each in compared:
        batches.setdefault(each.published.batch_digest, []).append(each)
    return tuple(
        BatchSamples(
            batch_digest=digest,
            derivation_profile=samples[0].published.derivation_profile,
            compared=tuple(samples),
        )
        for digest, samples in batches.items()
    )
