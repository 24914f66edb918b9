"""What an onboarding needs of the outside, and what its caller gets of it: plain values."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from cryptography import x509

from brski.edge.signers.file import pem_of
from brski.errors import (
    StateError,
)
from brski.pki.keys import certificate_der
from device_client.pledge.attempt import Onboarding
from device_client.pledge.origin import Origin
from device_client.pledge.states import (
    Enrollment,
    Result,
    StepName,
    StepStatus,
    Verdict,
)


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
    link: Callable[[], object] | None = None  # another value: back-offs begin anew

    def now(self) -> datetime | None:
        """The time, or None."""
        return None if self.clock is None else self.clock()


def verdict_of(ended: Onboarding) -> Verdict:
    if ended.verdict is None:
        raise StateError("the pledge's machine stopped before its end")
    return ended.verdict


def outcome_of(ended: Onboarding, enrollment: Enrollment | None) -> Outcome:
    verdict = verdict_of(ended)
    kept = enrollment if verdict.result is Result.ENROLLED else None
    accepted = ended.accepted.pin if ended.accepted else None
    pin = kept.pinned_domain_cert if kept else accepted
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
