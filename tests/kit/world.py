"""A manufacturer, its MASA, an owner's registrar and devices, all in memory but for two journals.

The decisions and flows are the real ones; only the wires between them are calls. A test bends one
thing and sees which gate stands.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509

from brski.est.certs_only import decode_certs_only
from brski.est.csr import build_csr
from brski.idevid.assertion import assertion_certificate
from brski.idevid.record import DeviceRecord, Presentation
from brski.pki.chain import TrustAnchors
from brski.pki.extensions import domain_id, idevid_issuer_of
from brski.pki.keys import certificate_der, spki_of, spki_sha256
from brski.pki.names import ldevid_subject
from brski.registry import JSON, VOUCHER_CMS_JSON
from brski.telemetry.audit_log import encode_audit_log
from brski.telemetry.status import Status
from brski.voucher.cms import CMS
from brski.voucher.model import Assertion, VoucherRequest
from brski.voucher.serialization import VoucherSerialization
from brski.voucher.yang_json import encode_voucher_request
from brski.voucher.yang_types import encode_nonce
from masa_stub.audit import USUAL_AUDIT
from masa_stub.audit import AuditPolicy as MASAAuditPolicy
from masa_stub.customers import Customer
from masa_stub.issue import IssuePolicy
from masa_stub.masa import MASA
from masa_stub.ownership import BuyerKind, Sale
from masa_stub.port import Signers
from masa_stub.rates import RegistrarRates
from masa_stub.store.log import AuditStore
from masa_stub.store.sales import SalesBook
from masa_stub.store.schema import open_store
from registrar_plugin.accounts.book import AccountBook
from registrar_plugin.accounts.desk import PasswordDesk
from registrar_plugin.admission.judge import AdmissionPolicy
from registrar_plugin.approval import AdmissionDesk, WaitingRoom
from registrar_plugin.audit import AuditWatch
from registrar_plugin.ca_backend.embedded import EmbeddedCA
from registrar_plugin.ca_backend.port import CABackend, Pending
from registrar_plugin.clerk import Clerk
from registrar_plugin.connection import PledgeConnection
from registrar_plugin.enrollment.client_names import DeviceNames
from registrar_plugin.enrollment.enrollee import ByLabel, EnrolleeAuthority
from registrar_plugin.enrollment.profile import EnrollmentProfile
from registrar_plugin.est_clients.passwords import PasswordClients
from registrar_plugin.est_server.brski_devices import BRSKIDevices
from registrar_plugin.est_server.budget import ClientBudget
from registrar_plugin.est_server.desks import ESTServer, make_desk
from registrar_plugin.est_server.enrolling import Enrolling
from registrar_plugin.est_server.renewing import Renewing
from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.identity.policy import Manufacturer
from registrar_plugin.identity.port import RecordLookup
from registrar_plugin.identity.verify import IdentityVerifier
from registrar_plugin.known_devices import KnownDevices
from registrar_plugin.masa_link.port import MASAAnswer, MASALink
from registrar_plugin.registrar import Registrar, VoucherAnswer
from registrar_plugin.reports import EnrollmentReports
from registrar_plugin.restart import complete_open_intents
from registrar_plugin.second_use import SecondUse
from registrar_plugin.store.port import IntentKind
from registrar_plugin.store.sqlite import SQLiteJournal
from registrar_plugin.store.sqlite_approvals import SQLiteApprovals
from registrar_plugin.store.sqlite_issuances import SQLiteIssuances
from registrar_plugin.store.sqlite_vouchers import SQLiteStoredVouchers
from registrar_plugin.store.vouchers import Errand
from registrar_plugin.stored_vouchers.fetching import VoucherFetcher
from registrar_plugin.stored_vouchers.renewing import RenewalPolicy, VoucherRenewer
from registrar_plugin.stored_vouchers.shelf import Use, VoucherShelf
from registrar_plugin.telemetry.audit_verdict import AuditPolicy
from tests.kit import pki

ANY_DEVICE = AdmissionPolicy(any_device=True)
STRICT_AUDIT = AuditPolicy()
USUAL_ISSUE = IssuePolicy()
USUAL_PROFILE = EnrollmentProfile()


class Clock:
    """A clock that a test turns."""

    def __init__(self, now: datetime = pki.NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **parts: float) -> None:
        self.now += timedelta(**parts)


class Records:
    """One OEM's records, as both the registrar and the MASA ask for them."""

    def __init__(self) -> None:
        self.records: list[DeviceRecord] = []
        self.silent: Exception | None = None
        self.asked = 0

    def of(self, serial_number: str, idevid_issuer: bytes | None) -> tuple[DeviceRecord, ...]:
        self.asked += 1
        if self.silent is not None:
            raise self.silent
        return tuple(
            record
            for record in self.records
            if record.serial_number == serial_number
            and idevid_issuer in (None, record.idevid_issuer)
        )

    def find(self, idevid_issuer: bytes | None, serial_number: str) -> tuple[DeviceRecord, ...]:
        """For the MASA."""
        return self.of(serial_number, idevid_issuer)

    def change(self, serial_number: str, **changes: object) -> None:
        """Alter the record of a device."""
        self.records = [
            replace(record, **changes) if record.serial_number == serial_number else record  # type: ignore[arg-type]  # any field
            for record in self.records
        ]


