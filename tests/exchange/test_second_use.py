"""Two parties with one identity: an alarm in the journal, and nobody is locked out.

Beside each signal stands the nearest thing that an honest device does, and no alarm.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from brski.errors import NotAuthenticated
from brski.idevid.record import Presentation
from brski.registry import VOUCHER_CMS_JSON
from brski.telemetry.status import Status
from registrar_plugin import second_use
from registrar_plugin.cli import main
from registrar_plugin.telemetry.events import Event, EventKind, Outcome
from tests.kit import pki
from tests.kit.world import Device, World, make_world


async def alarms(world: World) -> tuple[Event, ...]:
    return await world.journal.events(kind=EventKind.ALARM)


async def signals(world: World) -> list[str]:
    """In the order of their writing; every one names the device and is no refusal."""
    found = await alarms(world)
    assert all(event.outcome is Outcome.DONE and event.device and event.reason for event in found)
    assert {event.code for event in found} <= {"second-use"}
    return [event.details["signal"] for event in found]


async def again(world: World, device: Device, key: pki.KeySigner | None = None) -> x509.Certificate:
    """Onboard *device* as after a factory reset: with another nonce, and with another key."""
    await world.voucher(device, nonce=bytes(16))
    await world.accept(device)
    issued = await world.enroll(device, key)
    assert isinstance(issued, x509.Certificate)
    return issued


@pytest.mark.parametrize("asserting", [False, True])
async def test_an_onboarding_raises_no_alarm(tmp_path: Path, asserting: bool) -> None:
    """Repeated requests, before and after the certificate, are no second party."""
    async with make_world(tmp_path) as world:
        device = world.make_device(asserting=asserting)
        await world.voucher(device)
        await world.voucher(device)
        await world.accept(device)
        csr = world.csr(device)
        issued = await world.enroll(device, csr=csr)
        assert await world.enroll(device, csr=csr) == issued
        await world.reports.enroll_status(Status(status=True), world.connection([issued]))  # type: ignore[list-item]  # not pending
        assert await signals(world) == []


async def test_a_factory_reset_onboards_and_is_told(tmp_path: Path) -> None:
    """The honest cause and the thief look alike: both get in, and a person is told once."""
    async with make_world(tmp_path) as world:
        device = world.make_device()
        await world.onboard(device)
        issued = await again(world, device)
        assert await signals(world) == ["ldevid-replaced"]
        active = await world.journal.active_certificate(device.key)
        assert active is not None
        assert active.certificate == issued.public_bytes(Encoding.DER)


async def test_a_repeated_csr_is_one_alarm(tmp_path: Path) -> None:
    """The alarm goes with the intent, and an intent is made once."""
    async with make_world(tmp_path) as world:
        device = world.make_device()
        await world.onboard(device)
        await world.voucher(device, nonce=bytes(16))
        await world.accept(device)
        csr = world.csr(device)
        for _ in range(3):
            await world.enroll(device, csr=csr)
        assert await signals(world) == ["ldevid-replaced"]


async def test_another_request_for_the_same_key_is_the_same_device(tmp_path: Path) -> None:
    """Who holds the LDevID's key has not lost it."""
    async with make_world(tmp_path) as world:
        device, key = world.make_device(), pki.KeySigner(pki.make_key())
        await world.voucher(device)
        await world.accept(device)
        await world.enroll(device, key)
        await again(world, device, key)
        assert await signals(world) == []


async def test_a_device_that_slept_over_its_ldevids_end_is_no_second_party(tmp_path: Path) -> None:
    """It cannot re-enroll by a certificate that has ended, so it comes as it came first."""
    async with make_world(tmp_path) as world:
        device = world.make_device()
        await world.onboard(device)
        world.clock.forward(days=366)
        await again(world, device)
        assert await signals(world) == []


async def test_a_replaced_ldevid_in_use_is_told(tmp_path: Path) -> None:
    """After the second onboarding the first party goes on with what it had."""
    async with make_world(tmp_path) as world:
        device = world.make_device()
        first = await world.onboard(device)
        second = await again(world, device)
        await world.reports.enroll_status(Status(status=True), world.connection([second]))
        assert await signals(world) == ["ldevid-replaced"]
        with pytest.raises(NotAuthenticated):
            await world.reports.enroll_status(Status(status=True), world.connection([first]))
        assert await signals(world) == ["ldevid-replaced", "ldevid-superseded"]


async def test_an_earlier_request_that_comes_back_is_told(tmp_path: Path) -> None:
    """One device does not go back to a nonce that it has given up."""
    async with make_world(tmp_path) as world:
        device = world.make_device()
        first = await world.voucher(device)
        await world.voucher(device, nonce=bytes(16))
        assert await signals(world) == []
        assert (await world.voucher(device)).body == first.body
        assert await signals(world) == ["request-returned"]


