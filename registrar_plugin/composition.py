"""Builds a registrar from its settings: the one place that knows every adapter."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from cryptography import x509
from yarl import URL

from brski.edge.adapters import open_adapter
from brski.edge.http.authentication import load_password
from brski.edge.only_one import only_one
from brski.edge.settings import read_settings
from brski.edge.signers.file import load_chain, load_private_key
from brski.edge.signers.key import KeySigner
from brski.edge.tls_client import https_client_context
from brski.errors import Malformed, SettingsError
from brski.pki.chain import TrustAnchors
from brski.pki.extensions import (
    domain_id,
    masa_base_url,
)
from brski.pki.signer import Signer
from brski.rates import Rate
from brski.registry import VOUCHER_CMS_JSON
from brski.voucher.cms import CMSSerialization
from brski.voucher.serialization import VoucherSerialization
from registrar_plugin.accounts.book import AccountBook
from registrar_plugin.adapters import CA_BACKENDS, OEM_SOURCES
from registrar_plugin.admission.judge import AdmissionPolicy
from registrar_plugin.approval import AdmissionDesk, WaitingRoom
from registrar_plugin.audit import AuditWatch
from registrar_plugin.ca_backend.port import CABackend
from registrar_plugin.clerk import Clerk
from registrar_plugin.enrollment.enrollee import EnrolleeAuthority
from registrar_plugin.est_clients.opening import (
    list_checks,
    open_certificate_clients,
    open_password_clients,
    open_registration_authorities,
)
from registrar_plugin.est_server.brski_devices import BRSKIDevices
from registrar_plugin.est_server.desks import ESTServer
from registrar_plugin.est_server.opening import open_est_server
from registrar_plugin.health.ca import CAHealth, issuing_path, judge_time
from registrar_plugin.health.port import Checkable
from registrar_plugin.health.readiness import Check, Readiness
from registrar_plugin.identity.budget import RateBudget
from registrar_plugin.identity.patience import Patience, PatienceSettings
from registrar_plugin.identity.policy import Manufacturer, SerialNumberSource
from registrar_plugin.identity.verify import IdentityVerifier
from registrar_plugin.known_devices import KnownDevices
from registrar_plugin.masa_link.authentication import Authentication, Scheme
from registrar_plugin.masa_link.http import HTTPMASALink, MASAAccess
from registrar_plugin.masa_link.port import MASALink
from registrar_plugin.oem_source.lookup import CachedLookup, LookupLimits
from registrar_plugin.oem_source.manifest import ManifestSourceSettings
from registrar_plugin.oem_source.port import DeviceRecordSource
from registrar_plugin.own_certificate import check_own_certificate
from registrar_plugin.registrar import Registrar
from registrar_plugin.reports import EnrollmentReports
from registrar_plugin.restart import complete_open_intents
from registrar_plugin.revocation.opening import open_lists
from registrar_plugin.revocation.web import PublishedList
from registrar_plugin.second_use import SecondUse
from registrar_plugin.settings import (
    ManufacturerSettings,
    MASASettings,
    RegistrarSettings,
)
from registrar_plugin.store.port import IntentKind
from registrar_plugin.store.sqlite import SQLiteJournal
from registrar_plugin.store.sqlite_approvals import SQLiteApprovals
from registrar_plugin.store.sqlite_client_certificates import SQLiteClientCertificates
from registrar_plugin.store.sqlite_issuances import SQLiteIssuances
from registrar_plugin.store.sqlite_vouchers import SQLiteStoredVouchers
from registrar_plugin.stored_vouchers.fetching import VoucherFetcher
from registrar_plugin.stored_vouchers.renewing import RenewalPolicy, VoucherRenewer
from registrar_plugin.stored_vouchers.shelf import Use, VoucherShelf
from registrar_plugin.telemetry.audit_verdict import AuditPolicy
from registrar_plugin.tls_front.in_process import InProcessFront


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredVoucherRooms:
    """Vouchers fetched ahead: who fetches, renews and hands them out."""

    in_use: bool
    shelf: VoucherShelf
    fetcher: VoucherFetcher
    renewer: VoucherRenewer


@dataclass(frozen=True, slots=True, kw_only=True)
class MountableRegistrar:
    """A registrar with what a host needs to mount it (:func:`registrar_plugin.plugin.setup`)."""

    flow: Registrar
    est: ESTServer
    reports: EnrollmentReports
    front: InProcessFront
    identity: IdentityVerifier  # for a host that has its own requestvoucher
    readiness: Readiness
    journal_path: Path
    crls: Mapping[str, PublishedList]
    vouchers: StoredVoucherRooms
    stack: AsyncExitStack
    take_up: Callable[[], Awaitable[None]]

    async def start(self) -> None:
        """Complete what an earlier run intended and did not finish; then keep vouchers fresh.

        Raises:
            StateError: another process serves on the same journal.
        """
        journal = self.journal_path.resolve()  # by whatever name a second one knows it
        mark = journal.with_name(f"{journal.name}.serving")
        self.stack.enter_context(only_one(mark, what="serves on this journal"))
        await self.take_up()
        for crl in self.crls.values():
            self.stack.push_async_callback(crl.start())
        if self.vouchers.in_use:
            self.vouchers.renewer.start()

    def ssl_context(self) -> ssl.SSLContext:
        """The TLS context that the host's listener must use: it asks for a client certificate,
        takes any, and lets the registrar judge it.
        """
        return self.front.ssl_context()

    async def close(self) -> None:
        """Close connections, sources and the journal, in the order that loses nothing."""
        await self.stack.aclose()


def open_registrar(
    settings: RegistrarSettings,
    *,
    source: Path,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),  # noqa: TID251 - the edge
) -> MountableRegistrar:
    """Load keys and anchors once, open the journal, and put the parts together.

    Args:
        settings: as :func:`brski.edge.settings.load_settings` read them.
        source: the file that they came from.
        clock: aware UTC.

    Raises:
        LocalError: a key, file or setting that cannot be used.
        Unavailable: the journal's disk.
    """
    chain = load_chain(settings.registrar.chain)
    key = load_private_key(settings.registrar.key)
    signer = KeySigner(key, chain)
    check_own_certificate(chain[0], settings.registrar.chain)
    stack = AsyncExitStack()
    front = InProcessFront(chain, key)
    sources = _sources(settings, source)
    identity = _identity(settings, sources, clock)
    stack.push_async_callback(identity.close)
    ca = open_adapter(CA_BACKENDS, settings.ca, source=source, where="ca")
    stack.push_async_callback(ca.close)
    masa = HTTPMASALink({m.name: _masa_access(m.masa) for m in settings.manufacturer})
    stack.push_async_callback(masa.close)
    journal = SQLiteJournal(settings.journal)
    stack.push_async_callback(journal.close)
    clerk = Clerk(journal, clock)
    second_use = SecondUse(journal, clerk)
    devices = KnownDevices(journal, second_use)
    audit = AuditWatch(
        masa=masa,
        journal=journal,
        clerk=clerk,
        policy=_audit_policy(settings),
        own_domain_ids=frozenset(domain_id(certificate) for certificate in chain),
        silent_s=settings.audit_log.wait_s,
    )
    admission = _admission(settings, journal, clerk)
    serialization = _cms(settings)
    vouchers = _stored_vouchers(settings, signer, serialization, masa, admission, journal, clerk)
    stack.push_async_callback(vouchers.renewer.close)
    flow = Registrar(
        identity=identity,
        admission=admission,
        signer=signer,
        enclosed=settings.registrar.certificates_to_masa,
        serializations={VOUCHER_CMS_JSON: serialization},
        masa=masa,
        journal=journal,
        clerk=clerk,
        audit=audit,
        vouchers=vouchers.shelf,
        devices=devices,
        second_use=second_use,
        patience=Patience(
            PatienceSettings(
                wait_s=settings.on_demand.wait_s,
                retry_after_s=settings.on_demand.retry_after_s,
            )
        ),
    )
    stack.push_async_callback(flow.close)
    profile_cas: dict[str, CABackend] = {}

    def opened(label: str, another: CABackend) -> None:
        profile_cas[label] = another
        stack.push_async_callback(another.close)

    issuances = SQLiteIssuances(journal.writer)
    pledges = BRSKIDevices(
        identity=identity,
        admission=admission,
        journal=journal,
        clerk=clerk,
        audit=audit,
        second_use=second_use,
    )
    accounts = _accounts(settings)
    authorities: dict[str, EnrolleeAuthority] = {
        pledges.kind: pledges,
        **open_certificate_clients(
            settings.est,
            own=(*ca.ca_certificates(), *chain),
            kept=SQLiteClientCertificates(journal.writer),
            journal=journal,
            clerk=clerk,
        ),
        **open_registration_authorities(settings.est, journal=journal, clerk=clerk),
        **open_password_clients(settings.est, accounts),
    }
    est = open_est_server(
        settings.est,
        source=source,
        ca=ca,
        opened=opened,
        authorities=authorities,
        devices=devices,
        second_use=second_use,
        journal=journal,
        issuances=issuances,
        clerk=clerk,
        signer=signer,
    )
    completers = {
        IntentKind.REGISTRAR_VOUCHER_REQUEST: flow.take_up,
        IntentKind.LDEVID: est.take_up,
    }
    crls = open_lists(settings, ca=ca, profile_cas=profile_cas, journal=journal, clerk=clerk)
    cas = {"ca": ca, **{f"ca {label or '(no label)'}": each for label, each in profile_cas.items()}}
    checks = _checks(settings, chain, sources, cas, est, masa, journal, crls, clock)
    checks |= list_checks(authorities)
    if accounts is not None:
        checks["passwords"] = accounts.check
    readiness = Readiness(checks, clock=time.monotonic)
    stack.push_async_callback(readiness.close)
    return MountableRegistrar(
        flow=flow,
        est=est,
        reports=EnrollmentReports(devices=devices, journal=journal, clerk=clerk),
        front=front,
        identity=identity,
        readiness=readiness,
        journal_path=settings.journal,
        vouchers=vouchers,
        stack=stack,
        crls=crls,
        take_up=partial(complete_open_intents, journal, clerk, completers),
    )


def manifest_source(
    settings: RegistrarSettings, manufacturer: str, *, source: Path
) -> ManifestSourceSettings:
    """The source table of a manufacturer whose records come as manifests.

    Args:
        source: the file that *settings* came from.

    Raises:
        SettingsError: there is no such manufacturer, its source is of another kind, or at fault.
    """
    for place, each in enumerate(settings.manufacturer):
        if each.name != manufacturer:
            continue
        if (each.source or {}).get("kind") != "manifest":
            break
        try:
            return read_settings(dict(each.source or {}), ManifestSourceSettings, source=source)
        except SettingsError as err:
            raise SettingsError(f"[manufacturer.{place}.source] {err.reason}") from err
    raise SettingsError(
        f"no manufacturer {manufacturer!r} has a source of kind manifest",
        hint="conf/registrar.toml explains it",
    )


def _admission(settings: RegistrarSettings, journal: SQLiteJournal, clerk: Clerk) -> AdmissionDesk:
    wanted, room = settings.admission, settings.approval
    return AdmissionDesk(
        AdmissionPolicy(
            any_device=wanted.any_device,
            expected=frozenset(wanted.expected),
            denied=frozenset(wanted.denied),
            by_hand=wanted.approval == "manual",
            by_hand_of={
                m.name: m.approval == "manual"
                for m in settings.manufacturer
                if m.approval is not None
            },
        ),
        approvals=SQLiteApprovals(journal.writer),
        clerk=clerk,
        room=WaitingRoom(most=room.waiting, wait_s=room.wait_s, retry_after_s=room.retry_after_s),
    )


def _cms(settings: RegistrarSettings) -> CMSSerialization:
    return CMSSerialization(interoperability=settings.interoperability)


def _stored_vouchers(
    settings: RegistrarSettings,
    signer: Signer,
    serialization: VoucherSerialization,
    masa: MASALink,
    admission: AdmissionDesk,
    journal: SQLiteJournal,
    clerk: Clerk,
) -> StoredVoucherRooms:
    stored = settings.stored_vouchers
    use, vouchers = Use(stored.use), SQLiteStoredVouchers(journal.writer)
    fetcher = VoucherFetcher(
        signer=signer,
        serialization=serialization,
        masa=masa,
        vouchers=vouchers,
        journal=journal,
        clerk=clerk,
    )
    return StoredVoucherRooms(
        in_use=use is not Use.NEVER,
        shelf=VoucherShelf(
            use, vouchers=vouchers, signer=signer, serialization=serialization, clerk=clerk
        ),
        fetcher=fetcher,
        renewer=VoucherRenewer(
            RenewalPolicy(
                before=timedelta(seconds=stored.renew_before_s), look_every_s=stored.look_every_s
            ),
            fetcher=fetcher,
            admission=admission,
            vouchers=vouchers,
            journal=journal,
            clerk=clerk,
        ),
    )


def _accounts(settings: RegistrarSettings) -> AccountBook | None:
    path = settings.est.password_file
    return None if path is None else AccountBook(path, clock=time.monotonic)


def _checks(
    settings: RegistrarSettings,
    chain: Sequence[x509.Certificate],
    sources: Mapping[str, DeviceRecordSource],
    cas: Mapping[str, CABackend],
    est: ESTServer,
    masa: HTTPMASALink,
    journal: SQLiteJournal,
    crls: Mapping[str, PublishedList],
    clock: Callable[[], datetime],
) -> dict[str, Check]:
    checks: dict[str, Check] = {
        "journal": journal.check,
        "certificate": partial(_own_time, chain, clock),
        "issuing": est.check,
    }
    checks |= {name: CAHealth(ca, clock).check for name, ca in cas.items()}
    checks |= {name: crl.keeper.check for name, crl in crls.items()}
    for name, source in sources.items():
        if isinstance(source, Checkable):
            checks[f"source {name}"] = source.check
    for manufacturer in settings.manufacturer:
        checks[f"masa {manufacturer.name}"] = partial(masa.check, manufacturer.name)
    return checks


async def _own_time(chain: Sequence[x509.Certificate], clock: Callable[[], datetime]) -> str | None:
    return judge_time(issuing_path(chain), now=clock())


def _sources(settings: RegistrarSettings, source: Path) -> dict[str, DeviceRecordSource]:
    return {
        m.name: open_adapter(OEM_SOURCES, m.source, source=source, where=f"manufacturer.{i}.source")
        for i, m in enumerate(settings.manufacturer)
        if m.source is not None
    }


def _identity(
    settings: RegistrarSettings,
    sources: Mapping[str, DeviceRecordSource],
    clock: Callable[[], datetime],
) -> IdentityVerifier:
    look_ups = settings.look_ups
    limits = LookupLimits(
        positive_s=look_ups.keep_s,
        negative_s=look_ups.keep_unknown_s,
        in_flight=look_ups.in_flight,
        per_s=look_ups.per_s,
    )
    return IdentityVerifier(
        [_manufacturer(m) for m in settings.manufacturer],
        serialization=_cms(settings),
        clock=clock,
        lookup=CachedLookup(
            sources,
            clock=time.monotonic,
            limits=dict.fromkeys(sources, limits),
        ),
        budget=RateBudget(
            clock=time.monotonic,
            per_address=_rate(look_ups.requests_per_s_and_address),
            in_all=_rate(look_ups.requests_per_s),
        ),
    )


def _rate(per_s: float) -> Rate:
    return Rate(per_s=per_s, burst=max(1.0, 2 * per_s))


def _manufacturer(settings: ManufacturerSettings) -> Manufacturer:
    return Manufacturer(
        name=settings.name,
        anchors=TrustAnchors(load_chain(settings.anchors)),
        source=None if settings.source is None else settings.name,
        serial_pattern=_pattern(settings.serial_pattern, settings.name),
        issuers=frozenset(bytes.fromhex(issuer) for issuer in settings.issuers),
        ignore_idevid_expiry=settings.ignore_idevid_expiry,
        require_record=settings.require_record,
        masa_url=settings.masa.url,
        serial_number_source=SerialNumberSource(settings.serial_number_source),
        serial_number_part=_pattern(settings.serial_number_part, settings.name),
    )


def _pattern(text: str | None, manufacturer: str) -> re.Pattern[str] | None:
    if text is None:
        return None
    try:
        return re.compile(text, re.ASCII)
    except re.error as err:
        raise SettingsError(f"manufacturer {manufacturer}: {text!r}: {err}") from err


def _masa_access(settings: MASASettings) -> MASAAccess:
    anchors = None if settings.anchors is None else load_chain(settings.anchors)
    return MASAAccess(
        context=https_client_context(
            anchors, client_chain=settings.client_chain, client_key=settings.client_key
        ),
        hosts=frozenset(settings.hosts),
        watched=_named_servers(settings),
        authentication=_authentication(settings),
        timeout_s=settings.timeout_s,
    )


def _named_servers(settings: MASASettings) -> frozenset[tuple[str, int]]:
    """Host and port of each MASA that the settings name; what IDevIDs name is not among them.

    Raises:
        SettingsError: one of them is none.
    """
    named = settings.hosts if settings.url is None else (settings.url,)
    try:
        urls = [URL(masa_base_url(each.lower())) for each in named]
    except Malformed as err:
        raise SettingsError(f"[manufacturer.masa] {err.reason}") from err
    return frozenset((url.raw_host or "", url.port or 443) for url in urls)


def _authentication(settings: MASASettings) -> Authentication | None:
    if settings.user is None or settings.password_file is None:
        return None
    hosts = {host.lower() for host in settings.hosts}
    if settings.url is not None:
        url = URL(masa_base_url(settings.url))
        hosts.add(f"{url.host}:{url.port}".lower())
    password = load_password(settings.user, settings.password_file)
    return Authentication(password, Scheme(settings.authentication), hosts=hosts)


def _audit_policy(settings: RegistrarSettings) -> AuditPolicy:
    policy = settings.audit_log
    return AuditPolicy(
        known_domain_ids=frozenset(map(bytes.fromhex, policy.known_domain_ids)),
        nonceless_domain_ids=frozenset(map(bytes.fromhex, policy.nonceless_domain_ids)),
        require_own_entry=policy.require_own_entry,
        accept_unknown_owners=policy.accept_unknown_owners,
        accept_nonceless=policy.accept_nonceless,
        accept_logged=policy.accept_logged,
        accept_truncation=policy.accept_truncation,
        accept_newer_version=policy.accept_newer_version,
        accept_no_log=policy.accept_no_log,
        accept_silence=policy.accept_silence,
        exempt=frozenset(policy.exempt),
        revoke_on_bad_verdict=policy.revoke_on_bad_verdict,
    )
