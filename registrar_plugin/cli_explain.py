"""``brski-registrar explain``: why a device was refused, and what can be done (docs/explain.md)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Final

import typer

from brski.edge.cli import one_line, print_json, printable
from brski.errors import DeviceUnknown
from brski.pki.names import check_serial_number
from registrar_plugin.cli_common import (
    USUAL,
    Ambiguous,
    AsJSON,
    Issuer,
    SettingsFile,
    named,
    tell_ambiguous,
    the_one,
    with_journal,
)
from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.store.sqlite import SQLiteJournal
from registrar_plugin.store.sqlite_history import SQLiteHistory
from registrar_plugin.telemetry.explain import Explanation, Finding, explain

_MOST_EVENTS: Final = 10_000
_MOST_CLAIMS: Final = 100


def explain_device(
    serial_number: Annotated[str, typer.Argument(help="Of the device, or an EST client's name.")],
    settings: SettingsFile = USUAL,
    issuer: Issuer = None,
    as_json: AsJSON = False,
) -> int | None:
    """Where a device stands, which rule refused it, and what can be done."""
    check_serial_number(serial_number)

    async def read(opened: SQLiteJournal) -> Explanation:
        history = SQLiteHistory(opened.writer)
        events = await history.of_serial_number(
            serial_number, most=_MOST_EVENTS, claims=_MOST_CLAIMS
        )
        met = {event.device for event in events if event.device is not None}
        if not events or (not met and issuer is not None):
            raise DeviceUnknown(f"nobody has come with the serial number {serial_number}")
        device = the_one(met, serial_number, issuer) if met else None
        return explain(serial_number, device, events)

    try:
        found = with_journal(settings, read)
    except Ambiguous as several:
        return tell_ambiguous(several)
    if as_json:
        print_json(asdict(found))
    else:
        _print(found)
    return None


def _print(found: Explanation) -> None:
    who = found.serial_number
    if found.idevid_issuer is not None:
        who = named(DeviceKey(found.idevid_issuer, who))
    typer.echo(printable(f"{who}: {found.standing}"))
    if found.refusal is not None:
        _print_finding("refused", found.refusal)
    for alarm in found.alarms[:3]:
        _print_finding("alarm", alarm)
    for claim in found.claims[:3]:
        _print_finding("somebody who says that it is this device was refused", claim)


def _print_finding(title: str, finding: Finding) -> None:
    where = f" from {finding.peer_address}" if finding.peer_address else ""
    typer.echo(printable(f"\n{finding.at:%Y-%m-%d %H:%M:%S} UTC, {finding.step}{where}: {title}"))
    rule = ", ".join(part for part in (finding.rule, finding.section) if part)
    for name, value in (
        ("why", finding.reason),
        ("rule", rule),
        ("found", finding.found),
        ("wanted", finding.wanted),
        ("what to do", finding.advice),
    ):
        if value:
            typer.echo(f"  {name:10} {one_line(value)}")
