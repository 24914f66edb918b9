"""``brski-registrar fetch-voucher``, ``vouchers`` (which has a ``drop``) and ``renew-vouchers``:
vouchers fetched before their devices come (docs/stored-vouchers.md).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final, TypeVar

import typer

from brski.edge.atomic_file import file_error
from brski.edge.cli import MISUSE, REFUSED, TRY_AGAIN, print_json, printable
from brski.edge.settings import load_settings
from brski.errors import OnboardingError, SettingsError, Unavailable
from brski.pki.names import check_serial_number
from registrar_plugin.cli_common import (
    PROGRAM,
    USUAL,
    Ambiguous,
    AsJSON,
    Issuer,
    SettingsFile,
    tell_ambiguous,
    with_journal,
)
from registrar_plugin.cli_drop_voucher import drop
from registrar_plugin.composition import MountableRegistrar, open_registrar
from registrar_plugin.identity.announced import Announced
from registrar_plugin.settings import RegistrarSettings
from registrar_plugin.store.sqlite import SQLiteJournal
from registrar_plugin.store.sqlite_vouchers import SQLiteStoredVouchers
from registrar_plugin.store.vouchers import Errand

_LINE: Final = re.compile(r"([^@]+)(?:@([0-9a-fA-F]{40}))?")
_MOST_LINES: Final = 100_000
T = TypeVar("T")


app = typer.Typer(invoke_without_command=True)
app.command()(drop)


@dataclass(slots=True)
class _Done:
    """What became of each device, in the order in which they were asked for."""

    devices: list[dict[str, object]] = field(default_factory=list)
    code: int = 0

    def took(self, errand: Errand) -> None:
        self.devices.append(_document(errand) | {"outcome": "stored"})

    def failed(self, serial_number: str, fault: OnboardingError) -> None:
        """Silence weighs more than a refusal: whoever reads the code shall try again."""
        code = TRY_AGAIN if isinstance(fault, Unavailable) else REFUSED
        self.code = max(self.code, code)
        outcome = "try-again" if code == TRY_AGAIN else "refused"
        self.devices.append(
            {
                "serial_number": serial_number,
                "outcome": outcome,
                "code": fault.code,
                "reason": str(fault),
            }
        )

    def tell(self, *, as_json: bool) -> int | None:
        if as_json:
            print_json({"vouchers": self.devices})
        else:
            for device in self.devices:
                told = device.get("reason") or f"expires {device.get('expires_on') or 'never'}"
                line = f"{device['serial_number']}: {device['outcome']}, {told}"
                typer.echo(printable(line))
        return self.code or None


def fetch_voucher(
    manufacturer: Annotated[str, typer.Option(help="Whose devices, by its name in the settings.")],
    serial_numbers: Annotated[list[str] | None, typer.Argument(help="Of the devices.")] = None,
    settings: SettingsFile = USUAL,
    issuer: Issuer = None,
    file: Annotated[
        Path | None, typer.Option(help="A list of devices, SERIAL or SERIAL@ISSUER-HEX a line.")
    ] = None,
    as_json: AsJSON = False,
) -> int | None:
    """Fetch vouchers without nonce before the devices come, or renew those that are there."""
    wanted = [(serial, issuer) for serial in serial_numbers or ()]
    wanted += _listed(file) if file is not None else []
    if not wanted:
        typer.echo(f"{PROGRAM}: error: no serial number and no --file", err=True)
        return MISUSE
    for serial, named in wanted:
        check_serial_number(serial)
        if named is not None and not re.fullmatch(r"[0-9a-fA-F]{40}", named):
            typer.echo(f"{PROGRAM}: error: an issuer has 40 hex digits", err=True)
            return MISUSE

    async def fetch(registrar: MountableRegistrar) -> _Done:
        done = _Done()
        for serial, named in wanted:
            try:
                device = await _announced(registrar, manufacturer, serial, named)
                done.took(await registrar.vouchers.fetcher.fetch(device))
            except OnboardingError as fault:
                done.failed(serial, fault)
        return done

    try:
        return _with_registrar(settings, manufacturer, fetch).tell(as_json=as_json)
    except Ambiguous as several:
        return tell_ambiguous(several)


def renew_vouchers(settings: SettingsFile = USUAL, as_json: AsJSON = False) -> int | None:
    """Renew the stored vouchers that expire soon."""

    async def renew(registrar: MountableRegistrar) -> _Done:
        done = _Done()

        def told(errand: Errand, fault: OnboardingError | None) -> None:
            if fault is None:
                done.took(errand)
            else:
                done.failed(errand.device.serial_number, fault)

        await registrar.vouchers.renewer.renew_due(told)
        return done

    return _with_registrar(settings, None, renew).tell(as_json=as_json)


@app.callback()
def vouchers(
    context: typer.Context, settings: SettingsFile = USUAL, as_json: AsJSON = False
) -> None:
    """Stored vouchers, one a device; or what is to be done with them."""
    if context.invoked_subcommand is not None:
        return

    async def read(opened: SQLiteJournal) -> tuple[Errand, ...]:
        return await SQLiteStoredVouchers(opened.writer).all_current()

    done = _Done()
    for errand in with_journal(settings, read):
        done.took(errand)
    done.tell(as_json=as_json)


async def _announced(
    registrar: MountableRegistrar, manufacturer: str, serial_number: str, issuer: str | None
) -> Announced:
    found = await registrar.identity.announced(
        manufacturer,
        serial_number,
        idevid_issuer=None if issuer is None else bytes.fromhex(issuer),
    )
    if len(found) > 1:
        raise Ambiguous([each.device for each in found])
    return found[0]


def _with_registrar(
    settings: Path, manufacturer: str | None, use: Callable[[MountableRegistrar], Awaitable[T]]
) -> T:
    loaded = load_settings(settings, RegistrarSettings)
    if manufacturer is not None and manufacturer not in {m.name for m in loaded.manufacturer}:
        raise SettingsError(f"no manufacturer {manufacturer!r} is in {settings}")

    @asynccontextmanager
    async def opened() -> AsyncIterator[MountableRegistrar]:
        registrar = open_registrar(loaded, source=settings)
        try:
            yield registrar
        finally:
            await registrar.close()

    async def using() -> T:
        async with opened() as registrar:
            return await use(registrar)

    return asyncio.run(using())


def _listed(path: Path) -> list[tuple[str, str | None]]:
    try:
        text = path.read_text("utf-8")
    except OSError as err:
        raise file_error(err, path, "read") from err
    except UnicodeDecodeError as err:
        raise SettingsError(f"{path} is not UTF-8 text") from err
    lines = text.splitlines()
    if len(lines) > _MOST_LINES:
        raise SettingsError(f"{path} has {len(lines)} lines, {_MOST_LINES} may be")
    listed = []
    for number, line in enumerate((line.strip() for line in lines), 1):
        if not line or line.startswith("#"):
            continue
        found = _LINE.fullmatch(line)
        if found is None:
            raise SettingsError(f"{path}:{number}: {line!r:.80} is no SERIAL or SERIAL@ISSUER-HEX")
        listed.append((found[1], found[2]))
    return listed


def _document(errand: Errand) -> dict[str, object]:
    return {
        "serial_number": errand.device.serial_number,
        "idevid_issuer": errand.device.idevid_issuer.hex(),
        "manufacturer": errand.manufacturer,
        "masa_url": errand.masa_url,
        "assertion": errand.assertion,
        "fetched_at": errand.at,
        "expires_on": errand.expires_on,
    }
