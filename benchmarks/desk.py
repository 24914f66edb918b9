"""A vendor, an assembly and a factory in a folder: sealed batches and build lists of any size."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from brski.edge.signers.file import load_signer
from brski.idevid.build_list import BuildEntry, BuildListWriter
from brski.idevid.record import Presentation
from brski.seed.batch import build_header
from brski.seed.batch_file import mint
from brski.seed.recipient_key import HybridPublicKey
from brski.seed.record import SeedRecord
from brski.seed.secret import Seed
from brski_lab.pki import write_signing_key
from oem_backend.factory.found import found_factory

PROFILE: Final = "hmac-drbg-p256"
PRODUCT: Final = "sensor"
CREATED: Final = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
_PRESENTATIONS: Final = tuple(Presentation)

_SETTINGS: Final = """
[[factory.vendor]]
name = "vendor"
key = "vendor.pub"

[[factory.assembler]]
name = "assembly"
key = "assembly.pub"
"""
_OEM_SETTINGS: Final = """
[database]
path = "devices.db"

[[database.factory]]
name = "factory-1"
key = "bundle.pub"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What was laid out."""

    folder: Path

    @property
    def factory_settings(self) -> Path:
        """For ``brski-oem factory``."""
        return self.folder / "factory.toml"

    @property
    def oem_settings(self) -> Path:
        """For ``brski-oem database``."""
        return self.folder / "oem.toml"

    def batch(self, count: int, *, records_a_chunk: int) -> Path:
        """A sealed batch of *count* chips."""
        signer = load_signer(self.folder / "vendor.key")
        recipient = HybridPublicKey.parse((self.folder / "recipient.pub").read_bytes())
        header = build_header(
            vendor_id="vendor",
            vendor_key=signer.public_key,
            product=PRODUCT,
            batch_id="batch-1",
            sequence=1,
            predecessor=None,
            derivation_profile=PROFILE,
            record_count=count,
            created_at=CREATED,
            recipient=recipient,
            records_a_chunk=records_a_chunk,
        )
        path = self.folder / "batch"
        with tempfile.TemporaryFile(dir=self.folder) as spool, path.open("wb") as out:
            mint(header, chips(count), recipient=recipient, signer=signer, out=out, spool=spool)
        return path

    def build_list(self, count: int) -> Path:
        """The signed list of all chips of :meth:`batch`, every other device asserting."""
        path = self.folder / "list"
        with tempfile.TemporaryFile(dir=self.folder) as spool, path.open("wb") as out:
            writer = BuildListWriter(spool)
            for number in range(count):
                writer.add(
                    BuildEntry(
                        chip_id=chip_id(number),
                        serial_number=serial_number(number),
                        presentation=_PRESENTATIONS[number % 2],
                        replace=False,
                    )
                )
            writer.finish(
                out,
                signer_id="assembly",
                created_at=CREATED,
                product=PRODUCT,
                generation=1,
                signer=load_signer(self.folder / "assembly.key"),
            )
        return path


def lay_out(folder: Path) -> Desk:
    """Found a factory in *folder*, with a vendor and an assembly that it knows."""
    found_factory(
        folder,
        name="factory-1",
        title="Example OEM",
        masa_url="masa.example.com",
        levels=3,
        algorithm="P-256",
        created_at=CREATED,
    )
    for name in ("vendor", "assembly"):
        write_signing_key(folder, name)
    desk = Desk(folder=folder)
    with desk.factory_settings.open("a") as settings:
        settings.write(_SETTINGS)
    desk.oem_settings.write_text(_OEM_SETTINGS)
    return desk


def chips(count: int) -> Iterator[SeedRecord]:
    """So many, with seeds from the system's generator."""
    for number in range(count):
        yield SeedRecord(chip_id=chip_id(number), seed=Seed(secrets.token_bytes(32)))


def chip_id(number: int) -> bytes:
    """Of the chip *number*, 8 octets."""
    return number.to_bytes(8, "big")


def serial_number(number: int) -> str:
    """Of the device with the chip *number*; ascending as the numbers do."""
    return f"SN-{number:08d}"
