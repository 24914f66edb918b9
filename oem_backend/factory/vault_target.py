"""Whose seeds a command means: a device, a chip, a chunk, a batch, or all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from brski.edge.atomic_file import erase_file
from brski.errors import BatchRefused, SettingsError
from brski.seed.vault_log import Use
from oem_backend.executors.port import Executor
from oem_backend.factory.intake import batch_path
from oem_backend.factory.ledger.file import Ledger
from oem_backend.factory.settings import FactorySettings
from oem_backend.factory.vault.database import StoredChunk
from oem_backend.factory.vault.keeper import Vault

_DIGEST_OCTETS: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultDesk:
    """An open vault with the ledger beside it, for one command."""

    settings: FactorySettings
    ledger: Ledger
    vault: Vault
    executor: Executor


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is to be destroyed, as the operator names it."""

    serial: str | None
    chip: str | None
    batch: str | None
    chunk: int | None
    everything: bool

    def check(self) -> None:
        """Raise unless it is one thing.

        Raises:
            SettingsError: nothing, or several things; a chunk of no batch; no hex.
        """
        named = (self.serial, self.chip, self.batch, self.everything or None)
        if sum(each is not None for each in named) != 1:
            raise SettingsError("name one of --serial, --chip, --batch and --all")
        if self.chunk is not None and self.batch is None:
            raise SettingsError("--chunk is of a --batch")
        octets_of(self.chip or "00", "--chip")
        if self.batch is not None and len(octets_of(self.batch, "--batch")) != _DIGEST_OCTETS:
            raise SettingsError("--batch is a digest of 64 hex digits")

    def __str__(self) -> str:
        if self.everything:
            return "the whole vault"
        if self.batch is not None:
            return f"batch {self.batch}" + ("" if self.chunk is None else f" chunk {self.chunk}")
        return f"serial number {self.serial}" if self.chip is None else f"chip {self.chip}"

    def destroy(self, desk: VaultDesk, use: Callable[[int], Use]) -> tuple[int, int]:
        """Do it: how many records went, and how many sealed batches of the store.

        Raises:
            BatchRefused: there is no such seed in the vault.
            As :meth:`oem_backend.factory.vault.keeper.Vault.destroy`.
        """
        if self.serial is not None or self.chip is not None:
            chunk, chip_id = find_record(desk, serial=self.serial, chip=self.chip)
            desk.vault.destroy_record(use(1), chunk, chip_id)
            return 1, 0
        chunks = self._chunks(desk.vault)
        copies = self._copies(desk)
        if not chunks and not copies:
            raise BatchRefused(f"the vault has no seed of {self}")
        count = desk.vault.destroy(use, chunks)
        for path in copies:
            erase_file(path)
        return count, len(copies)

    def _chunks(self, vault: Vault) -> list[StoredChunk]:
        batch = None if self.batch is None else bytes.fromhex(self.batch)
        chunks = vault.database.chunks(batch)
        return [c for c in chunks if self.chunk is None or c.place.index == self.chunk]

    def _copies(self, desk: VaultDesk) -> Sequence[Path]:
        """Sealed batches in the store with the same seeds: of before there was a vault."""
        if self.chunk is not None:
            return ()
        if self.everything:
            return sorted((desk.settings.store / "batches").glob("*.batch"))
        path = batch_path(desk.settings.store, bytes.fromhex(self.batch or ""))
        return (path,) if path.exists() else ()


def find_record(
    desk: VaultDesk, *, serial: str | None, chip: str | None
) -> tuple[StoredChunk, bytes]:
    """The chunk that holds one device's record, and its chip id.

    Raises:
        SettingsError: a serial number under two issuers; no hex.
        BatchRefused: no such device or chip, or its seed is not in the vault.
    """
    chip_id = octets_of(chip, "--chip") if chip is not None else _chip_of(desk, serial or "")
    place = desk.ledger.batches.place_of_chip(chip_id)
    if place is None:
        raise BatchRefused(f"chip {chip_id.hex()} came in no batch that was taken in")
    chunk = desk.vault.database.chunk(*place)
    if chunk is None or all(r.chip_id != chip_id for r in desk.vault.database.records(chunk)):
        raise BatchRefused(
            f"the vault has no seed of chip {chip_id.hex()}",
            hint="it was destroyed, or its batch came before there was a vault",
        )
    return chunk, chip_id


def octets_of(text: str, option: str) -> bytes:
    """What *text* is the hex of.

    Raises:
        SettingsError: it is no hex.
    """
    try:
        return bytes.fromhex(text)
    except ValueError as err:
        raise SettingsError(f"{option} is not hex") from err


def _chip_of(desk: VaultDesk, serial_number: str) -> bytes:
    found = desk.ledger.given_out.chips_of_number(serial_number)
    if not found:
        raise BatchRefused(f"no certificate stands for serial number {serial_number!r}")
    if len({chip_id for _, chip_id in found}) > 1:
        named = ", ".join(f"{chip.hex()} under issuer {issuer.hex()}" for issuer, chip in found)
        raise SettingsError(f"{serial_number!r} is of several chips: {named}", hint="say --chip")
    return found[0][1]
