"""Fetches the MASA's audit log and has it judged, once for each onboarding (RFC 8995 §5.8).

That runs while the pledge goes on with cacerts and csrattrs; enrollment waits for the verdict.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

from brski.errors import AuditLogUnacceptable, UnexpectedResponse, WrongOrder
from brski.registry import JSON
from brski.telemetry.audit_log import decode_audit_log
from registrar_plugin.clerk import Clerk
from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.masa_link.port import MASALink
from registrar_plugin.store.port import Journal, Onboarding
from registrar_plugin.telemetry.audit_verdict import AuditPolicy, judge_audit_log
from registrar_plugin.telemetry.events import EventKind, Outcome

log = logging.getLogger(__name__)


class AuditWatch:
    """Single-flight: however many ask, one request goes to the MASA.

    Args:
        own_domain_ids: of every certificate that a MASA may have pinned for us, raw octets.
    """

    def __init__(
        self,
        *,
        masa: MASALink,
        journal: Journal,
        clerk: Clerk,
        policy: AuditPolicy,
        own_domain_ids: frozenset[bytes],
    ) -> None:
        self._masa = masa
        self._journal = journal
        self._clerk = clerk
        self._policy = policy
        self._own_domain_ids = own_domain_ids
        self._running: dict[tuple[DeviceKey, bytes], asyncio.Task[Onboarding]] = {}

    def start(self, onboarding: Onboarding) -> asyncio.Task[Onboarding]:
        """Begin to judge, or join the judging that is under way."""
        key = (onboarding.device, onboarding.request_digest)
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.create_task(self._judge(onboarding))
            task.add_done_callback(lambda done: self._ended(key, done))
        return task

    async def verdict(self, onboarding: Onboarding) -> Onboarding:
        """*onboarding* with its verdict, fetched now if there is none yet.

        Raises:
            Unavailable, UnexpectedResponse, VoucherRefused: the MASA gives no log; ask again later.
        """
        if onboarding.audit_verdict is not None:
            return onboarding
        return await asyncio.shield(self.start(onboarding))

    async def close(self) -> None:
        """Stop what is under way; the next enrollment or start takes it up again."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _ended(self, key: tuple[DeviceKey, bytes], done: asyncio.Task[Onboarding]) -> None:
        self._running.pop(key, None)
        if not done.cancelled() and (failure := done.exception()) is not None:
            log.warning(
                "audit log not judged yet",
                extra={"serial_number": key[0].serial_number, "reason": str(failure)},
            )

    async def _judge(self, onboarding: Onboarding) -> Onboarding:
        if onboarding.registrar_request is None:
            raise WrongOrder("no registrar voucher-request was signed", section="RFC 8995 §5.8")
        answer = await self._masa.request_audit_log(
            onboarding.manufacturer,
            onboarding.masa_url,
            onboarding.registrar_request,
            onboarding.voucher_media_type,
        )
        if answer.media_type != JSON:
            raise UnexpectedResponse(
                f"the MASA's audit log came as {answer.media_type!r}", section="RFC 8995 §5.8.1"
            )
        reason = self._unacceptable(answer.body)
        await self._journal.set_audit_verdict(
            onboarding,
            not reason,
            reason,
            self._clerk.event(
                EventKind.AUDIT_LOG,
                onboarding.device,
                outcome=Outcome.REFUSED if reason else Outcome.DONE,
                reason=reason,
                code=AuditLogUnacceptable("").code if reason else "",
            ),
        )
        return replace(onboarding, audit_verdict=not reason, audit_reason=reason)

    def _unacceptable(self, body: bytes) -> str:
        try:
            judge_audit_log(
                decode_audit_log(body), self._policy, own_domain_ids=self._own_domain_ids
            )
        except AuditLogUnacceptable as refusal:
            return refusal.reason
        return ""
