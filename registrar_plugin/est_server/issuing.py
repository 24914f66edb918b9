"""From a judged request to a certificate: intent, signature, journal, in this order.

What may be issued to whom is decided before; here nothing is signed that is not in the journal, and
the same request gets the same octets (docs/journal.md).
"""

from __future__ import annotations

import hashlib
import logging
import time
from dataclasses import replace

from cryptography import x509

from brski.errors import WrongOrder
from brski.est.certs_only import encode_certs_only
from brski.pki.keys import certificate_der, spki_sha256
from registrar_plugin.ca_backend.port import CABackend, LDevIDRequest, Pending
from registrar_plugin.clerk import Clerk
from registrar_plugin.connection import PledgeConnection
from registrar_plugin.enrollment.enrollee import AsksForOthers
from registrar_plugin.enrollment.profile import EnrollmentProfile
from registrar_plugin.est_server.order import Order, check_order
from registrar_plugin.health.last_outcome import LastOutcome
from registrar_plugin.store.issuances import Issuance, Issuances
from registrar_plugin.store.port import Intent, IssuedCertificate, Journal
from registrar_plugin.telemetry.events import Event, EventKind, Outcome

log = logging.getLogger(__name__)


class Issuer:
    """Has LDevIDs of one profile issued, and remembers them.

    Args:
        others: who knows what may be asked for others; None where the profile admits nobody that
            asks for others.
    """

    def __init__(
        self,
        *,
        profile: EnrollmentProfile,
        ca: CABackend,
        journal: Journal,
        issuances: Issuances,
        clerk: Clerk,
        others: AsksForOthers | None = None,
    ) -> None:
        self._others = others
        self._profile = profile
        self._ca = ca
        self._journal = journal
        self._issuances = issuances
        self._clerk = clerk
        self._last_outcome = LastOutcome(time.monotonic)

    def ca_certificates(self) -> bytes:
        """The CA's certificates as certs-only CMS, DER (RFC 7030 §4.1.3)."""
        return encode_certs_only(self._ca.ca_certificates())

    async def check(self) -> None:
        """See :class:`registrar_plugin.health.port.Checkable`: how the CA's last work went."""
        await self._last_outcome.check()

    async def issue(
        self, order: Order, connection: PledgeConnection, *alarms: Event
    ) -> bytes | Pending:
        """Have certified what has been granted.

        Args:
            alarms: to be written with a new intent.

        Returns:
            certs-only CMS with the LDevID alone, DER; or when to ask again.

        Raises:
            CSRMismatch: what was granted is a name that this kind of client never has, or the key
                is another client's.
            WrongOrder: this very request got a certificate that is no longer accepted, or was made
                under another profile.
            Unavailable: the CA does not answer; the intent stays.
        """
        check_order(order, self._others)
        known = await self._journal.certificate_for_csr(order.device, order.request_digest)
        if known is not None:
            stands = await self._issuances.of_request(order.device, order.request_digest)
            _check_same_profile(order.issuance, stands)
            return repeated(known)
        intent, stands = await self._issuances.intend(
            order.device,
            self._ca.prepare(self._request(order), now=self._clerk.now()),
            order.request_digest,
            order.issuance,
            self._clerk.event(
                EventKind.LDEVID_INTENT, order.device, connection, details=order.details()
            ),
            *alarms,
            spki=order.csr.spki,
        )
        _check_same_profile(order.issuance, stands)
        issued = await self._complete(intent)
        if not isinstance(issued, Pending):
            return encode_certs_only([issued])
        if order.issuance.key_made_here:
            await self._give_up(intent, "nobody keeps the key until the CA has decided")
        return issued

    async def take_up(self, intent: Intent, issuance: Issuance) -> bool:
        """Complete an intent of an earlier run; False while it has to stay open.

        Not completed is what nobody waits for any more: the device has got a later LDevID, the one
        to be renewed is no longer accepted, the registration authority that asked was revoked, or
        the key was made here and died with that run. All but the first are given up for good. What
        a registration authority asked for waits until it asks again.
        """
        if issuance.key_made_here:
            await self._give_up(intent, "its private key was in the process that ended")
            return False
        if await self._state_of(issuance.renews) != "active":
            await self._give_up(intent, "what it was to renew is no longer accepted")
            return False
        if await self._state_of(issuance.asked_by) == "revoked":
            await self._give_up(intent, "the registration authority was revoked")
            return False
        if issuance.asked_by is not None:
            return False  # its rights are looked at when it asks again, and not signed upon before
        if await self._issuances.is_overtaken(intent):
            return False
        return not isinstance(await self._complete(intent), Pending)

    async def _give_up(self, intent: Intent, why: str) -> None:
        line = self._clerk.event(EventKind.LDEVID_INTENT, intent.device, reason=why)
        await self._issuances.abandon(intent, replace(line, outcome=Outcome.REFUSED))

    def _request(self, order: Order) -> LDevIDRequest:
        return LDevIDRequest(
            idevid_issuer=order.device.idevid_issuer,
            serial_number=order.device.serial_number,
            csr=order.csr.der,
            public_key=order.csr.public_key,
            subject=order.names.subject,
            alternative_name=order.names.alternative_name,
            validity=self._profile.validity,
            extended_key_usages=self._profile.extended_key_usages,
        )

    async def _state_of(self, certificate_sha256: bytes | None) -> str:
        """The journal's word on a certificate of ours; without one to ask for, all is well."""
        if certificate_sha256 is None:
            return "active"
        current = await self._journal.certificate_by_digest(certificate_sha256)
        return "revoked" if current is None else current.state

    async def _complete(self, intent: Intent) -> x509.Certificate | Pending:
        if intent.result == b"":
            raise WrongOrder("this request was given up; a new one is needed")
        with self._last_outcome.watched():
            issued = await self._ca.complete(intent.octets)
        if isinstance(issued, Pending):
            return issued
        der = certificate_der(issued)
        digest = hashlib.sha256(der).digest()
        stands = await self._journal.complete_ldevid(
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
        return issued if stands == der else x509.load_der_x509_certificate(stands)


def repeated(known: IssuedCertificate) -> bytes:
    """The same request gets the same octets, as long as they are good for anything.

    Returns:
        certs-only CMS, DER.

    Raises:
        WrongOrder: the certificate is no longer accepted.
    """
    if known.state != "active":
        raise WrongOrder(f"the certificate of this request is {known.state}")
    return encode_certs_only([x509.load_der_x509_certificate(known.certificate)])


def _check_same_profile(asked: Issuance, stands: Issuance) -> None:
    if asked.label != stands.label:
        raise WrongOrder(
            f"this request was made under the label {stands.label!r}, not {asked.label!r}",
            section="RFC 7030 §3.2.2",
        )
