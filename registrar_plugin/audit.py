"""Fetches the MASA's audit log and has it judged, once for each onboarding (docs/audit-log.md).

That runs while the pledge goes on with cacerts and csrattrs; enrollment waits for the verdict.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

from brski.errors import (
    AuditLogUnacceptable,
    Malformed,
    OnboardingError,
    TooLarge,
    Unavailable,
    UnexpectedResponse,
    VoucherRefused,
    WrongOrder,
)
from brski.registry import JSON
from brski.telemetry.audit_log import AuditLog, decode_audit_log
from registrar_plugin.ca_backend.crl import Reason
from registrar_plugin.clerk import Clerk
from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.masa_link.port import MASALink
from registrar_plugin.store.port import Journal, Onboarding
from registrar_plugin.store.revocation import Revocation
from registrar_plugin.telemetry.audit_verdict import AuditPolicy, judge_audit_log, judge_no_log
from registrar_plugin.telemetry.events import Event, EventKind, Outcome

log = logging.getLogger(__name__)

_SECTION: Final = "RFC 8995 §5.8.1"
_MOST_SILENT: Final = 4096  # ours: onboardings whose report is waited for
_REVOKER: Final = "the registrar, since the audit log was found bad"
_UNKNOWN_MEMBERS: Final = 200  # ours: characters of them in an event

_Key: TypeAlias = tuple[DeviceKey, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verdict:
    reason: str = ""  # why not; or why all the same
    good: bool = True
    unknown_members: tuple[str, ...] = ()


class AuditWatch:
    """Single-flight: however many ask, one request goes to the MASA.

    Args:
        own_domain_ids: of every certificate that a MASA may have pinned for us, raw octets.
        silent_s: after which a pledge that has its voucher is not waited for any longer.
    """

    def __init__(
        self,
        *,
        masa: MASALink,
        journal: Journal,
        clerk: Clerk,
        policy: AuditPolicy,
        own_domain_ids: frozenset[bytes],
        silent_s: float = 60.0,
    ) -> None:
        self._masa = masa
        self._journal = journal
        self._clerk = clerk
        self._policy = policy
        self._own_domain_ids = own_domain_ids
        self._silent_s = silent_s
        self._running: dict[_Key, asyncio.Task[Onboarding]] = {}
        self._looking: set[asyncio.Task[None]] = set()
        self._silent: OrderedDict[DeviceKey, asyncio.TimerHandle] = OrderedDict()

    def expect_report(self, onboarding: Onboarding) -> None:
        """A voucher has gone out: judge the log even if its pledge never says what became of it
        (RFC 8995 §5.8).
        """
        self._forget(onboarding.device)
        loop = asyncio.get_running_loop()
        self._silent[onboarding.device] = loop.call_later(
            self._silent_s, self._not_heard_of, *_key(onboarding)
        )
        if len(self._silent) > _MOST_SILENT:
            self._forget(next(iter(self._silent)))

    def start(self, onboarding: Onboarding) -> asyncio.Task[Onboarding]:
        """Begin to judge, or join the judging that is under way."""
        self._forget(onboarding.device)
        key = _key(onboarding)
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.create_task(self._judge(onboarding))
            task.add_done_callback(lambda done: self._ended(key, done))
        return task

    async def verdict(self, onboarding: Onboarding) -> Onboarding:
        """*onboarding* with its verdict, fetched now if there is none yet.

        Raises:
            Unavailable, UnexpectedResponse, CredentialsRefused: the MASA gives no log now; ask
                again later.
        """
        if onboarding.audit_verdict is not None:
            return onboarding
        judged = await asyncio.shield(self.start(onboarding))
        return replace(  # the judging may have begun before the pledge's report
            onboarding, audit_verdict=judged.audit_verdict, audit_reason=judged.audit_reason
        )

    async def close(self) -> None:
        """Stop what is under way; the next enrollment or start takes it up again."""
        for timer in self._silent.values():
            timer.cancel()
        self._silent.clear()
        running: list[asyncio.Task[Any]] = [*self._running.values(), *self._looking]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _forget(self, device: DeviceKey) -> None:
        timer = self._silent.pop(device, None)
        if timer is not None:
            timer.cancel()

    def _not_heard_of(self, device: DeviceKey, request_digest: bytes) -> None:
        self._silent.pop(device, None)
        log.warning(
            "no report on a voucher",
            extra={"serial_number": device.serial_number, "seconds": self._silent_s},
        )
        looking = asyncio.create_task(self._look_again(device, request_digest))
        self._looking.add(looking)
        looking.add_done_callback(self._looking.discard)

    async def _look_again(self, device: DeviceKey, request_digest: bytes) -> None:
        """Judge the log unless the device has begun anew, or was judged, meanwhile."""
        try:
            onboarding = await self._journal.onboarding(device)
        except OnboardingError as fault:  # its disk; the next contact judges
            log.warning("audit log not judged yet", extra={"reason": str(fault)})
            return
        if onboarding is None or onboarding.request_digest != request_digest:
            return
        if onboarding.audit_verdict is None:
            self.start(onboarding)

    def _ended(self, key: _Key, done: asyncio.Task[Onboarding]) -> None:
        self._running.pop(key, None)
        if not done.cancelled() and (failure := done.exception()) is not None:
            log.warning(
                "audit log not judged yet",
                extra={"serial_number": key[0].serial_number, "reason": str(failure)},
            )

    async def _judge(self, onboarding: Onboarding) -> Onboarding:
        verdict = await self._verdict(onboarding)
        code = "" if verdict.good else AuditLogUnacceptable("").code
        event = self._clerk.event(
            EventKind.AUDIT_LOG,
            onboarding.device,
            outcome=Outcome.DONE if verdict.good else Outcome.REFUSED,
            reason=verdict.reason,
            code=code,
            details=_details(verdict),
        )
        alarms = () if verdict.good else (replace(event, kind=EventKind.ALARM),)
        revokes = self._policy.revoke_on_bad_verdict and not verdict.good
        await self._journal.set_audit_verdict(
            onboarding,
            verdict.good,
            verdict.reason,
            event,
            *alarms,
            revoking=_revoking(event) if revokes else None,
        )
        return replace(onboarding, audit_verdict=verdict.good, audit_reason=verdict.reason)

    async def _verdict(self, onboarding: Onboarding) -> _Verdict:
        if self._policy.is_exempt(onboarding.device):
            return _Verdict(reason="this device is exempt, by the settings")
        try:
            fetched = await self._fetch(onboarding)
            judge_audit_log(fetched, self._policy, own_domain_ids=self._own_domain_ids)
        except AuditLogUnacceptable as bad:
            return _Verdict(reason=bad.reason, good=False)
        except VoucherRefused as none:
            return self._without_log(none)
        except Unavailable as silent:
            if not self._policy.accept_silence:
                raise
            return _Verdict(reason=f"accepted by the settings though {silent.reason}")
        return _Verdict(unknown_members=fetched.unknown_members)

    def _without_log(self, none: OnboardingError) -> _Verdict:
        try:
            judge_no_log(self._policy, none.reason)
        except AuditLogUnacceptable as bad:
            return _Verdict(reason=bad.reason, good=False)
        return _Verdict(reason=f"accepted by the settings though {none.reason}")

    async def _fetch(self, onboarding: Onboarding) -> AuditLog:
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
                f"the MASA's audit log came as {answer.media_type!r}", section=_SECTION
            )
        try:
            return decode_audit_log(answer.body)
        except (Malformed, TooLarge) as err:
            raise UnexpectedResponse(
                f"the MASA's audit log cannot be read: {err.reason}", section=_SECTION
            ) from err


def _revoking(verdict: Event) -> tuple[Revocation, Event]:
    """What a bad *verdict* withdraws, where the domain wants that (RFC 8995 §5.8.3)."""
    assert verdict.device is not None  # noqa: S101 - for the type: verdicts are of devices
    revocation = Revocation(
        device=verdict.device,
        at=verdict.at,
        reason=Reason.PRIVILEGE_WITHDRAWN,
        by=_REVOKER,
        note=verdict.reason,
    )
    line = replace(
        verdict,
        kind=EventKind.REVOCATION,
        outcome=Outcome.DONE,
        reason=f"revoked by {_REVOKER}: {verdict.reason}",
        code="",
        details={
            "reason": revocation.reason.value,
            "by": revocation.by,
            "note": revocation.note,
            "section": "RFC 8995 §5.8.3",
        },
    )
    return revocation, line


def _key(onboarding: Onboarding) -> _Key:
    return onboarding.device, onboarding.request_digest


def _details(verdict: _Verdict) -> dict[str, str]:
    details = {} if verdict.good else {"section": "RFC 8995 §5.8.3"}
    if verdict.unknown_members:
        details["unknown_members"] = ", ".join(verdict.unknown_members)[:_UNKNOWN_MEMBERS]
    return details
