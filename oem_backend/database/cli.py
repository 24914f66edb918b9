"""``brski-oem database``: the manufacturer's directory of devices, from a terminal."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer
from cryptography import x509
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from brski.edge.atomic_file import file_error
from brski.edge.cli import MISUSE, print_json, printable
from brski.edge.serve import run_loop
from brski.edge.settings import load_settings
from brski.edge.signers.file import load_chain, load_private_key, pem_of
from brski.errors import DeviceUnknown, Malformed, SettingsError
from brski.idevid.record import DeviceRecord, DeviceStatus, check_token
from brski.pki.chain import TrustAnchors
from brski.pki.names import check_serial_number
from brski.pki.signer import PublicKey
from oem_backend.database.loader import LoadReport, Outcome, load_bundle
from oem_backend.database.marks import mark_device
from oem_backend.database.reader import Mark, Reader
from oem_backend.database.service import serve_devices
from oem_backend.database.settings import DatabaseSettings, OEMSettings
from oem_backend.public_keys import load_public_key

app = typer.Typer(
    help="""The manufacturer's directory of devices: public certificates, and what became of them.

    Filled by [bold]load[/bold] from the factory's bundles; asked by the MASA, and by registrars
    through [bold]serve[/bold]. docs/oem-database.md has the rules.""",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

SettingsFile = Annotated[
    Path, typer.Option("--settings", "-s", help="The settings file, TOML.", show_default=True)
]
AsJSON = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
SerialNumber = Annotated[str, typer.Argument(help="Of the device.")]
Issuer = Annotated[
    str | None,
    typer.Option(help="idevid-issuer, 40 hex digits, where two issuers share a serial number."),
]
_USUAL: Final = Path("oem.toml")


@app.command()
def load(
    bundle: Annotated[Path, typer.Argument(help="A bundle, as the factory wrote it.")],
    settings: SettingsFile = _USUAL,
    late: Annotated[
        bool,
        typer.Option(help="It comes after a newer one: add what nothing newer speaks of."),
    ] = False,
    as_json: AsJSON = False,
) -> None:
    """Bring a bundle in: whole or not at all. The same bundle again changes nothing."""
    configured = _settings(settings)
    factories = _factories(configured)
    try:
        stream = bundle.open("rb")
    except OSError as err:
        raise file_error(err, bundle, "read") from err
    with stream, _progress_bar() as progress:
        report = load_bundle(
            configured.path, stream, factories, now=_now(), late=late, progress=progress
        )
    if as_json:
        print_json(asdict(report))
    else:
        _tell_load(report)


@app.command()
def show(
    serial_number: SerialNumber,
    settings: SettingsFile = _USUAL,
    issuer: Issuer = None,
    as_json: AsJSON = False,
) -> int | None:
    """What stands of a device: its certificate, where it came from, its marks."""
    with closing(Reader(_settings(settings).path)) as reader:
        found = _find(reader, serial_number, issuer)
        if len(found) != 1:
            return _ambiguous(found)
        marks = reader.marks(found[0])
    document = _device_document(found[0], marks)
    if as_json:
        print_json(document)
    else:
        _print_device(document)
    return None


@app.command()
def mark(
    serial_number: SerialNumber,
    reason: Annotated[str, typer.Option(help='A token: "stolen", "clone-suspected".')],
    settings: SettingsFile = _USUAL,
    revoked: Annotated[
        bool, typer.Option("--revoked", help="It is to be refused for ever.")
    ] = False,
    flagged: Annotated[bool, typer.Option("--flagged", help="Something is wrong with it.")] = False,
    issuer: Issuer = None,
    as_json: AsJSON = False,
) -> int | None:
    """Mark a device's key, for ever: whatever serial number or certificate it gets later."""
    if revoked == flagged:
        raise typer.BadParameter("say --revoked or --flagged, one of the two")
    with _misuse("--reason"):
        check_token(reason, "reason")
    path = _settings(settings).path
    with closing(Reader(path)) as reader:
        found = _find(reader, serial_number, issuer)
    if len(found) != 1:
        return _ambiguous(found)
    status = DeviceStatus.REVOKED if revoked else DeviceStatus.FLAGGED
    added = mark_device(path, found[0], status, reason, now=_now())
    if as_json:
        with closing(Reader(path)) as reader:
            (standing,) = reader.find(found[0].idevid_issuer, serial_number)
            print_json({"added": added, **_device_document(standing, reader.marks(standing))})
    else:
        stood = "" if added else " (was so already)"
        typer.echo(f"{serial_number}: {status.value}, {reason}{stood}")
    return None


