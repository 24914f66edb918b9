"""From a question to a certificate: service and factory as programs, a folder between."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from brski.edge.cli import DONE
from brski.edge.signers.file import load_chain
from brski.edge.tls_client import https_client_context
from brski.errors import DeviceUnknown
from brski.idevid.demand import Demand
from brski.pki.chain import TrustAnchors
from brski.pki.keys import encode_spki
from brski.seed.profiles import profile
from brski.voucher.cms import CMS
from oem_backend.cli import main
from registrar_plugin.identity.budget import RateBudget
from registrar_plugin.identity.model import VerifiedIDevID
from registrar_plugin.identity.policy import Manufacturer
from registrar_plugin.identity.verify import IdentityVerifier
from registrar_plugin.oem_source.http import HTTPSource
from registrar_plugin.oem_source.lookup import CachedLookup, LookupLimits
from tests.kit import factory
from tests.kit.factory import CREATED, FactoryKit
from tests.kit.identity import AMPLE, asserted_chain, pledge_request
from tests.kit.oem_service import BRSKI_OEM, Desk, Service

PATIENCE_S = 30.0


class Site:
    """A factory whose devices wait, the manufacturer's service, and two folders between them."""

    def __init__(self, folder: Path) -> None:
        self.kit = FactoryKit(folder=folder / "factory")
        factory.found(folder / "factory")
        self.records = factory.chips(3)
        self.kit.take(self.kit.batch(self.records)[0])
        built = self.kit.build_list(factory.serials(self.records))
        (folder / "online").mkdir()
        self.desk = Desk(folder / "online")
        self.spool, self.answers = folder / "online" / "demands", folder / "online" / "answers"
        self.spool.mkdir()
        self.answers.mkdir()
        with self.kit.settings.open("a") as settings:
            settings.write(
                f"\n[factory.on_demand]\ninbox = {json.dumps(str(self.spool))}\n"
                f"outbox = {json.dumps(str(self.answers))}\npoll_s = 0.05\n"
            )
        (self.desk.folder / "factory-1.pem").write_bytes(
            (self.kit.folder / "bundle.pub").read_bytes()
        )
        self.desk.configure("[database.on_demand]\npoll_s = 0.05\n")
        assert main(["factory", "register", str(built), "-s", str(self.kit.settings)]) == DONE

    @contextmanager
    def watching(self) -> Iterator[subprocess.Popen[bytes]]:
        """``brski-oem factory watch``, while the block runs."""
        process = subprocess.Popen([*BRSKI_OEM, "factory", "watch", "-s", str(self.kit.settings)])
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=30) == 0

    def verifier(self, service: Service) -> IdentityVerifier:
        """A registrar that asks the service, and keeps no absence in mind."""
        context = https_client_context(
            load_chain(self.desk.folder / "service-root.pem"),
            client_chain=self.desk.folder / "registrar.pem",
            client_key=self.desk.folder / "registrar.key",
        )
        source = HTTPSource(service.base_url, context, on_demand=True)
        return IdentityVerifier(
            [
                Manufacturer(
                    name="acme",
                    anchors=TrustAnchors(load_chain(self.kit.folder / "issuing-chain.pem")[-1:]),
                    source="acme",
                    serial_pattern=re.compile("SN-[0-9]{4}"),
                )
            ],
            serialization=CMS,
            clock=lambda: CREATED + timedelta(days=1),
            budget=RateBudget(clock=lambda: 0.0, per_address=AMPLE, in_all=AMPLE),
            lookup=CachedLookup(
                {"acme": source}, clock=time.monotonic, limits={"acme": LookupLimits(negative_s=0)}
            ),
            registrar_certificate=self.desk.registrar.certificate,
        )

    async def comes(
        self, verifier: IdentityVerifier, number: int, key_of: int | None = None
    ) -> VerifiedIDevID:
        """Device *number* asks, with the key of *key_of*."""
        record = self.records[number if key_of is None else key_of]
        key = profile("hmac-drbg-p256").derive(record.seed, record.chip_id)
        serial_number = f"SN-{number:04d}"
        return await verifier.verify(
            asserted_chain(key, serial_number),
            pledge_request(key, serial_number, self.desk.registrar.certificate),
        )

    async def comes_until_known(self, verifier: IdentityVerifier, number: int) -> VerifiedIDevID:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    return await self.comes(verifier, number)
                except DeviceUnknown:
                    await asyncio.sleep(0.05)

    def counts(self) -> dict[str, int]:
        return {
            name: count
            for name, count in self.kit.summary().items()
            if name in {"waiting", "answered", "other-key", "unknown", "repeated"}
            and isinstance(count, int)
        }


@pytest.fixture
def site(tmp_path: Path) -> Site:
    (tmp_path / "factory").mkdir()
    return Site(tmp_path)


