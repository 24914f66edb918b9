"""``brski-registrar waiting``, ``approve`` and ``deny``: a person decides (docs/approval.md)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from brski.edge.cli import MISUSE, print_json, printable
from brski.errors import DeviceUnknown
from brski.pki.names import check_serial_number
from registrar_plugin.cli_common import (
    PROGRAM,
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
from registrar_plugin.identity.clients import client_kind
from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.store.approvals import Approval, Decision
from registrar_plugin.store.sqlite import SQLiteJournal
from registrar_plugin.store.sqlite_approvals import SQLiteApprovals
from registrar_plugin.store.sqlite_history import SQLiteHistory
from registrar_plugin.telemetry.events import Event, EventKind, Outcome

_ISSUER: Final = re.compile(r"[0-9a-fA-F]{40}")
_NOTE_CHARACTERS: Final = 500

SerialNumber = Annotated[str, typer.Argument(help="Of the device.")]
Note = Annotated[str, typer.Option(help="Why, for those who read the journal.")]


def waiting(settings: SettingsFile = USUAL, as_json: AsJSON = False) -> None:
    """Devices that wait for a person to approve or deny them, the longest first."""

    async def read(opened: SQLiteJournal) -> tuple[Approval, ...]:
        return await SQLiteApprovals(opened.writer).waiting()

    found = with_journal(settings, read)
    if as_json:
        print_json({"waiting": [_document(entry) for entry in found]})
    else:
        _print(found)


def approve(
    serial_number: SerialNumber,
    settings: SettingsFile = USUAL,
    issuer: Issuer = None,
    note: Note = "",
    as_json: AsJSON = False,
) -> int | None:
    """Let a device in; it gets its voucher when it asks again."""
    return _decide(serial_number, Decision.APPROVED, settings, issuer, note, as_json=as_json)


def deny(
    serial_number: SerialNumber,
    settings: SettingsFile = USUAL,
    issuer: Issuer = None,
    note: Note = "",
    as_json: AsJSON = False,
) -> int | None:
    """Shut a device out; it is answered as one that nobody knows."""
    return _decide(serial_number, Decision.DENIED, settings, issuer, note, as_json=as_json)


def _decide(
    serial_number: str,
    decision: Decision,
    settings: Path,
    issuer: str | None,
    note: str,
    *,
    as_json: bool,
) -> int | None:
    if issuer is not None and not _ISSUER.fullmatch(issuer):
        typer.echo(f"{PROGRAM}: error: --issuer wants 40 hex digits", err=True)
        return MISUSE
    if len(note) > _NOTE_CHARACTERS:
        typer.echo(
            f"{PROGRAM}: error: --note has more than {_NOTE_CHARACTERS} characters", err=True
        )
        return MISUSE

    async def decide(opened: SQLiteJournal) -> Approval:
        approvals = SQLiteApprovals(opened.writer)
        device = await _meant(opened, approvals, serial_number, issuer)
        by = operator()
        return await approvals.decide(
            device, decision, by=by, note=note, event=_event(device, decision, by, note)
        )

    try:
        decided = with_journal(settings, decide)
    except Ambiguous as several:
        return tell_ambiguous(several)
    if as_json:
        print_json(_document(decided))
    else:
        typer.echo(f"{decided.device}: {decided.decision}, by {decided.decided_by}")
    return None


async def _meant(
    opened: SQLiteJournal, approvals: SQLiteApprovals, serial_number: str, issuer: str | None
) -> DeviceKey:
    """The device; one that has not come yet only where its issuer is said."""
    check_serial_number(serial_number)
    on_record = {entry.device for entry in await approvals.find(serial_number)}
    met = await SQLiteHistory(opened.writer).devices(serial_number)
    on_record.update(device for device in met if client_kind(device) is None)
    try:
        return the_one(on_record, serial_number, issuer)
    except DeviceUnknown as unknown:
        if issuer is None:
            raise DeviceUnknown(
                unknown.reason, hint="--issuer HEX decides of a device before it comes"
            ) from unknown
        return DeviceKey(bytes.fromhex(issuer), serial_number)


def _event(device: DeviceKey, decision: Decision, by: str, note: str) -> Event:
    return Event(
        at=datetime.now(UTC),  # noqa: TID251 - the edge
        kind=EventKind.APPROVAL,
        outcome=Outcome.DONE if decision is Decision.APPROVED else Outcome.REFUSED,
        device=device,
        reason=f"{decision} by {by}" + (f": {note}" if note else ""),
        details={"decision": decision.value, "by": by, "note": note},
    )


def _document(entry: Approval) -> dict[str, object]:
    return {
        "serial_number": entry.device.serial_number,
        "idevid_issuer": entry.device.idevid_issuer.hex(),
        "manufacturer": entry.manufacturer,
        "peer_address": entry.peer_address,
        "decision": entry.decision,
        "since": entry.since,
        "decided_at": entry.decided_at,
        "decided_by": entry.decided_by,
        "note": entry.note,
    }


def _print(found: tuple[Approval, ...]) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("since (UTC)", "serial number", "idevid-issuer", "manufacturer", "from"):
        table.add_column(heading, overflow="fold")
    for entry in found:
        table.add_row(
            f"{entry.since:%Y-%m-%d %H:%M:%S}",
            printable(entry.device.serial_number),
            entry.device.idevid_issuer.hex(),
            printable(entry.manufacturer),
            printable(entry.peer_address),
        )
    Console().print(table, markup=False)
