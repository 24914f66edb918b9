"""brski-masa sold, released, withheld, sales: the sales data from the command line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from brski.edge.atomic_file import read_file
from brski.edge.settings import load_settings
from brski.errors import LocalError, OnboardingError, SettingsError
from masa_stub.ownership import BuyerKind, Sale
from masa_stub.port import DeviceRecords
from masa_stub.selling import key_of_certificate, parse_sale, sale_document, sale_of
from masa_stub.settings import MASASettings
from masa_stub.store.sales import SalesBook
from masa_stub.store.schema import open_store

SettingsFile = Annotated[Path, typer.Option("--settings", "-s", help="The settings file, TOML.")]
SerialNumber = Annotated[str, typer.Argument(help="Of the device.")]
Issuer = Annotated[
    str | None,
    typer.Option(help="keyIdentifier of its IDevID's issuer, 40 hex digits; where two have one."),
]
_DEFAULT = Path("masa.toml")
_MOST = 1000


def sold(
    serial_number: SerialNumber,
    settings: SettingsFile = _DEFAULT,
    issuer: Issuer = None,
    customer: Annotated[
        str | None, typer.Option(help="The owner's name, as a [[customer]] has it.")
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(help="PEM: the owner's CA, or its registrar.")
    ] = None,
    domain_id: Annotated[
        str | None, typer.Option(help="Hex: what follows from the key of the owner's CA.")
    ] = None,
) -> None:
    """Write down who has bought a device; a later sale is a transfer."""
    named = [value for value in (customer, certificate, domain_id) if value is not None]
    if len(named) != 1:
        raise SettingsError("name one of --customer, --certificate, --domain-id")
    loaded = load_settings(settings, MASASettings)
    if certificate is not None:
        _write(
            loaded, serial_number, issuer, BuyerKind.KEY, key_of_certificate(read_file(certificate))
        )
    elif domain_id is not None:
        _write(loaded, serial_number, issuer, BuyerKind.DOMAIN_ID, domain_id)
    else:
        if customer not in {each.name for each in loaded.customer}:
            raise SettingsError(f"{settings} has no [[customer]] named {customer!r}")
        _write(loaded, serial_number, issuer, BuyerKind.CUSTOMER, customer or "")


def sell(
    file: Annotated[Path, typer.Argument(help="JSON lines, as the command sales prints them.")],
    settings: SettingsFile = _DEFAULT,
) -> None:
    """Write down many sales at once: all of a file's lines, or none."""
    loaded = load_settings(settings, MASASettings)
    written = asyncio.run(_add_all(loaded, file))
    typer.echo(f"{file}: {written} sales")


def released(
    serial_number: SerialNumber, settings: SettingsFile = _DEFAULT, issuer: Issuer = None
) -> None:
    """Let a device be claimed anew: its owner has given it up and named no other."""
    loaded = load_settings(settings, MASASettings)
    _write(loaded, serial_number, issuer, BuyerKind.ANYBODY, "")


def withheld(
    serial_number: SerialNumber, settings: SettingsFile = _DEFAULT, issuer: Issuer = None
) -> None:
    """Give out no voucher for a device, as for one that is stolen or in the store."""
    loaded = load_settings(settings, MASASettings)
    _write(loaded, serial_number, issuer, BuyerKind.NOBODY, "")


def sales(
    serial_number: Annotated[str | None, typer.Argument(help="Of one device.")] = None,
    settings: SettingsFile = _DEFAULT,
) -> None:
    """Print the sales data, a line of JSON each, oldest first; the newest of a device counts."""
    loaded = load_settings(settings, MASASettings)
    for sale in asyncio.run(_read(loaded, serial_number)):
        typer.echo(json.dumps(sale_document(sale)))


COMMANDS = (sold, sell, released, withheld, sales)


def _write(
    settings: MASASettings, serial_number: str, issuer: str | None, kind: BuyerKind, buyer: str
) -> None:
    sale = asyncio.run(_add(settings, serial_number, issuer, kind, buyer))
    typer.echo(json.dumps(sale_document(sale)))


async def _add(
    settings: MASASettings, serial_number: str, issuer: str | None, kind: BuyerKind, buyer: str
) -> Sale:
    async with _opened(settings) as (records, book):
        now = datetime.now(UTC)  # noqa: TID251 - the edge
        sale = await sale_of(records, serial_number, issuer, kind, buyer, at=now)
        await book.add(sale)
        return sale


@asynccontextmanager
async def _opened(settings: MASASettings) -> AsyncIterator[tuple[DeviceRecords, SalesBook]]:
    async with AsyncExitStack() as stack:
        records = await settings.place.open_records()
        stack.push_async_callback(records.close)
        writer = open_store(settings.log)
        stack.push_async_callback(writer.close)
        yield records, SalesBook(writer)


async def _add_all(settings: MASASettings, file: Path) -> int:
    lines = read_file(file).splitlines()
    async with _opened(settings) as (records, book):
        now = datetime.now(UTC)  # noqa: TID251 - the edge
        sales = []
        for number, line in enumerate(lines, 1):
            try:
                sales.append(await parse_sale(records, line, at=now))
            except OnboardingError as err:
                raise LocalError(f"{file}, line {number}: {err.reason}", hint=err.hint) from err
        await book.add(*sales)
    return len(sales)


async def _read(settings: MASASettings, serial_number: str | None) -> tuple[Sale, ...]:
    writer = open_store(settings.log)
    try:
        book = SalesBook(writer)
        if serial_number is None:
            return await book.last(_MOST)
        return await book.of_serial_number(serial_number)
    finally:
        await writer.close()
