"""The journal in one SQLite file: one writing thread, commits of concurrent onboardings grouped."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Row,
    and_,
    bindparam,
    insert,
    literal_column,
    select,
    update,
)

from brski.edge.sql import Writer, sql_of
from brski.errors import DeviceAmbiguous, StateError, WrongOrder
from brski.pki.der import read_element
from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.store.port import Intent, IntentKind, IssuedCertificate, Onboarding
from registrar_plugin.store.recent import RecentOnboardings
from registrar_plugin.store.schema import (
    ARTIFACTS,
    CERTIFICATES,
    EVENTS,
    INTENTS,
    METADATA,
    ONBOARDINGS,
    VERSION,
)
from registrar_plugin.telemetry.events import Event, EventKind, Outcome

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _microseconds(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1)


def _datetime(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


_ACTIVE: Final[ColumnElement[str]] = literal_column("'active'")
_o = ONBOARDINGS.c
_i = INTENTS.c
_c = CERTIFICATES.c
_OF_DEVICE = and_(_o.idevid_issuer == bindparam("issuer"), _o.serial_number == bindparam("serial"))
_GET_ONBOARDING = sql_of(select(ONBOARDINGS).where(_OF_DEVICE))
_GET_ONBOARDING_DIGEST = sql_of(select(_o.request_digest).where(_OF_DEVICE))
_GET_ONBOARDING_BY_KEY = sql_of(
    select(ONBOARDINGS).where(_o.idevid_spki_sha256 == bindparam("spki"))
)
_DROP_ONBOARDING = sql_of(ONBOARDINGS.delete().where(_OF_DEVICE))
_PUT_ONBOARDING = sql_of(insert(ONBOARDINGS))
_THIS_ONBOARDING = and_(_OF_DEVICE, _o.request_digest == bindparam("digest"))
_SET_REQUEST = sql_of(
    update(ONBOARDINGS).where(_THIS_ONBOARDING).values(registrar_request=bindparam("octets"))
)
_SET_VOUCHER = sql_of(
    update(ONBOARDINGS)
    .where(_THIS_ONBOARDING)
    .values(voucher=bindparam("octets"), voucher_media_type=bindparam("media_type"))
)
_SET_STATUS = sql_of(
    update(ONBOARDINGS).where(_THIS_ONBOARDING).values(voucher_status=bindparam("accepted"))
)
_SET_VERDICT = sql_of(
    update(ONBOARDINGS)
    .where(_THIS_ONBOARDING)
    .values(audit_verdict=bindparam("good"), audit_reason=bindparam("reason"))
)
_GET_INTENT = sql_of(
    select(INTENTS).where(
        _i.kind == bindparam("kind_"),
        _i.idevid_issuer == bindparam("issuer"),
        _i.serial_number == bindparam("serial"),
        _i.request_digest == bindparam("digest"),
    )
)
_OPEN_INTENTS = sql_of(select(INTENTS).where(_i.result.is_(None)).order_by(_i.id))
_PUT_INTENT = sql_of(insert(INTENTS))
_GET_RESULT = sql_of(select(_i.result).where(_i.id == bindparam("intent_id")))
_SET_RESULT = sql_of(
    update(INTENTS)
    .where(_i.id == bindparam("intent_id"), _i.result.is_(None))
    .values(result=bindparam("octets_"))
)
_PUT_EVENT = sql_of(insert(EVENTS))
_PUT_ARTIFACT = sql_of(insert(ARTIFACTS))
_PUT_CERTIFICATE = sql_of(insert(CERTIFICATES))
_SUPERSEDE = sql_of(
    update(CERTIFICATES)
    .where(
        _c.idevid_issuer == bindparam("issuer"),
        _c.serial_number == bindparam("serial"),
        _c.state == _ACTIVE,
    )
    .values(state=literal_column("'superseded'"))
)
_GET_CERTIFICATE = sql_of(select(CERTIFICATES).where(_c.sha256 == bindparam("digest")))
_GET_CERTIFICATE_FOR_CSR = sql_of(
    select(CERTIFICATES).where(
        _c.idevid_issuer == bindparam("issuer"),
        _c.serial_number == bindparam("serial"),
        _c.csr_digest == bindparam("digest"),
    )
)
_GET_ACTIVE = sql_of(
    select(CERTIFICATES).where(
        _c.idevid_issuer == bindparam("issuer"),
        _c.serial_number == bindparam("serial"),
        _c.state == _ACTIVE,
    )
)
_DEVICES = sql_of(
    select(_o.idevid_issuer, _o.serial_number)
    .where(_o.serial_number == bindparam("serial"))
    .order_by(_o.idevid_issuer)
)


class SQLiteJournal:
    """A :class:`~registrar_plugin.store.port.Journal`.

    Args:
        path: created with mode 0600 when missing.

    Raises:
        StateError: the file is something else, or of a later version.
        Unavailable: it cannot be opened or written.
    """

    def __init__(self, path: Path) -> None:
        self._writer = Writer(path, METADATA, version=VERSION)
        self._recent = RecentOnboardings(time.monotonic)

    async def record(self, *events: Event) -> None:
        """Append *events*."""
        await self._writer.change(lambda db: _append(db, events))

    async def begin(self, onboarding: Onboarding, octets: bytes, *events: Event) -> Intent:
        """See :meth:`~registrar_plugin.store.port.Journal.begin`."""

        def work(db: sqlite3.Connection) -> tuple[Intent, Onboarding | None]:
            device = onboarding.device
            intent = _find_intent(
                db, IntentKind.REGISTRAR_VOUCHER_REQUEST, device, onboarding.request_digest
            )
            standing = db.execute(_GET_ONBOARDING_DIGEST, _device(device)).fetchone()
            if standing is not None:
                if intent and standing == (onboarding.request_digest,):
                    return intent, None
                db.execute(_DROP_ONBOARDING, _device(device))
            # an earlier request that comes back after another one finds its intent complete
            begun = replace(onboarding, registrar_request=intent.result if intent else None)
            _put_onboarding(db, begun)
            at = _stamp(events, onboarding.updated_at)
            _keep(db, at, device, "pledge-voucher-request", onboarding.pledge_request)
            _append(db, events)
            intent = intent or _put_intent(
                db,
                at,
                IntentKind.REGISTRAR_VOUCHER_REQUEST,
                device,
                octets,
                onboarding.request_digest,
            )
            return intent, begun

        def done(result: tuple[Intent, Onboarding | None]) -> None:
            if result[1] is not None:
                self._recent.begun(result[1])

        return (await self._writer.change(work, done=done))[0]

    async def has_begun(self, device: DeviceKey, request_digest: bytes) -> bool:
        """See :meth:`~registrar_plugin.store.port.Journal.has_begun`."""
        kind = IntentKind.REGISTRAR_VOUCHER_REQUEST.value
        values = {**_device(device), "kind_": kind, "digest": request_digest}
        return self._one(_GET_INTENT, values) is not None

    async def onboarding(self, device: DeviceKey) -> Onboarding | None:
        """Where *device* stands."""
        return self._recent.get(device) or self._read(_GET_ONBOARDING, _device(device))

    async def onboarding_by_key(self, idevid_spki_sha256: bytes) -> Onboarding | None:
        """The onboarding whose IDevID has this key."""
        return self._recent.get_by_key(idevid_spki_sha256) or self._read(
            _GET_ONBOARDING_BY_KEY, {"spki": idevid_spki_sha256}
        )

    async def intend_ldevid(
        self, device: DeviceKey, octets: bytes, csr_digest: bytes, *events: Event
    ) -> Intent:
        """See :meth:`~registrar_plugin.store.port.Journal.intend_ldevid`."""

        def work(db: sqlite3.Connection) -> Intent:
            intent = _find_intent(db, IntentKind.LDEVID, device, csr_digest)
            if intent is not None:
                return intent
            _append(db, events)
            at = _stamp(events, None)
            return _put_intent(db, at, IntentKind.LDEVID, device, octets, csr_digest)

        return await self._writer.change(work)

    async def complete_registrar_request(
        self, intent: Intent, result: bytes, *events: Event
    ) -> None:
        """Store the signed registrar voucher-request with its intent and its onboarding."""

        def work(db: sqlite3.Connection) -> bool:
            if not _complete(db, intent, result):
                return False
            db.execute(
                _SET_REQUEST,
                {**_device(intent.device), "digest": intent.request_digest, "octets": result},
            )
            at = _stamp(events, None)
            _keep(db, at, intent.device, intent.kind.value, result)
            _append(db, events)
            return True

        def done(completed: bool) -> None:
            if completed:
                self._recent.changed(intent.device, intent.request_digest, registrar_request=result)

        await self._writer.change(work, done=done)

    async def complete_voucher(
        self, onboarding: Onboarding, voucher: bytes, media_type: str, *events: Event
    ) -> None:
        """Store the MASA's voucher with the onboarding."""

        def work(db: sqlite3.Connection) -> None:
            _change(db, _SET_VOUCHER, onboarding, {"octets": voucher, "media_type": media_type})
            _keep(db, _stamp(events, None), onboarding.device, "voucher", voucher)
            _append(db, events)

        changed = self._change_of(onboarding, voucher=voucher, voucher_media_type=media_type)
        await self._writer.change(work, done=changed)

    async def set_voucher_status(
        self, onboarding: Onboarding, accepted: bool, *events: Event
    ) -> None:
        """What the pledge said of its voucher."""

        def work(db: sqlite3.Connection) -> None:
            _change(db, _SET_STATUS, onboarding, {"accepted": accepted})
            _append(db, events)

        changed = self._change_of(onboarding, voucher_status=accepted)
        await self._writer.change(work, done=changed)

    async def set_audit_verdict(
        self, onboarding: Onboarding, good: bool, reason: str, *events: Event
    ) -> None:
        """What the registrar judged of the audit log."""

        def work(db: sqlite3.Connection) -> None:
            _change(db, _SET_VERDICT, onboarding, {"good": good, "reason": reason})
            _append(db, events)

        changed = self._change_of(onboarding, audit_verdict=good, audit_reason=reason)
        await self._writer.change(work, done=changed)

    async def complete_ldevid(
        self, intent: Intent, certificate: IssuedCertificate, *events: Event
    ) -> bytes:
        """See :meth:`~registrar_plugin.store.port.Journal.complete_ldevid`."""

        def work(db: sqlite3.Connection) -> bytes:
            if not _complete(db, intent, certificate.certificate):
                stored: bytes
                (stored,) = db.execute(_GET_RESULT, {"intent_id": intent.id}).fetchone()
                return stored
            db.execute(_SUPERSEDE, _device(certificate.device))
            db.execute(
                _PUT_CERTIFICATE,
                {
                    "sha256": hashlib.sha256(certificate.certificate).digest(),
                    "idevid_issuer": certificate.device.idevid_issuer,
                    "serial_number": certificate.device.serial_number,
                    "certificate": certificate.certificate,
                    "csr_digest": certificate.csr_digest,
                    "spki_sha256": certificate.spki_sha256,
                    "state": certificate.state,
                    "issued_at": _microseconds(certificate.issued_at),
                },
            )
            _append(db, events)
            return certificate.certificate

        return await self._writer.change(work)

    async def open_intents(self) -> tuple[Intent, ...]:
        """Those without a result, oldest first."""
        return tuple(_intent(row) for row in await self._all(_OPEN_INTENTS, {}))

    async def certificate_by_digest(self, certificate_sha256: bytes) -> IssuedCertificate | None:
        """The LDevID whose DER has this SHA-256, whatever its state."""
        row = self._one(_GET_CERTIFICATE, {"digest": certificate_sha256})
        return None if row is None else _certificate(row)

    async def certificate_for_csr(
        self, device: DeviceKey, csr_digest: bytes
    ) -> IssuedCertificate | None:
        """The LDevID that answered this very CSR."""
        row = self._one(_GET_CERTIFICATE_FOR_CSR, {**_device(device), "digest": csr_digest})
        return None if row is None else _certificate(row)

    async def active_certificate(self, device: DeviceKey) -> IssuedCertificate | None:
        """The one LDevID of *device* that is accepted."""
        row = self._one(_GET_ACTIVE, _device(device))
        return None if row is None else _certificate(row)

    async def devices(self, serial_number: str) -> tuple[DeviceKey, ...]:
        """Every device with this serial number, whoever issued its IDevID."""
        rows = await self._all(_DEVICES, {"serial": serial_number})
        return tuple(DeviceKey(row.idevid_issuer, row.serial_number) for row in rows)

    async def events(
        self,
        *,
        device: DeviceKey | None = None,
        kind: EventKind | None = None,
        limit: int = 1000,
    ) -> tuple[Event, ...]:
        """See :meth:`~registrar_plugin.store.port.Journal.events`."""
        e = EVENTS.c
        query = select(EVENTS).order_by(e.id.desc()).limit(limit)
        if kind is not None:
            query = query.where(e.kind == kind.value)
        if device is not None:
            query = query.where(
                e.idevid_issuer == device.idevid_issuer, e.serial_number == device.serial_number
            )
        rows = await self._writer.read_aside(lambda db: list(db.execute(query)))
        return tuple(_event(row) for row in reversed(rows))

    async def close(self) -> None:
        """Finish what is queued and close the file."""
        await self._writer.close()

    def _change_of(self, onboarding: Onboarding, **fields: Any) -> Callable[[None], None]:
        return lambda _: self._recent.changed(
            onboarding.device, onboarding.request_digest, **fields
        )

    def _read(self, query: str, values: dict[str, object]) -> Onboarding | None:
        changes = self._recent.changes
        row = self._one(query, values)
        if row is None:
            return None
        found = _onboarding(row)
        self._recent.keep(found, changes=changes)
        return found

    def _one(self, query: str, values: dict[str, object]) -> tuple[Any, ...] | None:
        """A look-up by key: cheaper in this thread than a hop to another."""
        return self._writer.look_up(query, values)

    async def _all(self, query: str, values: dict[str, object]) -> list[Row[Any]]:
        return await self._writer.read_aside(lambda db: list(db.exec_driver_sql(query, values)))


