"""What the commands of ``brski-oem database`` share: options; how a device is found and told."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer
from cryptography import x509

from brski.edge.cli import MISUSE
from brski.edge.settings import load_settings
from brski.edge.signers.file import pem_of
from brski.errors import DeviceUnknown, Malformed
from brski.idevid.record import DeviceRecord
from brski.pki.names import check_serial_number
from oem_backend.database.marks import Mark
from oem_backend.database.reader import Reader
from oem_backend.database.settings import DatabaseSettings, OEMSettings

SettingsFile = Annotated[
    Path, typer.Option("--settings", "-s", help="The settings file, TOML.", show_default=True)
]
AsJSON = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
SerialNumber = Annotated[str, typer.Argument(help="Of the device.")]
Issuer = Annotated[
    str | None,
    typer.Option(help="idevid-issuer, 40 hex digits, where two issuers share a serial number."),
]
USUAL: Final = Path("oem.toml")


def settings_of(path: Path) -> DatabaseSettings:
    """The table ``[database]`` of a settings file; raises SettingsError."""
    return load_settings(path, OEMSettings).database


def now() -> datetime:
    """Aware UTC."""
    return datetime.now(UTC)  # noqa: TID251 - the edge


def find(reader: Reader, serial_number: str, issuer: str | None) -> list[DeviceRecord]:
    """Every record that a person may have meant.

    Raises:
        DeviceUnknown: there is none.
    """
    with misuse("SERIAL_NUMBER"):
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
def misuse(argument: str) -> Iterator[None]:
    """What a person has typed is no peer's fault."""
    try:
        yield
    except Malformed as err:
        raise typer.BadParameter(str(err), param_hint=argument) from err


def ambiguous(found: list[DeviceRecord]) -> int:
    """Say which issuers there are; returns the exit status."""
    typer.echo(
        f"brski-oem: error: {len(found)} devices have this serial number; say --issuer", err=True
    )
    for record in found:
        typer.echo(f"  --issuer {record.idevid_issuer.hex()}", err=True)
    return MISUSE


def device_document(record: DeviceRecord, marks: tuple[Mark, ...]) -> dict[str, object]:
    """What ``show --json`` prints."""
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


def mark_line(mark: Mark) -> str:
    """One entry for a person."""
    on = f"{mark.kind.value} {mark.digest.hex()}"
    if mark.chunk is not None:
        on = f"chunk {mark.chunk} of batch {mark.digest.hex()}"
    by = f" by {mark.marked_by}" if mark.marked_by else ""
    of = f" ({mark.serial_number})" if mark.serial_number else ""
    return f"{mark.marked_at:%Y-%m-%d %H:%M:%S} {mark.verdict.value} {mark.reason}{by} on {on}{of}"
