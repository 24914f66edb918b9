"""Whose key has an onboarding is a device, whatever root the owner lists for other clients."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509

from brski.pki.chain import TrustAnchors
from registrar_plugin.clerk import Clerk
from registrar_plugin.enrollment.client_ca import ClientCA
from registrar_plugin.enrollment.client_names import DeviceNames
from registrar_plugin.est_clients.certificates import CertificateClients, TrustedCA
from registrar_plugin.store.sqlite_client_certificates import SQLiteClientCertificates
from tests.kit import pki
from tests.kit.est_clients import make_client
from tests.kit.world import World, make_world


def clients_of(world: World, *anchors: pki.Entity) -> CertificateClients:
    ca = ClientCA(
        name="listed",
        anchors=TrustAnchors([each.root for each in anchors]),
        labels=frozenset({""}),
    )
    return CertificateClients(
        [TrustedCA(ca=ca)],
        kept=SQLiteClientCertificates(world.journal.writer),
        devices=DeviceNames(),
        journal=world.journal,
        clerk=Clerk(world.journal, world.clock),
    )


@pytest.mark.requirement("ESTS-22")
async def test_a_device_is_no_client_though_its_root_is_listed(tmp_path: Path) -> None:
    """From its onboarding on, good or bad; nor is its LDevID, were the domain's own root listed."""
    async with make_world(tmp_path) as world:
        clients = clients_of(world, world.oem, world.owner)
        device = world.make_device()
        before = await clients.recognise(world.connection(device.shown))
        assert before is not None  # the owner has listed the manufacturer for this
        await world.voucher(device)
        assert await clients.recognise(world.connection(device.shown)) is None
        await world.accept(device)
        ldevid = await world.enroll(device)
        assert isinstance(ldevid, x509.Certificate)
        above = world.owner.chain[:-1]
        for ours in (ldevid, world.registrar_entity.certificate):
            assert await clients.recognise(world.connection([ours, *above])) is None
        other = make_client(world.owner, "gw-7")  # by the owner's CA, and not by this registrar
        assert await clients.recognise(world.connection([other.certificate, *above])) is not None


async def test_an_asserted_identity_is_no_certificate_of_a_ca(tmp_path: Path) -> None:
    """Though the record that it would lead to is under a listed root."""
    async with make_world(tmp_path) as world:
        clients = clients_of(world, world.oem)
        device = world.make_device(asserting=True)
        assert await clients.recognise(world.connection(device.shown)) is None
