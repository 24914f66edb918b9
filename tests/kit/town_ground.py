"""Where a :class:`~tests.kit.town.Town` stands: registrars that start, devices that are made."""

from __future__ import annotations

import hashlib
import logging
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from brski.idevid.profile import IDevIDProfile
from brski.idevid.record import DeviceRecord, DeviceStatus, Presentation
from brski.pki.keys import encode_spki
from registrar_plugin.telemetry.audit_verdict import AuditPolicy
from tests.kit import device as devices
from tests.kit import pki
from tests.kit.townspeople import FailingCA, Gate, Lines, Party, Witness
from tests.kit.world import Clock, Device, Records, make_domain, make_world, record_of

GATES: Final = 2
MAKERS: Final = 2
SERIALS: Final = ("SN-1", "SN-2", "SN-3")


class Ground:
    """Everybody is set up here, and comes here."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = Clock()
        self.makers = [pki.make_pki(f"Maker {number}") for number in range(MAKERS)]
        self.profiles = [
            IDevIDProfile(issuer=oem.certificate, masa_url=pki.MASA_URL, not_before=pki.NOW)
            for oem in self.makers
        ]
        self.records = [Records() for _ in self.makers]
        self.made: dict[tuple[int, str], Device] = {}
        self.parties: list[Party] = []
        self.gates: list[Gate] = []
        self.secrets: list[bytes] = []
        self.sent: list[tuple[int, bytes]] = []  # registrar voucher-requests, by gate
        self.said: list[str] = []  # every line of a log and every reason of a refusal
        self.stack = AsyncExitStack()
        self._log = Lines(self.said)

    async def open(self) -> None:
        self._level = logging.getLogger().level
        logging.getLogger().setLevel(logging.DEBUG)
        logging.getLogger().addHandler(self._log)
        (self.folder / "maker").mkdir()
        root = await self.stack.enter_async_context(
            make_world(self.folder / "maker", **self._shared())
        )
        self.masa = Witness(root.wire.masa)
        self.masa_root = root.masa_root
        for number in range(GATES):
            folder = self.folder / f"gate-{number}"
            folder.mkdir()
            domain = make_domain(f"Owner {number}")
            for entity in domain:
                self.keep_secret(entity.private_key)
            gate = Gate(folder=folder, domain=domain, ca=FailingCA(domain[0].signer))
            self.gates.append(gate)
            await self.start(number)

    async def close(self) -> None:
        logging.getLogger().removeHandler(self._log)
        logging.getLogger().setLevel(self._level)
        for number in range(len(self.gates)):
            await self.stop(number)
        await self.stack.aclose()

    def _shared(self) -> dict[str, Any]:
        return {
            "clock": self.clock,
            "oem": self.makers[0],
            "other_oem": self.makers[1],
            "records": self.records[0],
            "other_records": self.records[1],
        }

    async def start(self, number: int) -> None:
        """A registrar begins, or begins again on what it has on disk."""
        gate = self.gates[number]
        gate.stack = AsyncExitStack()
        gate.world = await gate.stack.enter_async_context(
            make_world(
                gate.folder,
                domain=gate.domain,
                ca=gate.ca,
                audit=AuditPolicy(accept_unknown_owners=bool(number)),
                **self._shared(),
            )
        )
        gate.world.wire.masa = self.masa  # type: ignore[assignment]  # it answers as one

    async def stop(self, number: int) -> None:
        gate = self.gates[number]
        await self.collect(number)
        await gate.stack.aclose()
        gate.world = None

    async def collect(self, number: int) -> None:
        """Take over what went over the wire and into the journal."""
        world = self.gates[number].open
        self.sent += [(number, body) for body in world.wire.sent]
        world.wire.sent.clear()
        self.gates[number].seen = list(await world.journal.events(limit=100_000))

    # -- who comes

    def make(self, maker: int, serial_number: str, *, asserting: bool) -> Party:
        """A genuine device, from a seed; the same one however often it is made."""
        device = self.built(maker, serial_number, asserting=asserting)
        self.made[maker, serial_number] = device
        self.records[maker].records.append(record_of(device))
        return self.meet("honest", device, is_genuine=True)

    def built(self, maker: int, serial_number: str, *, asserting: bool) -> Device:
        """What the factory does: seed to key, key to certificate."""
        seed = hashlib.sha256(f"seed {maker} {serial_number}".encode()).digest()
        key = devices.derived_key(seed, serial_number.encode())
        self.secrets.append(seed)
        profile, oem = self.profiles[maker], self.makers[maker]
        der = profile.certify(encode_spki(key.public_key()), serial_number, oem.signer)
        entity = pki.Entity(
            certificate=x509.load_der_x509_certificate(der),
            private_key=key,
            issuers=(oem.certificate, *oem.issuers),
        )
        return Device(
            entity=entity,
            presentation=Presentation.ASSERTED if asserting else Presentation.CARRIED,
            serial_number=serial_number,
        )

    def stranger(self, maker: int, serial_number: str, *, kind: str) -> Party:
        """Somebody with a key of his own and a serial number that may be somebody else's."""
        oem = {"asserts": self.makers[maker], "not-on-record": self.makers[maker]}.get(
            kind, pki.make_pki("Nobody's OEM")
        )
        device = Device(
            entity=pki.make_idevid(oem, serial_number),
            presentation=(Presentation.ASSERTED if kind == "asserts" else Presentation.CARRIED),
            serial_number=serial_number,
        )
        return self.meet(kind, device, is_genuine=False)

    def meet(self, name: str, device: Device, *, is_genuine: bool) -> Party:
        self.keep_secret(device.entity.private_key)
        party = Party(name=name, device=device, is_genuine=is_genuine)
        self.parties.append(party)
        return party

    def keep_secret(self, key: Any) -> None:
        self.secrets.append(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))
        self.secrets.append(key.private_numbers().private_value.to_bytes(32, "big"))

    def record(self, idevid_issuer: bytes, serial_number: str) -> DeviceRecord:
        """What its manufacturer has of a device."""
        (found,) = (
            record
            for records in self.records
            for record in records.records
            if (record.idevid_issuer, record.serial_number) == (idevid_issuer, serial_number)
        )
        return found

    def revoke(self, device: Device) -> None:
        """Its manufacturer stands by it no longer."""
        (records,) = (
            records
            for records in self.records
            if any(record.idevid_issuer == device.issuer for record in records.records)
        )
        records.change(device.serial_number, status=DeviceStatus.REVOKED)

    def is_revoked(self, party: Party) -> bool:
        record = self.record(party.device.issuer, party.device.serial_number)
        return record.status is DeviceStatus.REVOKED
