"""Devices for tests: fuses, identities, and what a pledge is told in memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from brski.idevid.record import Presentation
from brski.pki import signatures
from brski.seed.profiles import profile
from brski.seed.secret import Seed
from device_client.identity.from_seed import Fuse
from tests.kit import pki

SEED = bytes(range(32))
CHIP_ID = bytes.fromhex("c0ffee01")
PROFILE = "hmac-drbg-p256"


def derived_key(seed: bytes = SEED, chip_id: bytes = CHIP_ID) -> signatures.PrivateKey:
    """The key that the device will derive, as the factory derives it."""
    return profile(PROFILE).derive(Seed(seed), chip_id)


def make_fuse(
    issuer: pki.Entity,
    voucher_anchor: pki.Entity,
    serial_number: str = pki.SERIAL_NUMBER,
    *,
    presentation: Presentation = Presentation.ASSERTED,
    seed: bytes = SEED,
    chip_id: bytes = CHIP_ID,
    **changes: Any,
) -> Fuse:
    """What an honest factory burns, but for *changes*."""
    fuse = Fuse(
        seed=Seed(seed),
        chip_id=chip_id,
        serial_number=serial_number,
        idevid_issuer=pki.key_identifier(issuer.private_key.public_key()),
        derivation_profile=PROFILE,
        voucher_anchors=(voucher_anchor.certificate,),
    )
    if presentation is Presentation.CARRIED:
        idevid = make_idevid(issuer, serial_number, seed=seed, chip_id=chip_id)
        fuse = replace(fuse, certificates=(idevid.certificate, *idevid.intermediates))
    return replace(fuse, **changes)


def make_idevid(
    issuer: pki.Entity,
    serial_number: str = pki.SERIAL_NUMBER,
    *,
    seed: bytes = SEED,
    chip_id: bytes = CHIP_ID,
    **knobs: Any,
) -> pki.Entity:
    """The IDevID that the factory makes of the same seed."""
    return pki.make_idevid(issuer, serial_number, key=derived_key(seed, chip_id), **knobs)
