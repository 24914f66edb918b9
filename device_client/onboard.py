"""A device joins a network: the machine's effects done for real, at one registrar after the other.

The decisions are in :mod:`device_client.pledge`; here are the connection, the keystore, the clock,
the randomness and the waiting. RFC 8995 §5.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeAlias

from cryptography import x509

from brski.edge.signers.file import pem_of
from brski.edge.signers.key import KeySigner
from brski.errors import (
    LocalError,
    OnboardingError,
    PeerError,
    SettingsError,
    StateError,
    Unavailable,
)
from brski.est.csr import build_csr
from brski.pki.keys import certificate_der, encode_spki
from brski.pki.signer import Signer
from brski.voucher.cms import CMS
from brski.voucher.serialization import VoucherSerialization
from device_client.identity.port import DeviceIdentity
from device_client.keystore.port import Keystore, Purpose, Stored
from device_client.pledge.attempt import Onboarding
from device_client.pledge.backoff import Attempts, choose, failed
from device_client.pledge.machine import advance
from device_client.pledge.messages import NONCE_OCTETS, Pledge, Policy, check_same_registrar
from device_client.pledge.origin import Origin
from device_client.pledge.states import (
    Answered,
    Close,
    Connect,
    Connected,
    Credential,
    Effect,
    Enrollment,
    EnrollmentKept,
    Event,
    Failed,
    Finish,
    KeepEnrollment,
    KeepReported,
    KeepRequest,
    Phase,
    Report,
    Request,
    RequestKept,
    Result,
    Send,
    Started,
    State,
    StepName,
    StepStatus,
    Verdict,
    Wait,
    Waited,
)
from device_client.transport.http import Limits
from device_client.transport.provisional_tls import Link, open_link

log = logging.getLogger(__name__)
audit = logging.getLogger(f"{__name__}.audit")

FIRST_DELAY_S: Final = 5.0  # ours: after the first failure at one registrar


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What became of a step, for an onlooker."""

    name: StepName
    status: StepStatus
    ms: float  # since the step before, or since the attempt began
    detail: str  # one line; empty when there is nothing to say
    registrar: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifacts:
    """What came to exist, as raw octets; empty where it did not come so far. Certificates are DER,
    leaf first.
    """

    pledge_voucher_request: bytes = b""  # CMS, as sent
    voucher: bytes = b""  # CMS, as received
    registrar_chain: tuple[bytes, ...] = ()  # as presented in TLS
    pinned_domain_cert: bytes = b""
    csr: bytes = b""
    ldevid_chain: tuple[bytes, ...] = ()  # the anchor left out
    ldevid_pem: bytes = b""  # the same chain
    ca_certs: tuple[bytes, ...] = ()
    ca_certs_pem: bytes = b""  # the same certificates


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an onboarding ended."""

    result: Result
    code: str  # the fact in kebab-case: "enrolled", "already-enrolled", "nonce-mismatch"
    reason: str  # one line for a person
    reported: bool  # whether the registrar has been told of the success
    registrar: Origin  # the last one spoken to
    artifacts: Artifacts


Observer: TypeAlias = Callable[[Step], None]
Clock: TypeAlias = Callable[[], datetime]
Sleep: TypeAlias = Callable[[float], Awaitable[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What the device has of the outside: time, randomness, and who looks on."""

    clock: Clock | None = None  # aware UTC; None on a device without a clock that it trusts
    sleep: Sleep = asyncio.sleep
    random_octets: Callable[[int], bytes] = secrets.token_bytes
    monotonic_s: Callable[[], float] = time.monotonic
    observer: Observer = field(default=lambda _: None)

    def now(self) -> datetime | None:
        """The time, or None."""
        return None if self.clock is None else self.clock()


async def onboard(
    identity: DeviceIdentity,
    registrars: Sequence[Origin],
    keystore: Keystore,
    *,
    policy: Policy | None = None,
    limits: Limits | None = None,
    rounds: int = 1,
    first_delay_s: float = FIRST_DELAY_S,
    serialization: VoucherSerialization = CMS,
    world: World | None = None,
) -> Outcome:
    """Bring the device from the factory state to an LDevID; or say why not.

    A device that holds an LDevID does not bootstrap: it reports its success if it was cut off
    before that, and is done (RFC 8995 §5).

    Args:
        identity: the IDevID key, and what the device may say of it.
        registrars: tried in turn, each with a back-off of its own (RFC 8995 §4.1).
        keystore: held for the whole time.
        policy: which vouchers are accepted, and how long a 202 is borne with.
        limits: time and octets of each exchange.
        rounds: how often each registrar is tried; 0 for ever.
        first_delay_s: the back-off after a first failure at one registrar; it doubles to an hour.
        serialization: of voucher-requests and vouchers.
        world: clock, randomness, sleep, onlooker.

    Returns:
        The end. Of several refusals the last; a registrar that was silent weighs more, since it
        may be tried again.

    Raises:
        LocalError: the device's own key, keystore or settings fail.
        Unavailable: the keystore's disk is full or failing.
    """
    outside = world or World()
    if not registrars:
        raise SettingsError("no registrar is given")
    journey = _Journey(
        identity=identity,
        keystore=keystore,
        pledge=_pledge_of(identity, policy or Policy(), serialization),
        limits=limits or Limits(),
        outside=outside,
        device=hashlib.sha256(encode_spki(identity.signer().public_key)).digest(),
    )
    with keystore.exclusive():
        stored = keystore.load()
        _check_owner(stored, journey.device)
        if stored.phase is not Phase.FACTORY and stored.enrollment is not None:
            started = Started(phase=stored.phase, enrollment=stored.enrollment)
            ended = await _Attempt(journey, stored.enrollment.origin).run(started)
            return _outcome(ended, stored.enrollment)
        ended = await _try_in_turn(journey, registrars, rounds, first_delay_s)
    verdict = _verdict_of(ended)
    if isinstance(verdict.error, LocalError):
        raise verdict.error
    return _outcome(ended, ended.enrollment)


