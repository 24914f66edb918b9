"""How events get into the journal's file, in the transaction of what they tell."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable

from registrar_plugin.store import statements as sql
from registrar_plugin.store.rows import microseconds
from registrar_plugin.telemetry.events import Event


def append_events(db: sqlite3.Connection, events: Iterable[Event]) -> None:
    """Append *events*, inside the writer's transaction."""
    for event in events:
        device = event.device
        db.execute(
            sql.PUT_EVENT,
            {
                "at": microseconds(event.at),
                "kind": event.kind.value,
                "outcome": event.outcome.value,
                "idevid_issuer": device.idevid_issuer if device else None,
                "serial_number": device.serial_number if device else event.asserted_serial_number,
                "reason": event.reason,
                "code": event.code,
                "peer_address": event.peer_address,
                "details": json.dumps(event.details, sort_keys=True) if event.details else "{}",
            },
        )
