"""``brski-registrar vouchers drop``: a person no longer wants what was fetched ahead."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from brski.edge.cli import print_json
from registrar_plugin.cli_common import (
    USUAL,
    Ambiguous,
    AsJSON,
    Issuer,
    SettingsFile,
    operator,
    tell_ambiguous,
    the_one,
    with_journal,
)
from registrar_plugin.store.sqlite import SQLiteJournal
from registrar_plugin.store.sqlite_vouchers import SQLiteStoredVouchers
from registrar_plugin.store.vouchers import VoucherDrop
from registrar_plugin.telemetry.events import Event, EventKind


def drop(
    serial_number: Annotated[str, typer.Argument(help="Of the device.")],
    settings: SettingsFile = USUAL,
    issuer: Issuer = None,
    note: Annotated[str, typer.Option(help="Why, for those who read the journal.")] = "",
    as_json: AsJSON = False,
) -> int | None:
    """Neither hand out nor renew what was fetched ahead for a device, from now on.

    It stays in the journal; fetch-voucher fetches anew.
    """

    async def change(opened: SQLiteJournal) -> tuple[VoucherDrop, bool]:
        vouchers = SQLiteStoredVouchers(opened.writer)
        device = the_one(await vouchers.devices(serial_number), serial_number, issuer)
        at = datetime.now(UTC)  # noqa: TID251 - the edge
        wanted = VoucherDrop(device=device, at=at, by=operator(), note=note)
        return wanted, await vouchers.drop(wanted, _event(wanted))

    try:
        dropped, is_new = with_journal(settings, change)
    except Ambiguous as several:
        return tell_ambiguous(several)
    if as_json:
        print_json(
            {
                "serial_number": dropped.device.serial_number,
                "idevid_issuer": dropped.device.idevid_issuer.hex(),
                "dropped": is_new,
                "at": dropped.at,
                "by": dropped.by,
                "note": note,
            }
        )
    else:
        typer.echo(f"{dropped.device}: {'dropped' if is_new else 'there is none to drop'}")
    return None


def _event(drop: VoucherDrop) -> Event:
    said = f"dropped by {drop.by}"
    return Event(
        at=drop.at,
        kind=EventKind.STORED_VOUCHER,
        device=drop.device,
        reason=f"{said}: {drop.note}" if drop.note else said,
        details={"step": "drop", "by": drop.by, "note": drop.note},
    )
