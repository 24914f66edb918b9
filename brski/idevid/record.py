"""What the factory publishes of one device: a certificate and what is known of it.

Holds no secret. Travels in the bundle (:mod:`brski.idevid.bundle`) and as JSON
(:mod:`brski.idevid.record_json`).
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import Final

from brski.errors import IDevIDIssuerMismatch, Malformed, SerialNumberMismatch
from brski.pki import extensions, keys, names

SUPERSEDED: Final = "superseded"  # status_reason of a certificate that a re-issue replaced

_TOKEN: Final = re.compile(r"(?=.{1,64}\Z)[a-z0-9]+(?:-[a-z0-9]+)*")


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
    status_reason: str = ""  # a token such as "superseded"; always empty when active


def check_token(text: str, what: str) -> str:
    """Return *text* if it is a name for machines, such as a derivation profile or a reason.

    Args:
        text: such as ``"hmac-drbg-p256"``.
        what: names the value in a refusal.

    Raises:
        Malformed: not 1 to 64 of ``a-z 0-9``, with single hyphens between.
    """
    if not _TOKEN.fullmatch(text):
        raise Malformed(f"{what} {text[:80]!r} is not 1 to 64 of a-z 0-9 with hyphens between")
    return text


def check_status(status: DeviceStatus, reason: str) -> None:
    """Raise unless *reason* can go with *status*: none when active, else none or a token.

    Raises:
        Malformed: it cannot.
    """
    if status is DeviceStatus.ACTIVE:
        if reason:
            raise Malformed(f"status active with the reason {reason[:80]!r}")
    elif reason:
        check_token(reason, "status reason")


def certified_spki(certificate: bytes, *, idevid_issuer: bytes, serial_number: str) -> bytes:
    """Cut the public key out of a device's certificate, which must be of this very device.

    Says nothing of signatures: path validation tells whether the manufacturer made it.

    Args:
        certificate: IDevID, DER.
        idevid_issuer: 20-octet keyIdentifier that the certificate must name.
        serial_number: that its subject must have.

    Returns:
        SubjectPublicKeyInfo, DER.

    Raises:
        Malformed, TooLarge: see :func:`brski.pki.keys.parse_certificate`.
        SerialNumberMismatch: the certificate's subject has another serial number.
        IDevIDIssuerMismatch: the certificate names another issuer.
        KeyNotAllowed: see :func:`brski.pki.keys.load_spki`.

    docs/oem-formats.md.
    """
    parsed = keys.parse_certificate(certificate)
    certified = names.device_serial_number(parsed)
    if certified != serial_number:
        raise SerialNumberMismatch(
            f"record of {serial_number}, its certificate is of {certified}",
            section="RFC 8995 §2.3.1",
        )
    issuer = extensions.idevid_issuer_of(parsed)
    if issuer != idevid_issuer:
        raise IDevIDIssuerMismatch(
            f"record of issuer {idevid_issuer.hex()}, its certificate is of {issuer.hex()}",
            section="RFC 8366 §5.3",
        )
    spki = keys.spki_of(parsed)
    keys.load_spki(spki)
    return spki
