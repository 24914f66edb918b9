"""brski-registrar: the owner's gate, from a terminal."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from cryptography import x509
from rich.console import Console
from rich.table import Table

from brski.edge.atomic_file import write_atomically
from brski.edge.cli import (
    configure_logging,
    harden_process,
    one_line,
    print_json,
    run,
)
from brski.edge.serve import run_loop
from brski.edge.settings import load_settings
from brski.edge.signers.file import pem_of
from brski.errors import DeviceUnknown
from registrar_plugin import cli_ca, cli_passwords, cli_vouchers
from registrar_plugin.cli_approval import approve, deny, waiting
from registrar_plugin.cli_common import (
    PROGRAM,
    USUAL,
    Ambiguous,
    AsJSON,
    Issuer,
    SettingsFile,
    enrolled_under,
    named,
    tell_ambiguous,
    the_one,
    with_journal,
)
from registrar_plugin.cli_explain import explain_device
from registrar_plugin.cli_revoke import revoke
from registrar_plugin.cli_vouchers import fetch_voucher, renew_vouchers
from registrar_plugin.composition import manifest_source, open_registrar
from registrar_plugin.oem_source.manifest import load_file
from registrar_plugin.server import serve_registrar
from registrar_plugin.settings import RegistrarSettings
from registrar_plugin.store.port import Onboarding
from registrar_plugin.store.sqlite import SQLiteJournal
from registrar_plugin.store.sqlite_history import SQLiteHistory
from registrar_plugin.telemetry.events import Event, EventKind

app = typer.Typer(
    name=PROGRAM,
    help="""The owner's gate: answers pledges' voucher-requests, and gives admitted devices a local
    certificate (RFC 8995, RFC 7030).

    Start with conf/registrar.toml, which explains every key. Then: [bold]check[/bold] it,
    [bold]serve[/bold], and see with [bold]journal[/bold] what came, with
    [bold]explain[/bold] why it was refused, with [bold]alarms[/bold] what a person should look
    at. Where approval is manual, [bold]waiting[/bold] lists who waits, [bold]approve[/bold] and
    [bold]deny[/bold] decide.""",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


@app.callback()
def _every(
    debug: Annotated[bool, typer.Option("--debug", help="Log more, tracebacks too.")] = False,
) -> None:
    configure_logging(PROGRAM, debug=debug)
    harden_process()


@app.command()
def serve(
    settings: SettingsFile = USUAL,
    listen: Annotated[
        str | None, typer.Option(help='Instead of listen.pledges: "host:port" or "fd:N".')
    ] = None,
    manage: Annotated[str | None, typer.Option(help="Instead of listen.management.")] = None,
    announce: Annotated[
        bool, typer.Option(help="Print the addresses as one JSON line once they are open.")
    ] = False,
) -> None:
    """Answer pledges until SIGTERM or SIGINT."""
    loaded = load_settings(settings, RegistrarSettings)
    said = {"pledges": listen, "management": manage}
    changed = loaded.listen.model_copy(update={k: v for k, v in said.items() if v is not None})
    loaded = loaded.model_copy(update={"listen": changed})
    run_loop(serve_registrar(loaded, source=settings, announce=announce))


@app.command()
def check(settings: SettingsFile = USUAL) -> None:
    """Read the settings, load every key and anchor, open the journal, and say what is wrong."""
    loaded = load_settings(settings, RegistrarSettings)

    async def opened() -> None:
        await open_registrar(loaded, source=settings).close()

    asyncio.run(opened())
    typer.echo(f"{settings}: good, {len(loaded.manufacturer)} manufacturer(s)")


@app.command(name="load-manifest")
def load_manifest(
    manifest: Annotated[Path, typer.Argument(help="As the manufacturer signed it for you.")],
    manufacturer: Annotated[str, typer.Option(help="Whose it is, by its name in the settings.")],
    settings: SettingsFile = USUAL,
    as_json: AsJSON = False,
) -> None:
    """Bring a manufacturer's manifest into the local copy, whole or not at all."""
    loaded = load_settings(settings, RegistrarSettings)
    source = manifest_source(loaded, manufacturer, source=settings)
    done = load_file(source, manifest, now=datetime.now(UTC))  # noqa: TID251 - the edge
    if as_json:
        print_json(asdict(done))
    else:
        typer.echo(f"{done.outcome}: {done.records} record(s), {done.marks} new mark(s)")


@app.command()
def journal(
    serial_number: Annotated[str | None, typer.Argument(help="Only of this device.")] = None,
    settings: SettingsFile = USUAL,
    issuer: Issuer = None,
    limit: Annotated[int, typer.Option(min=1, help="How many lines at the most.")] = 200,
    as_json: AsJSON = False,
) -> int | None:
    """What came, what was decided and why, oldest first."""

    return _list_events("events", None, serial_number, settings, issuer, limit, as_json=as_json)


@app.command()
def alarms(
    serial_number: Annotated[str | None, typer.Argument(help="Only of this device.")] = None,
    settings: SettingsFile = USUAL,
    issuer: Issuer = None,
    limit: Annotated[int, typer.Option(min=1, help="How many lines at the most.")] = 200,
    as_json: AsJSON = False,
) -> int | None:
    """What a person should look at, such as one identity that two parties hold. Oldest first."""
    return _list_events(
        "alarms", EventKind.ALARM, serial_number, settings, issuer, limit, as_json=as_json
    )