@pytest.mark.requirement("OEM-10", "OEM-11")
async def test_a_device_is_certified_when_it_is_met(site: Site) -> None:
    """Nobody does anything but the two programs; the device only asks again.

    A stranger who asserts the other waiting number brings nothing about.
    """
    with Service(site.desk) as service, site.watching():
        verifier = site.verifier(service)
        with pytest.raises(DeviceUnknown):
            await site.comes(verifier, 1, key_of=2)
        with pytest.raises(DeviceUnknown):
            await site.comes(verifier, 0)
        verified = await site.comes_until_known(verifier, 0)
        assert verified.device.serial_number == "SN-0000"
        with pytest.raises(DeviceUnknown):
            await site.comes(verifier, 1, key_of=2)
        await verifier.close()
    assert site.counts() == {"waiting": 2, "answered": 1, "other-key": 1}
    assert [path.name for path in site.spool.glob("*.demand")] == []
    assert list(site.answers.iterdir()) == []
    log = service.log()
    assert log.count("device demanded") >= 2


async def test_it_waits_for_the_next_exchange_of_media(site: Site) -> None:
    """No folder in common: the demand lies there; it is carried, and the answer carried back."""
    stick = site.kit.folder / "stick"
    with Service(site.desk) as service:
        verifier = site.verifier(service)
        with pytest.raises(DeviceUnknown):
            await site.comes(verifier, 2)
        async with asyncio.timeout(PATIENCE_S):
            while not list(site.spool.glob("*.demand")):
                await asyncio.sleep(0.05)
        (demand,) = site.spool.glob("*.demand")
        record = site.records[2]
        key = profile("hmac-drbg-p256").derive(record.seed, record.chip_id)
        assert hashlib.sha256(demand.read_bytes()).hexdigest() == demand.stem
        spki = encode_spki(key.public_key())
        assert hashlib.sha256(spki).digest() in demand.read_bytes()
        _carry(site, demand, stick)
        assert (await site.comes_until_known(verifier, 2)).device.serial_number == "SN-0002"
        await verifier.close()


def _carry(site: Site, demand: Path, stick: Path) -> None:
    """In on one medium, out on another; the factory looks once."""
    (stick / "in").mkdir(parents=True)
    (stick / "out").mkdir()
    demand.rename(stick / "in" / demand.name)
    inbox, outbox = site.kit.folder / "inbox", site.kit.folder / "outbox"
    inbox.mkdir()
    outbox.mkdir()
    text = site.kit.settings.read_text()
    site.kit.settings.write_text(
        text.replace(json.dumps(str(site.spool)), '"inbox"').replace(
            json.dumps(str(site.answers)), '"outbox"'
        )
    )
    for command in (
        ["media", "pack", str(stick / "in")],
        ["media", "check", str(stick / "in"), "--take", str(inbox)],
        ["factory", "watch", "--once", "-s", str(site.kit.settings)],
    ):
        assert main(command) == DONE
    assert list(inbox.iterdir()) == []
    (answer,) = outbox.iterdir()
    answer.rename(stick / "out" / answer.name)
    assert main(["media", "pack", str(stick / "out")]) == DONE
    assert main(["media", "check", str(stick / "out"), "--take", str(site.answers)]) == DONE


async def test_a_factory_that_is_killed_goes_on(site: Site) -> None:
    """SIGKILL while demands are at work; started again, each device has one certificate."""
    with Service(site.desk) as service:
        verifier = site.verifier(service)
        for number in range(3):
            with pytest.raises(DeviceUnknown):
                await site.comes(verifier, number)
        async with asyncio.timeout(PATIENCE_S):
            while len(list(site.spool.glob("*.demand"))) < 3:
                await asyncio.sleep(0.05)
        killed = subprocess.Popen([*BRSKI_OEM, "factory", "watch", "-s", str(site.kit.settings)])
        try:
            async with asyncio.timeout(PATIENCE_S):
                while len(list(site.spool.glob("*.demand"))) == 3:
                    await asyncio.sleep(0.01)
        finally:
            killed.kill()
            killed.wait()
        with site.watching():
            for number in range(3):
                await site.comes_until_known(verifier, number)
        await verifier.close()
    summary = site.kit.summary()
    assert (summary["certificates"], summary["waiting"]) == (3, 0)


def test_a_flood_of_demands_leaves_others_their_turn(site: Site) -> None:
    """A second batch is taken in while strangers' demands are worth minutes of derivation."""
    strangers = [
        Demand(
            serial_number=f"SN-{number % 3:04d}",
            spki_sha256=hashlib.sha256(bytes([number])).digest(),
        )
        for number in range(256)
    ]
    for demand in strangers:
        (site.spool / demand.file_name).write_bytes(demand.encode())
    with site.kit.settings.open("a") as settings:
        settings.write("per_device_and_day = 1000\n")
    second, _ = site.kit.batch(factory.chips(2, start=50), "second", product="other")
    with site.watching():
        _until(lambda: len(list(site.spool.glob("*.demand"))) < len(strangers))
        _until(
            lambda: main(["factory", "intake", str(second), "-s", str(site.kit.settings)]) == DONE
        )
        assert len(list(site.spool.glob("*.demand"))) > 0


def _until(done: Callable[[], bool]) -> None:
    ends_at = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < ends_at
        time.sleep(0.02)
