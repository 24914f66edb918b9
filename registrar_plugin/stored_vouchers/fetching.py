"""Fetches vouchers without nonce before their devices come (docs/stored-vouchers.md).

Nothing is signed that is not in the journal, and a request whose answer did not come is posted
again as it was.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Final

from brski.errors import OnboardingError, PeerError, Refused, UnexpectedResponse
from brski.pki.signer import Signer
from brski.voucher.model import Voucher
from brski.voucher.serialization import VoucherSerialization
from brski.voucher.yang_json import encode_voucher_request
from registrar_plugin.admission.registrar_request import nonceless_request
from registrar_plugin.clerk import Clerk
from registrar_plugin.identity.announced import Announced
from registrar_plugin.masa_link.port import MASAAnswer, MASALink
from registrar_plugin.store.port import Journal
from registrar_plugin.store.vouchers import Errand, StoredVouchers
from registrar_plugin.stored_vouchers.judge import judge_stored
from registrar_plugin.telemetry.events import Event, EventKind, Outcome, refusal_details

log = logging.getLogger(__name__)

_SECTION: Final = "RFC 8995 §5.5"


class VoucherFetcher:
    """Runs errands to MASAs.

    Args:
        signer: the registrar's; its whole chain goes to the MASA.
        serialization: of requests and vouchers.
    """

    def __init__(
        self,
        *,
        signer: Signer,
        serialization: VoucherSerialization,
        masa: MASALink,
        vouchers: StoredVouchers,
        journal: Journal,
        clerk: Clerk,
    ) -> None:
        self._signer = signer
        self._serialization = serialization
        self._masa = masa
        self._vouchers = vouchers
        self._journal = journal
        self._clerk = clerk

    async def fetch(self, announced: Announced, *, renews: int | None = None) -> Errand:
        """Fetch a voucher without nonce, or renew the one that is there.

        Args:
            renews: the errand whose voucher is to be renewed, as long as nobody has dropped it;
                None: fetch one whatever was before.

        Returns:
            The errand with its voucher, which is durable.

        Raises:
            WrongOrder: it was dropped.
            Unavailable: the MASA does not answer; the next call posts the same request.
            VoucherRefused, CredentialsRefused, UnexpectedResponse: what it says instead.
        """
        errand = await self._errand(announced, renews)
        if errand.request is None:
            errand = await self._signed(errand)
        request = errand.request or b""
        try:
            answer = await self._masa.request_voucher(
                errand.manufacturer, errand.masa_url, request, errand.media_type
            )
            voucher = self._answered(answer, errand)
        except OnboardingError as fault:
            await self._failed(errand, fault)
            raise
        return await self._brought(errand, answer.body, voucher)

    async def _errand(self, announced: Announced, wanted: int | None) -> Errand:
        """The one under way, or a new one, unsigned."""
        device, now = announced.device, self._clerk.now()
        latest = await self._vouchers.latest(device)
        if latest is not None and latest.is_open and latest.masa_url == announced.masa_url:
            return latest
        former = await self._vouchers.current(device)
        renews = former is not None and former.manufacturer == announced.manufacturer
        asked = nonceless_request(
            device, created_on=now, former=former.voucher if former and renews else None
        )
        unsigned = self._serialization.prepare(
            encode_voucher_request(asked),
            self._signer,
            certificates=self._signer.chain,
            signing_time=now,
        )
        errand = Errand(
            id=0,
            device=device,
            manufacturer=announced.manufacturer,
            masa_url=announced.masa_url,
            media_type=self._serialization.media_type,
            at=now,
            unsigned=unsigned.encode(),
        )
        step = "renewal-intent" if renews else "intent"
        return await self._vouchers.intend(errand, self._event(errand, step), renews=wanted)

    async def _signed(self, errand: Errand) -> Errand:
        unsigned = self._serialization.decode_unsigned(errand.unsigned)
        signed = replace(
            errand, request=unsigned.assemble(self._signer.sign(unsigned.to_be_signed))
        )
        await self._vouchers.change(signed, self._event(errand, "request"))
        return signed

    async def _brought(self, errand: Errand, octets: bytes, voucher: Voucher) -> Errand:
        brought = replace(
            errand,
            voucher=octets,
            assertion=str(voucher.assertion or ""),
            expires_on=voucher.expires_on,
            last_renewal_date=voucher.last_renewal_date,
        )
        until = "never" if voucher.expires_on is None else f"{voucher.expires_on:%FT%TZ}"
        event = self._event(errand, "voucher", expires_on=until, assertion=brought.assertion)
        await self._vouchers.change(brought, event)
        log.info(
            "voucher fetched ahead",
            extra={"serial_number": errand.device.serial_number, "expires_on": until},
        )
        return brought

    async def _failed(self, errand: Errand, fault: OnboardingError) -> None:
        event = replace(
            self._event(errand, "answer"),
            outcome=Outcome.REFUSED,
            reason=str(fault),
            code=fault.code,
            details=self._told(errand, "answer") | refusal_details(fault),
        )
        if isinstance(fault, Refused | UnexpectedResponse):  # the same octets will not do better
            await self._vouchers.change(replace(errand, refused=str(fault)), event)
        else:
            await self._journal.record(event)

    def _answered(self, answer: MASAAnswer, errand: Errand) -> Voucher:
        try:
            if answer.media_type != errand.media_type:
                raise UnexpectedResponse(f"it came as {answer.media_type!r}", section=_SECTION)
            return judge_stored(
                answer.body,
                errand.device,
                signer=self._signer,
                serialization=self._serialization,
                now=self._clerk.now(),
            )
        except PeerError as fault:
            raise UnexpectedResponse(
                f"the MASA's voucher is not kept: {fault.reason}",
                section=fault.section or _SECTION,
                found=fault.found,
                wanted=fault.wanted,
            ) from fault

    def _event(self, errand: Errand, step: str, **details: str) -> Event:
        told = self._told(errand, step)
        return self._clerk.event(EventKind.STORED_VOUCHER, errand.device, details=told | details)

    def _told(self, errand: Errand, step: str) -> dict[str, str]:
        return {"step": step, "manufacturer": errand.manufacturer, "masa_url": errand.masa_url}
