"""One renewal, read top to bottom: whose LDevID, does it still speak, the same name, the next one.

The client is who its current LDevID says (RFC 7030 §4.2.2, §3.3.2): a certificate that is in the
journal, octet for octet. Issuer and serial number alone, or a subject, identify nobody.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

from cryptography import x509

from brski.errors import NotAuthenticated, WrongOrder
from brski.est.csr import CSR, parse_csr
from brski.est.linking import check_linked
from brski.pki.keys import certificate_der
from registrar_plugin.ca_backend.port import Pending
from registrar_plugin.clerk import Clerk
from registrar_plugin.connection import PledgeConnection
from registrar_plugin.enrollment.enrollee import EnrolleeAuthority
from registrar_plugin.enrollment.profile import EnrollmentProfile
from registrar_plugin.enrollment.renewal import check_current, judge_renewal
from registrar_plugin.est_server.issuing import Issuer, repeated
from registrar_plugin.est_server.order import Order
from registrar_plugin.est_server.renewing_for_others import RenewingForOthers
from registrar_plugin.known_devices import KnownDevices
from registrar_plugin.second_use import SecondUse
from registrar_plugin.store.issuances import Issuance, Issuances
from registrar_plugin.store.port import IssuedCertificate, Journal
from registrar_plugin.telemetry.events import EventKind

_SECTION: Final = "RFC 7030 §4.2.2"
_RENEWAL: Final = b"simplereenroll v1"


class Renewing:
    """simplereenroll under one profile.

    Args:
        authorities: by kind of client, every one that the profile has ever admitted.
        for_others: for those who ask for others; None where the profile admits none.
    """

    def __init__(
        self,
        *,
        profile: EnrollmentProfile,
        authorities: Mapping[str, EnrolleeAuthority],
        issuer: Issuer,
        devices: KnownDevices,
        second_use: SecondUse,
        journal: Journal,
        issuances: Issuances,
        clerk: Clerk,
        for_others: RenewingForOthers | None = None,
    ) -> None:
        self._for_others = for_others
        self._profile = profile
        self._authorities = authorities
        self._issuer = issuer
        self._devices = devices
        self._second_use = second_use
        self._journal = journal
        self._issuances = issuances
        self._clerk = clerk

    async def reenroll(self, csr_der: bytes, connection: PledgeConnection) -> bytes | Pending:
        """Answer the request of a device for its next LDevID, with the same key or another; or that
        of a registration authority for its client's.

        The same request over the same LDevID gets the same answer, also when that LDevID has been
        superseded by this very answer, which was lost on its way.

        Args:
            csr_der: PKCS #10, DER.

        Returns:
            certs-only CMS with the LDevID alone, DER; or when to ask again.

        Raises:
            OnboardingError: the gate that the request did not pass; it is in the journal already.

        RFC 7030 §4.2.2.
        """
        if self._for_others is not None:
            asking = await self._for_others.asking(connection)
            if asking is not None:
                return await self._for_others.reenroll(csr_der, asking.device, connection)
        async with self._clerk.refusals(EventKind.REENROLL, connection):
            device = (await self._shown(connection)).device
        async with (
            self._devices.lock(device),
            self._clerk.refusals(EventKind.REENROLL, connection, device),
        ):
            current = await self._shown(connection)
            csr = parse_csr(csr_der)
            request_digest = renewal_digest(current.certificate, csr)
            if current.state == "superseded":
                return await self._lost_answer(current, csr, request_digest, connection)
            return await self._renew(current, csr, request_digest, connection)

    async def _shown(self, connection: PledgeConnection) -> IssuedCertificate:
        """The LDevID at the other end, whatever its state."""
        octets = certificate_der(connection.leaf())
        current = await self._journal.certificate_by_digest(hashlib.sha256(octets).digest())
        if current is None or current.certificate != octets:
            raise NotAuthenticated("the client shows no LDevID of this domain", section=_SECTION)
        return current

    async def _lost_answer(
        self,
        former: IssuedCertificate,
        csr: CSR,
        request_digest: bytes,
        connection: PledgeConnection,
    ) -> bytes:
        certificate = x509.load_der_x509_certificate(former.certificate)
        check_current(certificate, "active", now=self._clerk.now())  # its time, that is
        check_linked(csr.challenge_password, connection.channel_binding, required=False)
        known = await self._journal.certificate_for_csr(former.device, request_digest)
        if known is not None:
            was = await self._issuances.of_request(former.device, former.csr_digest)
            await self._authority_of(was).renewing(former.device)
            return repeated(known)
        await self._second_use.superseded(former, connection)
        raise NotAuthenticated("this LDevID is superseded", section=_SECTION)

    async def _renew(
        self,
        current: IssuedCertificate,
        csr: CSR,
        request_digest: bytes,
        connection: PledgeConnection,
    ) -> bytes | Pending:
        certificate = x509.load_der_x509_certificate(current.certificate)
        check_current(certificate, current.state, now=self._clerk.now())
        was = await self._issuances.of_request(current.device, current.csr_digest)
        authority = self._authority_of(was)
        enrollee = await authority.renewing(current.device)
        names = judge_renewal(
            csr,
            certificate,
            enrollee,
            self._profile,
            channel_binding=connection.channel_binding,
        )
        order = Order(
            device=current.device,
            names=names,
            csr=csr,
            request_digest=request_digest,
            issuance=Issuance(
                label=was.label,
                enrollee=was.enrollee,
                renews=hashlib.sha256(current.certificate).digest(),
            ),
        )
        return await self._issuer.issue(order, connection)

    def _authority_of(self, was: Issuance) -> EnrolleeAuthority:
        if was.label != self._profile.label:
            raise WrongOrder(
                f"this LDevID was issued under the label {was.label!r} and is renewed there",
                section="RFC 7030 §3.2.2",
            )
        if not self._profile.renewable:
            raise WrongOrder("certificates of this profile are not renewed", section=_SECTION)
        if was.enrollee not in self._authorities:
            raise NotAuthenticated(f"clients of kind {was.enrollee!r} are no longer admitted")
        return self._authorities[was.enrollee]


def renewal_digest(current_der: bytes, csr: CSR) -> bytes:
    """What names a renewal: the LDevID that asks, and what it asks.

    The CSR alone would not do: a device that keeps its key and signs deterministically posts the
    very octets of its first enrollment, and is not to be given its old certificate again.
    """
    return hashlib.sha256(_RENEWAL + hashlib.sha256(current_der).digest() + csr.digest).digest()
