"""Is all of a vault what its head says, and can all of it be opened? docs/vault.md."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from brski.errors import StateError
from brski.pki import cbor
from brski.seed.vault import chunk_digest
from brski.seed.vault_log import NO_DIGEST, Head, Use, index_digest, log_digest
from oem_backend.executors.port import Executor
from oem_backend.factory.vault.database import VaultDatabase
from oem_backend.factory.vault.keeper import Vault
from oem_backend.factory.vault.work import encode_opening, open_chunks


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What was verified."""

    records: int
    chunks: int
    entries: int
    counter: int


def check_vault(vault: Vault, executor: Executor, *, at_once: bool) -> CheckReport:
    """Verify rows against the head, the log against the head, and open every record.

    The head itself a worker has verified when the check was put on record.

    Args:
        at_once: in one worker, where a passphrase is asked for.

    Raises:
        StateError: something was altered, removed, added or put back.
    """
    head = vault.head
    check_rows(vault.database, head)
    check_log(vault.database, head)
    opened = 0
    with closing(executor.map(open_chunks, _jobs(vault, at_once=at_once))) as answers:
        for answer in answers:
            count = cbor.decode(answer)
            opened += count if isinstance(count, int) else 0
    if opened != head.records:
        raise StateError(f"{opened} records of {head.records} could be opened")
    return CheckReport(
        records=head.records, chunks=head.chunks, entries=head.entries, counter=head.counter
    )


def _jobs(vault: Vault, *, at_once: bool) -> Iterator[bytes]:
    chunks = (vault.kept(chunk) for chunk in vault.database.chunks())
    if not at_once:
        yield from (encode_opening([chunk]) for chunk in chunks)
        return
    if together := list(chunks):
        yield encode_opening(together)


def check_rows(database: VaultDatabase, head: Head) -> None:
    """Raise unless chunks and records are those of the head; needs no key.

    Raises:
        StateError: they are not; names the chunk where one can be named.
    """
    digests, records = [], 0
    for chunk in database.chunks():
        rows = database.records(chunk)
        digest = chunk_digest(chunk.place, chunk.wrapped, rows)
        if digest != chunk.digest:
            raise StateError(
                f"chunk {chunk.place.index} of batch {chunk.place.batch_digest.hex()} "
                "of the vault was altered"
            )
        digests.append(digest)
        records += len(rows)
    if (records, len(digests)) != (head.records, head.chunks):
        raise StateError(
            f"the vault has {records} records in {len(digests)} chunks, its head says "
            f"{head.records} in {head.chunks}"
        )
    if index_digest(digests) != head.index_digest:
        raise StateError("the vault's chunks are not those of its head")


def check_log(database: VaultDatabase, head: Head) -> None:
    """Raise unless the log is whole and the head's; needs no key.

    Raises:
        StateError: it is not; names the entry where one can be named.
    """
    digest, number = NO_DIGEST, 0
    for number, (at, entry, kept) in enumerate(database.uses(), start=1):
        digest = log_digest(digest, entry)
        if at != number or kept != digest or Use.parse(entry)[0] != number:
            raise StateError(f"entry {number} of the vault's log was altered")
    if (number, digest) != (head.entries, head.log_digest):
        raise StateError(f"the vault's log has {number} entries, its head says {head.entries}")
