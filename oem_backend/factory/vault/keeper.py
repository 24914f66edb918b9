"""The vault as the factory's long-lived process has it: sealed rows, a head, and no key.

Every change is one transaction with one entry in the log and one new head, which a worker
authenticates; then the witness is written. docs/vault.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from brski.errors import Malformed, SettingsError, StateError, Unavailable
from brski.seed.vault import ChunkPlace, SealedRecord, chunk_digest
from brski.seed.vault_log import (
    Action,
    Head,
    Header,
    Use,
    index_digest,
    log_digest,
)
from oem_backend.executors.port import Executor
from oem_backend.factory.vault.database import StoredChunk, VaultDatabase, open_database
from oem_backend.factory.vault.kept import KeptChunk, VaultAccess
from oem_backend.factory.vault.key import Source
from oem_backend.factory.vault.witness import read_witness, write_witness
from oem_backend.factory.vault.work import (
    encode_succession,
    parse_macs,
    sign_head,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultPlace:
    """Where a vault is, and its witness; and where workers get its key from."""

    folder: Path
    witness: Path
    source: Source

    @property
    def database(self) -> Path:
        """The file."""
        return self.folder / "vault.db"


@dataclass(frozen=True, slots=True, kw_only=True)
class Who:
    """Who uses a vault, when and why."""

    operator: str
    at: int  # seconds since 1970
    reason: str

    def use(self, action: Action, subject: str, records: int) -> Use:
        """The entry for the log.

        Raises:
            SettingsError: a text that does not fit into one.
        """
        try:
            return Use(
                at=self.at,
                operator=self.operator,
                action=action,
                subject=subject,
                reason=self.reason,
                records=records,
            )
        except Malformed as err:
            raise SettingsError(f"for the vault's log: {err.reason}") from err


class Vault:
    """An open vault; from :func:`open_vault`."""

    def __init__(self, place: VaultPlace, database: VaultDatabase, executor: Executor) -> None:
        self._place = place
        self._db = database
        self._executor = executor
        found_header = database.header()
        if found_header is None:
            raise no_vault(place)
        header, mac = found_header
        self.access: Final = VaultAccess(source=place.source, header=header, mac=mac)
        self.vault_id: Final = Header.parse(header).vault_id
        self._check_witness()

    @property
    def database(self) -> VaultDatabase:
        """The rows."""
        return self._db

    @property
    def head(self) -> Head:
        """As it stands; believed once a worker has verified it.

        Raises:
            StateError: it is none.
        """
        return Head.parse(self._db.head()[0])

    def has_batch(self, batch: bytes) -> bool:
        """Whether any record of the batch is here."""
        return next(self._db.chunks(batch), None) is not None

    def kept_chunk(
        self, batch: bytes, number: int, chip_ids: frozenset[bytes] | None = None
    ) -> KeptChunk | None:
        """A chunk for a worker; None where nothing of it is here.

        Args:
            chip_ids: whose records alone are handed over.
        """
        chunk = self._db.chunk(batch, number)
        return None if chunk is None else self.kept(chunk, chip_ids)

    def kept(self, chunk: StoredChunk, chip_ids: frozenset[bytes] | None = None) -> KeptChunk:
        """As :meth:`kept_chunk`, for a row that was read."""
        records = self._db.records(chunk)
        return KeptChunk(
            vault=self.access,
            place=chunk.place,
            wrapped=chunk.wrapped,
            records=tuple(r for r in records if chip_ids is None or r.chip_id in chip_ids),
        )

    # -- changes

    def log(self, use: Use) -> None:
        """Put a use on record; to be done before it begins.

        Raises:
            KeyUnusable: the key is another.
            StateError: the head or the index was altered.
            Unavailable: a full disk, or a worker that failed. Nothing has changed.
        """
        with self._changing(lambda: use):
            pass

    @contextmanager
    def sealing(self, who: Who, batch: bytes, records: int) -> Iterator[Sealing]:
        """Take a batch in: chunk by chunk within the block, all of it at its end, or nothing.

        What there is of the batch already was left by a run that was cut off, and goes.

        Raises:
            as :meth:`log`.
        """
        use = who.use(Action.SEAL, f"batch {batch.hex()}", records)
        with self._changing(lambda: use):
            for chunk in tuple(self._db.chunks(batch)):
                self._db.delete_chunk(chunk)
            yield Sealing(self._db, batch)

    def destroy(self, use: Callable[[int], Use], chunks: Sequence[StoredChunk]) -> int:
        """Remove whole chunks.

        Args:
            use: the entry for so many records.

        Returns:
            How many records there were.

        Raises:
            as :meth:`log`; Unavailable also where the deletion is done and the file is not clean
            yet: the next command goes on.
        """
        count = 0
        with self._changing(lambda: use(count)):
            count = sum(self._db.delete_chunk(chunk) for chunk in chunks)
        return count

    def destroy_record(self, use: Use, chunk: StoredChunk, chip_id: bytes) -> None:
        """Remove one record; the chunk's key goes with the last one.

        Raises:
            StateError: there is none.
            As :meth:`destroy`.
        """
        records = self._db.records(chunk)
        left = [r for r in records if r.chip_id != chip_id]
        gone = [r.place for r in records if r.chip_id == chip_id]
        if not gone:
            raise StateError(f"the vault has no record of chip {chip_id.hex()}")
        if chunk_digest(chunk.place, chunk.wrapped, records) != chunk.digest:
            raise _altered("a chunk")
        with self._changing(lambda: use):
            if left:
                self._db.delete_records(chunk, gone)
                self._db.set_digest(chunk, chunk_digest(chunk.place, chunk.wrapped, left))
            else:
                self._db.delete_chunk(chunk)

    @contextmanager
    def _changing(self, use: Callable[[], Use]) -> Iterator[None]:
        """One transaction from the head before to the head after."""
        with self._db.writing():
            self._check_index()
            yield
            self._advance(use())
        self._settle()

    def _check_index(self) -> None:
        """What is to be changed is what the head says: nothing altered gets a new head."""
        head = self.head
        if self._db.count() != (head.records, head.chunks) or self._index() != head.index_digest:
            raise _altered("the index")

    def _index(self) -> bytes:
        return index_digest(chunk.digest for chunk in self._db.chunks())

    def _advance(self, use: Use) -> None:
        """One entry, one head; within the transaction of the change."""
        octets, mac, _ = self._db.head()
        before = Head.parse(octets)
        entry = use.encode(before.entries + 1)
        digest = log_digest(before.log_digest, entry)
        self._db.add_use(before.entries + 1, entry, digest)
        records, chunks = self._db.count()
        head = Head(
            vault_id=self.vault_id,
            counter=before.counter + 1,
            previous=mac,
            records=records,
            chunks=chunks,
            index_digest=self._index(),
            entries=before.entries + 1,
            log_digest=digest,
        )
        job = encode_succession(self.access, octets, mac, head)
        with closing(self._executor.map(sign_head, [job])) as answers:
            (new_mac,) = parse_macs(next(answers), 1)
        self._db.set_head(head.encode(), new_mac, mac)

    def _settle(self) -> None:
        if self._db.wants_purge:
            self._purge()
        write_witness(self._place.witness, self.vault_id, self.head.counter, self._db.head()[1])

    def _purge(self) -> None:
        try:
            self._db.purge()
        except Unavailable as err:
            raise Unavailable(
                f"the seeds are destroyed, but the vault's files are not clean yet: {err.reason}",
                hint="the next command with the vault cleans them",
            ) from err

    def _check_witness(self) -> None:
        seen = read_witness(self._place.witness)
        _, current, previous = self._db.head()
        if seen.vault_id != self.vault_id or seen.mac not in (current, previous):
            raise StateError(
                f"the vault is not the one that {self._place.witness} has seen last",
                hint="an older copy of the vault was put back, or the witness of another",
            )
        if seen.mac != current or self._db.wants_purge:
            self._settle()


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultUse:
    """An open vault, and who uses it."""

    vault: Vault
    who: Who


class Sealing:
    """A batch on its way into the vault; from :meth:`Vault.sealing`."""

    def __init__(self, database: VaultDatabase, batch: bytes) -> None:
        self._db = database
        self._batch = batch

    def add(
        self, index: int, profile: str, wrapped: bytes, rows: Sequence[tuple[bytes, bytes]]
    ) -> None:
        """Enter a chunk.

        Args:
            rows: chip id and sealed seed, in the order of their places.
        """
        place = ChunkPlace(batch_digest=self._batch, index=index, profile=profile)
        records = [
            SealedRecord(place=number, chip_id=chip_id, sealed=sealed)
            for number, (chip_id, sealed) in enumerate(rows)
        ]
        self._db.enter_chunk(place, wrapped, chunk_digest(place, wrapped, records), records)


@contextmanager
def open_vault(place: VaultPlace, executor: Executor) -> Iterator[Vault]:
    """The vault at *place*, for whoever holds the store's lock.

    Raises:
        StateError: there is none, it is an older copy, or damaged.
        Unavailable: locked, or a full or failing disk.
    """
    if not place.database.is_file():
        raise no_vault(place)
    with open_database(place.database) as database:
        yield Vault(place, database, executor)


def _altered(what: str) -> StateError:
    return StateError(f"{what} of the vault was altered", hint="brski-oem vault check tells more")


def no_vault(place: VaultPlace) -> StateError:
    """What to say where there is none."""
    return StateError(f"there is no vault at {place.database}", hint="brski-oem vault init")