@app.command()
def serve(
    settings: SettingsFile = _USUAL,
    listen: Annotated[
        str | None, typer.Option(help='Instead of database.service.listen: "host:port" or "fd:N".')
    ] = None,
    announce: Annotated[
        bool, typer.Option(help="Print the address as one JSON line once it is open.")
    ] = False,
) -> None:
    """Answer registrars over HTTPS until SIGTERM or SIGINT."""
    configured = _settings(settings)
    if listen is not None and configured.service is not None:
        service = configured.service.model_copy(update={"listen": listen})
        configured = configured.model_copy(update={"service": service})
    run_loop(serve_devices(configured, announce=announce))


@app.command()
def check(settings: SettingsFile = _USUAL) -> None:
    """Read the settings, load every key and anchor, and say what is wrong."""
    configured = _settings(settings)
    for factory in configured.factory:
        load_public_key(factory.key)
    if configured.service is not None:
        load_private_key(configured.service.key)
        load_chain(configured.service.chain)
        TrustAnchors(load_chain(configured.service.registrar_anchors))
    typer.echo(f"{settings}: good, {len(configured.factory)} factory key(s)")


def _settings(path: Path) -> DatabaseSettings:
    return load_settings(path, OEMSettings).database


def _factories(settings: DatabaseSettings) -> dict[str, PublicKey]:
    if not settings.factory:
        raise SettingsError(
            "database.factory: missing, so no bundle can be verified",
            hint="conf/oem.toml explains it",
        )
    return {factory.name: load_public_key(factory.key) for factory in settings.factory}


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - the edge


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


def _find(reader: Reader, serial_number: str, issuer: str | None) -> list[DeviceRecord]:
    with _misuse("SERIAL_NUMBER"):
        check_serial_number(serial_number)
    found = [
        record
        for record in reader.find(None, serial_number)
        if issuer is None or record.idevid_issuer.hex() == issuer.lower()
    ]
    if not found:
        raise DeviceUnknown(f"the database knows no device {serial_number}")
    return found


@contextmanager
def _misuse(argument: str) -> Iterator[None]:
    """What a person has typed is no peer's fault."""
    try:
        yield
    except Malformed as err:
        raise typer.BadParameter(str(err), param_hint=argument) from err


def _ambiguous(found: list[DeviceRecord]) -> int:
    typer.echo(
        f"brski-oem: error: {len(found)} devices have this serial number; say --issuer", err=True
    )
    for record in found:
        typer.echo(f"  --issuer {record.idevid_issuer.hex()}", err=True)
    return MISUSE


def _device_document(record: DeviceRecord, marks: tuple[Mark, ...]) -> dict[str, object]:
    return {
        "serial_number": record.serial_number,
        "idevid_issuer": record.idevid_issuer,
        "status": record.status,
        "status_reason": record.status_reason,
        "presentation": record.presentation,
        "generation": record.generation,
        "batch_digest": record.batch_digest,
        "chunk": record.chunk,
        "derivation_profile": record.derivation_profile,
        "certificate_sha256": hashlib.sha256(record.certificate).digest(),
        "spki_sha256": hashlib.sha256(record.spki).digest(),
        "chain_pem": pem_of(
            x509.load_der_x509_certificate(octets)
            for octets in (record.certificate, *record.intermediates)
        ).decode("ascii"),
        "marks": [asdict(each) for each in marks],
    }


def _print_device(document: dict[str, object]) -> None:
    for name, value in document.items():
        if name in {"chain_pem", "marks"}:
            continue
        text = value.hex() if isinstance(value, bytes) else str(value)
        typer.echo(f"{name:20} {text}".rstrip())
    marks = document["marks"]
    for each in marks if isinstance(marks, list) else ():
        typer.echo(
            f"{'mark':20} {each['marked_at']:%Y-%m-%d %H:%M:%S} {each['status']} {each['reason']}"
            f" (on {each['kind']} {each['digest'].hex()})"
        )
