"""One enrollment, read top to bottom: who asks, may it, what it asks for, the certificate."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from brski.errors import NotAuthenticated, PasswordNeeded
from brski.est.csr import parse_csr
from brski.est.csr_attributes import Announcement, encode_csr_attributes
from registrar_plugin.ca_backend.port import Pending
from registrar_plugin.clerk import Clerk
from registrar_plugin.connection import PledgeConnection
from registrar_plugin.enrollment.enrollee import AsksForOthers, Enrollee, EnrolleeAuthority
from registrar_plugin.enrollment.judge import judge_csr
from registrar_plugin.enrollment.profile import EnrollmentProfile
from registrar_plugin.est_server.issuing import Issuer
from registrar_plugin.est_server.order import Order
from registrar_plugin.identity.clients import BRSKI
from registrar_plugin.known_devices import KnownDevices
from registrar_plugin.second_use import SecondUse
from registrar_plugin.store.issuances import Issuance
from registrar_plugin.telemetry.events import EventKind


class Enrolling:
    """simpleenroll under one profile.

    Args:
        authorities: of the kinds of client that the profile admits, in the order in which they are
            asked whether they know the client.
    """

    def __init__(
        self,
        *,
        profile: EnrollmentProfile,
        authorities: Sequence[EnrolleeAuthority],
        issuer: Issuer,
        devices: KnownDevices,
        second_use: SecondUse,
        clerk: Clerk,
    ) -> None:
        self._profile = profile
        self._authorities = authorities
        self._issuer = issuer
        self._devices = devices
        self._second_use = second_use
        self._clerk = clerk

    def ca_certificates(self) -> bytes:
        """The CA's certificates as certs-only CMS, DER (RFC 7030 §4.1.3)."""
        return self._issuer.ca_certificates()

    def csr_attributes(self) -> bytes | None:
        """What a certificate request must hold, DER CsrAttrs; None where nothing is announced.

        RFC 7030 §4.5.2; RFC 9908.
        """
        if self._profile.announcement is Announcement.NONE:
            return None
        return encode_csr_attributes(self._profile.requirements, self._profile.announcement)

    async def check_no_stranger(self, connection: PledgeConnection) -> None:
        """Raise unless the client shows a certificate, whatever that is worth, or says a password
        that is good: before it is told what is not offered.

        Raises:
            NotAuthenticated: neither; it is in the journal already.
        """
        if connection.peer_chain:
            return
        async with self._clerk.refusals(EventKind.ENROLL, connection):
            await recognised(self._authorities, connection)

    async def enroll(self, csr_der: bytes, connection: PledgeConnection) -> bytes | Pending:
        """Answer a certificate request of a client that the profile admits.

        Args:
            csr_der: PKCS #10, DER.

        Returns:
            certs-only CMS with the LDevID alone, DER; or when to ask again.

        Raises:
            OnboardingError: the gate that the request did not pass; it is in the journal already.

        RFC 7030 §4.2.1; RFC 8995 §5.9.
        """
        async with self._clerk.refusals(EventKind.ENROLL, connection):
            _, asking = await recognised(self._authorities, connection)
        async with (
            self._devices.lock(asking.device),
            self._clerk.refusals(EventKind.ENROLL, connection, asking.device),
        ):
            authority, asking = await recognised(self._authorities, connection)
            await authority.check(asking, connection)
            csr = parse_csr(csr_der)
            enrollee = asking
            if isinstance(authority, AsksForOthers):
                enrollee = authority.on_behalf(asking, csr, connection)
            names = judge_csr(
                csr, enrollee, self._profile, channel_binding=connection.channel_binding
            )
            await authority.confirm(asking, connection)
            order = Order(
                device=enrollee.device,
                names=names,
                csr=csr,
                request_digest=csr.digest,
                issuance=Issuance(
                    label=self._profile.label,
                    enrollee=enrollee.kind,
                    asked_by=enrollee.ra_certificate,
                ),
            )
            key = hashlib.sha256(csr.spki).digest()
            alarms = await self._second_use.of_csr(enrollee.device, key, connection)
            return await self._issuer.issue(order, connection, *alarms)


async def recognised(
    authorities: Sequence[EnrolleeAuthority], connection: PledgeConnection
) -> tuple[EnrolleeAuthority, Enrollee]:
    """Who *connection* is, and the first of *authorities* that knows it.

    Raises:
        PasswordNeeded: none does, and with HTTP authentication one might (RFC 7030 §3.2.3).
        NotAuthenticated: none does.
    """
    for authority in authorities:
        enrollee = await authority.recognise(connection)
        if enrollee is not None:
            return authority, enrollee
    for authority in authorities:
        if authority.realm is not None:
            raise PasswordNeeded(
                "neither a certificate of a client nor a user name and password",
                realm=authority.realm,
                section="RFC 7030 §3.2.3",
            )
    connection.leaf()  # raises where there is none, which says more
    if all(authority.kind != BRSKI for authority in authorities):
        raise NotAuthenticated(
            "the client shows no certificate that counts under this label",
            section="RFC 7030 §3.3.2",
        )
    raise NotAuthenticated("the client's key belongs to no onboarding", section="RFC 8995 §5.9")