async def _try_in_turn(
    journey: _Journey, registrars: Sequence[Origin], rounds: int, first_delay_s: float
) -> Onboarding:
    """Try one registrar after the other until one enrolls this device, or all rounds are over."""
    outside = journey.outside
    attempts = [Attempts() for _ in registrars]
    best: Onboarding | None = None
    last: int | None = None
    left = rounds * len(registrars)
    while best is None or left != 0:
        choice = choose(
            attempts,
            last=last,
            now_s=outside.monotonic_s(),
            first_s=first_delay_s,
            spread=secrets.randbelow(1001) / 1000,
        )
        if choice.wait_s > 0:
            log.info("waiting before the next attempt", extra={"seconds": round(choice.wait_s, 1)})
            await outside.sleep(choice.wait_s)
        last, left = choice.index, left - 1
        ended = await _Attempt(journey, registrars[last]).run(Started(phase=Phase.FACTORY))
        verdict = _verdict_of(ended)
        if verdict.result is Result.ENROLLED or isinstance(verdict.error, LocalError):
            return ended
        attempts[last] = failed(
            attempts[last], now_s=outside.monotonic_s(), retry_after_s=verdict.retry_after_s
        )
        if best is None or verdict.result is Result.RETRY or not _may_pass(best):
            best = ended
    return best


def _may_pass(ended: Onboarding) -> bool:
    return _verdict_of(ended).result is Result.RETRY


def _verdict_of(ended: Onboarding) -> Verdict:
    if ended.verdict is None:
        raise StateError("the pledge's machine stopped before its end")
    return ended.verdict


def _check_owner(stored: Stored, device: bytes) -> None:
    if stored.phase is not Phase.FACTORY and stored.device != device:
        raise StateError(
            "the keystore holds the LDevID of another device",
            hint="each device needs a keystore of its own; brski-pledge reset empties this one",
        )


def _pledge_of(
    identity: DeviceIdentity, policy: Policy, serialization: VoucherSerialization
) -> Pledge:
    return Pledge(
        serial_number=identity.serial_number,
        idevid_issuer=identity.idevid_issuer,
        signer=identity.signer(),
        idevid_chain=identity.client_chain if identity.carried else (),
        voucher_anchors=identity.voucher_anchors,
        serialization=serialization,
        policy=policy,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Journey:
    """What all attempts of one onboarding share."""

    identity: DeviceIdentity
    keystore: Keystore
    pledge: Pledge
    limits: Limits
    outside: World
    device: bytes  # SHA-256 of the IDevID's SubjectPublicKeyInfo

    def shown(self, credential: Credential) -> Signer:
        """What this device shows in TLS, and the key that proves it."""
        if credential is Credential.LDEVID:
            return self.keystore.ldevid()
        return self.identity.signer()


class _Attempt:
    """One registrar: does what the machine asks for, and brings back what came of it."""

    def __init__(self, journey: _Journey, origin: Origin) -> None:
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

    async def _ask(self, effect: Connect | Send | Wait | KeepRequest | KeepEnrollment) -> Event:
        """Do what brings an event; what the other side or the disk does wrong is one, too."""
        try:
            match effect:
                case Connect():
                    return await self._connect(effect)
                case Send():
                    return await self._send(effect.request)
                case Wait():
                    await self._outside.sleep(effect.seconds)
                    return Waited()
                case KeepRequest():
                    csr = await asyncio.to_thread(self._request_for, effect)
                    return RequestKept(csr=csr)
                case KeepEnrollment():
                    keep = self._journey.keystore.keep_enrollment
                    await asyncio.to_thread(keep, effect.enrollment)
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
        return self._journey.keystore.request_for(
            Purpose(
                device=self._journey.device,
                domain=effect.domain,
                wanted=hashlib.sha256(contents.digest + (binding or "").encode()).digest(),
            ),
            kind=contents.key,
            build_csr=lambda signer: build_csr(
                signer,
                contents.subject,
                extensions=contents.extensions,
                challenge_password=binding,
            ),
        )

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


def _outcome(ended: Onboarding, enrollment: Enrollment | None) -> Outcome:
    verdict = _verdict_of(ended)
    kept = enrollment if verdict.result is Result.ENROLLED else None
    pin = kept.pinned_domain_cert if kept else ended.pin
    ca_certs = kept.domain if kept else ended.domain
    return Outcome(
        result=verdict.result,
        code=verdict.code,
        reason=verdict.reason,
        reported=verdict.reported,
        registrar=kept.origin if kept else ended.origin,
        artifacts=Artifacts(
            pledge_voucher_request=ended.voucher_request,
            voucher=ended.voucher,
            registrar_chain=_der(ended.registrar_chain),
            pinned_domain_cert=certificate_der(pin) if pin else b"",
            csr=ended.csr,
            ldevid_chain=_der(kept.ldevid_chain) if kept else (),
            ldevid_pem=pem_of(kept.ldevid_chain) if kept else b"",
            ca_certs=_der(ca_certs.certificates) if ca_certs else (),
            ca_certs_pem=pem_of(ca_certs.certificates) if ca_certs else b"",
        ),
    )


def _der(certificates: Sequence[x509.Certificate]) -> tuple[bytes, ...]:
    return tuple(certificate_der(certificate) for certificate in certificates)