def _device(device: DeviceKey) -> dict[str, object]:
    return {"issuer": device.idevid_issuer, "serial": device.serial_number}


def _stamp(events: Iterable[Event], otherwise: datetime | None) -> int:
    """When it happened, as the first of its events says."""
    for event in events:
        return _microseconds(event.at)
    if otherwise is None:
        raise StateError("a journal entry without a time")
    return _microseconds(otherwise)


def _append(db: sqlite3.Connection, events: Iterable[Event]) -> None:
    for event in events:
        device = event.device
        db.execute(
            _PUT_EVENT,
            {
                "at": _microseconds(event.at),
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


def _keep(db: sqlite3.Connection, at: int, device: DeviceKey, kind: str, octets: bytes) -> None:
    db.execute(
        _PUT_ARTIFACT,
        {
            "at": at,
            "kind": kind,
            "idevid_issuer": device.idevid_issuer,
            "serial_number": device.serial_number,
            "octets": octets,
        },
    )


def _put_onboarding(db: sqlite3.Connection, onboarding: Onboarding) -> None:
    if onboarding.updated_at is None:
        raise StateError("an onboarding without a time")
    try:
        db.execute(
            _PUT_ONBOARDING,
            {
                "idevid_issuer": onboarding.device.idevid_issuer,
                "serial_number": onboarding.device.serial_number,
                "idevid_spki_sha256": onboarding.idevid_spki_sha256,
                "manufacturer": onboarding.manufacturer,
                "masa_url": onboarding.masa_url,
                "presentation": onboarding.presentation,
                "idevid_chain": b"".join(onboarding.idevid_chain),
                "pledge_request": onboarding.pledge_request,
                "request_digest": onboarding.request_digest,
                "registrar_request": onboarding.registrar_request,
                "voucher": onboarding.voucher,
                "voucher_media_type": onboarding.voucher_media_type,
                "voucher_status": onboarding.voucher_status,
                "audit_verdict": onboarding.audit_verdict,
                "audit_reason": onboarding.audit_reason,
                "updated_at": _microseconds(onboarding.updated_at),
            },
        )
    except sqlite3.IntegrityError as err:
        raise DeviceAmbiguous("this key already belongs to another device's onboarding") from err


def _change(
    db: sqlite3.Connection, statement: str, onboarding: Onboarding, values: Mapping[str, object]
) -> None:
    row = {**_device(onboarding.device), "digest": onboarding.request_digest, **values}
    if db.execute(statement, row).rowcount != 1:
        raise WrongOrder("a later voucher-request of this device has replaced this onboarding")


def _find_intent(
    db: sqlite3.Connection, kind: IntentKind, device: DeviceKey, digest: bytes
) -> Intent | None:
    row = db.execute(
        _GET_INTENT, {**_device(device), "kind_": kind.value, "digest": digest}
    ).fetchone()
    return None if row is None else _intent(row)


def _put_intent(
    db: sqlite3.Connection,
    at: int,
    kind: IntentKind,
    device: DeviceKey,
    octets: bytes,
    digest: bytes,
) -> Intent:
    done = db.execute(
        _PUT_INTENT,
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
    return Intent(
        id=done.lastrowid or 0,  # there is one after an INSERT
        kind=kind,
        device=device,
        octets=octets,
        request_digest=digest,
        result=None,
    )


def _complete(db: sqlite3.Connection, intent: Intent, result: bytes) -> bool:
    """Whether this call completed *intent*; False when it was complete before."""
    done = db.execute(_SET_RESULT, {"intent_id": intent.id, "octets_": result})
    return bool(done.rowcount)


# Rows are taken apart by position: statements that select a whole table have its columns in order.


def _onboarding(row: Sequence[Any]) -> Onboarding:
    (
        idevid_issuer,
        serial_number,
        idevid_spki_sha256,
        manufacturer,
        masa_url,
        presentation,
        idevid_chain,
        pledge_request,
        request_digest,
        registrar_request,
        voucher,
        voucher_media_type,
        voucher_status,
        audit_verdict,
        audit_reason,
        updated_at,
    ) = row
    return Onboarding(
        device=DeviceKey(idevid_issuer, serial_number),
        idevid_spki_sha256=idevid_spki_sha256,
        manufacturer=manufacturer,
        masa_url=masa_url,
        presentation=presentation,
        idevid_chain=_split(idevid_chain),
        pledge_request=pledge_request,
        request_digest=request_digest,
        registrar_request=registrar_request,
        voucher=voucher,
        voucher_media_type=voucher_media_type,
        voucher_status=_boolean(voucher_status),
        audit_verdict=_boolean(audit_verdict),
        audit_reason=audit_reason,
        updated_at=_datetime(updated_at),
    )


def _boolean(value: int | None) -> bool | None:
    return None if value is None else bool(value)


def _split(chain: bytes) -> tuple[bytes, ...]:
    parts = []
    offset = 0
    while offset < len(chain):
        end = read_element(chain, offset).end
        parts.append(chain[offset:end])
        offset = end
    return tuple(parts)


def _intent(row: Sequence[Any]) -> Intent:
    number, _, kind, idevid_issuer, serial_number, request_digest, octets, result = row
    return Intent(
        id=number,
        kind=IntentKind(kind),
        device=DeviceKey(idevid_issuer, serial_number),
        octets=octets,
        request_digest=request_digest,
        result=result,
    )


def _certificate(row: Sequence[Any]) -> IssuedCertificate:
    _, idevid_issuer, serial_number, certificate, csr_digest, spki_sha256, state, issued_at = row
    return IssuedCertificate(
        device=DeviceKey(idevid_issuer, serial_number),
        certificate=certificate,
        csr_digest=csr_digest,
        spki_sha256=spki_sha256,
        state=state,
        issued_at=_datetime(issued_at),
    )


def _event(row: Row[Any]) -> Event:
    known = row.idevid_issuer is not None
    return Event(
        at=_datetime(row.at),
        kind=EventKind(row.kind),
        outcome=Outcome(row.outcome),
        device=DeviceKey(row.idevid_issuer, row.serial_number) if known else None,
        asserted_serial_number="" if known else row.serial_number,
        reason=row.reason,
        code=row.code,
        peer_address=row.peer_address,
        details=json.loads(row.details),
    )