async def test_a_device_that_presents_itself_otherwise_is_told(tmp_path: Path) -> None:
    """The certificate of a device that only asserts is public: a thief of its key can show it."""
    async with make_world(tmp_path) as world:
        device = world.make_device(asserting=True)
        await world.onboard(device)
        await world.voucher(device, nonce=bytes([1]) * 16)
        assert await signals(world) == []
        carrying = replace(device, presentation=Presentation.CARRIED)
        await world.voucher(carrying, nonce=bytes(16))
        assert await signals(world) == ["presentation-changed"]


# -- two connections at once


class Line:
    """A connection that is there until it is cut."""

    def __init__(self) -> None:
        self.up = True

    def __call__(self) -> bool:
        return self.up


async def ask(world: World, device: Device, address: str, line: Line | None) -> None:
    """requestvoucher from *address*."""
    body = device.request(world.registrar_entity.certificate)
    connection = world.connection(device.shown, address=address, is_open=line)
    await world.registrar.request_voucher(body, VOUCHER_CMS_JSON, connection)


async def test_a_key_at_two_addresses_at_once_is_told_once(tmp_path: Path) -> None:
    async with make_world(tmp_path) as world:
        device, other = world.make_device(), world.make_device("SN-2")
        here, there = Line(), Line()
        await ask(world, device, "192.0.2.1", here)
        await ask(world, other, "192.0.2.2", there)  # another device is no second party
        assert await signals(world) == []
        for address, line in (("192.0.2.2", there), ("192.0.2.1", here), ("192.0.2.2", there)):
            await ask(world, device, address, line)
        assert await signals(world) == ["two-addresses"]
        (alarm,) = await alarms(world)
        assert alarm.reason == "connected at once from 192.0.2.2, 192.0.2.1"


async def test_one_address_after_the_other_is_a_device_that_moved(tmp_path: Path) -> None:
    async with make_world(tmp_path) as world:
        device, first = world.make_device(), Line()
        await ask(world, device, "192.0.2.1", first)
        await ask(world, device, "192.0.2.1", Line())  # the same host again
        first.up = False
        await ask(world, device, "192.0.2.2", Line())
        assert await signals(world) == []


async def test_a_front_that_cannot_tell_raises_no_alarm(tmp_path: Path) -> None:
    async with make_world(tmp_path) as world:
        device = world.make_device()
        for address in ("192.0.2.1", "192.0.2.2"):
            await ask(world, device, address, None)
        assert await signals(world) == []


async def test_what_is_remembered_of_connections_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(second_use, "_MOST_KEYS", 1)
    monkeypatch.setattr(second_use, "_MOST_ADDRESSES", 2)
    async with make_world(tmp_path) as world:
        device, other = world.make_device(), world.make_device("SN-2")
        await ask(world, device, "192.0.2.1", Line())
        await ask(world, other, "192.0.2.1", Line())
        await ask(world, device, "192.0.2.2", Line())  # the first is forgotten by now
        assert await signals(world) == []
        for number in (3, 4, 5):
            await ask(world, device, f"192.0.2.{number}", Line())
        told = [event.reason for event in await alarms(world)]
        assert told == [
            "connected at once from 192.0.2.3, 192.0.2.2",
            "connected at once from 192.0.2.4, 192.0.2.2, 192.0.2.3",
            "connected at once from 192.0.2.5, 192.0.2.2, 192.0.2.3",
        ]


# -- how a person sees them


async def _journal_with_alarms(folder: Path) -> Path:
    async with make_world(folder) as world:
        quiet, loud = world.make_device("SN-1"), world.make_device("SN-2")
        for device in (quiet, loud):
            await world.onboard(device)
        await again(world, loud)
    return folder / "registrar.db"


@pytest.fixture
async def settings(tmp_path: Path) -> Path:
    """A registrar's settings beside a journal that has an alarm of SN-2."""
    await _journal_with_alarms(tmp_path)
    oem = pki.make_pki()
    (tmp_path / "pem").write_bytes(oem.root.public_bytes(Encoding.PEM))
    path = tmp_path / "registrar.toml"
    path.write_text(
        'journal = "registrar.db"\n'
        '[registrar]\nkey = "pem"\nchain = "pem"\n[ca]\nkind = "embedded"\nkey = "pem"\n'
        'chain = "pem"\n[[manufacturer]]\nname = "acme"\nanchors = "pem"\n'
        '[manufacturer.masa]\nanchors = "pem"\n'
    )
    return path


def test_alarms_are_listed(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["alarms", "-s", str(settings), "--json"]) == 0
    (alarm,) = json.loads(capsys.readouterr().out)["alarms"]
    assert (alarm["serial_number"], alarm["code"]) == ("SN-2", "second-use")
    assert alarm["details"] == {"signal": "ldevid-replaced"}
    assert main(["alarms", "-s", str(settings)]) == 0
    assert "SN-2" in capsys.readouterr().out


def test_alarms_of_one_device(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for serial_number, count in (("SN-1", 0), ("SN-2", 1)):
        assert main(["alarms", serial_number, "-s", str(settings), "--json"]) == 0
        assert len(json.loads(capsys.readouterr().out)["alarms"]) == count
    assert main(["alarms", "SN-3", "-s", str(settings)]) == 1
