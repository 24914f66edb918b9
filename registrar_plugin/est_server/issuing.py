"""From a judged request to a certificate: intent, signature, journal, in this order.

What may be issued to whom is decided before; here nothing is signed that is not in the journal, and
the same request gets the same octets (docs/journal.md).
"""

from __future__ import annotations

import hashlib
import logging

from cryptography import x509

from brski.errors import WrongOrder
from brski.est.certs_only import encode_certs_only
from brski.est.csr import CSR
from brski.pki.keys import certificate_der, spki_sha256
from brski.pki.names import ldevid_subject
from registrar_plugin.ca_backend.port import CABackend, LDevIDRequest, Pending
from registrar_plugin.clerk import Clerk
from registrar_plugin.connection import PledgeConnection
from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.second_use import SecondUse
from registrar_plugin.store.port import Intent, IssuedCertificate, Journal
from registrar_plugin.telemetry.events import EventKind

log = logging.getLogger(__name__)


class Issuer:
    """Has LDevIDs issued, and remembers them."""

    def __init__(
        self, *, ca: CABackend, journal: Journal, clerk: Clerk, second_use: SecondUse
    ) -> None:
        self._ca = ca
        self._journal = journal
        self._clerk = clerk
        self._second_use = second_use

    def ca_certificates(self) -> bytes:
        """The CA's certificates as certs-only CMS, DER (RFC 7030 §4.1.3)."""
        return encode_certs_only(self._ca.ca_certificates())

    async def issue(
        self, csr: CSR, device: DeviceKey, connection: PledgeConnection
    ) -> bytes | Pending:
        """Have *device*, whose request has been judged, certified.

        Returns:
            certs-only CMS with the LDevID alone, DER; or when to ask again.

        Raises:
            WrongOrder: this very request got a certificate that is no longer accepted.
            Unavailable: the CA does not answer; the intent stays.
        """
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
        issued = await self._complete(intent)
        return issued if isinstance(issued, Pending) else encode_certs_only([issued])

    async def take_up(self, intent: Intent) -> bool:
        """Complete an intent of an earlier run; False while the CA says "not yet"."""
        return not isinstance(await self._complete(intent), Pending)

    async def _complete(self, intent: Intent) -> x509.Certificate | Pending:
        issued = await self._ca.complete(intent.octets)
        if isinstance(issued, Pending):
            return issued
        der = certificate_der(issued)
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


def _repeated(known: IssuedCertificate) -> bytes:
    """The same request gets the same octets, as long as they are good for anything."""
    if known.state != "active":
        raise WrongOrder(f"the certificate of this request is {known.state}")
    return encode_certs_only([x509.load_der_x509_certificate(known.certificate)])
