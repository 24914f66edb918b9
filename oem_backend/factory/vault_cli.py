"""brski-oem vault, secret and open-secret: seeds that are kept, and what else they are good for."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer

from brski.edge.atomic_file import erase_file
from brski.edge.settings import load_settings
from brski.errors import BatchRefused, SettingsError
from brski.seed.vault import ID_OCTETS, SALT_OCTETS, Stretching
from brski.seed.vault_log import Action, Use
from oem_backend.executors.port import Executor
from oem_backend.factory.cli import AsJSON, SettingsFile, at_work, tell
from oem_backend.factory.intake import batch_path
from oem_backend.factory.ledger import Ledger
from oem_backend.factory.settings import FactoryFile, FactorySettings
from oem_backend.factory.vault.check import check_vault
from oem_backend.factory.vault.database import StoredChunk
from oem_backend.factory.vault.keeper import Vault, found_vault, open_vault
from oem_backend.factory.vault_use import place_of, status_of, who

log = logging.getLogger(__name__)

MakeExecutor: TypeAlias = Callable[[int | None], Executor]
Reason = Annotated[str, typer.Option(help="Why; goes into the vault's log.")]
Operator = Annotated[str | None, typer.Option(help="Who; the login name if not given.")]
USUAL: Final = Path("factory.toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """An open vault with the ledger beside it, for one command."""

    settings: FactorySettings
    ledger: Ledger
    vault: Vault
    executor: Executor


@contextmanager
def open_desk(settings: Path, make_executor: MakeExecutor) -> Iterator[Desk]:
    """What a command needs that uses the vault, for one operator at a time.

    Raises:
        SettingsError: the factory keeps no vault.
        StateError, Unavailable: as :func:`oem_backend.factory.vault.keeper.open_vault`.
    """
    loaded = load_settings(settings, FactoryFile).factory
    place = place_of(loaded)
    executor = make_executor(loaded.workers)
    with at_work(loaded.store) as (ledger, _), open_vault(place, executor) as vault:
        yield Desk(settings=loaded, ledger=ledger, vault=vault, executor=executor)


def vault_app(make_executor: MakeExecutor) -> typer.Typer:
    """The group of commands.

    Args:
        make_executor: called with the number of workers.
    """
    app = typer.Typer(
        name="vault",
        help="""Seeds that are kept after certification, sealed; docs/vault.md.

        [bold]init[/bold] once, then intake fills it. What is done with it is in its log.""",
        no_args_is_help=True,
    )

    @app.command()
    def init(settings: SettingsFile = USUAL, as_json: AsJSON = False) -> None:
        """Make an empty vault, and its key where the kind has one to make."""
        loaded = load_settings(settings, FactoryFile).factory
        place = place_of(loaded)
        stretching = (
            Stretching(salt=secrets.token_bytes(SALT_OCTETS))
            if loaded.vault.kind == "passphrase"
            else None
        )
        with at_work(loaded.store):
            header = found_vault(
                place, secrets.token_bytes(ID_OCTETS), stretching, make_executor(loaded.workers)
            )
        log.info("vault founded", extra={"vault": header.vault_id, "kind": header.kind.value})
        tell({"vault": header.vault_id, "kind": header.kind.value}, as_json)

    @app.command()
    def status(settings: SettingsFile = USUAL, as_json: AsJSON = False) -> None:
        """What is in the vault; needs no key, and verifies nothing but the witness."""
        tell(status_of(load_settings(settings, FactoryFile).factory), as_json)

    @app.command()
    def check(
        reason: Reason = "check",
        operator: Operator = None,
        settings: SettingsFile = USUAL,
        as_json: AsJSON = False,
    ) -> None:
        """Verify all of it: head, log, every record."""
        with open_desk(settings, make_executor) as desk:
            records = desk.vault.head.records
            desk.vault.log(who(operator, reason).use(Action.CHECK, "vault", records))
            asked = desk.settings.vault.kind == "passphrase" and not (
                desk.settings.vault.passphrase_file
            )
            report = check_vault(desk.vault, desk.executor, at_once=asked)
            strangers = _unknown_batches(desk)
        tell(
            {
                "records": report.records,
                "chunks": report.chunks,
                "log_entries": report.entries,
                "counter": report.counter,
                "unknown_batches": [{"batch": digest.hex()} for digest in strangers],
            },
            as_json,
        )

    @app.command()
    def destroy(
        reason: Annotated[str, typer.Option(help="Why; goes into the vault's log.")],
        serial: Annotated[str | None, typer.Option(help="Of one device.")] = None,
        chip: Annotated[str | None, typer.Option(help="Of one chip, hex.")] = None,
        batch: Annotated[str | None, typer.Option(help="Of a batch: its digest, hex.")] = None,
        chunk: Annotated[int | None, typer.Option(min=0, help="One chunk of --batch.")] = None,
        everything: Annotated[bool, typer.Option("--all", help="Every seed.")] = False,
        operator: Operator = None,
        yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
        settings: SettingsFile = USUAL,
        as_json: AsJSON = False,
    ) -> None:
        """Remove seeds for good. What flash, snapshots and backups keep is out of reach."""
        target = Target(serial=serial, chip=chip, batch=batch, chunk=chunk, everything=everything)
        target.check()
        with open_desk(settings, make_executor) as desk:
            if not yes:
                typer.confirm(f"Destroy the seeds of {target}?", abort=True)
            count, copies = target.destroy(
                desk, lambda n: who(operator, reason).use(Action.DESTROY, str(target), n)
            )
            facts: dict[str, object] = {
                "destroyed": str(target),
                "records": count,
                "sealed_batches_erased": copies,
                "left": desk.vault.head.records,
                "counter": desk.vault.head.counter,
            }
        log.info("seeds destroyed", extra=facts)
        tell(facts, as_json)

    return app


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
        if self.batch is not None and len(octets_of(self.batch, "--batch")) != 32:
            raise SettingsError("--batch is a digest of 64 hex digits")

    def __str__(self) -> str:
        if self.everything:
            return "the whole vault"
        if self.batch is not None:
            return f"batch {self.batch}" + ("" if self.chunk is None else f" chunk {self.chunk}")
        return f"serial number {self.serial}" if self.chip is None else f"chip {self.chip}"

    def destroy(self, desk: Desk, use: Callable[[int], Use]) -> tuple[int, int]:
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

    def _copies(self, desk: Desk) -> Sequence[Path]:
        """Sealed batches in the store with the same seeds: of before there was a vault."""
        if self.chunk is not None:
            return ()
        if self.everything:
            return sorted((desk.settings.store / "batches").glob("*.batch"))
        path = batch_path(desk.settings.store, bytes.fromhex(self.batch or ""))
        return (path,) if path.exists() else ()


def find_record(desk: Desk, *, serial: str | None, chip: str | None) -> tuple[StoredChunk, bytes]:
    """The chunk that holds one device's record, and its chip id.

    Raises:
        SettingsError: a serial number under two issuers; no hex.
        BatchRefused: no such device or chip, or its seed is not in the vault.
    """
    chip_id = octets_of(chip, "--chip") if chip is not None else _chip_of(desk, serial or "")
    place = desk.ledger.place_of_chip(chip_id)
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


def _chip_of(desk: Desk, serial_number: str) -> bytes:
    found = desk.ledger.chips_of_number(serial_number)
    if not found:
        raise BatchRefused(f"no certificate stands for serial number {serial_number!r}")
    if len({chip_id for _, chip_id in found}) > 1:
        named = ", ".join(f"{chip.hex()} under issuer {issuer.hex()}" for issuer, chip in found)
        raise SettingsError(f"{serial_number!r} is of several chips: {named}", hint="say --chip")
    return found[0][1]


def _unknown_batches(desk: Desk) -> list[bytes]:
    batches = dict.fromkeys(c.place.batch_digest for c in desk.vault.database.chunks())
    return [digest for digest in batches if desk.ledger.batch(digest) is None]
