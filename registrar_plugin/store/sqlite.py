"""The journal in one SQLite file: one writing thread, commits of concurrent onboardings grouped."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Row, literal_column, select

from brski.edge.atomic_file import check_room
from brski.edge.sql_writer import Writer
from brski.errors import DeviceAmbiguous, LDevIDRevoked, StateError, WrongOrder
from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.store import statements as sql
from registrar_plugin.store.append import append_events
from registrar_plugin.store.intents import put_intent, put_result
from registrar_plugin.store.port import Intent, IntentKind, IssuedCertificate, Onboarding
from registrar_plugin.store.recent import RecentOnboardings
from registrar_plugin.store.revocation import Revocation
from registrar_plugin.store.rows import (
    certificate_of,
    event_of,
    intent_of,
    microseconds,
    onboarding_of,
)
from registrar_plugin.store.schema import (
    EVENTS,
    GROWN_FROM,
    METADATA,
    VERSION,
)
from registrar_plugin.store.sqlite_revocation import (
    has_active,
    is_ended,
    revoke,
    supersede,
    withdraw_at_birth,
)
from registrar_plugin.telemetry.events import Event, EventKind

ROOM_OCTETS: Final = 1 << 20  # ours: less is as good as none, since a log grows in steps
PACE_S: Final = 0.025  # ours: an onboarding waits for eight commits, a device for seconds


class SQLiteJournal:
    """A :class:`~registrar_plugin.store.port.Journal`.

    Args:
        path: created with mode 0600 when missing.

    Raises:
        StateError: the file is something else, of version 1, or of a later version.
        Unavailable: it cannot be opened or written.
    """

    def __init__(self, path: Path) -> None:
        self._writer = Writer(path, METADATA, version=VERSION, grown_from=GROWN_FROM, pace_s=PACE_S)
        self._recent = RecentOnboardings(time.monotonic)
        self._opened = _inode(path)

    @property
    def writer(self) -> Writer:
        """The file's one writer, for the rooms that have ports of their own."""
        return self._writer

    async def record(self, *events: Event) -> None:
        """Append *events*."""
        await self._writer.change(lambda db: append_events(db, events))

    async def begin(self, onboarding: Onboarding, octets: bytes, *events: Event) -> Intent:
        """See :meth:`~registrar_plugin.store.port.Journal.begin`."""

        def work(db: sqlite3.Connection) -> tuple[Intent, Onboarding | None]:
            device, digest = onboarding.device, onboarding.request_digest
            at = _stamp(events, onboarding.updated_at)
            kind = IntentKind.REGISTRAR_VOUCHER_REQUEST
            intent, is_new = put_intent(db, at, kind, device, octets, digest)
            if not is_new:
                standing = db.execute(sql.GET_ONBOARDING_DIGEST, _device(device)).fetchone()
                if standing == (digest,):
                    return intent, None
            # an earlier request that comes back after another one finds its intent complete
            begun = replace(onboarding, registrar_request=intent.result, voucher=None)
            kept = _keep(db, at, device, "pledge-voucher-request", onboarding.pledge_request)
            _put_onboarding(db, begun, pledge_request_id=kept)
            append_events(db, events)
            return intent, begun

        def done(result: tuple[Intent, Onboarding | None]) -> None:
            if result[1] is not None:
                self._recent.begun(result[1])

        return (await self._writer.change(work, done=done))[0]

    async def has_begun(self, device: DeviceKey, request_digest: bytes) -> bool:
        """See :meth:`~registrar_plugin.store.port.Journal.has_begun`."""
        kind = IntentKind.REGISTRAR_VOUCHER_REQUEST.value
        values = {**_device(device), "kind_": kind, "digest": request_digest}
        return self._one(sql.GET_INTENT, values) is not None

    async def onboarding(self, device: DeviceKey) -> Onboarding | None:
        """Where *device* stands."""
        return self._recent.get(device) or self._read(sql.GET_ONBOARDING, _device(device))

    async def onboarding_by_key(self, idevid_spki_sha256: bytes) -> Onboarding | None:
        """The onboarding whose IDevID has this key."""
        return self._recent.get_by_key(idevid_spki_sha256) or self._read(
            sql.GET_ONBOARDING_BY_KEY, {"spki": idevid_spki_sha256}
        )

    async def complete_registrar_request(
        self, intent: Intent, result: bytes, *events: Event
    ) -> None:
        """Store the signed registrar voucher-request with its intent and its onboarding."""

        def work(db: sqlite3.Connection) -> bool:
            if not put_result(db, intent, result):
                return False
            append_events(db, events)
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
            kept = _keep(db, _stamp(events, None), onboarding.device, "voucher", voucher)
            _change(db, sql.SET_VOUCHER, onboarding, {"artifact": kept, "media_type": media_type})
            append_events(db, events)

        changed = self._change_of(onboarding, voucher=voucher, voucher_media_type=media_type)
        await self._writer.change(work, done=changed)

    async def set_voucher_status(
        self, onboarding: Onboarding, accepted: bool, *events: Event
    ) -> None:
        """What the pledge said of its voucher."""

        def work(db: sqlite3.Connection) -> None:
            _change(db, sql.SET_STATUS, onboarding, {"accepted": accepted})
            append_events(db, events)

        changed = self._change_of(onboarding, voucher_status=accepted)
        await self._writer.change(work, done=changed)

    async def set_audit_verdict(
        self,
        onboarding: Onboarding,
        good: bool,
        reason: str,
        *events: Event,
        revoking: tuple[Revocation, Event] | None = None,
    ) -> None:
        """See :meth:`~registrar_plugin.store.port.Journal.set_audit_verdict`."""

        def work(db: sqlite3.Connection) -> None:
            _change(db, sql.SET_VERDICT, onboarding, {"good": good, "reason": reason})
            append_events(db, events)
            if revoking is not None and has_active(db, onboarding.device):
                revoke(db, *revoking)

        changed = self._change_of(onboarding, audit_verdict=good, audit_reason=reason)
        await self._writer.change(work, done=changed)

    async def complete_ldevid(
        self, intent: Intent, certificate: IssuedCertificate, *events: Event
    ) -> bytes:
        """See :meth:`~registrar_plugin.store.port.Journal.complete_ldevid`."""

        digest = hashlib.sha256(certificate.certificate).digest()

        def work(db: sqlite3.Connection) -> tuple[bytes, bool]:
            if not put_result(db, intent, certificate.certificate):
                (stored,) = db.execute(sql.GET_RESULT, {"intent_id": intent.id}).fetchone()
                return stored, False
            ended = is_ended(db, certificate.device, intent.id)
            if ended:
                withdraw_at_birth(db, certificate.device, digest, certificate.issued_at)
            else:
                supersede(db, certificate.device, certificate.issued_at)
                db.execute(sql.SUPERSEDE, _device(certificate.device))
            db.execute(
                sql.PUT_CERTIFICATE,
                {
                    "sha256": digest,
                    "idevid_issuer": certificate.device.idevid_issuer,
                    "serial_number": certificate.device.serial_number,
                    "certificate": certificate.certificate,
                    "csr_digest": certificate.csr_digest,
                    "spki_sha256": certificate.spki_sha256,
                    "state": "revoked" if ended else certificate.state,
                    "issued_at": microseconds(certificate.issued_at),
                },
            )
            append_events(db, events)
            return certificate.certificate, ended

        octets, ended = await self._writer.change(work)
        if ended:
            raise LDevIDRevoked("the device's certificates were revoked while this one was made")
        return octets

    async def open_intents(self) -> tuple[Intent, ...]:
        """Those without a result, oldest first."""
        return tuple(intent_of(row) for row in await self._all(sql.OPEN_INTENTS, {}))

    async def certificate_by_digest(self, certificate_sha256: bytes) -> IssuedCertificate | None:
        """The LDevID whose DER has this SHA-256, whatever its state."""
        row = self._one(sql.GET_CERTIFICATE, {"digest": certificate_sha256})
        return None if row is None else certificate_of(row)

    async def certificate_for_csr(
        self, device: DeviceKey, csr_digest: bytes
    ) -> IssuedCertificate | None:
        """The LDevID that answered this very CSR."""
        row = self._one(sql.GET_CERTIFICATE_FOR_CSR, {**_device(device), "digest": csr_digest})
        return None if row is None else certificate_of(row)

    async def active_certificate(self, device: DeviceKey) -> IssuedCertificate | None:
        """The one LDevID of *device* that is accepted."""
        row = self._one(sql.GET_ACTIVE, _device(device))
        return None if row is None else certificate_of(row)

    async def devices(self, serial_number: str) -> tuple[DeviceKey, ...]:
        """Every device with this serial number, whoever issued its IDevID."""
        rows = await self._all(sql.DEVICES, {"serial": serial_number})
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
            query = query.where(e.kind == literal_column(f"'{kind.value}'"))  # finds the index
        if device is not None:
            query = query.where(
                e.idevid_issuer == device.idevid_issuer, e.serial_number == device.serial_number
            )
        rows = await self._writer.read_aside(lambda db: list(db.execute(query)))
        return tuple(event_of(row) for row in reversed(rows))

    async def check(self) -> None:
        """Raise unless the journal can be written, by a write and by a look at the disk's room, and
        unless it is where it was opened, since what is written to a file that was moved or replaced
        is gone at the next start.

        Raises:
            StateError: another file is there, or none.
            Unavailable, StateError: as :meth:`brski.edge.sql_writer.Writer.change`.
        """
        if _inode(self._writer.path) != self._opened:
            raise StateError(
                f"{self._writer.path} is not the file that was opened", hint="end the registrar"
            )
        check_room(self._writer.path, octets=ROOM_OCTETS)
        await self._writer.change(lambda db: db.execute(f"PRAGMA user_version = {VERSION}"))

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
        found = onboarding_of(row)
        self._recent.keep(found, changes=changes)
        return found

    def _one(self, query: str, values: dict[str, object]) -> tuple[Any, ...] | None:
        """A look-up by key: cheaper in this thread than a hop to another."""
        return self._writer.look_up(query, values)

    async def _all(self, query: str, values: dict[str, object]) -> list[Row[Any]]:
        return await self._writer.read_aside(lambda db: list(db.exec_driver_sql(query, values)))


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        seen = path.stat()
    except OSError:
        return None
    return seen.st_dev, seen.st_ino


