"""A leak becomes known, or a CA is replaced: who is refused from then on, and who is not.

Registrar and MASA read a database that bundles were loaded into.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from brski.errors import ChainInvalid, DeviceRevoked, DeviceUnknown
from brski.idevid.record import DeviceRecord, Presentation
from oem_backend.database.marks import Subject, Verdict, batch_subject, device_subject
from oem_backend.database.opening import open_reader
from registrar_plugin.identity.verify import IDENTITY_REFUSALS
from tests.kit import oem, pki
from tests.kit.world import Device, Records, World, make_world


class Loaded(Records):
    """What a database file says."""

    def __init__(self, database: Path) -> None:
        super().__init__()
        self.reader = open_reader(database)

    def of(self, serial_number: str, idevid_issuer: bytes | None) -> tuple[DeviceRecord, ...]:
        return self.reader.find(idevid_issuer, serial_number)


class House:
    """The manufacturer's: issuing CAs one after the other, and one database."""

    def __init__(self, database: Path) -> None:
        self.database = database
        self.generation = 0

    def build(
        self, factory: oem.Factory, serial_number: str, *, chunk: int = 0, asserting: bool = True
    ) -> Device:
        """A device, loaded in a bundle of its own."""
        self.generation += 1
        presentation = Presentation.ASSERTED if asserting else Presentation.CARRIED
        made = factory.make(serial_number)
        entry = made.listed(chunk=chunk, presentation=presentation)
        factory.load(self.database, [entry], generation=self.generation)
        return Device(
            entity=pki.Entity(
                certificate=x509.load_der_x509_certificate(made.certificate),
                private_key=made.private_key,
                issuers=factory.issuer.chain,
            ),
            presentation=presentation,
            serial_number=serial_number,
        )


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "devices.db")


@pytest.fixture
def records(house: House) -> Iterator[Loaded]:
    house.build(oem.Factory(), "SN-0")  # so that there is a file
    loaded = Loaded(house.database)
    yield loaded
    loaded.reader.close()


# -- marks


SUBJECTS = ("device", "chunk", "batch")


def subject_of(record: DeviceRecord, what: str) -> Subject:
    if what == "device":
        return device_subject(record)
    return batch_subject(record.batch_digest, record.chunk if what == "chunk" else None)


@pytest.mark.parametrize("asserting", [False, True])
@pytest.mark.parametrize("what", SUBJECTS)
async def test_a_marked_device_is_refused_and_the_journal_says_why(
    tmp_path: Path, house: House, records: Loaded, what: str, asserting: bool
) -> None:
    """As any unknown device is; lifted, it is taken again. Its neighbour never notices."""
    factory = oem.Factory()
    device = house.build(factory, "SN-1", chunk=0, asserting=asserting)
    neighbour = house.build(factory, "SN-2", chunk=1, asserting=asserting)
    (record,) = records.find(None, "SN-1")
    subject = subject_of(record, what)
    async with make_world(tmp_path, oem=factory.issuer, records=records) as world:
        oem.say(house.database, subject, Verdict.REVOKED, "seed-leak")
        with pytest.raises(DeviceRevoked) as refused:
            await world.voucher(device)
        assert isinstance(refused.value, IDENTITY_REFUSALS)
        (event,) = await world.journal.events()
        assert event.code == "device-revoked"
        assert "revoked: seed-leak" in event.reason
        assert not world.wire.sent
        if what != "batch":
            await world.onboard(neighbour)
        oem.say(house.database, subject, Verdict.LIFTED, "false-alarm")
        await world.onboard(device)


@pytest.mark.parametrize("what", SUBJECTS)
async def test_a_mark_between_voucher_and_certificate_is_seen(
    tmp_path: Path, house: House, records: Loaded, what: str
) -> None:
    """The record is fetched once more before the LDevID is issued."""
    factory = oem.Factory()
    device = house.build(factory, "SN-1")
    (record,) = records.find(None, "SN-1")
    async with make_world(tmp_path, oem=factory.issuer, records=records) as world:
        await world.voucher(device)
        await world.accept(device)
        oem.say(house.database, subject_of(record, what), Verdict.FLAGGED, "seed-leak")
        with pytest.raises(DeviceRevoked):
            await world.enroll(device)
        assert await world.journal.active_certificate(device.key) is None