def _list_events(
    name: str,
    kind: EventKind | None,
    serial_number: str | None,
    settings: Path,
    issuer: str | None,
    limit: int,
    *,
    as_json: bool,
) -> int | None:
    async def read(opened: SQLiteJournal) -> tuple[Event, ...]:
        if serial_number is None:
            return await opened.events(kind=kind, limit=limit)
        met = await SQLiteHistory(opened.writer).devices(serial_number)
        device = the_one(met, serial_number, issuer)
        return await opened.events(device=device, kind=kind, limit=limit)

    try:
        events = with_journal(settings, read)
    except Ambiguous as several:
        return tell_ambiguous(several)
    if as_json:
        print_json({name: [_event_document(event) for event in events]})
    else:
        _print_events(events)
    return None


@app.command()
def show(
    serial_number: Annotated[str, typer.Argument(help="Of the device.")],
    settings: SettingsFile = USUAL,
    issuer: Issuer = None,
    artifacts: Annotated[
        Path | None, typer.Option(help="Write what came to exist into this folder, too.")
    ] = None,
    as_json: AsJSON = False,
) -> int | None:
    """Where a device stands."""

    async def read(opened: SQLiteJournal) -> tuple[Onboarding, bytes | None]:
        device = the_one(await enrolled_under(opened, serial_number), serial_number, issuer)
        onboarding = await opened.onboarding(device)
        if onboarding is None:
            raise DeviceUnknown(
                f"no onboarding of {named(device)} is in the journal",
                hint=f"{PROGRAM} explain {serial_number} tells what is",
            )
        active = await opened.active_certificate(device)
        return onboarding, None if active is None else active.certificate

    try:
        onboarding, ldevid = with_journal(settings, read)
    except Ambiguous as several:
        return tell_ambiguous(several)
    if artifacts is not None:
        _write_artifacts(artifacts, onboarding, ldevid)
    document = _onboarding_document(onboarding, ldevid)
    if as_json:
        print_json(document)
    else:
        for name, value in document.items():
            typer.echo(f"{name:20} {one_line(str(value))}")
    return None


app.add_typer(cli_ca.app, name="ca")
app.add_typer(cli_passwords.app, name="est-password")
app.command()(waiting)
app.command()(approve)
app.command()(deny)
app.command()(revoke)
app.command(name="explain")(explain_device)
app.command(name="fetch-voucher")(fetch_voucher)
app.add_typer(cli_vouchers.app, name="vouchers")
app.command(name="renew-vouchers")(renew_vouchers)


def _event_document(event: Event) -> dict[str, object]:
    device = event.device
    return {
        "at": event.at,
        "step": event.kind.value,
        "outcome": event.outcome.value,
        "serial_number": device.serial_number if device else event.asserted_serial_number,
        "idevid_issuer": device.idevid_issuer.hex() if device else None,
        "reason": event.reason,
        "code": event.code,
        "peer_address": event.peer_address,
        "details": event.details,
    }


def _print_events(events: tuple[Event, ...]) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("time (UTC)", "device", "step", "outcome", "reason"):
        table.add_column(heading, overflow="fold")
    for event in events:
        serial_number = (
            event.device.serial_number if event.device else f"{event.asserted_serial_number}?"
        )
        table.add_row(
            f"{event.at:%Y-%m-%d %H:%M:%S}",
            one_line(serial_number),
            event.kind.value,
            event.outcome.value,
            one_line(event.reason),
        )
    Console().print(table, markup=False)


def _onboarding_document(onboarding: Onboarding, ldevid: bytes | None) -> dict[str, object]:
    return {
        "serial_number": onboarding.device.serial_number,
        "idevid_issuer": onboarding.device.idevid_issuer.hex(),
        "manufacturer": onboarding.manufacturer,
        "identity": onboarding.presentation,
        "masa_url": onboarding.masa_url,
        "voucher": onboarding.voucher is not None,
        "voucher_status": onboarding.voucher_status,
        "audit_verdict": onboarding.audit_verdict,
        "audit_reason": onboarding.audit_reason,
        "enrolled": ldevid is not None,
        "updated_at": onboarding.updated_at,
    }


def _write_artifacts(folder: Path, onboarding: Onboarding, ldevid: bytes | None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    named = {
        "pledge-voucher-request.cms": onboarding.pledge_request,
        "registrar-voucher-request.cms": onboarding.registrar_request,
        "voucher.cms": onboarding.voucher,
        "idevid.pem": _pem(*onboarding.idevid_chain[:-1]),
        "ldevid.pem": None if ldevid is None else _pem(ldevid),
    }
    for name, octets in named.items():
        if octets is not None:
            write_atomically(folder / name, octets, mode=0o644)


def _pem(*certificates: bytes) -> bytes:
    return pem_of(x509.load_der_x509_certificate(octets) for octets in certificates)


def main(argv: list[str] | None = None) -> int:
    """Run the program.

    Args:
        argv: arguments without the program's name; the process's own when None.

    Returns:
        0 done, 1 refused, 2 misuse, 3 try again.
    """
    return run(app, argv, PROGRAM)
