"""A device of every derivation profile, from its seed to a local certificate, in memory.

IDevID, assertion certificate, voucher-request, the registrar's request, voucher and chains are the
real ones; the world's device answers with the key that the profile derives.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from brski import registry
from brski.errors import KeyMismatch
from brski.pki.chain import TrustAnchors
from brski.pki.keys import encode_spki, spki_of
from brski.seed.profiles import NAMES, DevicePrivateKey, profile
from brski.seed.secret import Seed
from brski.telemetry.status import Status
from tests.kit import pki
from tests.kit.world import make_world

CHIP = bytes.fromhex("c0ffee01")


def derived(name: str, *, last_octet: int = 0) -> DevicePrivateKey:
    octets = profile(name).least_seed_octets
    return profile(name).derive(Seed(bytes(octets - 1) + bytes([last_octet])), CHIP)


@pytest.mark.requirement("OEM-8", "E2E-9")
@pytest.mark.parametrize("asserting", [False, True], ids=["carried", "asserting"])
@pytest.mark.parametrize("name", NAMES)
async def test_a_device_of_every_profile_ends_with_a_certificate(
    tmp_path: Path, name: str, asserting: bool
) -> None:
    key = derived(name)
    async with make_world(tmp_path) as world:
        device = world.make_device(asserting=asserting, key=key)
        assert spki_of(device.entity.certificate) == encode_spki(key.public_key())
        issued = await world.onboard(device)
        await world.reports.enroll_status(Status(status=True), world.connection([issued]))
        active = await world.journal.active_certificate(device.key)
        assert active is not None


@pytest.mark.parametrize("name", NAMES)
async def test_one_bit_of_the_seed_makes_another_device(tmp_path: Path, name: str) -> None:
    """It asserts the same serial number and signs soundly; its key is not the one on record."""
    async with make_world(tmp_path) as world:
        device = world.make_device(asserting=True, key=derived(name))
        near = pki.make_idevid(world.oem, key=derived(name, last_octet=1))
        with pytest.raises(KeyMismatch):
            await world.voucher(replace(device, entity=near))
        assert not world.wire.sent


@pytest.mark.parametrize("ca", ["P-384", "Ed25519", "ML-DSA-65"])
@pytest.mark.parametrize("name", ["ed25519", "hmac-drbg-p384", "ml-dsa-44", "ml-dsa-87"])
async def test_under_manufacturers_of_other_algorithms(tmp_path: Path, name: str, ca: str) -> None:
    """Root, issuing CA and device need not agree on an algorithm."""
    oem = pki.make_pki("Example OEM", kind=ca)
    async with make_world(tmp_path, oem=oem) as world:
        device = world.make_device(asserting=True, key=derived(name))
        TrustAnchors([oem.root]).validate(
            device.entity.certificate, device.entity.intermediates, at=pki.NOW
        )
        await world.onboard(device)


@pytest.mark.parametrize("asserting", [False, True], ids=["carried", "asserting"])
async def test_the_largest_messages_fit(tmp_path: Path, asserting: bool) -> None:
    """Device, issuing CA and root of ML-DSA-87: the registrar's request holds all but the root."""
    oem = pki.make_pki("Example OEM", kind="ML-DSA-87")
    async with make_world(tmp_path, oem=oem) as world:
        device = world.make_device(asserting=asserting, key=derived("ml-dsa-87"))
        await world.onboard(device)
        (sent,) = world.wire.sent
        assert len(sent) < registry.BODY_LIMIT
        assert (len(sent) > 25_000) is not asserting
