"""What commands of ``brski-registrar`` share: options, the journal, which device is meant."""

from __future__ import annotations

import asyncio
import os
import pwd
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import Annotated, Final, TypeVar

import typer

from brski.edge.cli import MISUSE
from brski.edge.settings import load_settings
from brski.errors import DeviceUnknown, FileUnusable
from brski.pki.names import check_serial_number
from registrar_plugin.identity.clients import client_kind
from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.settings import RegistrarSettings
from registrar_plugin.store.sqlite import SQLiteJournal
from registrar_plugin.store.sqlite_history import SQLiteHistory

PROGRAM: Final = "brski-registrar"
USUAL: Final = Path("registrar.toml")

SettingsFile = Annotated[
    Path, typer.Option("--settings", "-s", help="The settings file, TOML.", show_default=True)
]
AsJSON = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Issuer = Annotated[
    str | None,
    typer.Option(help="idevid-issuer, 40 hex digits, where two devices share a serial number."),
]
T = TypeVar("T")


class Ambiguous(Exception):
    """Several devices have the serial number that a command was given."""

    def __init__(self, devices: Collection[DeviceKey]) -> None:
        super().__init__(f"{len(devices)} devices have this serial number; say --issuer")
        self.devices = sorted(devices)


def with_journal(settings: Path, use: Callable[[SQLiteJournal], Awaitable[T]]) -> T:
    """Open the journal of *settings*, which has to exist, for *use*.

    Raises:
        FileUnusable: there is none yet.
    """
    path = load_settings(settings, RegistrarSettings).journal
    if not path.is_file():
        raise FileUnusable(f"there is no journal at {path} yet", hint=f"{PROGRAM} serve makes it")

    async def using() -> T:
        opened = SQLiteJournal(path)
        try:
            return await use(opened)
        finally:
            await opened.close()

    return asyncio.run(using())


async def enrolled_under(opened: SQLiteJournal, name: str) -> set[DeviceKey]:
    """Every device that was onboarded under the serial number *name*, and every EST client of that
    name which is no device (docs/est.md).
    """
    found = set(await opened.devices(name))
    met = await SQLiteHistory(opened.writer).devices(name)
    return found | {each for each in met if client_kind(each) is not None}


def named(device: DeviceKey) -> str:
    """A device, or an EST client that is none, for a person to read."""
    kind = client_kind(device)
    return str(device) if kind is None else f"{device.serial_number} ({kind} client)"


def the_one(devices: Collection[DeviceKey], serial_number: str, issuer: str | None) -> DeviceKey:
    """The device that a command means.

    Args:
        devices: all of that serial number.
        issuer: as the option has it.

    Raises:
        DeviceUnknown: none fits.
        Ambiguous: several do (docs/identity.md).
        Malformed: the serial number is none.
    """
    check_serial_number(serial_number)
    found = {d for d in devices if issuer is None or d.idevid_issuer.hex() == issuer.lower()}
    if not found:
        raise DeviceUnknown(f"the journal knows no device {serial_number}")
    if len(found) > 1:
        raise Ambiguous(found)
    return found.pop()


def tell_ambiguous(several: Ambiguous) -> int:
    """Say how to say it better; the exit code."""
    typer.echo(f"{PROGRAM}: error: {several}", err=True)
    for device in several.devices:
        kind = client_kind(device)
        what = "" if kind is None else f"  the {kind} client"
        typer.echo(f"  --issuer {device.idevid_issuer.hex()}{what}", err=True)
    return MISUSE


def operator() -> str:
    """The account that this command runs under; an operator's own word for it is not asked."""
    number = os.getuid()
    try:
        return f"{pwd.getpwuid(number).pw_name} (uid {number})"
    except KeyError:
        return f"uid {number}"
