"""One voucher, top to bottom: the request, the record, the owner, the log, the answer."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Final
from weakref import WeakValueDictionary

from cryptography import x509

from brski.errors import OnboardingError, TooManyRequests, Unavailable, VoucherExpired
from brski.idevid.record import DeviceRecord
from brski.pki.extensions import domain_id
from brski.pki.keys import spki_sha256
from brski.telemetry.audit_log import AuditLog
from brski.voucher.rules import check_request_date
from brski.voucher.serialization import VoucherSerialization
from brski.voucher.yang_json import encode_voucher
from masa_stub.audit import USUAL_AUDIT, AuditPolicy, audit_log_for, check_may_ask
from masa_stub.customers import ANONYMOUS, Caller, Customer
from masa_stub.issue import (
    IssuePolicy,
    check_nonceless,
    check_not_refused,
    expires_on,
    judge_assertion,
    select_record,
    voucher_for,
)
from masa_stub.ownership import judge_title, was_owner
from masa_stub.pin import check_domain_id, pinned_place
from masa_stub.port import Answer, DeviceRecords, Signers
from masa_stub.prior import read_prior
from masa_stub.rates import RegistrarRates
from masa_stub.reception import Received, Reception, Visit
from masa_stub.store.log import AuditStore
from masa_stub.store.sales import SalesBook
from masa_stub.store.values import Basis, Entry, Refusal

log = logging.getLogger(__name__)

_TURNS: Final = 16  # how often a request is judged on what stands no more before it is given up


class MASA:
    """Issues vouchers for the devices on record.

    Args:
        records: whose keys verify devices' requests.
        store: the log; sales: the sales data.
        serializations: by media type.
        customers: whom the manufacturer knows by name; gone through for each request.
        rates: how often a registrar may ask; None: as often as it likes.
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
        customers: Iterable[Customer] = (),
        audit: AuditPolicy = USUAL_AUDIT,
        rates: RegistrarRates | None = None,
    ) -> None:
        self._records = records
        self._store = store
        self._sales = sales
        self._signers = signers
        self._policy = policy
        self._audit = audit
        self._locks: WeakValueDictionary[tuple[bytes, str], asyncio.Lock] = WeakValueDictionary()
        self.reception = Reception(
            serializations=serializations, customers=customers, rates=rates, clock=clock
        )

    @property
    def anchors(self) -> tuple[x509.Certificate, ...]:
        """What devices need to believe this MASA's vouchers."""
        return self._signers.anchors

    # -- a voucher, RFC 8995 §5.5 and §5.6

    async def request_voucher(
        self, body: bytes, media_type: str, caller: Caller = ANONYMOUS
    ) -> Answer:
        """Answer a registrar's voucher-request.

        The same request gets the same voucher, and one entry in the log.

        Args:
            body: as received.
            media_type: its Content-Type without parameters.
            caller: who sent it, as far as the connection tells.

        Raises:
            OnboardingError: why not; it is on record already, but for TooManyRequests.
        """
        with self.reception.visit(caller) as visit:
            try:
                received = self.reception.receive(visit, body, media_type)
                entry, signed = await self._issue(body, received)
            except TooManyRequests:
                raise  # a flood does not fill the record
            except OnboardingError as refusal:
                await self._refuse(refusal, visit)
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

    async def _issue(self, body: bytes, received: Received) -> tuple[Entry, bytes]:
        check_request_date(received.asked.request, now=received.now)
        namesakes = await self._records.find(None, received.asked.request.serial_number)
        record = select_record(namesakes, received.asked)
        check_not_refused(record, self._policy)
        async with self._lock(record):  # claims of this process take turns
            entry = await self._entered(body, received, record, ambiguous=len(namesakes) > 1)
            return await self._signed(entry, received)

    async def _entered(
        self, body: bytes, received: Received, record: DeviceRecord, *, ambiguous: bool
    ) -> Entry:
        """The entry of a request, in the log; judged again where another process was faster."""
        for _ in range(_TURNS):
            entry, basis = self._judged(body, received, record, ambiguous=ambiguous)
            standing = await self._store.begin(entry, basis)
            if standing is not None:
                return standing
        raise Unavailable("other processes claim this device without end")

    def _judged(
        self, body: bytes, received: Received, record: DeviceRecord, *, ambiguous: bool
    ) -> tuple[Entry, Basis]:
        """The entry that a request deserves, its voucher laid out and not signed; and on what it
        rests.
        """
        asked, policy, claimant = received.asked, self._policy, received.claimant
        nonce = asked.request.nonce
        device = (record.idevid_issuer, record.serial_number)
        newest, sales = self._store.newest_of_device(*device), self._sales.of_device(*device)
        title = judge_title(
            claimant, sales, None if newest is None else newest.pinning(), policy.unsold
        )
        if nonce is None:
            check_nonceless(title, authenticated=bool(claimant.customers))

        def is_ours(voucher: bytes) -> bool:
            found = self._store.of_voucher(*device, voucher)
            return found is not None and claimant.holds(found.pinning())

        prior = read_prior(asked, record, received.serialization, is_ours=is_ours)
        assertion = judge_assertion(prior, nonce, record, title, policy)
        place = pinned_place(
            asked.chain,
            policy.pin if nonce is not None else policy.pin_nonceless,
            highest=claimant.highest(sales, received.known.highest),
        )
        pinned = asked.chain[place]
        domain, key = domain_id(pinned), spki_sha256(pinned)
        is_anothers = self._store.is_anothers(domain, key)
        check_domain_id(pinned, is_anothers=is_anothers)
        voucher = voucher_for(
            asked,
            record,
            assertion,
            pinned=pinned,
            created_on=received.now,
            expires=expires_on(
                received.now, policy.life, asked.chain[: place + 1], received.known.next_update
            ),
            ambiguous=ambiguous,
        )
        signer = self._signers.of(nonce)
        unsigned = received.serialization.prepare(
            encode_voucher(voucher), signer, certificates=signer.chain, signing_time=received.now
        )
        entry = Entry(
            at=received.now,
            idevid_issuer=record.idevid_issuer,
            serial_number=record.serial_number,
            domain_id=domain,
            nonce=nonce,
            assertion=assertion,
            request_digest=hashlib.sha256(body).digest(),
            unsigned=unsigned.encode(),
            spki_sha256=key,
            signer_sha256=spki_sha256(signer.chain[0]),
        )
        basis = Basis(
            newest=0 if newest is None else newest.id, sales=len(sales), is_anothers=is_anothers
        )
        return entry, basis

    async def _signed(self, entry: Entry, received: Received) -> tuple[Entry, bytes]:
        if entry.voucher is not None:
            _check_not_expired(entry.voucher, received)
            return entry, entry.voucher
        standing = received.serialization.decode_unsigned(entry.unsigned)
        signed = standing.assemble(self._signers.of(entry.nonce).sign(standing.to_be_signed))
        await self._store.complete(entry, signed)
        return entry, signed

    def _lock(self, record: DeviceRecord) -> asyncio.Lock:
        key = (record.idevid_issuer, record.serial_number)
        return self._locks.setdefault(key, asyncio.Lock())

    async def _refuse(self, refusal: OnboardingError, visit: Visit) -> None:
        log.warning(
            "voucher refused",
            extra={
                "serial_number": visit.serial_number,
                "code": refusal.code,
                "reason": str(refusal),
            },
        )
        await self._store.refuse(
            Refusal(
                at=self.reception.now(),
                serial_number=visit.serial_number,
                code=refusal.code,
                reason=str(refusal),
            )
        )

    # -- the log of a device, RFC 8995 §5.8

    async def audit_log(self, body: bytes, media_type: str, caller: Caller = ANONYMOUS) -> AuditLog:
        """Answer a registrar's request for a device's log.

        Args:
            body: the registrar voucher-request that it has sent before, or another like it.
            caller: who sent it, as far as the connection tells.

        Raises:
            OnboardingError: why not.
        """
        with self.reception.visit(caller) as visit:
            received = self.reception.receive(visit, body, media_type)
            check_may_ask(self._audit, authenticated=received.known.connected)
            namesakes = await self._records.find(None, received.asked.request.serial_number)
            record = select_record(namesakes, received.asked)
            device = (record.idevid_issuer, record.serial_number)
            past, sales = await self._store.of_device(*device), self._sales.of_device(*device)
            owner = was_owner(received.claimant, sales, [voucher.pinning() for voucher in past])
            events = [voucher.event() for voucher in past]
            return audit_log_for(events, owner=owner, most=self._audit.most)


def _check_not_expired(octets: bytes, received: Received) -> None:
    voucher = received.serialization.open(octets).voucher()
    if voucher.expires_on is not None and voucher.expires_on <= received.now:
        raise VoucherExpired(
            "this request has had its voucher, which has expired; a renewal is a new request",
            section="RFC 8995 §5.5.1",
        )
