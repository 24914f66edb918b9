"""What was said of a device, a chunk or a batch, entry by entry (docs/oem-database.md, section 2).

Entries are only ever added: what stands is worked out from all of them, by :func:`standing`.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from brski.errors import Malformed
from brski.idevid.record import SUPERSEDED, DeviceRecord, DeviceStatus, check_token
from oem_backend.database.port import Row, Session

NO_CHUNK: Final = -1  # in the column: the entry is not on a chunk
MOST_CHUNKS: Final = 16384  # of a seed batch
_BATCH_DIGEST_OCTETS: Final = 32
_NAME_CHARACTERS: Final = 64


class Verdict(enum.StrEnum):
    """What an entry says."""

    REVOKED = "revoked"  # to be refused for ever
    FLAGGED = "flagged"  # something is wrong; to be refused until it is known what
    LIFTED = "lifted"  # what the same subject's entries said before counts no more


class MarkKind(enum.StrEnum):
    """What an entry is on."""

    KEY = "key"  # a device: SHA-256 of its SubjectPublicKeyInfo
    CERTIFICATE = "certificate"  # a bundle's, on what a re-issue replaced: SHA-256 of its DER
    CHUNK = "chunk"  # every device whose seed came in that chunk of a seed batch
    BATCH = "batch"  # every device whose seed came in that seed batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a person's entry is on; made by :func:`device_subject` or :func:`batch_subject`."""

    kind: MarkKind
    digest: bytes  # 32 octets, see :class:`MarkKind`; of a batch: the batch digest
    chunk: int | None = None
    idevid_issuer: bytes = b""  # of the device that was meant
    serial_number: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One entry, as it was written."""

    number: int
    verdict: Verdict
    reason: str
    kind: MarkKind
    digest: bytes
    chunk: int | None
    idevid_issuer: bytes
    serial_number: str
    marked_by: str  # empty for a bundle's
    marked_at: datetime  # aware UTC


def device_subject(device: DeviceRecord) -> Subject:
    """A device's key, whatever serial number or certificate it gets later."""
    return Subject(
        kind=MarkKind.KEY,
        digest=hashlib.sha256(device.spki).digest(),
        idevid_issuer=device.idevid_issuer,
        serial_number=device.serial_number,
    )


def batch_subject(batch_digest: bytes, chunk: int | None = None) -> Subject:
    """A seed batch or one chunk of it; a bundle of it need not be loaded yet.

    Raises:
        Malformed: no batch has such a digest or chunk.
    """
    if len(batch_digest) != _BATCH_DIGEST_OCTETS:
        raise Malformed(f"a batch digest has 32 octets, not {len(batch_digest)}")
    if chunk is None:
        return Subject(kind=MarkKind.BATCH, digest=batch_digest)
    if not 0 <= chunk < MOST_CHUNKS:
        raise Malformed(f"chunk {chunk} is not 0 to {MOST_CHUNKS - 1}")
    return Subject(kind=MarkKind.CHUNK, digest=batch_digest, chunk=chunk)


def standing(marks: Iterable[tuple[int, str, str, str]]) -> tuple[DeviceStatus, str]:
    """What all entries on a device, its chunk and its batch come to.

    Of each subject the entries behind its last lifting count. The gravest stands: revoked before
    flagged; of equals a person's before a re-issue's, then the first.

    Args:
        marks: number, kind, verdict and reason of each, in any order.
    """
    counting: dict[str, list[tuple[bool, bool, int, str, str]]] = {}
    for number, kind, verdict, reason in sorted(marks):
        if verdict == Verdict.LIFTED:
            counting[kind] = []
            continue
        gravity = (verdict != Verdict.REVOKED, reason == SUPERSEDED, number, verdict, reason)
        counting.setdefault(kind, []).append(gravity)
    judged = [entry for entries in counting.values() for entry in entries]
    if not judged:
        return DeviceStatus.ACTIVE, ""
    *_, verdict, reason = min(judged)
    return DeviceStatus(verdict), reason


_ON_SUBJECT: Final = """
SELECT verdict, reason FROM mark
WHERE digest = :digest AND kind = :kind AND chunk = :chunk ORDER BY number
"""
_ADD: Final = """
INSERT INTO mark (digest, kind, chunk, idevid_issuer, serial_number, verdict, reason, marked_by,
    bundle, marked_at)
VALUES (:digest, :kind, :chunk, :issuer, :serial, :verdict, :reason, :by, NULL, :now)
"""


def add_mark(
    session: Session, subject: Subject, verdict: Verdict, reason: str, *, by: str, now: datetime
) -> bool:
    """Write an entry, unless it would change nothing.

    Args:
        session: to write; of a directory that may be empty: a batch can be marked before anything
            is loaded.
        reason: a token, such as ``"seed-leak"``; registrars see it.
        by: who says so, 1 to 64 printable ASCII characters; it stays in this file.
        now: aware.

    Returns:
        Whether it was written. False if the very same stands on *subject* already, or if there is
        nothing on it to be lifted.

    Raises:
        Malformed: a reason that is no token, a name that is none.
        Unavailable: locked for long, full or failing disk; nothing has changed.
        StateError: it is damaged.
    """
    check_token(reason, "reason")
    check_name(by)
    values = {
        "digest": subject.digest,
        "kind": subject.kind.value,
        "chunk": NO_CHUNK if subject.chunk is None else subject.chunk,
        "issuer": subject.idevid_issuer,
        "serial": subject.serial_number,
        "verdict": verdict.value,
        "reason": reason,
        "by": by,
        "now": int(now.timestamp()),
    }
    with session.writing():
        found = session.rows(_ON_SUBJECT, values)
        if _says_already(found, verdict, reason):
            return False
        session.change(_ADD, values)
    return True


def _says_already(entries: Sequence[Row], verdict: Verdict, reason: str) -> bool:
    counting: list[Row] = []
    for entry in entries:
        counting = [] if entry[0] == Verdict.LIFTED else [*counting, entry]
    return not counting if verdict is Verdict.LIFTED else (verdict.value, reason) in counting


def check_name(name: str) -> None:
    """Raise Malformed unless *name* can stand for who made an entry."""
    if not (1 <= len(name) <= _NAME_CHARACTERS and name.isascii() and name.isprintable()):
        raise Malformed(f"{name[:80]!r} is not 1 to {_NAME_CHARACTERS} printable ASCII characters")
