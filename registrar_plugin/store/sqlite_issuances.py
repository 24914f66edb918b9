"""Why LDevIDs are issued, in the journal's file and in the transaction of their intents."""

from __future__ import annotations

import sqlite3
from typing import Final

from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Integer,
    LargeBinary,
    String,
    Table,
    and_,
    bindparam,
    func,
    insert,
    literal_column,
    select,
)

from brski.edge.sql import sql_of
from brski.edge.sql_writer import Writer
from brski.errors import StateError, WrongOrder
from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.store import statements as sql
from registrar_plugin.store.append import append_events
from registrar_plugin.store.client_keys import claim_key
from registrar_plugin.store.intents import put_intent, put_result
from registrar_plugin.store.issuances import Issuance
from registrar_plugin.store.port import Intent, IntentKind
from registrar_plugin.store.rows import certificate_of, microseconds
from registrar_plugin.store.schema import INTENTS, METADATA
from registrar_plugin.store.sqlite_revocation import check_not_ended
from registrar_plugin.telemetry.events import Event

ISSUANCES: Final = Table(  # an intent without a row here has the issuance whose fields are empty
    "issuances",
    METADATA,
    Column("intent_id", Integer, primary_key=True),
    Column("label", String(64), nullable=False),
    Column("enrollee", String(16), nullable=False),
    Column("renews", LargeBinary(32)),
    Column("key_made_here", Boolean, nullable=False),
)

RA_REQUESTS: Final = Table(  # intents that a registration authority asked for
    "ra_requests",
    METADATA,
    Column("intent_id", Integer, primary_key=True),
    Column("ra_certificate", LargeBinary(32), nullable=False),
)

_USUAL: Final = Issuance()
_i = INTENTS.c
_LDEVID: Final[ColumnElement[str]] = literal_column(f"'{IntentKind.LDEVID}'")
_OF_DEVICE: Final = and_(
    _i.kind == _LDEVID,
    _i.idevid_issuer == bindparam("issuer"),
    _i.serial_number == bindparam("serial"),
)
_PUT: Final = sql_of(insert(ISSUANCES))
_PUT_RA: Final = sql_of(insert(RA_REQUESTS))
_GET: Final = sql_of(
    select(
        ISSUANCES.c.label,
        ISSUANCES.c.enrollee,
        ISSUANCES.c.renews,
        ISSUANCES.c.key_made_here,
        RA_REQUESTS.c.ra_certificate,
    )
    .select_from(
        ISSUANCES.join(INTENTS, _i.id == ISSUANCES.c.intent_id).outerjoin(
            RA_REQUESTS, RA_REQUESTS.c.intent_id == _i.id
        )
    )
    .where(_OF_DEVICE, _i.request_digest == bindparam("digest"))
)
_LATEST: Final = sql_of(
    select(func.max(_i.id)).where(_OF_DEVICE, func.length(_i.result) > literal_column("0"))
)


class SQLiteIssuances:
    """An :class:`~registrar_plugin.store.issuances.Issuances`.

    Args:
        writer: the journal's (:attr:`registrar_plugin.store.sqlite.SQLiteJournal.writer`).
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def intend(
        self,
        device: DeviceKey,
        octets: bytes,
        csr_digest: bytes,
        issuance: Issuance,
        *events: Event,
        spki: bytes,
    ) -> tuple[Intent, Issuance]:
        """See :meth:`~registrar_plugin.store.issuances.Issuances.intend`."""

        def work(db: sqlite3.Connection) -> tuple[Intent, Issuance]:
            at = _stamp(events)
            intent, is_new = put_intent(db, at, IntentKind.LDEVID, device, octets, csr_digest)
            check_not_ended(db, device, intent.id)
            if issuance.asked_by is not None:
                _check_active(db, issuance.asked_by, "the registration authority's certificate")
            if not is_new:
                row = db.execute(_GET, _request(device, csr_digest)).fetchone()
                return intent, _issuance_of(row)
            claim_key(db, device, spki)
            if issuance.renews is not None:
                _check_active(db, issuance.renews, "the LDevID to be renewed")
            if issuance != _USUAL:
                db.execute(_PUT, _values(intent.id, issuance))
            if issuance.asked_by is not None:
                asked = {"intent_id": intent.id, "ra_certificate": issuance.asked_by}
                db.execute(_PUT_RA, asked)
            append_events(db, events)
            return intent, issuance

        return await self._writer.change(work)

    async def of_request(self, device: DeviceKey, csr_digest: bytes) -> Issuance:
        """See :meth:`~registrar_plugin.store.issuances.Issuances.of_request`."""
        return _issuance_of(self._writer.look_up(_GET, _request(device, csr_digest)))

    async def is_overtaken(self, intent: Intent) -> bool:
        """See :meth:`~registrar_plugin.store.issuances.Issuances.is_overtaken`."""
        device = intent.device
        values = {"issuer": device.idevid_issuer, "serial": device.serial_number}
        latest = self._writer.look_up(_LATEST, values)
        return latest is not None and (latest[0] or 0) > intent.id

    async def abandon(self, intent: Intent, *events: Event) -> None:
        """See :meth:`~registrar_plugin.store.issuances.Issuances.abandon`."""

        def work(db: sqlite3.Connection) -> None:
            if put_result(db, intent, b""):
                append_events(db, events)

        await self._writer.change(work)


def _check_active(db: sqlite3.Connection, certificate_sha256: bytes, what: str) -> None:
    """Decides between two renewals of one certificate, and between issuing and revocation."""
    row = db.execute(sql.GET_CERTIFICATE, {"digest": certificate_sha256}).fetchone()
    state = "unknown" if row is None else certificate_of(row).state
    if state != "active":
        raise WrongOrder(f"{what} is {state}", section="RFC 7030 §4.2")


def _request(device: DeviceKey, csr_digest: bytes) -> dict[str, object]:
    return {"issuer": device.idevid_issuer, "serial": device.serial_number, "digest": csr_digest}


def _values(intent_id: int, issuance: Issuance) -> dict[str, object]:
    return {
        "intent_id": intent_id,
        "label": issuance.label,
        "enrollee": issuance.enrollee,
        "renews": issuance.renews,
        "key_made_here": issuance.key_made_here,
    }


def _issuance_of(row: tuple[object, ...] | None) -> Issuance:
    if row is None:
        return _USUAL
    label, enrollee, renews, key_made_here, asked_by = row
    return Issuance(
        label=str(label),
        enrollee=str(enrollee),
        renews=renews if isinstance(renews, bytes) else None,
        key_made_here=bool(key_made_here),
        asked_by=asked_by if isinstance(asked_by, bytes) else None,
    )


def _stamp(events: tuple[Event, ...]) -> int:
    """When it happened, as the first of its events says."""
    if not events:
        raise StateError("a journal entry without a time")
    return microseconds(events[0].at)
