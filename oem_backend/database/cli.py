"""``brski-oem database``: the manufacturer's directory of devices, from a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from brski.edge.atomic_file import open_input
from brski.edge.cli import REFUSED, print_json, printable
from brski.edge.serve import run_loop
from brski.edge.signers.file import load_chain, load_private_key
from brski.edge.signers.public_key import load_public_key
from brski.errors import SettingsError
from brski.pki.chain import TrustAnchors
from brski.pki.signer import PublicKey
from oem_backend.database.answers import load_answers
from oem_backend.database.cli_common import (
    USUAL,
    AsJSON,
    Issuer,
    SerialNumber,
    SettingsFile,
    ambiguous,
    device_document,
    find,
    mark_line,
    now,
    settings_of,
)
from oem_backend.database.cli_marks import mark, marks
from oem_backend.database.loader import LoadReport, Outcome, load_bundle
from oem_backend.database.marks import Mark
from oem_backend.database.opening import open_reader
from oem_backend.database.service import serve_devices
from oem_backend.database.settings import DatabaseSettings

app = typer.Typer(
    help="""The manufacturer's directory of devices: public certificates, and what became of them.

    Filled by [bold]load[/bold] from the factory's bundles; asked by the MASA, and by registrars
    through [bold]serve[/bold]. docs/oem-database.md has the rules.""",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


@app.command()
def load(
    bundle: Annotated[Path, typer.Argument(help="A bundle, as the factory wrote it.")],
    settings: SettingsFile = USUAL,
    late: Annotated[
        bool,
        typer.Option(help="It comes after a newer one: add what nothing newer speaks of."),
    ] = False,
    as_json: AsJSON = False,
) -> None:
    """Bring a bundle in: whole or not at all. The same bundle again changes nothing."""
    configured = settings_of(settings)
    factories = _factories(configured)
    with open_input(bundle) as stream, _progress_bar() as progress:
        report = load_bundle(
            configured.place, stream, factories, now=now(), late=late, progress=progress
        )
    if as_json:
        print_json(asdict(report))
    else:
        _tell_load(report)


@app.command(name="load-answers")
def answers(settings: SettingsFile = USUAL, as_json: AsJSON = False) -> int | None:
    """Bring in, once, what the factory has answered to demands."""
    configured = settings_of(settings)
    if configured.on_demand is None:
        raise SettingsError("database.on_demand: missing", hint="conf/oem.toml explains it")
    factories = _factories(configured)
    taken = list(load_answers(configured.place, configured.on_demand.answers, factories, now=now()))
    if as_json:
        print_json({"answers": [asdict(each) for each in taken]})
    else:
        for each in taken:
            typer.echo(f"{each.name}: {each.outcome}{each.reason and ', '}{printable(each.reason)}")
    return REFUSED if any(each.reason for each in taken) else None


@app.command()
def show(
    serial_number: SerialNumber,
    settings: SettingsFile = USUAL,
    issuer: Issuer = None,
    as_json: AsJSON = False,
) -> int | None:
    """What stands of a device: its certificate, where it came from, its marks."""
    with closing(open_reader(settings_of(settings).place)) as reader:
        found = find(reader, serial_number, issuer)
        if len(found) != 1:
            return ambiguous(found)
        entries = reader.marks(found[0])
    document = device_document(found[0], entries)
    if as_json:
        print_json(document)
    else:
        _print_device(document, entries)
    return None


app.command()(mark)
app.command()(marks)


@app.command()
def serve(
    settings: SettingsFile = USUAL,
    listen: Annotated[
        str | None, typer.Option(help='Instead of database.service.listen: "host:port" or "fd:N".')
    ] = None,
    announce: Annotated[
        bool, typer.Option(help="Print the address as one JSON line once it is open.")
    ] = False,
) -> None:
    """Answer registrars over HTTPS until SIGTERM or SIGINT."""
    configured = settings_of(settings)
    if listen is not None and configured.service is not None:
        service = configured.service.model_copy(update={"listen": listen})
        configured = configured.model_copy(update={"service": service})
    run_loop(serve_devices(configured, announce=announce))


@app.command()
def check(settings: SettingsFile = USUAL) -> None:
    """Read the settings, load every key and anchor, and say what is wrong."""
    configured = settings_of(settings)
    for factory in configured.factory:
        load_public_key(factory.key)
    if configured.service is not None:
        load_private_key(configured.service.key)
        load_chain(configured.service.chain)
        TrustAnchors(load_chain(configured.service.registrar_anchors))
    typer.echo(f"{settings}: good, {len(configured.factory)} factory key(s)")


def _factories(settings: DatabaseSettings) -> dict[str, PublicKey]:
    if not settings.factory:
        raise SettingsError(
            "database.factory: missing, so no bundle can be verified",
            hint="conf/oem.toml explains it",
        )
    return {factory.name: load_public_key(factory.key) for factory in settings.factory}


@contextmanager
def _progress_bar() -> Iterator[Callable[[int, int], None]]:
    """On a terminal, a bar; elsewhere nothing."""
    console = Console(stderr=True)
    columns = (TextColumn("judging"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as shown:
        task = shown.add_task("records", total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)


def _tell_load(report: LoadReport) -> None:
    if report.outcome is Outcome.ALREADY_LOADED:
        typer.echo(f"already loaded: bundle {report.bundle_digest.hex()}, nothing has changed")
        return
    counts = ", ".join(
        f"{count} {what}"
        for what, count in (
            ("added", report.added),
            ("replaced", report.replaced),
            ("unchanged", report.unchanged),
            ("passed over", report.passed_over),
            ("certificates revoked", report.revoked),
        )
        if count
    )
    typer.echo(
        f"loaded: {report.records} records of {printable(report.product)}, "
        f"generation {report.generation}: {counts}"
    )


def _print_device(document: dict[str, object], entries: tuple[Mark, ...]) -> None:
    for name, value in document.items():
        if name not in {"chain_pem", "marks"}:
            text = value.hex() if isinstance(value, bytes) else str(value)
            typer.echo(f"{name:20} {text}".rstrip())
    for each in entries:
        typer.echo(f"{'mark':20} {mark_line(each)}")
