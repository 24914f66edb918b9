"""A factory's output without a factory: devices, bundles, and their loading."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from brski.idevid.bundle import BundleOrigin, BundleWriter, CertifiedDevice, Revocation
from brski.idevid.profile import IDevIDProfile
from brski.idevid.record import DeviceRecord, Presentation
from brski.pki import keys
from brski.pki.extensions import subject_key_identifier
from oem_backend.database.loader import LoadReport, load_bundle
from oem_backend.database.marks import Subject, Verdict, add_mark, device_subject
from oem_backend.database.opening import as_place
from tests.kit import pki

CREATED: Final = datetime(2025, 3, 1, 8, 30, 0, tzinfo=UTC)
FACTORY_ID: Final = "factory-1"
PRODUCT: Final = "Example Pump 7"


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A device as it left the factory."""

    serial_number: str
    private_key: Any = field(repr=False)
    certificate: bytes
    issuer: bytes  # keyIdentifier

    @property
    def spki(self) -> bytes:
        return keys.encode_spki(self.private_key.public_key())

    @property
    def spki_sha256(self) -> bytes:
        return hashlib.sha256(self.spki).digest()

    @property
    def revocation(self) -> Revocation:
        """What a re-issue says of it."""
        return Revocation(
            idevid_issuer=self.issuer,
            serial_number=self.serial_number,
            certificate_sha256=hashlib.sha256(self.certificate).digest(),
        )

    def listed(self, *replaces: Made, **changes: Any) -> CertifiedDevice:
        """Its entry in a bundle; *replaces* are what its chip and serial number had before."""
        entry = CertifiedDevice(
            serial_number=self.serial_number,
            presentation=Presentation.ASSERTED,
            certificate=self.certificate,
            chunk=0,
            replaces=tuple(sorted(each.revocation for each in replaces)),
        )
        return replace(entry, **changes)


class Factory:
    """Certifies devices and writes bundles.

    Args:
        issuer: issuing CA.
        kind: of the key that signs bundles.
    """

    def __init__(
        self, issuer: pki.Entity | None = None, *, factory_id: str = FACTORY_ID, kind: str = "P-256"
    ) -> None:
        self.issuer = issuer or pki.make_pki()
        self.factory_id = factory_id
        self.signer = pki.KeySigner(pki.make_key(kind))
        self.keys = {factory_id: self.signer.public_key}
        identifier = subject_key_identifier(self.issuer.certificate)
        assert identifier is not None
        self.idevid_issuer = identifier

    def make(
        self,
        serial_number: str,
        *,
        key: Any = None,
        created: datetime = CREATED,
        masa_url: str = pki.MASA_URL,
    ) -> Made:
        """A device with a new key, or with *key*."""
        profile = IDevIDProfile(
            issuer=self.issuer.certificate, masa_url=masa_url, not_before=created
        )
        private_key = key or pki.make_key()
        spki = keys.encode_spki(private_key.public_key())
        return Made(
            serial_number=serial_number,
            private_key=private_key,
            certificate=profile.certify(spki, serial_number, self.issuer.signer),
            issuer=self.idevid_issuer,
        )

    def origin(self, **changes: Any) -> BundleOrigin:
        """The header's facts; *changes* bend them."""
        facts: dict[str, Any] = {
            "factory_id": self.factory_id,
            "batch_digest": hashlib.sha256(b"batch").digest(),
            "build_list_digest": hashlib.sha256(b"build list").digest(),
            "generation": 1,
            "created_at": CREATED,
            "product": PRODUCT,
            "derivation_profile": "hmac-drbg-p256",
            "issuing_chain": tuple(keys.certificate_der(each) for each in self.issuer.chain),
        }
        return BundleOrigin(**(facts | changes))

    def bundle(self, devices: Iterable[Made | CertifiedDevice], **changes: Any) -> bytes:
        """A signed bundle of *devices*, in any order."""
        entries = [each.listed() if isinstance(each, Made) else each for each in devices]
        writer = BundleWriter(io.BytesIO(), self.origin(**changes))
        for entry in sorted(entries, key=lambda entry: entry.serial_number):
            writer.add(entry)
        out = io.BytesIO()
        writer.finish(out, self.signer)
        return out.getvalue()

    def load(
        self, database: Path, devices: Sequence[Made | CertifiedDevice], **changes: Any
    ) -> LoadReport:
        """Write a bundle and load it."""
        return self.load_octets(database, self.bundle(devices, **changes))

    def load_octets(self, database: Path, octets: bytes, *, late: bool = False) -> LoadReport:
        """Load a bundle that was written before."""
        return load_bundle(database, io.BytesIO(octets), self.keys, now=pki.NOW, late=late)


def mark(database: Path, device: DeviceRecord, verdict: Verdict, reason: str) -> bool:
    """What a person says of a device's key."""
    return say(database, device_subject(device), verdict, reason)


def say(database: Path, subject: Subject, verdict: Verdict, reason: str) -> bool:
    """What a person says of anything."""
    with closing(as_place(database).open_to_write()) as session:
        return add_mark(session, subject, verdict, reason, by="operator", now=pki.NOW)
