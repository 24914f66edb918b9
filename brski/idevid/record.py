"""What the factory publishes of one device. Holds no secret."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Presentation(enum.StrEnum):
    """How the device will say who it is (docs/identity.md)."""

    CARRIED = "carried"  # it was loaded with its IDevID certificate
    ASSERTED = "asserted"  # it only asserts its serial number; its voucher-request must be signed


class DeviceStatus(enum.StrEnum):
    """What became of the identity since it was certified."""

    ACTIVE = "active"
    REVOKED = "revoked"
    FLAGGED = "flagged"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRecord:
    """One device as the OEM database knows it."""

    idevid_issuer: bytes  # the issuer's keyIdentifier, 20 octets
    serial_number: str  # the device's: subject serialNumber (2.5.4.5)
    certificate: bytes  # IDevID, DER
    spki: bytes  # SubjectPublicKeyInfo cut from that DER
    intermediates: tuple[bytes, ...]  # DER, the IDevID's issuer first, without the root
    presentation: Presentation
    derivation_profile: str  # such as "hmac-drbg-p256"
    batch_digest: bytes  # SHA-256 of the seed batch's signed payload
    chunk: int  # of that batch, from 0
    generation: int  # of the bundle that brought it
    status: DeviceStatus = DeviceStatus.ACTIVE
    status_reason: str = ""  # for the operator; empty when active
