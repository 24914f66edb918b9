"""The journal's rows as values: what SQLite holds in terms of the port.

Rows are taken apart by position; :mod:`registrar_plugin.store.statements` selects their columns in
this order.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Row

from brski.pki.der import read_element
from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.store.port import Intent, IntentKind, IssuedCertificate, Onboarding
from registrar_plugin.telemetry.events import Event, EventKind, Outcome

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds(at: datetime) -> int:
    """As the tables have it: since 1970, UTC."""
    return (at - _EPOCH) // timedelta(microseconds=1)


def datetime_of(microseconds: int) -> datetime:
    """Aware UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)


def onboarding_of(row: Sequence[Any]) -> Onboarding:
    """Where a device stands."""
    (
        idevid_issuer,
        serial_number,
        idevid_spki_sha256,
        manufacturer,
        masa_url,
        presentation,
        idevid_chain,
        request_digest,
        _,
        _,
        voucher_media_type,
        voucher_status,
        audit_verdict,
        audit_reason,
        updated_at,
        pledge_request,
        voucher,
        registrar_request,
    ) = row
    return Onboarding(
        device=DeviceKey(idevid_issuer, serial_number),
        idevid_spki_sha256=idevid_spki_sha256,
        manufacturer=manufacturer,
        masa_url=masa_url,
        presentation=presentation,
        idevid_chain=split_certificates(idevid_chain),
        pledge_request=pledge_request,
        request_digest=request_digest,
        registrar_request=registrar_request,
        voucher=voucher,
        voucher_media_type=voucher_media_type,
        voucher_status=_boolean(voucher_status),
        audit_verdict=_boolean(audit_verdict),
        audit_reason=audit_reason,
        updated_at=datetime_of(updated_at),
    )


def _boolean(value: int | None) -> bool | None:
    return None if value is None else bool(value)


def split_certificates(chain: bytes) -> tuple[bytes, ...]:
    """Concatenated DER certificates, each by itself."""
    parts = []
    offset = 0
    while offset < len(chain):
        end = read_element(chain, offset).end
        parts.append(chain[offset:end])
        offset = end
    return tuple(parts)


def intent_of(row: Sequence[Any]) -> Intent:
    """Something to be signed, or signed."""
    number, _, kind, idevid_issuer, serial_number, request_digest, octets, result = row
    return Intent(
        id=number,
        kind=IntentKind(kind),
        device=DeviceKey(idevid_issuer, serial_number),
        octets=octets,
        request_digest=request_digest,
        result=result,
    )


def certificate_of(row: Sequence[Any]) -> IssuedCertificate:
    """An LDevID."""
    _, idevid_issuer, serial_number, certificate, csr_digest, spki_sha256, state, issued_at = row
    return IssuedCertificate(
        device=DeviceKey(idevid_issuer, serial_number),
        certificate=certificate,
        csr_digest=csr_digest,
        spki_sha256=spki_sha256,
        state=state,
        issued_at=datetime_of(issued_at),
    )


def event_of(row: Row[Any]) -> Event:
    """A line of the journal."""
    known = row.idevid_issuer is not None
    return Event(
        at=datetime_of(row.at),
        kind=EventKind(row.kind),
        outcome=Outcome(row.outcome),
        device=DeviceKey(row.idevid_issuer, row.serial_number) if known else None,
        asserted_serial_number="" if known else row.serial_number,
        reason=row.reason,
        code=row.code,
        peer_address=row.peer_address,
        details=json.loads(row.details),
    )
