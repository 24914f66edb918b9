"""One voucher, top to bottom: the request, the record, the owner, the log, the answer."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from cryptography import x509

from brski.errors import OnboardingError, UnknownFormat, VoucherExpired
from brski.idevid.record import DeviceRecord
from brski.pki.extensions import domain_id
from brski.pki.keys import spki_sha256
from brski.telemetry.audit_log import encode_audit_log
from brski.voucher.serialization import VoucherSerialization
from brski.voucher.yang_json import encode_voucher
from masa_stub.audit import USUAL_AUDIT, AuditPolicy, audit_log_for, check_may_ask
from masa_stub.customers import ANONYMOUS, Caller, Customer, Known, recognise
from masa_stub.issue import (
    IssuePolicy,
    check_domain_id,
    check_nonceless,
    check_not_refused,
    expires_on,
    judge_assertion,
    pinned_place,
    select_record,
    voucher_for,
)
from masa_stub.ownership import Claimant, judge_title, was_owner
from masa_stub.port import Answer, DeviceRecords, Signers
from masa_stub.prior import read_prior
from masa_stub.registrar_request import RegistrarRequest, open_registrar_request
from masa_stub.store.log import AuditStore, Entry, Refusal
from masa_stub.store.sales import SalesBook

log = logging.getLogger(__name__)


class MASA:
    """Issues vouchers for the devices on record.

    Args:
        records: whose keys verify devices' requests.
        store: the log; sales: the sales data.
        serializations: by media type.
        customers: whom the manufacturer knows by name.
        clock: aware UTC.
    """

    def __init__(
        self,
        *,
        records: DeviceRecords,
        store: AuditStore,
        sales: SalesBook,
        signers: Signers,
        serializations: Mapping[str, VoucherSerialization],
        policy: IssuePolicy,
        clock: Callable[[], datetime],
        customers: Sequence[Customer] = (),
        audit: AuditPolicy = USUAL_AUDIT,
    ) -> None:
        self._records = records
        self._store = store
        self._sales = sales
        self._signers = signers
        self._serializations = serializations
        self._policy = policy
        self._clock = clock
        self._customers = customers
        self._audit = audit

    @property
    def anchors(self) -> tuple[x509.Certificate, ...]:
        """What devices need to believe this MASA's vouchers."""
        return self._signers.anchors

    def check_understood(self, media_type: str) -> None:
        """Raise :class:`UnknownFormat` unless requests of *media_type* are (RFC 8995 §5.6)."""
        self._serialization(media_type)

    async def request_voucher(
        self, body: bytes, media_type: str, caller: Caller = ANONYMOUS
    ) -> Answer:
        """Answer a registrar's voucher-request (RFC 8995 §5.5, §5.6).

        The same request gets the same voucher, and one entry in the log.

        Args:
            body: as received.
            media_type: its Content-Type without parameters.
            caller: who sent it, as far as the connection tells.

        Raises:
            OnboardingError: why not; it is on record already.
        """
        now = self._clock()
        serial_number = ""
        try:
            serialization = self._serialization(media_type)
            asked = open_registrar_request(serialization.open(body), now=now)
            serial_number = asked.request.serial_number
            entry, signed = await self._issue(body, asked, serialization, caller, now)
        except OnboardingError as refusal:
            await self._refuse(refusal, serial_number, now)
            raise
        log.info(
            "voucher issued",
            extra={
                "serial_number": entry.serial_number,
                "assertion": entry.assertion.value,
                "domain_id": entry.domain_id.hex(),
                "nonceless": entry.nonce is None,
            },
        )
        return Answer(body=signed, media_type=media_type)

    async def _issue(
        self,
        body: bytes,
        asked: RegistrarRequest,
        serialization: VoucherSerialization,
        caller: Caller,
        now: datetime,
    ) -> tuple[Entry, bytes]:
        namesakes = await self._records.find(None, asked.request.serial_number)
        record = select_record(namesakes, asked)
        known = recognise(self._customers, caller, asked.chain, at=now)
        entry = self._judged(body, asked, record, known, serialization, now, len(namesakes) > 1)
        return await self._signed(entry, serialization, now)

    def _judged(
        self,
        body: bytes,
        asked: RegistrarRequest,
        record: DeviceRecord,
        known: Known,
        serialization: VoucherSerialization,
        now: datetime,
        ambiguous: bool,
    ) -> Entry:
        """The entry that *asked* deserves, its voucher laid out and not signed."""
        policy, nonce = self._policy, asked.request.nonce
        claimant = Claimant(chain=asked.chain, customers=known.customers)
        past = self._store.of_device(record.idevid_issuer, record.serial_number)
        sales = self._sales.of_device(record.idevid_issuer, record.serial_number)
        check_not_refused(record, policy)
        title = judge_title(claimant, sales, [e.pinning() for e in past], policy.unsold)
        if nonce is None:
            check_nonceless(title, authenticated=bool(known.customers))
        prior = read_prior(
            asked,
            record,
            serialization,
            vouchers=[e.voucher for e in past if e.voucher and claimant.holds(e.pinning())],
        )
        assertion = judge_assertion(prior, nonce, record, title, policy)
        place = pinned_place(
            asked.chain,
            policy.pin if nonce is not None else policy.pin_nonceless,
            highest=claimant.highest(sales, known.highest),
        )
        pinned = asked.chain[place]
        check_domain_id(pinned, self._store.keys_of_domain(domain_id(pinned)))
        end = expires_on(now, policy.life, asked.chain[: place + 1], known.next_update)
        voucher = voucher_for(
            asked,
            record,
            assertion,
            pinned=pinned,
            created_on=now,
            expires=end,
            ambiguous=ambiguous,
        )
        signer = self._signers.of(nonce)
        unsigned = serialization.prepare(
            encode_voucher(voucher), signer, certificates=signer.chain, signing_time=now
        )
        return Entry(
            at=now,
            idevid_issuer=record.idevid_issuer,
            serial_number=record.serial_number,
            domain_id=domain_id(pinned),
            nonce=nonce,
            assertion=assertion,
            request_digest=hashlib.sha256(body).digest(),
            unsigned=unsigned.encode(),
            spki_sha256=spki_sha256(pinned),
            signer_sha256=spki_sha256(signer.chain[0]),
        )

    async def _signed(
        self, entry: Entry, serialization: VoucherSerialization, now: datetime
    ) -> tuple[Entry, bytes]:
        entry = await self._store.begin(entry)
        if entry.voucher is not None:
            _check_not_expired(entry.voucher, serialization, now)
            return entry, entry.voucher
        standing = serialization.decode_unsigned(entry.unsigned)
        signed = standing.assemble(self._signers.of(entry.nonce).sign(standing.to_be_signed))
        await self._store.complete(entry, signed)
        return entry, signed

    async def audit_log(self, body: bytes, media_type: str, caller: Caller = ANONYMOUS) -> bytes:
        """Answer a registrar's request for a device's log, JSON (RFC 8995 §5.8).

        Args:
            body: the registrar voucher-request that it has sent before, or another like it.
            caller: who sent it, as far as the connection tells.

        Raises:
            OnboardingError: why not.
        """
        now = self._clock()
        serialization = self._serialization(media_type)
        asked = open_registrar_request(serialization.open(body), now=now)
        known = recognise(self._customers, caller, asked.chain, at=now)
        check_may_ask(self._audit, authenticated=known.connected)
        namesakes = await self._records.find(None, asked.request.serial_number)
        record = select_record(namesakes, asked)
        key = (record.idevid_issuer, record.serial_number)
        entries = self._store.of_device(*key)
        owner = was_owner(
            Claimant(chain=asked.chain, customers=known.customers),
            self._sales.of_device(*key),
            [entry.pinning() for entry in entries],
        )
        found = audit_log_for(
            [entry.event() for entry in entries], owner=owner, most=self._audit.most
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


def _check_not_expired(octets: bytes, serialization: VoucherSerialization, now: datetime) -> None:
    voucher = serialization.open(octets).voucher()
    if voucher.expires_on is not None and voucher.expires_on <= now:
        raise VoucherExpired(
            "this request has had its voucher, which has expired; a renewal is a new request",
            section="RFC 8995 §5.5.1",
        )
