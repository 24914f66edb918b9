"""One renewal that a registration authority asks for, read top to bottom.

The certificate to be renewed is not shown, for the RA shows its own: it is the one that this RA's
client has now, by the name that the request has (RFC 7030 §3.7, §4.2.2).
"""

from __future__ import annotations

import hashlib
from typing import Final

from cryptography import x509

from brski.errors import WrongOrder
from brski.est.csr import CSR, parse_csr
from registrar_plugin.ca_backend.port import Pending
from registrar_plugin.clerk import Clerk
from registrar_plugin.connection import PledgeConnection
from registrar_plugin.enrollment.enrollee import AsksForOthers, Enrollee
from registrar_plugin.enrollment.profile import EnrollmentProfile
from registrar_plugin.enrollment.renewal import check_current, judge_renewal
from registrar_plugin.est_server.issuing import Issuer, repeated
from registrar_plugin.est_server.order import Order
from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.known_devices import KnownDevices
from registrar_plugin.store.issuances import Issuance, Issuances
from registrar_plugin.store.port import IssuedCertificate, Journal
from registrar_plugin.telemetry.events import EventKind

_SECTION: Final = "RFC 7030 §4.2.2"
_RENEWAL: Final = b"simplereenroll by an RA v1"


class RenewingForOthers:
    """simplereenroll under one profile, for whoever asks for others."""

    def __init__(
        self,
        *,
        profile: EnrollmentProfile,
        authority: AsksForOthers,
        issuer: Issuer,
        devices: KnownDevices,
        journal: Journal,
        issuances: Issuances,
        clerk: Clerk,
    ) -> None:
        self._profile = profile
        self._authority = authority
        self._issuer = issuer
        self._devices = devices
        self._journal = journal
        self._issuances = issuances
        self._clerk = clerk

    async def asking(self, connection: PledgeConnection) -> Enrollee | None:
        """Who asks for others over *connection*; None: somebody who asks for itself.

        Raises:
            NotAuthenticated: it would, and its certificate is not accepted.
        """
        async with self._clerk.refusals(EventKind.REENROLL, connection):
            return await self._authority.recognise(connection)

    async def reenroll(
        self, csr_der: bytes, asking: DeviceKey, connection: PledgeConnection
    ) -> bytes | Pending:
        """Answer the request of a registration authority for its client's next certificate.

        The same request gets the same answer again, until the certificate that it renewed has
        ended.

        Args:
            csr_der: PKCS #10, DER; the client's.
            asking: as :meth:`asking` told it.

        Raises:
            OnboardingError: the gate that the request did not pass; it is in the journal already.

        RFC 7030 §3.7, §4.2.2.
        """
        async with (
            self._devices.lock(asking),
            self._clerk.refusals(EventKind.REENROLL, connection, asking),
        ):
            who = await self._authority.recognise(connection)
            if who is None or who.device != asking:
                raise WrongOrder("the client is no registration authority", section=_SECTION)
            csr = parse_csr(csr_der)
            enrollee = self._authority.on_behalf(who, csr, connection)
            current = await self._current(enrollee)
            return await self._renew(csr, enrollee, current, connection)

    async def _current(self, enrollee: Enrollee) -> IssuedCertificate:
        current = await self._journal.active_certificate(enrollee.device)
        if current is None:
            raise WrongOrder(
                f"{enrollee.device.serial_number} has no certificate that is active: it has to be "
                "enrolled",
                section=_SECTION,
            )
        return current

    async def _renew(
        self,
        csr: CSR,
        enrollee: Enrollee,
        current: IssuedCertificate,
        connection: PledgeConnection,
    ) -> bytes | Pending:
        certificate = x509.load_der_x509_certificate(current.certificate)
        check_current(certificate, current.state, now=self._clerk.now())
        was = await self._issuances.of_request(current.device, current.csr_digest)
        self._check_renewable(was)
        names = judge_renewal(
            csr, certificate, enrollee, self._profile, channel_binding=connection.channel_binding
        )
        if await self._is_answer(current, was, csr):
            return repeated(current)
        former = hashlib.sha256(current.certificate).digest()
        order = Order(
            device=enrollee.device,
            names=names,
            csr=csr,
            request_digest=_digest(former, csr),
            issuance=Issuance(
                label=was.label,
                enrollee=enrollee.kind,
                renews=former,
                asked_by=enrollee.ra_certificate,
            ),
        )
        return await self._issuer.issue(order, connection)

    def _check_renewable(self, was: Issuance) -> None:
        if was.label != self._profile.label:
            raise WrongOrder(
                f"this certificate was issued under the label {was.label!r} and is renewed there",
                section="RFC 7030 §3.2.2",
            )
        if not self._profile.renewable:
            raise WrongOrder("certificates of this profile are not renewed", section=_SECTION)

    async def _is_answer(self, current: IssuedCertificate, was: Issuance, csr: CSR) -> bool:
        """Whether *current* is what this very request led to, whose answer may have been lost."""
        if was.renews is None or current.csr_digest != _digest(was.renews, csr):
            return False
        former = await self._journal.certificate_by_digest(was.renews)
        if former is None:
            return False
        ends = x509.load_der_x509_certificate(former.certificate).not_valid_after_utc
        return self._clerk.now() <= ends


def _digest(former_sha256: bytes, csr: CSR) -> bytes:
    """What names such a renewal: the certificate that it ends, and what was asked."""
    return hashlib.sha256(_RENEWAL + former_sha256 + csr.digest).digest()
