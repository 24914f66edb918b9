"""The room of the journal that knows why an LDevID is issued: under which profile, in whose place.

A room of its own beside :class:`~registrar_plugin.store.port.Journal` (docs/journal.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from registrar_plugin.identity.clients import BRSKI
from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.store.port import Intent
from registrar_plugin.telemetry.events import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuance:
    """What a certificate request was an answer to; all empty for an onboarded device's first."""

    label: str = ""  # of the enrollment profile (RFC 7030 §3.2.2); empty: the default one
    enrollee: str = BRSKI  # the kind of client, see EnrolleeAuthority
    renews: bytes | None = None  # SHA-256 of the DER of the LDevID in whose place it comes
    asked_by: bytes | None = None  # SHA-256 of the DER of the registration authority's certificate
    key_made_here: bool = False  # and kept nowhere: of no use to anybody after a restart


class Issuances(Protocol):
    """Keyed by device and CSR digest, as intents and certificates are."""

    async def intend(
        self,
        device: DeviceKey,
        octets: bytes,
        csr_digest: bytes,
        issuance: Issuance,
        *events: Event,
        spki: bytes,
    ) -> tuple[Intent, Issuance]:
        """Make the intent to issue an LDevID durable, with *events*, in one transaction.

        Args:
            octets: as the CA prepared them.
            spki: DER SubjectPublicKeyInfo of the key to be certified; it stands in *octets*.

        Returns:
            The new intent, or the one that stands for this device and CSR, completed or not, and
            why it stands; then nothing is written.

        Raises:
            WrongOrder: the LDevID that it renews, or the certificate of the registration authority
                that asks, is not accepted (any more).
            CSRMismatch: one of the two, whoever is asking and whoever has the key, is no device,
                and the key is the other's.
            LDevIDRevoked: a revocation has ended the onboarding that stands, or this very intent.
        """

    async def of_request(self, device: DeviceKey, csr_digest: bytes) -> Issuance:
        """Why the certificate that answers this request was issued, or is about to be."""

    async def is_overtaken(self, intent: Intent) -> bool:
        """Whether the device has got an LDevID by a later intent."""

    async def abandon(self, intent: Intent, *events: Event) -> None:
        """Close an open *intent* that nobody will complete; its result is empty then."""
