"""One voucher, top to bottom: the request, the record, the log, the answer."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from brski.errors import OnboardingError, UnknownFormat
from brski.idevid.record import DeviceRecord
from brski.pki.extensions import domain_id
from brski.pki.signer import Signer
from brski.telemetry.audit_log import encode_audit_log
from brski.voucher.serialization import VoucherSerialization
from brski.voucher.yang_json import encode_voucher
from masa_stub.audit import audit_log_for, domain_ids
from masa_stub.issue import (
    IssuePolicy,
    RegistrarRequest,
    judge_assertion,
    open_registrar_request,
    pinned_certificate,
    select_record,
    voucher_for,
)
from masa_stub.store import AuditStore, Entry, Refusal

log = logging.getLogger(__name__)


class DeviceRecords(Protocol):
    """The MASA's own records; the OEM database's are such."""

    async def find(
        self, idevid_issuer: bytes | None, serial_number: str
    ) -> tuple[DeviceRecord, ...]:
        """All records of *serial_number*, revoked and flagged ones too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a registrar gets."""

    body: bytes
    media_type: str


class MASA:
    """Issues vouchers for the devices on record.

    Args:
        records: whose keys verify devices' requests.
        signer: its chain (end entity first, up to what pledges hold as anchor) goes into vouchers.
        serializations: by media type.
        clock: aware UTC.
    """

    def __init__(
        self,
        *,
        records: DeviceRecords,
        store: AuditStore,
        signer: Signer,
        serializations: Mapping[str, VoucherSerialization],
        policy: IssuePolicy,
        clock: Callable[[], datetime],
    ) -> None:
        self._records = records
        self._store = store
        self._signer = signer
        self._serializations = serializations
        self._policy = policy
        self._clock = clock

    async def request_voucher(self, body: bytes, media_type: str) -> Answer:
        """Answer a registrar's voucher-request (RFC 8995 §5.5, §5.6).

        The same request gets the same voucher, and one entry in the log.

        Args:
            body: as received.
            media_type: its Content-Type without parameters.

        Raises:
            OnboardingError: why not; it is on record already.
        """
        now = self._clock()
        serial_number = ""
        try:
            serialization = self._serialization(media_type)
            asked = open_registrar_request(serialization.open(body), now=now)
            serial_number = asked.request.serial_number
            entry, signed = await self._issue(body, asked, serialization, now)
        except OnboardingError as refusal:
            await self._refuse(refusal, serial_number, now)
            raise
        log.info(
            "voucher issued",
            extra={
                "serial_number": entry.serial_number,
                "assertion": entry.assertion.value,
                "domain_id": entry.domain_id.hex(),
            },
        )
        return Answer(body=signed, media_type=media_type)

    async def _issue(
        self,
        body: bytes,
        asked: RegistrarRequest,
        serialization: VoucherSerialization,
        now: datetime,
    ) -> tuple[Entry, bytes]:
        namesakes = await self._records.find(None, asked.request.serial_number)
        record = select_record(namesakes, asked)
        assertion = judge_assertion(asked, record, self._policy, serialization)
        pinned = pinned_certificate(asked.chain, self._policy.pin)
        voucher = voucher_for(
            asked,
            record,
            assertion,
            pinned=pinned,
            created_on=now,
            ambiguous=len(namesakes) > 1,
        )
        unsigned = serialization.prepare(
            encode_voucher(voucher),
            self._signer,
            certificates=self._signer.chain,
            signing_time=now,
        )
        entry = await self._store.begin(
            Entry(
                at=now,
                idevid_issuer=record.idevid_issuer,
                serial_number=record.serial_number,
                domain_id=domain_id(pinned),
                nonce=asked.request.nonce,
                assertion=assertion,
                request_digest=hashlib.sha256(body).digest(),
                unsigned=unsigned.encode(),
            )
        )
        if entry.voucher is not None:
            return entry, entry.voucher
        standing = serialization.decode_unsigned(entry.unsigned)
        signed = standing.assemble(self._signer.sign(standing.to_be_signed))
        await self._store.complete(entry, signed)
        return entry, signed

    async def audit_log(self, body: bytes, media_type: str) -> bytes:
        """Answer a registrar's request for a device's log, JSON (RFC 8995 §5.8).

        Args:
            body: the registrar voucher-request that it has sent before, or another like it.

        Raises:
            OnboardingError: why not.
        """
        serialization = self._serialization(media_type)
        asked = open_registrar_request(serialization.open(body), now=self._clock())
        namesakes = await self._records.find(None, asked.request.serial_number)
        record = select_record(namesakes, asked)
        entries = self._store.of_device(record.idevid_issuer, record.serial_number)
        found = audit_log_for(
            [entry.event() for entry in entries], requester=domain_ids(asked.chain)
        )
        return encode_audit_log(found)

    def _serialization(self, media_type: str) -> VoucherSerialization:
        serialization = self._serializations.get(media_type)
        if serialization is None:
            raise UnknownFormat(
                f"voucher-requests of type {media_type!r} are not understood",
                section="RFC 8995 §5.6",
            )
        return serialization

    async def _refuse(self, refusal: OnboardingError, serial_number: str, now: datetime) -> None:
        log.warning(
            "voucher refused",
            extra={
                "serial_number": serial_number,
                "code": refusal.code,
                "reason": str(refusal),
            },
        )
        await self._store.refuse(
            Refusal(at=now, serial_number=serial_number, code=refusal.code, reason=str(refusal))
        )
