"""Where seeds are: sealed in the store's batches, or in the vault. This process opens neither."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from brski.edge.atomic_file import erase_file
from brski.errors import BatchRefused, StateError
from brski.pki.signer import PublicKey
from brski.seed.batch_file import SeedBatch
from brski.seed.formats import open_any_batch
from brski.seed.vault_log import Action
from oem_backend.factory.intake import Keys, batch_path
from oem_backend.factory.ledger.file import Ledger
from oem_backend.factory.vault.keeper import Vault, VaultUse
from oem_backend.factory.vault.kept import KeptChunk
from oem_backend.factory.work import AnyChunk, SealedChunk

ChunkOf: TypeAlias = Callable[[int, Collection[bytes]], AnyChunk]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeds:
    """The store's batches, and the vault where there is one."""

    store: Path
    vendors: Mapping[str, PublicKey]
    keys: Keys
    vault: VaultUse | None = None
    keep_batches: bool = True

    def erase_finished(self, digests: Iterable[bytes], ledger: Ledger) -> None:
        """Erase batches whose every chip has been certified, where they are not to be kept.

        Raises:
            Unavailable: the disk fails; the next run goes on.
        """
        if self.keep_batches:
            return
        for digest in digests:
            path = batch_path(self.store, digest)
            if path.exists() and ledger.batches.is_certified_whole(digest):
                erase_file(path)

    def log_use(self, subject: str, wanted: Mapping[bytes, int]) -> None:
        """Put on record that seeds of the vault are about to be used.

        Args:
            subject: for what.
            wanted: by batch, how many; batches in the store do not count.

        Raises:
            KeyUnusable, StateError, Unavailable: as
                :meth:`oem_backend.factory.vault.keeper.Vault.log`.
        """
        if self.vault is None:
            return
        vault, who = self.vault.vault, self.vault.who
        count = sum(number for batch, number in wanted.items() if vault.has_batch(batch))
        if count:
            vault.log(who.use(Action.DERIVE, subject, count))

    @contextmanager
    def chunks_of(self, digest: bytes, *, elsewhere: bool = False) -> Iterator[ChunkOf]:
        """How to get at the chunks of a batch: by number, for some of its chips.

        Args:
            elsewhere: they are for workers on other machines.

        Raises:
            StateError: the store has lost it, or holds another in its place.
            BatchRefused: from the function: the seed of a chip was destroyed.
        """
        if self.vault is not None and self.vault.vault.has_batch(digest):
            vault = self.vault.vault
            yield lambda index, chip_ids: _kept(vault, digest, index, chip_ids)
            return
        with self.open_taken(digest) as batch:
            key = self.keys.opening(batch.header_octets, elsewhere=elsewhere)
            yield lambda index, _: SealedChunk(
                header=batch.header_octets,
                index=index,
                sealed=batch.sealed_chunk(index),
                recipient_key=key,
            )

    @contextmanager
    def open_taken(self, digest: bytes) -> Iterator[SeedBatch]:
        """A batch that was taken in and is in the store, verified once more.

        Raises:
            StateError: the store has lost it, or holds another in its place.
        """
        path = batch_path(self.store, digest)
        if not path.is_file():
            raise StateError(
                f"the store has lost batch {digest.hex()}",
                hint="or its seeds were destroyed, or are in a vault that the settings do not name",
            )
        with path.open("rb") as stream:
            opened = open_any_batch(stream, self.vendors, self.keys.recipients)
            if opened.digest != digest:
                raise StateError(f"{path} holds another batch, {opened.digest.hex()}")
            yield opened


def _kept(vault: Vault, digest: bytes, index: int, chip_ids: Collection[bytes]) -> KeptChunk:
    wanted = frozenset(chip_ids)
    chunk = vault.kept_chunk(digest, index, wanted)
    there = frozenset() if chunk is None else {record.chip_id for record in chunk.records}
    if chunk is None or there != wanted:
        gone = min(wanted - there)
        raise BatchRefused(f"the seed of chip {gone.hex()} was destroyed")
    return chunk