def _device(device: DeviceKey) -> dict[str, object]:
    return {"issuer": device.idevid_issuer, "serial": device.serial_number}


def _stamp(events: Iterable[Event], otherwise: datetime | None) -> int:
    """When it happened, as the first of its events says."""
    for event in events:
        return microseconds(event.at)
    if otherwise is None:
        raise StateError("a journal entry without a time")
    return microseconds(otherwise)


def _keep(
    db: sqlite3.Connection, at: int, device: DeviceKey, kind: str, octets: bytes
) -> int | None:
    """Append an artifact; its number."""
    done = db.execute(
        sql.PUT_ARTIFACT,
        {
            "at": at,
            "kind": kind,
            "idevid_issuer": device.idevid_issuer,
            "serial_number": device.serial_number,
            "octets": octets,
        },
    )
    return done.lastrowid


def _put_onboarding(
    db: sqlite3.Connection, onboarding: Onboarding, *, pledge_request_id: int | None
) -> None:
    if onboarding.updated_at is None:
        raise StateError("an onboarding without a time")
    try:
        db.execute(
            sql.PUT_ONBOARDING,
            {
                "idevid_issuer": onboarding.device.idevid_issuer,
                "serial_number": onboarding.device.serial_number,
                "idevid_spki_sha256": onboarding.idevid_spki_sha256,
                "manufacturer": onboarding.manufacturer,
                "masa_url": onboarding.masa_url,
                "presentation": onboarding.presentation,
                "idevid_chain": b"".join(onboarding.idevid_chain),
                "request_digest": onboarding.request_digest,
                "pledge_request_id": pledge_request_id,
                "voucher_id": None,
                "voucher_media_type": onboarding.voucher_media_type,
                "voucher_status": onboarding.voucher_status,
                "audit_verdict": onboarding.audit_verdict,
                "audit_reason": onboarding.audit_reason,
                "updated_at": microseconds(onboarding.updated_at),
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
