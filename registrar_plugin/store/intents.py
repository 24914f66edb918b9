"""How intents get into the journal's file, inside the writer's transaction."""

from __future__ import annotations

import sqlite3

from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.store import statements as sql
from registrar_plugin.store.port import Intent, IntentKind
from registrar_plugin.store.rows import intent_of


def put_intent(
    db: sqlite3.Connection,
    at: int,
    kind: IntentKind,
    device: DeviceKey,
    octets: bytes,
    digest: bytes,
) -> tuple[Intent, bool]:
    """The intent of this request, and whether there was none before.

    Args:
        at: microseconds since 1970, UTC.
        digest: SHA-256 of the request.
    """
    done = db.execute(
        sql.PUT_INTENT,
        {
            "at": at,
            "kind": kind.value,
            "idevid_issuer": device.idevid_issuer,
            "serial_number": device.serial_number,
            "request_digest": digest,
            "octets": octets,
            "result": None,
        },
    )
    if not done.rowcount:
        row = {
            "issuer": device.idevid_issuer,
            "serial": device.serial_number,
            "kind_": kind.value,
            "digest": digest,
        }
        return intent_of(db.execute(sql.GET_INTENT, row).fetchone()), False
    number = done.lastrowid or 0  # there is one after an INSERT
    return Intent(
        id=number, kind=kind, device=device, octets=octets, request_digest=digest, result=None
    ), True


def put_result(db: sqlite3.Connection, intent: Intent, result: bytes) -> bool:
    """Whether this call completed *intent*; False when it was complete before."""
    done = db.execute(sql.SET_RESULT, {"intent_id": intent.id, "octets_": result})
    return bool(done.rowcount)
