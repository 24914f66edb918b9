"""brski-oem vault, secret and open-secret: seeds that are kept, and what else they are good for."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer

from brski.edge.cli import printable
from brski.edge.settings import load_settings
from brski.seed.vault import ID_OCTETS, SALT_OCTETS, Stretching
from brski.seed.vault_log import Action
from oem_backend.executors.port import Executor
from oem_backend.factory.cli import AsJSON, SettingsFile, at_work, tell
from oem_backend.factory.settings import FactoryFile
from oem_backend.factory.vault.check import check_vault
from oem_backend.factory.vault.founding import found_vault
from oem_backend.factory.vault.keeper import open_vault
from oem_backend.factory.vault_target import Target, VaultDesk
from oem_backend.factory.vault_use import log_of, place_of, status_of, who

log = logging.getLogger(__name__)

MakeExecutor: TypeAlias = Callable[[int | None], Executor]
Reason = Annotated[str, typer.Option(help="Why; goes into the vault's log.")]
Operator = Annotated[str | None, typer.Option(help="Who; the login name if not given.")]
USUAL: Final = Path("factory.toml")


@contextmanager
def open_desk(settings: Path, make_executor: MakeExecutor) -> Iterator[VaultDesk]:
    """What a command needs that uses the vault, for one operator at a time.

    Raises:
        SettingsError: the factory keeps no vault.
        StateError, Unavailable: as :func:`oem_backend.factory.vault.keeper.open_vault`.
    """
    loaded = load_settings(settings, FactoryFile).factory
    place = place_of(loaded)
    executor = make_executor(loaded.workers)
    with at_work(loaded.store) as (ledger, _), open_vault(place, executor) as vault:
        yield VaultDesk(settings=loaded, ledger=ledger, vault=vault, executor=executor)


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

    @app.command(name="log")
    def show_log(settings: SettingsFile = USUAL, as_json: AsJSON = False) -> None:
        """Every use: who, when, what, why. The chain is verified; its head, check verifies."""
        rows = log_of(load_settings(settings, FactoryFile).factory)
        if as_json:
            tell({"uses": rows}, as_json=True)
            return
        for row in rows:
            typer.echo(printable("  ".join(str(value) for value in row.values())))

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


def _unknown_batches(desk: VaultDesk) -> list[bytes]:
    batches = dict.fromkeys(c.place.batch_digest for c in desk.vault.database.chunks())
    return [digest for digest in batches if desk.ledger.batches.find(digest) is None]
