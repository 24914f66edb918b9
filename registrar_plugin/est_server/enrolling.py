"""One enrollment, read top to bottom: the gates, the certificate, the end (RFC 8995 §5.9)."""

from __future__ import annotations

from brski.errors import WrongOrder
from brski.est.csr import parse_csr
from brski.est.csr_attributes import encode_csr_attributes
from brski.pki.keys import spki_of
from brski.telemetry.status import Status
from registrar_plugin.approval import AdmissionDesk
from registrar_plugin.audit import AuditWatch
from registrar_plugin.ca_backend.port import Pending
from registrar_plugin.clerk import Clerk
from registrar_plugin.connection import PledgeConnection
from registrar_plugin.enrollment.judge import EnrollmentPolicy, Standing, check_csr, check_standing
from registrar_plugin.est_server.issuing import Issuer
from registrar_plugin.identity.verify import IdentityVerifier
from registrar_plugin.known_devices import KnownDevices
from registrar_plugin.second_use import SecondUse
from registrar_plugin.store.port import Journal, Onboarding
from registrar_plugin.telemetry.events import EventKind


class Enrolling:
    """What a device that has its voucher does next.

    Args:
        policy: what the domain wants of a certificate request, as written in its settings.
    """

    def __init__(
        self,
        *,
        identity: IdentityVerifier,
        admission: AdmissionDesk,
        policy: EnrollmentPolicy,
        issuer: Issuer,
        devices: KnownDevices,
        second_use: SecondUse,
        journal: Journal,
        clerk: Clerk,
        audit: AuditWatch,
    ) -> None:
        self._identity = identity
        self._admission = admission
        self._policy = policy
        self._issuer = issuer
        self._devices = devices
        self._second_use = second_use
        self._journal = journal
        self._clerk = clerk
        self._audit = audit

    def ca_certificates(self) -> bytes:
        """The CA's certificates as certs-only CMS, DER (RFC 7030 §4.1.3)."""
        return self._issuer.ca_certificates()

    def csr_attributes(self) -> bytes:
        """What a certificate request must hold, DER CsrAttrs (RFC 7030 §4.5.2)."""
        return encode_csr_attributes(self._policy.requirements)

    async def enroll(self, csr_der: bytes, connection: PledgeConnection) -> bytes | Pending:
        """Answer a certificate request of a device that has accepted its voucher.

        Args:
            csr_der: PKCS #10, DER.

        Returns:
            certs-only CMS with the LDevID alone, DER; or when to ask again.

        Raises:
            OnboardingError: the gate that the request did not pass; it is in the journal already.

        RFC 8995 §5.9; RFC 7030 §4.2.
        """
        async with self._clerk.refusals(EventKind.ENROLL, connection):
            device = (await self._devices.onboarding_of(connection)).device
        async with (
            self._devices.lock(device),
            self._clerk.refusals(EventKind.ENROLL, connection, device),
        ):
            onboarding = await self._devices.onboarding_of(connection)
            await self._second_use.met(device, connection)
            if onboarding.voucher_status:
                onboarding = await self._audit.verdict(onboarding)
            check_standing(_standing(onboarding))
            await self._admission.check_not_denied(device)
            csr = parse_csr(csr_der)
            check_csr(
                csr,
                device,
                self._policy,
                idevid_spki=spki_of(connection.leaf()),
                channel_binding=connection.binding_base64(),
            )
            await self._identity.confirm(
                connection.peer_chain, device, onboarding.manufacturer, now=self._clerk.now()
            )
            return await self._issuer.issue(csr, device, connection)

    async def enroll_status(self, status: Status, connection: PledgeConnection) -> None:
        """Take down what the device says of its enrollment.

        Success is believed only over the LDevID itself; a failure may come over the IDevID.

        Raises:
            NotAuthenticated, WrongOrder: the connection is not that of a device of ours.

        RFC 8995 §5.9.4.
        """
        async with self._clerk.refusals(EventKind.ENROLL_STATUS, connection):
            device, over_ldevid = await self._devices.device_of(connection)
            if status.status and not over_ldevid:
                raise WrongOrder(
                    "success must be reported over the new certificate", section="RFC 8995 §5.9.4"
                )
        shown = {"client_certificate": "ldevid" if over_ldevid else "idevid"}
        await self._journal.record(
            *self._clerk.report(EventKind.ENROLL_STATUS, device, connection, status, shown)
        )


def _standing(onboarding: Onboarding) -> Standing:
    return Standing(
        has_voucher=onboarding.voucher is not None,
        voucher_status=onboarding.voucher_status,
        audit_verdict=onboarding.audit_verdict,
        audit_reason=onboarding.audit_reason,
    )
