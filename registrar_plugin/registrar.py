"""One onboarding, read top to bottom: who is it, may it, the voucher, the certificate, the end.

The registrar decides nothing by itself: identity, admission, enrollment and telemetry decide, ports
carry. Here stands the order of the steps, and that nothing is signed that is not in the journal,
and nothing answered before it is (docs/flow.md, docs/journal.md).
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, replace

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from brski.errors import (
    NotAuthenticated,
    Unavailable,
    UnexpectedResponse,
    UnknownFormat,
    WrongOrder,
)
from brski.est.certs_only import encode_certs_only
from brski.est.csr import CSR, parse_csr
from brski.est.csr_attributes import encode_csr_attributes
from brski.pki.keys import spki_of, spki_sha256
from brski.pki.names import ldevid_subject
from brski.pki.signer import Signer
from brski.telemetry.status import Status
from brski.voucher.serialization import Unsigned, VoucherSerialization
from brski.voucher.yang_json import decode_voucher
from registrar_plugin.admission.judge import AdmissionPolicy, check_admission
from registrar_plugin.admission.registrar_request import check_answer, registrar_voucher_request
from registrar_plugin.audit import AuditWatch
from registrar_plugin.ca_backend.port import CABackend, LDevIDRequest, Pending
from registrar_plugin.clerk import Clerk
from registrar_plugin.connection import PledgeConnection
from registrar_plugin.enrollment.judge import EnrollmentPolicy, Standing, check_csr, check_standing
from registrar_plugin.identity.model import DeviceKey, VerifiedIDevID
from registrar_plugin.identity.patience import Patience, PatienceSettings
from registrar_plugin.identity.presented import claimed_serial_number
from registrar_plugin.identity.verify import IDENTITY_REFUSALS, IdentityVerifier
from registrar_plugin.masa_link.port import MASALink
from registrar_plugin.second_use import SecondUse
from registrar_plugin.store.port import Intent, IntentKind, IssuedCertificate, Journal, Onboarding
from registrar_plugin.telemetry.events import Event, EventKind, Outcome

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class VoucherAnswer:
    """What a pledge gets for its voucher-request."""

    body: bytes
    media_type: str


class Registrar:
    """The owner's gate.

    Args:
        identity: says who a pledge is.
        admission, enrollment: what the domain wants, as written in its settings.
        signer: the registrar's key; its chain (end entity first, owner's root last) goes into the
            registrar voucher-request, and the MASA pins one of it.
        serializations: by media type.
    """

    def __init__(
        self,
        *,
        identity: IdentityVerifier,
        admission: AdmissionPolicy,
        enrollment: EnrollmentPolicy,
        signer: Signer,
        serializations: Mapping[str, VoucherSerialization],
        masa: MASALink,
        ca: CABackend,
        journal: Journal,
        clerk: Clerk,
        audit: AuditWatch,
        patience: Patience | None = None,
    ) -> None:
        self._identity = identity
        self._admission = admission
        self._enrollment = enrollment
        self._signer = signer
        self._serializations = serializations
        self._masa = masa
        self._ca = ca
        self._journal = journal
        self._clerk = clerk
        self._audit = audit
        self._patience = patience or Patience(PatienceSettings())
        self._second_use = SecondUse(journal, clerk)
        self._locks: weakref.WeakValueDictionary[DeviceKey, asyncio.Lock] = (
            weakref.WeakValueDictionary()
        )

    # -- the voucher exchange, RFC 8995 §5.2 to §5.6

    async def request_voucher(
        self, body: bytes, media_type: str, connection: PledgeConnection
    ) -> VoucherAnswer | Pending:
        """Answer a pledge's voucher-request with the voucher of its manufacturer.

        The same request of the same device gets the same voucher; the MASA is asked once.

        Args:
            body: the signed voucher-request as received.
            media_type: its Content-Type without parameters.

        Returns:
            The voucher; or when to ask again, of a device that may become known.

        Raises:
            OnboardingError: why not; it is in the journal already.
        """
        serialization = self._serializations.get(media_type)
        try:
            async with self._clerk.refusals(EventKind.IDENTITY, connection):
                if serialization is None:
                    raise UnknownFormat(
                        f"voucher-requests of type {media_type!r} are not understood"
                    )
                verified = await self._identity.verify(
                    connection.peer_chain,
                    body,
                    registrar_certificate=connection.registrar_certificate,
                    peer_address=connection.address,
                    now=self._clerk.now(),
                )
        except IDENTITY_REFUSALS:
            at_s = self._clerk.now().timestamp()
            again_s = self._patience.retry_after_s(_shown(connection), at_s)
            if again_s is None:
                raise
            return Pending(retry_after_s=again_s)
        await self._second_use.met(verified.device, connection)
        async with self._lock(verified.device):
            async with self._clerk.refusals(EventKind.ADMISSION, connection, verified.device):
                check_admission(verified, self._admission)
                onboarding = _new_onboarding(verified)
            standing = await self._journal.onboarding(verified.device)
            if standing is not None and standing.request_digest == onboarding.request_digest:
                if standing.voucher is not None:
                    return VoucherAnswer(
                        body=standing.voucher, media_type=standing.voucher_media_type
                    )
                onboarding = standing
            async with self._clerk.refusals(EventKind.IDENTITY, connection, verified.device):
                await self._identity.recheck(verified, now=self._clerk.now())
            request = await self._sign_request(
                onboarding, standing, verified, serialization, connection
            )
            return await self._fetch_voucher(
                onboarding, verified, request, serialization, connection
            )

    async def _sign_request(
        self,
        onboarding: Onboarding,
        standing: Onboarding | None,
        verified: VerifiedIDevID,
        serialization: VoucherSerialization,
        connection: PledgeConnection,
    ) -> bytes:
        now = self._clerk.now()
        alarms: tuple[Event, ...] = ()
        if standing is not None and standing.request_digest != onboarding.request_digest:
            alarms = await self._second_use.of_request(standing, onboarding, connection)
        unsigned = serialization.prepare(
            registrar_voucher_request(verified, created_on=now),
            self._signer,
            certificates=self._signer.chain,
            signing_time=now,
        )
        octets = unsigned.encode()
        intent = await self._journal.begin(
            replace(onboarding, updated_at=now),
            octets,
            self._clerk.event(
                EventKind.VOUCHER_REQUEST,
                verified.device,
                connection,
                details={
                    "presentation": verified.presentation.value,
                    "manufacturer": verified.manufacturer,
                    "masa_url": onboarding.masa_url,
                },
            ),
            *alarms,
        )
        if intent.result is not None:
            return intent.result
        if intent.octets != octets:  # an earlier attempt's, and what is on record is what is signed
            unsigned = serialization.decode_unsigned(intent.octets)
        return await self._complete_request(intent, unsigned)

    async def _complete_request(self, intent: Intent, unsigned: Unsigned) -> bytes:
        signed = unsigned.assemble(self._signer.sign(unsigned.to_be_signed))
        await self._journal.complete_registrar_request(
            intent, signed, self._clerk.event(EventKind.REGISTRAR_VOUCHER_REQUEST, intent.device)
        )
        return signed

    async def _fetch_voucher(
        self,
        onboarding: Onboarding,
        verified: VerifiedIDevID,
        request: bytes,
        serialization: VoucherSerialization,
        connection: PledgeConnection,
    ) -> VoucherAnswer:
        async with self._clerk.refusals(EventKind.VOUCHER, connection, verified.device):
            answer = await self._masa.request_voucher(
                onboarding.manufacturer, onboarding.masa_url, request, serialization.media_type
            )
            if answer.media_type != serialization.media_type:
                raise UnexpectedResponse(
                    f"the MASA's voucher came as {answer.media_type!r}", section="RFC 8995 §5.6"
                )
            voucher = decode_voucher(serialization.open(answer.body).payload)
            check_answer(voucher, verified, self._signer.chain)
        assertion = str(voucher.assertion or "")
        await self._journal.complete_voucher(
            onboarding,
            answer.body,
            answer.media_type,
            self._clerk.event(
                EventKind.VOUCHER, verified.device, connection, details={"assertion": assertion}
            ),
        )
        log.info(
            "voucher passed on",
            extra={"serial_number": verified.device.serial_number, "assertion": assertion},
        )
        return VoucherAnswer(body=answer.body, media_type=answer.media_type)

    # -- what the pledge says of the voucher, RFC 8995 §5.7

    async def voucher_status(self, status: Status, connection: PledgeConnection) -> None:
        """Take down whether the pledge accepts its voucher; if so, have the audit log judged.

        Raises:
            NotAuthenticated, WrongOrder: the connection is not that of a device with a voucher.
        """
        async with self._clerk.refusals(EventKind.VOUCHER_STATUS, connection):
            onboarding = await self._onboarding_of(connection)
            if onboarding.voucher is None:
                raise WrongOrder("there is no voucher to report on", section="RFC 8995 §5.7")
        await self._journal.set_voucher_status(
            onboarding,
            status.status,
            self._clerk.event(
                EventKind.VOUCHER_STATUS,
                onboarding.device,
                connection,
                outcome=Outcome.DONE if status.status else Outcome.REFUSED,
                reason=status.reason or "",
                details=_status_details(status),
            ),
        )
        if status.status:
            self._audit.start(replace(onboarding, voucher_status=True))

    # -- the certificate, RFC 8995 §5.9 and RFC 7030 §4.2

    def ca_certificates(self) -> bytes:
        """The CA's certificates as certs-only CMS, DER (RFC 7030 §4.1.3)."""
        return encode_certs_only(self._ca.ca_certificates())

    def csr_attributes(self) -> bytes:
        """What a certificate request must hold, DER CsrAttrs (RFC 7030 §4.5.2)."""
        return encode_csr_attributes(self._enrollment.requirements)

    async def enroll(self, csr_der: bytes, connection: PledgeConnection) -> bytes | Pending:
        """Answer a certificate request of a device that has accepted its voucher.

        Args:
            csr_der: PKCS #10, DER.

        Returns:
            certs-only CMS with the LDevID alone, DER; or when to ask again.

        Raises:
            OnboardingError: the gate that the request did not pass; it is in the journal already.
        """
        async with self._clerk.refusals(EventKind.ENROLL, connection):
            device = (await self._onboarding_of(connection)).device
        async with (
            self._lock(device),
            self._clerk.refusals(EventKind.ENROLL, connection, device),
        ):
            onboarding = await self._onboarding_of(connection)
            await self._second_use.met(device, connection)
            if onboarding.voucher_status:
                onboarding = await self._audit.verdict(onboarding)
            check_standing(_standing(onboarding))
            csr = parse_csr(csr_der)
            check_csr(
                csr,
                device,
                self._enrollment,
                idevid_spki=spki_of(connection.leaf()),
                channel_binding=connection.binding_base64(),
            )
            await self._identity.confirm(
                connection.peer_chain, device, onboarding.manufacturer, now=self._clerk.now()
            )
            return await self._issue(csr, device, connection)

    async def _issue(
        self, csr: CSR, device: DeviceKey, connection: PledgeConnection
    ) -> bytes | Pending:
        known = await self._journal.certificate_for_csr(device, csr.digest)
        if known is not None:
            return _repeated(known)
        request = LDevIDRequest(
            idevid_issuer=device.idevid_issuer,
            serial_number=device.serial_number,
            csr=csr.der,
            public_key=csr.public_key,
            subject=ldevid_subject(device.serial_number, device.idevid_issuer),
        )
        intent = await self._journal.intend_ldevid(
            device,
            self._ca.prepare(request, now=self._clerk.now()),
            csr.digest,
            self._clerk.event(EventKind.LDEVID_INTENT, device, connection),
            *await self._second_use.of_csr(device, hashlib.sha256(csr.spki).digest(), connection),
        )
        issued = await self._complete_ldevid(intent)
        return issued if isinstance(issued, Pending) else encode_certs_only([issued])

    async def _complete_ldevid(self, intent: Intent) -> x509.Certificate | Pending:
        issued = await self._ca.complete(intent.octets)
        if isinstance(issued, Pending):
            return issued
        der = issued.public_bytes(Encoding.DER)
        digest = hashlib.sha256(der).digest()
        await self._journal.complete_ldevid(
            intent,
            IssuedCertificate(
                device=intent.device,
                certificate=der,
                csr_digest=intent.request_digest,
                spki_sha256=spki_sha256(issued),
                state="active",
                issued_at=self._clerk.now(),
            ),
            self._clerk.event(
                EventKind.LDEVID, intent.device, details={"certificate_sha256": digest.hex()}
            ),
        )
        log.info("ldevid issued", extra={"serial_number": intent.device.serial_number})
        return issued

    # -- what became of it, RFC 8995 §5.9.4

    async def enroll_status(self, status: Status, connection: PledgeConnection) -> None:
        """Take down what the device says of its enrollment.

        Success is believed only over the LDevID itself; a failure may come over the IDevID.

        Raises:
            NotAuthenticated, WrongOrder: the connection is not that of a device of ours.
        """
        async with self._clerk.refusals(EventKind.ENROLL_STATUS, connection):
            device, over_ldevid = await self._device_of(connection)
            if status.status and not over_ldevid:
                raise WrongOrder(
                    "success must be reported over the new certificate", section="RFC 8995 §5.9.4"
                )
        details = _status_details(status)
        details["client_certificate"] = "ldevid" if over_ldevid else "idevid"
        await self._journal.record(
            self._clerk.event(
                EventKind.ENROLL_STATUS,
                device,
                connection,
                outcome=Outcome.DONE if status.status else Outcome.REFUSED,
                reason=status.reason or "",
                details=details,
            )
        )

    async def _device_of(self, connection: PledgeConnection) -> tuple[DeviceKey, bool]:
        """The device at the other end, and whether it showed its LDevID."""
        octets = connection.leaf().public_bytes(Encoding.DER)
        ldevid = await self._journal.certificate_by_digest(hashlib.sha256(octets).digest())
        if ldevid is None:
            return (await self._onboarding_of(connection)).device, False
        if ldevid.state == "superseded":
            await self._second_use.superseded(ldevid, connection)
        if ldevid.state != "active":
            raise NotAuthenticated(f"this LDevID is {ldevid.state}")
        return ldevid.device, True

    async def _onboarding_of(self, connection: PledgeConnection) -> Onboarding:
        onboarding = await self._journal.onboarding_by_key(spki_sha256(connection.leaf()))
        if onboarding is None:
            raise NotAuthenticated(
                "the client's key belongs to no onboarding", section="RFC 8995 §5.9"
            )
        return onboarding

    # -- a restart

    async def start(self) -> None:
        """Complete what an earlier run intended and did not finish, from the same octets."""
        for intent in await self._journal.open_intents():
            try:
                await self._complete(intent)
            except Unavailable as silent:
                log.warning("open intent kept", extra={"reason": str(silent)})

    async def _complete(self, intent: Intent) -> None:
        if intent.kind is IntentKind.LDEVID:
            if isinstance(await self._complete_ldevid(intent), Pending):
                return
        else:
            serialization = next(iter(self._serializations.values()))
            await self._complete_request(intent, serialization.decode_unsigned(intent.octets))
        await self._journal.record(
            self._clerk.event(
                EventKind.RESTART, intent.device, details={"intent": intent.kind.value}
            )
        )

    async def close(self) -> None:
        """Stop what runs beside the requests; the ports are closed by who opened them."""
        await self._audit.close()

    def _lock(self, device: DeviceKey) -> asyncio.Lock:
        lock = self._locks.get(device)
        if lock is None:
            lock = self._locks[device] = asyncio.Lock()
        return lock


