"""``brski-registrar revoke``: a person withdraws a device's certificates (docs/ca.md)."""

from __future__ import annotations

import enum
from datetime import UTC, datetime
from typing import Annotated

import typer

from brski.edge.cli import print_json
from registrar_plugin.ca_backend.crl import Reason
from registrar_plugin.cli_common import (
    USUAL,
    Ambiguous,
    AsJSON,
    Issuer,
    SettingsFile,
    enrolled_under,
    named,
    operator,
    tell_ambiguous,
    the_one,
    with_journal,
)
from registrar_plugin.store.revocation import Revocation
from registrar_plugin.store.sqlite import SQLiteJournal
from registrar_plugin.store.sqlite_revocation import SQLiteWithdrawals
from registrar_plugin.telemetry.events import Event, EventKind


class Given(enum.StrEnum):
    """The reasons that a person can have; that one is superseded, a renewal says."""

    UNSPECIFIED = Reason.UNSPECIFIED.value
    KEY_COMPROMISE = Reason.KEY_COMPROMISE.value
    AFFILIATION_CHANGED = Reason.AFFILIATION_CHANGED.value
    CESSATION_OF_OPERATION = Reason.CESSATION_OF_OPERATION.value
    PRIVILEGE_WITHDRAWN = Reason.PRIVILEGE_WITHDRAWN.value


def revoke(
    serial_number: Annotated[str, typer.Argument(help="Of the device, or an EST client's name.")],
    settings: SettingsFile = USUAL,
    issuer: Issuer = None,
    reason: Annotated[Given, typer.Option(help="What the list says.")] = Given.UNSPECIFIED,
    note: Annotated[str, typer.Option(help="Why, for those who read the journal.")] = "",
    as_json: AsJSON = False,
) -> int | None:
    """Withdraw every certificate of a device; it gets no other before it is onboarded anew.

    To keep it out altogether, deny it. An EST client that is no device may ask for another one
    with its password: to keep it out, remove its account (est-password remove).
    """

    async def change(opened: SQLiteJournal) -> tuple[Revocation, int]:
        device = the_one(await enrolled_under(opened, serial_number), serial_number, issuer)
        at = datetime.now(UTC)  # noqa: TID251 - the edge
        by = operator()
        revocation = Revocation(device=device, at=at, reason=Reason(reason), by=by, note=note)
        return revocation, await SQLiteWithdrawals(opened.writer).revoke(
            revocation, _event(revocation)
        )

    try:
        revocation, certificates = with_journal(settings, change)
    except Ambiguous as several:
        return tell_ambiguous(several)
    if as_json:
        print_json(
            {
                "serial_number": revocation.device.serial_number,
                "idevid_issuer": revocation.device.idevid_issuer.hex(),
                "reason": revocation.reason.value,
                "certificates": certificates,
                "at": revocation.at,
                "by": revocation.by,
                "note": note,
            }
        )
    else:
        typer.echo(f"{named(revocation.device)}: {certificates} certificate(s) revoked")
    return None


def _event(revocation: Revocation) -> Event:
    said = f"revoked by {revocation.by}: {revocation.reason}"
    return Event(
        at=revocation.at,
        kind=EventKind.REVOCATION,
        device=revocation.device,
        reason=f"{said}, {revocation.note}" if revocation.note else said,
        details={
            "reason": revocation.reason.value,
            "by": revocation.by,
            "note": revocation.note,
        },
    )
