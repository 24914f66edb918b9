"""One attempt at one registrar: does what the pledge's machine asks for, and brings back what came
of it.

The decisions are in :mod:`device_client.pledge`; here are the connection, the keystore, the clock,
the randomness and the waiting. RFC 8995 §5.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
from collections.abc import Sequence
from typing import TypeAlias

from brski.edge.signers.key import KeySigner
from brski.errors import (
    LocalError,
    OnboardingError,
    PeerError,
    StateError,
    Unavailable,
)
from brski.est.csr import build_csr
from brski.pki.signer import Signer
from device_client.journey import Journey
from device_client.keystore.port import Purpose, RenewableKeystore
from device_client.outcome import Step
from device_client.pledge.attempt import Onboarding
from device_client.pledge.machine import advance
from device_client.pledge.messages import NONCE_OCTETS, check_same_registrar
from device_client.pledge.origin import Origin
from device_client.pledge.states import (
    Answered,
    Close,
    Connect,
    Connected,
    Credential,
    Effect,
    EnrollmentKept,
    Event,
    Failed,
    FetchLists,
    Finish,
    KeepEnrollment,
    KeepReported,
    KeepRequest,
    ListsFetched,
    Report,
    Request,
    RequestKept,
    Send,
    Started,
    State,
    StepStatus,
    Verdict,
    Wait,
    Waited,
)
from device_client.transport.provisional_tls import Link, open_link
from device_client.transport.revocation_lists import fetch_lists

log = logging.getLogger(__name__)
audit = logging.getLogger(f"{__name__}.audit")


Asking: TypeAlias = Connect | Send | FetchLists | Wait | KeepRequest | KeepEnrollment
"""Effects that bring an event."""


class Attempt:
    """One registrar: does what the machine asks for, and brings back what came of it."""

    def __init__(self, journey: Journey, origin: Origin) -> None:
        self._journey = journey
        self._outside = journey.outside
        self._at = Onboarding(pledge=journey.pledge, origin=origin)
        self._link: Link | None = None
        self._credential = Credential.IDEVID
        self._bound = False  # the CSR that is out belongs to this very connection
        self._reported_s = self._outside.monotonic_s()

    async def run(self, started: Started) -> Onboarding:
        """Go on until the machine is done; the connection is closed then, whatever happened."""
        event: Event | None = started
        try:
            while event is not None:
                self._at, effects = await self._advance(event)
                event = await self._perform(effects)
        finally:
            await self._close()
        return self._at

    async def _advance(self, event: Event) -> tuple[Onboarding, Sequence[Effect]]:
        """Decide; in a thread where a signature may mean to wait for another process or a chip."""
        if isinstance(self._journey.pledge.signer, KeySigner):
            return advance(self._at, event)
        try:
            return await asyncio.to_thread(advance, self._at, event)
        except Unavailable as error:
            return advance(self._at, Failed(error=error))

    async def _perform(self, effects: Sequence[Effect]) -> Event | None:
        event: Event | None = None
        for effect in effects:
            match effect:
                case Report():
                    self._report(effect)
                case Close():
                    await self._close()
                case KeepReported():
                    await self._keep_reported()
                case Finish():
                    self._log_end(effect.verdict)
                case _:
                    event = await self._ask(effect)
        return event

    async def _ask(self, effect: Asking) -> Event:
        """Do what brings an event; what the other side or the disk does wrong is one, too."""
        try:
            match effect:
                case Connect():
                    return await self._connect(effect)
                case Send():
                    return await self._send(effect.request)
                case FetchLists():
                    lists = await fetch_lists(effect.addresses, self._journey.limits)
                    return ListsFetched(lists=lists, now=self._outside.now())
                case Wait():
                    await self._outside.sleep(effect.seconds)
                    return Waited()
                case KeepRequest():
                    csr = await asyncio.to_thread(self._request_for, effect)
                    return RequestKept(csr=csr)
                case KeepEnrollment():
                    await asyncio.to_thread(self._keep, effect)
                    return EnrollmentKept()
        except (PeerError, Unavailable) as error:
            return Failed(error=error)
        except LocalError as error:
            if isinstance(effect, KeepRequest | KeepEnrollment):
                return Failed(error=error)
            raise

    async def _connect(self, effect: Connect) -> Connected:
        self._credential = effect.credential
        self._link = await self._open(effect.origin)
        return Connected(
            registrar_chain=self._link.registrar_chain,
            nonce=self._outside.random_octets(NONCE_OCTETS),
            now=self._outside.now(),
        )

    async def _open(self, origin: Origin) -> Link:
        shown = await asyncio.to_thread(self._journey.shown, self._credential)
        return await open_link(origin, shown, self._journey.limits)

    async def _send(self, request: Request) -> Answered:
        link = await self._usable_link()
        answer = await link.exchange(request)
        return Answered(answer=answer, now=self._outside.now())

    async def _usable_link(self) -> Link:
        """The connection; or, where the registrar has closed it, another to the same certificate.

        So it goes while a 202 is waited out. Whoever answers the new connection with another
        certificate gets nothing (RFC 8995 §5).
        """
        link = self._link
        if link is None:
            raise Unavailable("there is no connection")
        if await link.is_usable():
            return link
        if self._bound and self._at.state is State.ENROLLING:
            raise Unavailable("the CSR was bound to a connection that is gone", retry_after_s=0)
        first = link.registrar_chain
        await self._close()
        self._link = await self._open(link.origin)
        check_same_registrar(first, self._link.registrar_chain)
        return self._link

    async def _close(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            await link.close()

    def _request_for(self, effect: KeepRequest) -> bytes:
        contents = effect.contents
        binding = self._channel_binding() if contents.channel_binding else None
        self._bound = binding is not None
        purpose = Purpose(
            device=self._journey.device,
            domain=effect.domain,
            wanted=hashlib.sha256(contents.digest + (binding or "").encode()).digest(),
        )

        def build(signer: Signer) -> bytes:
            return build_csr(
                signer,
                contents.subject,
                extensions=contents.extensions,
                challenge_password=binding,
            )

        if effect.renewal is None:
            return self._journey.keystore.request_for(purpose, kind=contents.key, build_csr=build)
        return self._renewable().renewal_request(
            purpose, effect.renewal, kind=contents.key, build_csr=build
        )

    def _keep(self, effect: KeepEnrollment) -> None:
        if effect.renewal is None:
            self._journey.keystore.keep_enrollment(effect.enrollment)
        else:
            self._renewable().keep_renewal(effect.enrollment)

    def _renewable(self) -> RenewableKeystore:
        if self._journey.renewable is None:
            raise StateError("this keystore cannot replace an LDevID")
        return self._journey.renewable

    def _channel_binding(self) -> str:
        if self._link is None:
            raise Unavailable("there is no connection to bind the CSR to")
        return base64.b64encode(self._link.channel_binding).decode("ascii")

    async def _keep_reported(self) -> None:
        try:
            await asyncio.to_thread(self._journey.keystore.keep_reported)
        except OnboardingError as error:  # the next start reports once more, which harms nobody
            log.warning("success was reported, but not noted", extra={"reason": error.reason})

    def _report(self, effect: Report) -> None:
        now_s = self._outside.monotonic_s()
        step = Step(
            name=effect.step,
            status=effect.status,
            ms=(now_s - self._reported_s) * 1000,
            detail=effect.detail,
            registrar=self._at.origin,
        )
        self._reported_s = now_s
        level = logging.INFO if effect.status is StepStatus.OK else logging.WARNING
        log.log(
            level,
            "onboarding step",
            extra={
                "step": step.name.value,
                "status": step.status.value,
                "registrar": str(step.registrar),
                "detail": step.detail,
            },
        )
        self._outside.observer(step)

    def _log_end(self, verdict: Verdict) -> None:
        audit.info(
            "onboarding ended",
            extra={
                "serial_number": self._journey.pledge.serial_number,
                "registrar": str(self._at.origin),
                "result": verdict.result.value,
                "code": verdict.code,
            },
        )
