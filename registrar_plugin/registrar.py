"""The voucher exchange, read top to bottom: who is it, may it, the voucher, what became of it.

The registrar decides nothing by itself: identity, admission and telemetry decide, ports carry. Here
stands the order of the steps, and that nothing is signed that is not in the journal, and nothing
answered before it is (docs/flow.md, docs/journal.md). The certificate that follows is the business
of :mod:`registrar_plugin.est_server.enrolling`.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from brski.errors import (
    PeerError,
    Unavailable,
    UnexpectedResponse,
    UnknownFormat,
    WrongOrder,
)
from brski.pki.keys import certificate_der, spki_of, spki_sha256
from brski.pki.signer import Signer
from brski.telemetry.status import Status
from brski.voucher.model import Voucher
from brski.voucher.serialization import Unsigned, VoucherSerialization
from registrar_plugin.admission.registrar_request import check_answer, registrar_voucher_request
from registrar_plugin.approval import AdmissionDesk
from registrar_plugin.audit import AuditWatch
from registrar_plugin.ca_backend.port import Pending
from registrar_plugin.clerk import Clerk
from registrar_plugin.connection import PledgeConnection
from registrar_plugin.identity.model import VerifiedIDevID
from registrar_plugin.identity.patience import Patience, PatienceSettings
from registrar_plugin.identity.presented import claimed_serial_number
from registrar_plugin.identity.verify import IDENTITY_REFUSALS, IdentityVerifier
from registrar_plugin.known_devices import KnownDevices
from registrar_plugin.masa_link.port import MASAAnswer, MASALink
from registrar_plugin.second_use import SecondUse
from registrar_plugin.store.port import Intent, Journal, Onboarding
from registrar_plugin.stored_vouchers.shelf import VoucherShelf
from registrar_plugin.telemetry.events import Event, EventKind

log = logging.getLogger(__name__)

_ANSWER: Final = "RFC 8995 §5.6"


@dataclass(frozen=True, slots=True, kw_only=True)
class VoucherAnswer:
    """What a pledge gets for its voucher-request."""

    body: bytes
    media_type: str


class Registrar:
    """The owner's gate.

    Args:
        identity: says who a pledge is.
        admission: lets in whom the domain wants, by its settings or by hand.
        signer: the registrar's key; its chain (end entity first, owner's root last) goes into the
            registrar voucher-request, and the MASA pins one of it.
        enclosed: so many certificates of the chain, from the first; all when None. Fewer ask for a
            more specific pin (RFC 8995 §5.5).
        serializations: by media type.
    """

    def __init__(
        self,
        *,
        identity: IdentityVerifier,
        admission: AdmissionDesk,
        signer: Signer,
        enclosed: int | None = None,
        serializations: Mapping[str, VoucherSerialization],
        masa: MASALink,
        journal: Journal,
        clerk: Clerk,
        audit: AuditWatch,
        vouchers: VoucherShelf,
        devices: KnownDevices,
        second_use: SecondUse,
        patience: Patience | None = None,
    ) -> None:
        self._identity = identity
        self._admission = admission
        self._signer = signer
        self._enclosed = enclosed
        self._serializations = serializations
        self._masa = masa
        self._journal = journal
        self._clerk = clerk
        self._audit = audit
        self._vouchers = vouchers
        self._patience = patience or Patience(PatienceSettings())
        self._devices = devices
        self._second_use = second_use

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
            The voucher; or when to ask again, of a device that may become known or that a person is
            to decide on.

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
        async with self._devices.lock(verified.device):
            async with self._clerk.refusals(EventKind.ADMISSION, connection, verified.device):
                again_s = await self._admission.admit(verified, connection)
                if again_s is not None:
                    return Pending(retry_after_s=again_s)
                onboarding = _new_onboarding(verified)
            standing = await self._journal.onboarding(verified.device)
            if standing is not None and standing.request_digest == onboarding.request_digest:
                if standing.voucher is not None:
                    return await self._voucher_again(standing, connection)
                onboarding = standing
            async with self._clerk.refusals(EventKind.IDENTITY, connection, verified.device):
                await self._identity.recheck(verified, now=self._clerk.now())
            request = await self._sign_request(
                onboarding, standing, verified, serialization, connection
            )
            return await self._fetch_voucher(
                onboarding, verified, request, serialization, connection
            )

    async def _voucher_again(
        self, standing: Onboarding, connection: PledgeConnection
    ) -> VoucherAnswer:
        """The voucher that the same request has got already; that it goes out is on record."""
        assert standing.voucher is not None  # noqa: S101 - for the type: the caller has looked
        again = self._clerk.event(
            EventKind.VOUCHER, standing.device, connection, details={"again": "yes"}
        )
        await self._journal.record(again)
        return VoucherAnswer(body=standing.voucher, media_type=standing.voucher_media_type)

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
            certificates=self._signer.chain[: self._enclosed],
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
            answer, source = await self._ask(onboarding, request, serialization)
            voucher = self._judged_answer(answer, verified, serialization)
        assertion = str(voucher.assertion or "")
        await self._journal.complete_voucher(
            onboarding,
            answer.body,
            answer.media_type,
            self._clerk.event(
                EventKind.VOUCHER,
                verified.device,
                connection,
                details={"assertion": assertion, "source": source},
            ),
        )
        self._audit.expect_report(
            replace(
                onboarding,
                registrar_request=request,
                voucher=answer.body,
                voucher_media_type=answer.media_type,
            )
        )
        log.info(
            "voucher passed on",
            extra={"serial_number": verified.device.serial_number, "assertion": assertion},
        )
        return VoucherAnswer(body=answer.body, media_type=answer.media_type)

    async def _ask(
        self, onboarding: Onboarding, request: bytes, serialization: VoucherSerialization
    ) -> tuple[MASAAnswer, str]:
        """The MASA's answer, or where it is away, and the policy says so, a stored voucher; and
        which of the two.
        """
        device, manufacturer = onboarding.device, onboarding.manufacturer
        stored = await self._vouchers.before_asking(device, manufacturer)
        if stored is not None:
            return stored, "stored"
        try:
            answer = await self._masa.request_voucher(
                manufacturer, onboarding.masa_url, request, serialization.media_type
            )
        except Unavailable:
            stored = await self._vouchers.in_silence(device, manufacturer)
            if stored is None:
                raise
            return stored, "stored"
        return answer, "masa"

    def _judged_answer(
        self, answer: MASAAnswer, verified: VerifiedIDevID, serialization: VoucherSerialization
    ) -> Voucher:
        """What is wrong with a MASA's answer is the MASA's fault, and none of the pledge's."""
        try:
            if answer.media_type != serialization.media_type:
                raise UnexpectedResponse(f"it came as {answer.media_type!r}", section=_ANSWER)
            voucher = serialization.open(answer.body).voucher()
            check_answer(voucher, verified, self._signer.chain, now=self._clerk.now())
        except PeerError as fault:
            raise UnexpectedResponse(
                f"the MASA's voucher is not passed on: {fault.reason}",
                section=fault.section or _ANSWER,
                found=fault.found,
                wanted=fault.wanted,
            ) from fault
        return voucher

    # -- what the pledge says of the voucher, RFC 8995 §5.7

    async def voucher_status(self, status: Status, connection: PledgeConnection) -> None:
        """Take down whether the pledge accepts its voucher, and have the audit log judged: of a
        rejected one, too, since something is amiss then.

        Raises:
            NotAuthenticated, WrongOrder: the connection is not that of a device with a voucher.
        """
        async with self._clerk.refusals(EventKind.VOUCHER_STATUS, connection):
            onboarding = await self._devices.onboarding_of(connection)
            if onboarding.voucher is None:
                raise WrongOrder("there is no voucher to report on", section="RFC 8995 §5.7")
        await self._journal.set_voucher_status(
            onboarding,
            status.status,
            *self._clerk.report(EventKind.VOUCHER_STATUS, onboarding.device, connection, status),
        )
        self._audit.start(replace(onboarding, voucher_status=status.status))

    # -- a restart

    async def take_up(self, intent: Intent) -> bool:
        """Sign the registrar voucher-request that an earlier run intended to sign."""
        serialization = next(iter(self._serializations.values()))
        await self._complete_request(intent, serialization.decode_unsigned(intent.octets))
        return True

    async def close(self) -> None:
        """Stop what runs beside the requests; the ports are closed by who opened them."""
        await self._audit.close()


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
        idevid_chain=tuple(map(certificate_der, verified.idevid_chain)),
        pledge_request=verified.request_octets,
        request_digest=hashlib.sha256(verified.request_octets).digest(),
    )
