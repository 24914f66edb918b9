"""From a seed to an LDevID in memory, under an OEM's PKI of each kind of key."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from brski.edge.signers.file import load_chain, load_private_key
from brski.errors import DeviceUnknown
from brski.pki.extensions import authority_key_identifier
from brski.pki.keys import parse_certificate
from brski.seed.profiles import profile
from oem_backend.factory.pki import ALGORITHMS
from tests.kit import factory, pki
from tests.kit.factory import CREATED
from tests.kit.world import Clock, Device, make_world


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_device_is_onboarded_under_this_kind_of_ca(tmp_path: Path, algorithm: str) -> None:
    """The factory's own records, one device that carries and one that asserts, the real gates."""
    kit = factory.found(tmp_path / "oem", algorithm=algorithm)
    seeds = factory.chips(2)
    kit.take(kit.batch(seeds)[0])
    kit.make(kit.build_list(factory.serials(seeds)))
    chain = load_chain(kit.folder / "issuing-chain.pem")
    oem = pki.Entity(
        certificate=chain[0],
        private_key=load_private_key(kit.folder / "issuing.key"),
        issuers=chain[1:],
    )
    clock = Clock(CREATED + timedelta(days=30))
    async with make_world(tmp_path, oem=oem, clock=clock) as world:
        for seed, record in zip(seeds, kit.records(), strict=True):
            device = Device(
                entity=pki.Entity(
                    certificate=parse_certificate(record.certificate),
                    private_key=profile("hmac-drbg-p256").derive(seed.seed, seed.chip_id),
                    issuers=chain,
                ),
                presentation=record.presentation,
                serial_number=record.serial_number,
            )
            if not device.carried:
                with pytest.raises(DeviceUnknown):  # the factory's record has not come yet
                    await world.voucher(device)
            world.records.records.append(record)
            issued = await world.onboard(device)
            assert authority_key_identifier(issued) is not None