@pytest.mark.parametrize("what", SUBJECTS)
async def test_the_masa_refuses_by_its_own_record(
    tmp_path: Path, house: House, records: Loaded, what: str
) -> None:
    """Also a registrar whose copy of the records is older than the mark."""
    factory = oem.Factory()
    device = house.build(factory, "SN-1")
    copy = Records()
    copy.records = [*records.find(None, "SN-1")]
    async with make_world(
        tmp_path, oem=factory.issuer, records=copy, masa_records=records
    ) as world:
        oem.say(house.database, subject_of(copy.records[0], what), Verdict.REVOKED, "seed-leak")
        with pytest.raises(DeviceRevoked):
            await world.voucher(device)
        (refusal,) = await world.masa_store.last_refusals(10)
        assert refusal.code == "device-revoked"
        oem.say(house.database, subject_of(copy.records[0], what), Verdict.LIFTED, "false-alarm")
        await world.onboard(device)


# -- issuing CAs


async def _both_onboard(world: World, old: Device, new: Device) -> None:
    assert old.issuer != new.issuer
    for device in (old, new):
        await world.onboard(device)


@pytest.mark.parametrize("asserting", [False, True])
async def test_a_second_issuing_ca_under_the_root_leaves_old_devices_working(
    tmp_path: Path, house: House, records: Loaded, asserting: bool
) -> None:
    """Nobody's settings change: the anchor is the root."""
    root = pki.make_root("Example OEM Root CA", not_after=pki.NEVER)
    first, second = (
        oem.Factory(pki.make_ca(f"Example OEM Issuing CA {number}", root, not_after=pki.NEVER))
        for number in (1, 2)
    )
    old = house.build(first, "SN-1", asserting=asserting)
    new = house.build(second, "SN-2", asserting=asserting)
    async with make_world(tmp_path, oem=first.issuer, records=records) as world:
        await _both_onboard(world, old, new)


@pytest.mark.parametrize("asserting", [False, True])
@pytest.mark.parametrize("numbers", [("SN-1", "SN-2"), ("SN-1", "SN-1")])
async def test_a_second_root_beside_the_first_leaves_old_devices_working(
    tmp_path: Path, house: House, records: Loaded, asserting: bool, numbers: tuple[str, str]
) -> None:
    """The registrar is given the second anchor; the MASA has the records of both generations.

    The second CA may even give a serial number once more: a device is the pair.
    """
    first, second = (oem.Factory(pki.make_pki(f"Example OEM {number}")) for number in (1, 2))
    old, new = (
        house.build(factory, number, asserting=asserting)
        for factory, number in zip((first, second), numbers, strict=True)
    )
    async with make_world(
        tmp_path,
        oem=first.issuer,
        anchors=[first.issuer.root, second.issuer.root],
        records=records,
    ) as world:
        await _both_onboard(world, old, new)


@pytest.mark.parametrize("asserting", [False, True])
async def test_without_its_anchor_a_generation_is_unknown(
    tmp_path: Path, house: House, records: Loaded, asserting: bool
) -> None:
    """The nearest refusal: whoever drops the first root drops the devices below it."""
    first, second = (oem.Factory(pki.make_pki(f"Example OEM {number}")) for number in (1, 2))
    old = house.build(first, "SN-1", asserting=asserting)
    new = house.build(second, "SN-2", asserting=asserting)
    async with make_world(tmp_path, oem=second.issuer, records=records) as world:
        with pytest.raises(DeviceUnknown if asserting else ChainInvalid):
            await world.voucher(old)
        await world.onboard(new)