class Both:
    """What a MASA for two factories has on record."""

    def __init__(self, *records: Records) -> None:
        self._records = records

    async def find(
        self, idevid_issuer: bytes | None, serial_number: str
    ) -> tuple[DeviceRecord, ...]:
        return tuple(
            record
            for records in self._records
            for record in records.find(idevid_issuer, serial_number)
        )


class Lookup:
    """For the registrar: every manufacturer's records, by name."""

    def __init__(self, sources: Mapping[str, Records]) -> None:
        self._sources = sources

    async def find(
        self,
        sources: Collection[str],
        idevid_issuer: bytes | None,
        serial_number: str,
        *,
        spki_sha256: bytes | None,
        fresh: bool = False,
    ) -> Mapping[str, tuple[DeviceRecord, ...]]:
        return {name: self._sources[name].of(serial_number, idevid_issuer) for name in sources}

    async def close(self) -> None:
        pass


@dataclass
class Wire:
    """The MASA link as a call; a test can listen in, alter, delay and break it."""

    masa: MASA
    sent: list[bytes] = field(default_factory=list)
    answers: list[bytes] = field(default_factory=list)
    link: MASALink | None = None  # instead of the call
    broken: Exception | None = None
    answer_instead: bytes | None = None
    audit_log_instead: bytes | None = None
    audit_log_broken: Exception | None = None
    audit_log_asked: list[bytes] = field(default_factory=list)

    async def request_voucher(
        self, manufacturer: str, masa_url: str, body: bytes, media_type: str
    ) -> MASAAnswer:
        self.sent.append(body)
        await asyncio.sleep(0)
        if self.broken is not None:
            raise self.broken
        if self.link is not None:
            return await self.link.request_voucher(manufacturer, masa_url, body, media_type)
        answer = await self.masa.request_voucher(body, media_type)
        octets = self.answer_instead or answer.body
        self.answers.append(octets)
        return MASAAnswer(body=octets, media_type=answer.media_type)

    async def request_audit_log(
        self, manufacturer: str, masa_url: str, body: bytes, media_type: str
    ) -> MASAAnswer:
        self.audit_log_asked.append(body)
        if self.broken or self.audit_log_broken:
            raise self.broken or self.audit_log_broken or AssertionError
        if self.link is not None:
            return await self.link.request_audit_log(manufacturer, masa_url, body, media_type)
        found = self.audit_log_instead or encode_audit_log(
            await self.masa.audit_log(body, media_type)
        )
        return MASAAnswer(body=found, media_type=JSON)

    async def close(self) -> None:
        pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device as it left the factory; ``entity`` is its IDevID, carried or not."""

    entity: pki.Entity
    presentation: Presentation
    serial_number: str

    @property
    def carried(self) -> bool:
        return self.presentation is Presentation.CARRIED

    @property
    def issuer(self) -> bytes:
        return idevid_issuer_of(self.entity.certificate)

    @property
    def key(self) -> DeviceKey:
        return DeviceKey(self.issuer, self.serial_number)

    @property
    def shown(self) -> tuple[x509.Certificate, ...]:
        """What it shows in TLS."""
        if self.carried:
            return self.entity.chain[:-1]
        return (
            assertion_certificate(
                pki.KeySigner(self.entity.private_key),
                self.serial_number,
                idevid_issuer=self.issuer,
            ),
        )

    def request(
        self, registrar: x509.Certificate, *, nonce: bytes = bytes(range(16)), **changes: object
    ) -> bytes:
        """A signed voucher-request; *changes* bend its leaves."""
        leaves = VoucherRequest(
            serial_number=self.serial_number,
            assertion=Assertion.PROXIMITY,
            nonce=encode_nonce(nonce),
            proximity_registrar_cert=certificate_der(registrar),
        )
        return self.sign(encode_voucher_request(replace(leaves, **changes)))  # type: ignore[arg-type]  # any leaf

    def sign(self, payload: bytes) -> bytes:
        """*payload* under the IDevID key, as this device does it."""
        if self.carried:
            signer = pki.KeySigner(self.entity.private_key, self.shown)
            return CMS.sign(payload, signer, certificates=self.shown)
        signer = pki.KeySigner(self.entity.private_key)
        return CMS.sign(payload, signer, name_by_key_identifier=True)


@dataclass
class World:
    """Everybody, and the steps of one onboarding as one line each."""

    oem: pki.Entity  # issuing CA
    other_oem: pki.Entity  # another trusted manufacturer's
    owner: pki.Entity  # issuing CA of the domain
    registrar_entity: pki.Entity
    records: Records
    other_records: Records
    wire: Wire
    masa_root: x509.Certificate  # what devices hold to believe vouchers
    masa_store: AuditStore
    sales: SalesBook
    registrar: Registrar
    watch: AuditWatch
    fetcher: VoucherFetcher
    renewer: VoucherRenewer
    stored: SQLiteStoredVouchers
    est: ESTServer
    enrolling: Enrolling
    renewing: Renewing
    reports: EnrollmentReports
    identity: IdentityVerifier
    journal: SQLiteJournal
    clock: Clock
    folder: Path

    def make_device(
        self,
        serial_number: str = "SN-1",
        *,
        asserting: bool = False,
        listed: bool = True,
        issuer: pki.Entity | None = None,
        **knobs: object,
    ) -> Device:
        """A device of the manufacturer's; *listed* puts it on record."""
        issuer = issuer or self.oem
        entity = pki.make_idevid(issuer, serial_number, **knobs)  # type: ignore[arg-type]  # its knobs
        presentation = Presentation.ASSERTED if asserting else Presentation.CARRIED
        device = Device(entity=entity, presentation=presentation, serial_number=serial_number)
        if listed:
            records = self.other_records if issuer is self.other_oem else self.records
            records.records.append(record_of(device))
        return device

    async def sell(self, device: Device, buyer: x509.Certificate | str) -> None:
        """Have the MASA know whose *device* is: a customer by name, or whoever is under a CA."""
        if isinstance(buyer, str):
            await self.sales.add(self.sale(device, BuyerKind.CUSTOMER, buyer))
        else:
            await self.sales.add(self.sale(device, BuyerKind.KEY, spki_sha256(buyer).hex()))

    def sale(self, device: Device, kind: BuyerKind, buyer: str = "") -> Sale:
        """A line of the sales data, of now."""
        return Sale(
            at=self.clock(),
            idevid_issuer=device.issuer,
            serial_number=device.serial_number,
            kind=kind,
            buyer=buyer,
        )

    def connection(
        self,
        shown: Sequence[x509.Certificate],
        *,
        address: str = "192.0.2.7",
        is_open: Callable[[], bool] | None = None,
        authorization: str | None = None,
    ) -> PledgeConnection:
        """A TLS connection of somebody who holds the key of ``shown[0]``."""
        return PledgeConnection(
            peer_chain=tuple(shown),
            registrar_certificate=self.registrar_entity.certificate,
            address=address,
            is_open=is_open,
            authorization=() if authorization is None else (authorization,),
        )

    async def fetch(self, device: Device) -> Errand:
        """fetch-voucher."""
        (announced,) = await self.identity.announced("acme", device.serial_number)
        return await self.fetcher.fetch(announced)

    async def ask(self, device: Device, **changes: object) -> VoucherAnswer | Pending:
        """requestvoucher, by a device that may have to wait."""
        body = device.request(self.registrar_entity.certificate, **changes)  # type: ignore[arg-type]  # its leaves
        return await self.registrar.request_voucher(
            body, VOUCHER_CMS_JSON, self.connection(device.shown)
        )

    async def voucher(self, device: Device, **changes: object) -> VoucherAnswer:
        """requestvoucher, which is to succeed."""
        answer = await self.ask(device, **changes)
        assert isinstance(answer, VoucherAnswer)
        return answer

    async def accept(self, device: Device) -> None:
        """voucher_status, in good faith."""
        await self.registrar.voucher_status(Status(status=True), self.connection(device.shown))

    async def enroll(
        self, device: Device, key: pki.KeySigner | None = None, csr: bytes | None = None
    ) -> x509.Certificate | Pending:
        """simpleenroll."""
        asked = csr or self.csr(device, key)
        answer = await self.enrolling.enroll(asked, self.connection(device.shown))
        if isinstance(answer, Pending):
            return answer
        return decode_certs_only(answer)[0]

    async def reenroll(
        self, device: Device, ldevid: x509.Certificate, csr: bytes | None = None
    ) -> x509.Certificate | Pending:
        """simplereenroll over *ldevid*, for another key unless *csr* says otherwise."""
        asked = csr or self.csr(device)
        answer = await self.renewing.reenroll(asked, self.connection([ldevid]))
        return answer if isinstance(answer, Pending) else decode_certs_only(answer)[0]

    def csr(self, device: Device, key: pki.KeySigner | None = None) -> bytes:
        """A certificate request for what the device is entitled to."""
        signer = key or pki.KeySigner(pki.make_key())
        return build_csr(signer, ldevid_subject(device.serial_number, device.issuer))

    async def onboard(self, device: Device) -> x509.Certificate:
        """The whole way; the certificate at its end."""
        await self.voucher(device)
        await self.accept(device)
        issued = await self.enroll(device)
        assert isinstance(issued, x509.Certificate)
        return issued


