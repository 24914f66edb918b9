"""A device whose identity has been verified, as the rest of the registrar sees it."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509

from brski.idevid.record import DeviceRecord, Presentation
from brski.voucher.model import VoucherRequest


@dataclass(frozen=True, slots=True, order=True)
class DeviceKey:
    """What all state of a device is keyed by: a serial number is unique only under one issuer."""

    idevid_issuer: bytes  # 20-octet keyIdentifier
    serial_number: str

    def __str__(self) -> str:
        return f"{self.serial_number}@{self.idevid_issuer.hex()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedIDevID:
    """The answer to "who is it": every check of docs/identity.md has passed."""

    device: DeviceKey
    manufacturer: str  # its name in the settings
    presentation: Presentation  # how it presented itself in this handshake
    idevid: x509.Certificate  # carried, or fetched
    idevid_chain: tuple[x509.Certificate, ...]  # leaf first, the anchor last
    masa_url: str | None  # base URL out of the certificate's extension, or the settings' override
    record: DeviceRecord | None  # the OEM's; None only where no source is configured (carried)
    request: VoucherRequest  # the pledge's, its signature verified under the proven key
    request_octets: bytes  # as received
