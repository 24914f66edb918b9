"""A vendor, an OEM and a small batch."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from brski.pki.signer import PublicKey
from brski.seed.batch import BatchHeader, build_header
from brski.seed.batch_file import MintedBatch, SeedBatch, mint, open_batch
from brski.seed.recipient_key import HybridPrivateKey
from brski.seed.record import SeedRecord
from brski.seed.secret import Seed
from tests.kit import pki
from tests.kit.programs import require_program

DATA = Path(__file__).parent / "data"
CREATED_AT = datetime(2025, 6, 1, 12, tzinfo=UTC)


def records(count: int, *, start: int = 0) -> tuple[SeedRecord, ...]:
    """Chips with numbers for ids, and seeds that can be told apart."""
    return tuple(
        SeedRecord(
            chip_id=b"CHIP-%06d" % number,
            seed=Seed(hashlib.sha256(b"seed %d" % number).digest()),
        )
        for number in range(start, start + count)
    )


@dataclass(frozen=True, kw_only=True)
class World:
    """One vendor and one OEM, and what the vendor mints for it."""

    vendor: pki.KeySigner
    oem: HybridPrivateKey
    vendor_id: str = "example-silicon"

    @property
    def vendors(self) -> dict[str, PublicKey]:
        return {self.vendor_id: self.vendor.public_key}

    def header(
        self, record_count: int = 5, records_a_chunk: int = 2, **altered: Any
    ) -> BatchHeader:
        header = build_header(
            vendor_id=self.vendor_id,
            vendor_key=self.vendor.public_key,
            product="Example 1000",
            batch_id="2025/0042",
            sequence=1,
            predecessor=None,
            derivation_profile="hmac-drbg-p256",
            record_count=record_count,
            created_at=CREATED_AT,
            recipient=self.oem.public_key,
            records_a_chunk=records_a_chunk,
        )
        return replace(header, **altered)

    def mint(
        self, header: BatchHeader | None = None, minted: Sequence[SeedRecord] | None = None
    ) -> tuple[bytes, MintedBatch]:
        """A file and its receipt."""
        header = header or self.header()
        out = BytesIO()
        receipt = mint(
            header,
            records(header.record_count) if minted is None else minted,
            recipient=self.oem.public_key,
            signer=self.vendor,
            out=out,
            spool=BytesIO(),
        )
        return out.getvalue(), receipt

    def open(self, file: bytes) -> SeedBatch:
        return open_batch(BytesIO(file), self.vendors, self.oem.public_key.key_id)


@pytest.fixture(scope="session")
def world() -> World:
    return World(
        vendor=pki.KeySigner(pki.make_key()),
        oem=HybridPrivateKey.parse(hashlib.shake_256(b"an OEM").digest(96)),
    )


@pytest.fixture(scope="session")
def other_world() -> World:
    """Another vendor and another OEM."""
    return World(
        vendor=pki.KeySigner(pki.make_key()),
        oem=HybridPrivateKey.parse(hashlib.shake_256(b"another OEM").digest(96)),
        vendor_id="other-silicon",
    )


@pytest.fixture(scope="session")
def derive_c(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The second implementation, compiled; skips where it cannot be."""
    gcc = require_program("gcc", "gcc")
    probe = subprocess.run([gcc, "-E", "-"], input=b"#include <openssl/evp.h>", capture_output=True)
    if probe.returncode != 0:
        reason = "needs OpenSSL's headers (Debian package libssl-dev)"
        pytest.fail(reason) if os.environ.get("BRSKI_REQUIRE_ALL") == "1" else pytest.skip(reason)
    program = tmp_path_factory.mktemp("derive") / "derive"
    flags = ["-O2", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([gcc, *flags, "-o", program, DATA / "derive.c", "-lcrypto"], check=True)
    return program