def record_of(device: Device) -> DeviceRecord:
    """What the OEM's database holds of *device*."""
    return DeviceRecord(
        idevid_issuer=device.issuer,
        serial_number=device.serial_number,
        certificate=device.entity.der,
        spki=spki_of(device.entity.certificate),
        intermediates=tuple(certificate_der(c) for c in device.entity.intermediates),
        presentation=device.presentation,
        derivation_profile="hmac-drbg-p256",
        batch_digest=bytes(32),
        chunk=0,
        generation=1,
    )


def make_domain(name: str = "Example Owner") -> tuple[pki.Entity, pki.Entity]:
    """An owner's issuing CA, and its registrar."""
    owner = pki.make_pki(name, not_after=pki.NOT_AFTER)
    return owner, pki.make_registrar(owner)


@asynccontextmanager
async def make_world(
    folder: Path,
    *,
    admission: AdmissionPolicy = ANY_DEVICE,
    room: WaitingRoom | None = None,
    audit: AuditPolicy = STRICT_AUDIT,
    silent_s: float = 3600.0,
    use: Use = Use.NEVER,
    enclosed: int | None = None,
    issue: IssuePolicy = USUAL_ISSUE,
    ca: CABackend | None = None,
    require_record: bool = True,
    clock: Clock | None = None,
    lookup: RecordLookup | None = None,
    oem: pki.Entity | None = None,
    anchors: Sequence[x509.Certificate] = (),
    records: Records | None = None,
    masa_records: Records | None = None,
    serialization: VoucherSerialization = CMS,
    customers: Sequence[Customer] = (),
    masa_audit: MASAAuditPolicy = USUAL_AUDIT,
    masa_rates: RegistrarRates | None = None,
    profile: EnrollmentProfile = USUAL_PROFILE,
    other_oem: pki.Entity | None = None,
    other_records: Records | None = None,
    domain: tuple[pki.Entity, pki.Entity] | None = None,
    labelled: Mapping[EnrollmentProfile, CABackend] = {},
    est_budget: ClientBudget | None = None,
    accounts: Path | None = None,
    device_domains: frozenset[str] = frozenset(),
) -> AsyncIterator[World]:
    """Open everybody in *folder*; what a test wants otherwise has a name.

    Args:
        oem: the manufacturer's issuing CA.
        anchors: what the registrar trusts of it, if not that CA's root.
        records: what the registrar asks of it.
        masa_records: what the MASA asks, if not the same.
        profile: of the EST paths without label.
        labelled: further ones, each with its CA.
        serialization: of the registrar and the MASA.
        customers: whom the MASA knows by name.
        masa_audit: how freely the MASA gives out its log; masa_rates: how often one may ask.
        accounts: of EST clients that are no devices, which every profile admits then, too.
        device_domains: where no DNS name of theirs may be.
        other_oem, other_records: likewise, of the other manufacturer.
        domain: the owner's issuing CA and the registrar; of an earlier run in the same folder.
    """
    clock = clock or Clock()
    oem = oem or pki.make_pki("Example OEM")
    other_oem = other_oem or pki.make_pki("Another OEM")
    owner, registrar_entity = domain or make_domain()
    records, other_records = records or Records(), other_records or Records()
    masa_root = pki.make_root("Example MASA Root")
    masa_file = open_store(folder / "masa.db")
    store, sales = AuditStore(masa_file), SalesBook(masa_file)
    masa = MASA(
        records=Both(masa_records or records, other_records),
        store=store,
        sales=sales,
        signers=Signers(usual=pki.make_masa_signer(masa_root).signer),
        serializations={VOUCHER_CMS_JSON: serialization},
        policy=issue,
        clock=clock,
        customers=customers,
        audit=masa_audit,
        rates=masa_rates,
    )
    wire = Wire(masa)
    journal = SQLiteJournal(folder / "registrar.db")
    manufacturers = [
        Manufacturer(
            name=name,
            anchors=TrustAnchors(trusted),
            source=name,
            issuers=frozenset([idevid_issuer_of(pki.make_idevid(issuing).certificate)]),
            require_record=require_record,
        )
        for name, issuing, trusted in (
            ("acme", oem, [*(anchors or [oem.root])]),
            ("bolt", other_oem, [other_oem.root]),
        )
    ]
    identity = IdentityVerifier(
        manufacturers,
        serialization=serialization,
        clock=clock,
        lookup=lookup or Lookup({"acme": records, "bolt": other_records}),
    )
    clerk = Clerk(journal, clock)
    second_use = SecondUse(journal, clerk)
    devices = KnownDevices(journal, second_use)
    watch = AuditWatch(
        masa=wire,
        journal=journal,
        clerk=clerk,
        policy=audit,
        own_domain_ids=frozenset(domain_id(c) for c in registrar_entity.chain),
        silent_s=silent_s,
    )
    desk = AdmissionDesk(
        admission, approvals=SQLiteApprovals(journal.writer), clerk=clerk, room=room
    )
    stored = SQLiteStoredVouchers(journal.writer)
    shelf = VoucherShelf(
        use,
        vouchers=stored,
        signer=registrar_entity.signer,
        serialization=serialization,
        clerk=clerk,
    )
    fetcher = VoucherFetcher(
        signer=registrar_entity.signer,
        serialization=serialization,
        masa=wire,
        vouchers=stored,
        journal=journal,
        clerk=clerk,
    )
    renewer = VoucherRenewer(
        RenewalPolicy(),
        fetcher=fetcher,
        admission=desk,
        vouchers=stored,
        journal=journal,
        clerk=clerk,
    )
    registrar = Registrar(
        identity=identity,
        admission=desk,
        signer=registrar_entity.signer,
        enclosed=enclosed,
        serializations={VOUCHER_CMS_JSON: serialization},
        masa=wire,
        journal=journal,
        clerk=clerk,
        audit=watch,
        vouchers=shelf,
        devices=devices,
        second_use=second_use,
    )
    issuances = SQLiteIssuances(journal.writer)
    pledges = BRSKIDevices(
        identity=identity,
        admission=desk,
        journal=journal,
        clerk=clerk,
        audit=watch,
        second_use=second_use,
    )
    authorities: list[EnrolleeAuthority] = [pledges]
    if accounts is not None:
        book = AccountBook(accounts, clock=time.monotonic)
        names = DeviceNames(domains=device_domains)
        authorities.append(PasswordClients(PasswordDesk(book, clock=time.monotonic), names))
    default_ca = ca or EmbeddedCA(owner.signer)
    desks = {
        each.label: make_desk(
            each,
            ca=its_ca,
            authorities=[
                authority.under(each.label) if isinstance(authority, ByLabel) else authority
                for authority in authorities
            ],
            devices=devices,
            second_use=second_use,
            journal=journal,
            issuances=issuances,
            clerk=clerk,
            signer=registrar_entity.signer,
        )
        for each, its_ca in {profile: default_ca, **labelled}.items()
    }
    est, est_desk = ESTServer(desks, issuances, est_budget), desks[profile.label]
    completers = {
        IntentKind.REGISTRAR_VOUCHER_REQUEST: registrar.take_up,
        IntentKind.LDEVID: est.take_up,
    }
    await complete_open_intents(journal, clerk, completers)
    try:
        yield World(
            oem=oem,
            other_oem=other_oem,
            owner=owner,
            registrar_entity=registrar_entity,
            records=records,
            other_records=other_records,
            wire=wire,
            masa_root=masa_root.certificate,
            masa_store=store,
            sales=sales,
            registrar=registrar,
            watch=watch,
            fetcher=fetcher,
            renewer=renewer,
            stored=stored,
            est=est,
            enrolling=est_desk.enrolling,
            renewing=est_desk.renewing,
            reports=EnrollmentReports(devices=devices, journal=journal, clerk=clerk),
            identity=identity,
            journal=journal,
            clock=clock,
            folder=folder,
        )
    finally:
        await registrar.close()
        await journal.close()
        await masa_file.close()
