"""The durable journal: what came, what was decided and why, what was signed (docs/journal.md).

Every method returns only when what it says is on disk (commits of concurrent onboardings are
grouped). State is keyed by :class:`~registrar_plugin.identity.model.DeviceKey`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.store.revocation import Revocation
from registrar_plugin.telemetry.events import Event, EventKind


class IntentKind(enum.StrEnum):
    """What is about to be signed."""

    REGISTRAR_VOUCHER_REQUEST = "registrar-voucher-request"
    LDEVID = "ldevid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Onboarding:
    """Where one device stands; replaced by its next accepted voucher-request."""

    device: DeviceKey
    idevid_spki_sha256: bytes
    manufacturer: str
    masa_url: str
    presentation: str  # "carried" or "asserted"
    idevid_chain: tuple[bytes, ...]  # DER, leaf first
    pledge_request: bytes  # as received
    request_digest: bytes  # SHA-256 of it: names this onboarding among the device's
    registrar_request: bytes | None = None  # as signed
    voucher: bytes | None = None  # as received from the MASA
    voucher_media_type: str = ""
    voucher_status: bool | None = None  # what the pledge said
    audit_verdict: bool | None = None  # what the registrar judged
    audit_reason: str = ""
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """Something to be signed, or signed: written before the signature, completed after it."""

    id: int
    kind: IntentKind
    device: DeviceKey
    octets: bytes  # to-be-signed, as the backend or serialization gave it
    request_digest: bytes  # SHA-256 of the CSR or of the pledge's request
    result: bytes | None  # the signed object, once it is


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedCertificate:
    """An LDevID that left, or may leave, the registrar."""

    device: DeviceKey
    certificate: bytes  # DER
    csr_digest: bytes  # SHA-256 of the CSR's DER
    spki_sha256: bytes
    state: str  # "active", "superseded", "revoked"
    issued_at: datetime


class Journal(Protocol):
    """What the registrar remembers."""

    async def record(self, *events: Event) -> None:
        """Append *events*."""

    async def begin(self, onboarding: Onboarding, octets: bytes, *events: Event) -> Intent:
        """Put *onboarding* in place of the device's former one, with the intent to sign its
        registrar voucher-request, and append *events*, in one transaction.

        Args:
            octets: the unsigned registrar voucher-request, as its serialization encodes it.

        Returns:
            The new intent, or the one that stands, completed or not, when this very pledge
            voucher-request began the onboarding that stands: a repeated request changes nothing.
        """

    async def has_begun(self, device: DeviceKey, request_digest: bytes) -> bool:
        """Whether a pledge voucher-request of *device* with this SHA-256 ever began an
        onboarding.
        """

    async def onboarding(self, device: DeviceKey) -> Onboarding | None:
        """Where *device* stands."""

    async def onboarding_by_key(self, idevid_spki_sha256: bytes) -> Onboarding | None:
        """The onboarding whose IDevID has this key; one key belongs to one device."""

    async def complete_registrar_request(
        self, intent: Intent, result: bytes, *events: Event
    ) -> None:
        """Store the signed registrar voucher-request with its intent and its onboarding."""

    async def complete_voucher(
        self, onboarding: Onboarding, voucher: bytes, media_type: str, *events: Event
    ) -> None:
        """Store the MASA's voucher with the onboarding.

        Raises:
            WrongOrder: a later voucher-request of the device has replaced *onboarding*; so for the
                two that follow.
        """

    async def complete_ldevid(
        self, intent: Intent, certificate: IssuedCertificate, *events: Event
    ) -> bytes:
        """Store the LDevID; the device's former active one becomes superseded in the same
        transaction.

        Returns:
            The certificate that stands, DER: the stored one when the same intent was completed
            before.

        Raises:
            LDevIDRevoked: a revocation came between; the certificate is stored as a revoked one.
        """

    async def set_voucher_status(
        self, onboarding: Onboarding, accepted: bool, *events: Event
    ) -> None:
        """What the pledge said of its voucher."""

    async def set_audit_verdict(
        self,
        onboarding: Onboarding,
        good: bool,
        reason: str,
        *events: Event,
        revoking: tuple[Revocation, Event] | None = None,
    ) -> None:
        """What the registrar judged of the audit log.

        Args:
            revoking: withdraws the device's certificates with it, in the same transaction, if one
                of them is active; else nothing of it is written.
        """

    async def open_intents(self) -> tuple[Intent, ...]:
        """Those without a result, oldest first; a restart completes them."""

    async def certificate_by_digest(self, certificate_sha256: bytes) -> IssuedCertificate | None:
        """The LDevID whose DER has this SHA-256, whatever its state, as it is on the disk now:
        another process may have revoked it.
        """

    async def certificate_for_csr(
        self, device: DeviceKey, csr_digest: bytes
    ) -> IssuedCertificate | None:
        """The LDevID that answered this very CSR."""

    async def active_certificate(self, device: DeviceKey) -> IssuedCertificate | None:
        """The one LDevID of *device* that is accepted."""

    async def devices(self, serial_number: str) -> tuple[DeviceKey, ...]:
        """Every device with this serial number, whoever issued its IDevID."""

    async def events(
        self,
        *,
        device: DeviceKey | None = None,
        kind: EventKind | None = None,
        limit: int = 1000,
    ) -> tuple[Event, ...]:
        """The last *limit* events, of one device or kind where named, oldest first."""

    async def close(self) -> None:
        """Finish what is queued and close the file."""
