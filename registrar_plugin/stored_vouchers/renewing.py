"""Keeps vouchers that were fetched ahead from expiring (docs/stored-vouchers.md)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from brski.errors import OnboardingError, PledgeNotExpected, Refused, WrongOrder
from registrar_plugin.approval import AdmissionDesk
from registrar_plugin.clerk import Clerk
from registrar_plugin.identity.announced import Announced
from registrar_plugin.store.port import Journal
from registrar_plugin.store.vouchers import Errand, StoredVouchers
from registrar_plugin.stored_vouchers.fetching import VoucherFetcher
from registrar_plugin.telemetry.events import Event, EventKind, Outcome

log = logging.getLogger(__name__)

_AFTER_REFUSAL: Final = timedelta(days=1)  # ours: before a renewal that was refused is tried again
_LEAST_SLEEP_S: Final = 60.0
_AT_ONCE: Final = 1000  # ours: read from the journal


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewalPolicy:
    """When a voucher is renewed, and how often that is looked at."""

    before: timedelta = timedelta(days=7)  # its end; half of its life if that is less
    look_every_s: float = 3600.0


class VoucherRenewer:
    """Beside the requests, once started; and at a command."""

    def __init__(
        self,
        policy: RenewalPolicy,
        *,
        fetcher: VoucherFetcher,
        admission: AdmissionDesk,
        vouchers: StoredVouchers,
        journal: Journal,
        clerk: Clerk,
    ) -> None:
        self._policy = policy
        self._fetcher = fetcher
        self._admission = admission
        self._vouchers = vouchers
        self._journal = journal
        self._clerk = clerk
        self._renewing: asyncio.Task[None] | None = None

    async def renew_due(
        self, told: Callable[[Errand, OnboardingError | None], None] = lambda *_: None
    ) -> None:
        """Renew what expires soon; what fails stays as it is, and an alarm tells of a refusal.

        Args:
            told: how each renewal ended.
        """
        began = self._clerk.now()
        async for errand in self._ending():
            if errand.at > began or not await self._is_due(errand):
                continue  # not again what this look has brought, however short its life
            if await self._is_denied(errand):
                continue
            announced = Announced(
                device=errand.device, manufacturer=errand.manufacturer, masa_url=errand.masa_url
            )
            try:
                told(await self._fetcher.fetch(announced, renews=errand.id), None)
            except WrongOrder:
                log.info(
                    "stored voucher was dropped",
                    extra={"serial_number": errand.device.serial_number},
                )
            except OnboardingError as fault:
                log.warning(
                    "stored voucher not renewed",
                    extra={"serial_number": errand.device.serial_number, "reason": str(fault)},
                )
                if isinstance(fault, Refused):
                    await self._journal.record(self._alarm(errand, fault))
                told(errand, fault)

    async def _ending(self) -> AsyncIterator[Errand]:
        """All of them, some at a time: whatever becomes of the first, the last have their turn."""
        before = self._clerk.now() + self._policy.before
        after: Errand | None = None
        while True:
            some = await self._vouchers.ending(before, most=_AT_ONCE, after=after)
            for errand in some:
                yield errand
            if len(some) < _AT_ONCE:
                return
            after = some[-1]

    async def _due(self, errand: Errand) -> datetime | None:
        """When it is to be renewed; None: not any more."""
        if errand.expires_on is None:
            return None
        if errand.last_renewal_date is not None and self._clerk.now() > errand.last_renewal_date:
            return None
        at = self._due_at(errand, errand.expires_on)
        latest = await self._vouchers.latest(errand.device)
        if latest is None or not latest.refused:
            return at
        return max(at, latest.at + _AFTER_REFUSAL)

    async def _is_due(self, errand: Errand) -> bool:
        at = await self._due(errand)
        return at is not None and at <= self._clerk.now()

    async def _is_denied(self, errand: Errand) -> bool:
        """Whether its device gets nothing anyway; the MASA's log need not say otherwise."""
        try:
            await self._admission.check_not_denied(errand.device)
        except PledgeNotExpected:
            return True
        return False

    def _due_at(self, errand: Errand, expires_on: datetime) -> datetime:
        return expires_on - min(self._policy.before, (expires_on - errand.at) / 2)

    def start(self) -> None:
        """Begin to renew beside the requests."""
        if self._renewing is None:
            self._renewing = asyncio.create_task(self._keep_renewing())

    async def close(self) -> None:
        """Stop that; an errand under way is taken up by the next."""
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.gather(self._renewing, return_exceptions=True)

    async def _keep_renewing(self) -> None:
        while True:
            try:
                await self.renew_due()
                sleep_s = await self._until_next_s()
            except OnboardingError as fault:  # the journal's disk; it may come back
                log.warning("stored vouchers not looked at", extra={"reason": str(fault)})
                sleep_s = _LEAST_SLEEP_S
            await asyncio.sleep(sleep_s)

    async def _until_next_s(self) -> float:
        now = self._clerk.now()
        due = [await self._due(errand) async for errand in self._ending()]
        waits = [(at - now).total_seconds() for at in due if at is not None]
        soonest = min(waits, default=self._policy.look_every_s)
        return min(self._policy.look_every_s, max(_LEAST_SLEEP_S, soonest))

    def _alarm(self, errand: Errand, fault: OnboardingError) -> Event:
        until = "" if errand.expires_on is None else f" until {errand.expires_on:%FT%TZ}"
        return self._clerk.event(
            EventKind.ALARM,
            errand.device,
            outcome=Outcome.REFUSED,
            reason=f"a stored voucher, good{until}, is not renewed: {fault.reason}",
            code=fault.code,
        )