def _shown(connection: PledgeConnection) -> bytes:
    """Whom a refused connection claims to be, with which key."""
    serial_number = claimed_serial_number(connection.peer_chain).encode()
    return hashlib.sha256(spki_of(connection.leaf()) + serial_number).digest()


def _new_onboarding(verified: VerifiedIDevID) -> Onboarding:
    if verified.masa_url is None:
        raise Unavailable(
            "no MASA is known for this device: its IDevID names none, nor do the settings",
            section="RFC 8995 §2.8",
        )
    return Onboarding(
        device=verified.device,
        idevid_spki_sha256=spki_sha256(verified.idevid),
        manufacturer=verified.manufacturer,
        masa_url=verified.masa_url,
        presentation=verified.presentation.value,
        idevid_chain=tuple(c.public_bytes(Encoding.DER) for c in verified.idevid_chain),
        pledge_request=verified.request_octets,
        request_digest=hashlib.sha256(verified.request_octets).digest(),
    )


def _standing(onboarding: Onboarding) -> Standing:
    return Standing(
        has_voucher=onboarding.voucher is not None,
        voucher_status=onboarding.voucher_status,
        audit_verdict=onboarding.audit_verdict,
        audit_reason=onboarding.audit_reason,
    )


def _repeated(known: IssuedCertificate) -> bytes:
    """The same request gets the same octets, as long as they are good for anything."""
    if known.state != "active":
        raise WrongOrder(f"the certificate of this request is {known.state}")
    return encode_certs_only([x509.load_der_x509_certificate(known.certificate)])


def _status_details(status: Status) -> dict[str, str]:
    return {"version": str(status.version)} if status.version != 1 else {}
