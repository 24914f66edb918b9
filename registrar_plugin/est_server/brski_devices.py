"""BRSKI devices as EST clients: their IDevID key before the first LDevID, the LDevID after it."""

from __future__ import annotations

from cryptography import x509

from brski.errors import AuditLogUnacceptable, DeviceUnknown, NotAuthenticated
from brski.pki.keys import spki_sha256
from brski.pki.names import ldevid_subject
from registrar_plugin.approval import AdmissionDesk
from registrar_plugin.audit import AuditWatch
from registrar_plugin.clerk import Clerk
from registrar_plugin.connection import PledgeConnection
from registrar_plugin.enrollment.enrollee import Enrollee
from registrar_plugin.enrollment.judge import Standing, check_standing
from registrar_plugin.identity.clients import BRSKI
from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.identity.verify import IdentityVerifier
from registrar_plugin.second_use import SecondUse
from registrar_plugin.store.port import Journal, Onboarding


class BRSKIDevices:
    """An :class:`~registrar_plugin.enrollment.enrollee.EnrolleeAuthority`."""

    kind = BRSKI
    realm: str | None = None

    def __init__(
        self,
        *,
        identity: IdentityVerifier,
        admission: AdmissionDesk,
        journal: Journal,
        clerk: Clerk,
        audit: AuditWatch,
        second_use: SecondUse,
    ) -> None:
        self._identity = identity
        self._admission = admission
        self._journal = journal
        self._clerk = clerk
        self._audit = audit
        self._second_use = second_use

    async def recognise(self, connection: PledgeConnection) -> Enrollee | None:
        """The device whose onboarding has the key at the other end."""
        if not connection.peer_chain:
            return None
        key = spki_sha256(connection.leaf())
        onboarding = await self._journal.onboarding_by_key(key)
        return None if onboarding is None else _enrollee(onboarding)

    async def check(self, enrollee: Enrollee, connection: PledgeConnection) -> None:
        """Raise unless the voucher exchange ended well, the audit log was found good, and nobody
        has denied the device since.

        Raises:
            OnboardingError: as :func:`~registrar_plugin.enrollment.judge.check_standing`, and what
                the MASA's answer to the audit log's request may raise.
            PledgeNotExpected: the device was denied.

        RFC 8995 §5.8.3, §5.9.
        """
        onboarding = await self._onboarding(enrollee.device)
        await self._second_use.met(enrollee.device, connection)
        if onboarding.voucher_status:
            onboarding = await self._audit.verdict(onboarding)
        check_standing(_standing(onboarding))
        await self._admission.check_not_denied(enrollee.device)

    async def confirm(self, enrollee: Enrollee, connection: PledgeConnection) -> None:
        """Who is it, once more, with the manufacturer's record fetched past the caches."""
        onboarding = await self._onboarding(enrollee.device)
        await self._identity.confirm(
            connection.peer_chain, enrollee.device, onboarding.manufacturer, now=self._clerk.now()
        )

    async def renewing(self, device: DeviceKey) -> Enrollee:
        """The device, if its manufacturer still stands by it, and so does this domain.

        Raises:
            DeviceRevoked, DeviceUnknown, CertificateMismatch: the manufacturer's record says no.
            PledgeNotExpected: the device was denied.
            AuditLogUnacceptable: it was onboarded again, and the audit log was found bad.
        """
        onboarding = await self._onboarding(device)
        if onboarding.audit_verdict is False:
            raise AuditLogUnacceptable(onboarding.audit_reason, section="RFC 8995 §5.8.3")
        await self._admission.check_not_denied(device)
        chain = tuple(map(x509.load_der_x509_certificate, onboarding.idevid_chain))
        record = await self._identity.recheck_device(
            device, onboarding.manufacturer, chain, now=self._clerk.now()
        )
        if record is None and onboarding.presentation == "asserted":
            raise DeviceUnknown(f"{onboarding.manufacturer} has no record of {device} any more")
        return _enrollee(onboarding)

    async def _onboarding(self, device: DeviceKey) -> Onboarding:
        onboarding = await self._journal.onboarding(device)
        if onboarding is None:
            raise NotAuthenticated(f"{device} was never onboarded", section="RFC 8995 §5.9")
        return onboarding


def _enrollee(onboarding: Onboarding) -> Enrollee:
    device = onboarding.device
    return Enrollee(
        kind=BRSKI,
        device=device,
        subject=ldevid_subject(device.serial_number, device.idevid_issuer),
        foreign_keys=frozenset([onboarding.idevid_spki_sha256]),
    )


def _standing(onboarding: Onboarding) -> Standing:
    return Standing(
        has_voucher=onboarding.voucher is not None,
        voucher_status=onboarding.voucher_status,
        audit_verdict=onboarding.audit_verdict,
        audit_reason=onboarding.audit_reason,
    )
