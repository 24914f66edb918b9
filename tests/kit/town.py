"""Two owners with a registrar each, two manufacturers that number devices alike, one MASA, and
whoever comes: honest devices, clones, strangers. Everything in memory but the journals.

What happened really is kept beside, so that :mod:`tests.kit.invariants` can hold it against what
the journals say and what pledges hold. The decisions and flows are the real ones, the pledge's too.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from brski.edge.cli import FactsFormatter
from brski.errors import LocalError, OnboardingError, Unavailable
from brski.est.certs_only import decode_certs_only
from brski.est.csr import build_csr
from brski.idevid.profile import IDevIDProfile
from brski.idevid.record import DeviceRecord, DeviceStatus, Presentation
from brski.pki.keys import certificate_der, encode_spki
from brski.pki.names import ldevid_subject
from brski.registry import VOUCHER_CMS_JSON
from brski.telemetry.status import Status
from brski.voucher.cms import CMS
from brski.voucher.model import VoucherRequest
from device_client.pledge.judging import judge_voucher
from device_client.pledge.messages import build_voucher_request
from device_client.pledge.policy import Pledge
from masa_stub.masa import MASA
from registrar_plugin.ca_backend.embedded import EmbeddedCA
from registrar_plugin.ca_backend.port import Pending
from registrar_plugin.connection import PledgeConnection
from registrar_plugin.pledge_facing.error_responses import BRSKI_STATUS, EST_STATUS
from registrar_plugin.store.port import IssuedCertificate
from registrar_plugin.telemetry.audit_verdict import AuditPolicy
from registrar_plugin.telemetry.events import Event, Outcome
from tests.kit import device as devices
from tests.kit import pki
from tests.kit.world import Clock, Device, Records, World, make_domain, make_world, record_of

T = TypeVar("T")

GATES: Final = 2
MAKERS: Final = 2
SERIALS: Final = ("SN-1", "SN-2", "SN-3")


@dataclass(slots=True, kw_only=True)
class Party:
    """Somebody with a key, and what he holds; a clone has another party's key."""

    name: str
    device: Device
    is_genuine: bool  # its key is the one that its manufacturer has on record
    requests: dict[int, tuple[VoucherRequest, bytes]] = field(default_factory=dict)  # by gate
    vouchers: dict[int, bytes] = field(default_factory=dict)  # as received, by gate
    pinned: dict[int, tuple[bytes, VoucherRequest, x509.Certificate]] = field(default_factory=dict)
    csrs: dict[int, bytes] = field(default_factory=dict)
    ldevids: list[tuple[int, x509.Certificate]] = field(default_factory=list)

    @property
    def pledge_key(self) -> pki.KeySigner:
        chain = self.device.shown if self.device.carried else ()
        return pki.KeySigner(self.device.entity.private_key, chain)


class FailingCA(EmbeddedCA):
    """The owner's CA; it can be taken away."""

    is_away = False

    async def complete(self, intent: bytes) -> x509.Certificate | Pending:
        if self.is_away:
            raise Unavailable("the CA is away")
        return await super().complete(intent)


class Witness:
    """The MASA, with every voucher that it really signed kept."""

    def __init__(self, masa: MASA) -> None:
        self.masa = masa
        self.vouchers: list[bytes] = []

    async def request_voucher(self, *asked: Any, **more: Any) -> Any:
        answer = await self.masa.request_voucher(*asked, **more)
        self.vouchers.append(answer.body)
        return answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self.masa, name)


@dataclass(slots=True, kw_only=True)
class Gate:
    """One owner's registrar, which can be stopped and started."""

    folder: Path
    domain: tuple[pki.Entity, pki.Entity]
    ca: FailingCA
    world: World | None = None
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    seen: list[Event] = field(default_factory=list)  # of its journal, as far as it was read

    @property
    def open(self) -> World:
        assert self.world is not None
        return self.world

    @property
    def certificate(self) -> x509.Certificate:
        return self.domain[1].certificate


class Town:
    """Everybody."""

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
        self._log = _Lines(self.said)

    async def open(self) -> None:
        self._level = logging.getLogger().level
        logging.getLogger().setLevel(logging.DEBUG)
        logging.getLogger().addHandler(self._log)
        (self.folder / "maker").mkdir()
        root = await self.stack.enter_async_context(
            make_world(self.folder / "maker", **self._shared())
        )
        self.masa = Witness(root.wire.masa)  # type: ignore[arg-type]  # what that world made
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

    # -- what they do

    async def attempt(
        self, number: int, step: Callable[[World], Awaitable[T]], statuses: Any = BRSKI_STATUS
    ) -> T | None:
        """One request at a gate. A refusal is journalled with its code before it is told (I8), has
        a status, and is no fault of ours (I5).
        """
        gate = self.gates[number]
        world = gate.open
        before = len(await world.journal.events(limit=100_000))
        try:
            return await step(world)
        except OnboardingError as err:
            refusal = err
        self.said.append(str(refusal))
        assert any(kind in statuses for kind in type(refusal).__mro__), f"I5: {refusal!r}"
        assert not isinstance(refusal, LocalError), f"I5: our own fault: {refusal!r}"
        new = (await world.journal.events(limit=100_000))[before:]
        codes = {event.code for event in new if event.outcome is Outcome.REFUSED}
        assert codes & _codes(refusal), f"I8: {refusal.code} is not in the journal"
        return None

    def connection(self, number: int, chain: tuple[x509.Certificate, ...]) -> PledgeConnection:
        return PledgeConnection(
            peer_chain=chain,
            registrar_certificate=self.gates[number].certificate,
            address="192.0.2.7",
        )

    def pledge_of(self, party: Party) -> Pledge:
        return Pledge(
            serial_number=party.device.serial_number,
            idevid_issuer=party.device.issuer,
            signer=party.pledge_key,
            idevid_chain=party.device.shown if party.device.carried else (),
            voucher_anchors=(self.masa_root,),
            serialization=CMS,
        )

    async def ask(
        self, party: Party, number: int, *, nonce: bytes | None, times: int = 1, lost: bool = False
    ) -> None:
        """requestvoucher, *times* at once; a new request with *nonce*, else the last one again."""
        if nonce is not None or number not in party.requests:
            party.requests[number] = build_voucher_request(
                self.pledge_of(party),
                registrar_certificate=self.gates[number].certificate,
                nonce=nonce or bytes(16),
                created_on=None,
            )
        await self.post(party, number, party.requests[number][1], times=times, lost=lost)

    async def post(
        self, party: Party, number: int, body: bytes, *, times: int = 1, lost: bool = False
    ) -> None:
        connection = self.connection(number, party.device.shown)

        def one() -> Awaitable[Any]:
            return self.attempt(
                number, lambda w: w.registrar.request_voucher(body, VOUCHER_CMS_JSON, connection)
            )

        answers = await asyncio.gather(*(one() for _ in range(times)))
        got = {answer.body for answer in answers if answer and not isinstance(answer, Pending)}
        assert len(got) <= 1, "one request, one voucher"
        for voucher in got:
            assert party.is_genuine, f"I1: a voucher for {party.name}"
            assert not self.is_revoked(party), "I1: a voucher for a revoked device"
            if not lost:
                party.vouchers[number] = voucher

    async def judge(self, party: Party, number: int) -> None:
        """The pledge judges what it holds, and tells the registrar, truly."""
        voucher, asked = party.vouchers.get(number), party.requests.get(number)
        if voucher is None or asked is None:
            return
        chain = self.gates[number].domain[1].chain[:-1]
        try:
            accepted = judge_voucher(
                voucher,
                pledge=self.pledge_of(party),
                request=asked[0],
                registrar_chain=chain,
                now=None,
            )
        except OnboardingError as refusal:
            self.said.append(str(refusal))
            party.pinned.pop(number, None)
            await self.report(party, number, accepted=False)
            return
        party.pinned[number] = (voucher, asked[0], accepted.pin)
        await self.report(party, number, accepted=True)

    async def report(self, party: Party, number: int, *, accepted: bool) -> None:
        connection = self.connection(number, party.device.shown)
        status = Status(status=accepted, reason=None if accepted else "no")
        await self.attempt(number, lambda w: w.registrar.voucher_status(status, connection))
        await asyncio.sleep(0)

    async def enroll(
        self, party: Party, number: int, *, again: bool, times: int = 1, lost: bool = False
    ) -> None:
        """simpleenroll, *times* at once; with the last CSR, or with a new key."""
        if not (again and number in party.csrs):
            key = pki.make_key()
            self.keep_secret(key)
            subject = ldevid_subject(party.device.serial_number, party.device.issuer)
            party.csrs[number] = build_csr(pki.KeySigner(key), subject)
        connection, csr = self.connection(number, party.device.shown), party.csrs[number]

        def one() -> Awaitable[Any]:
            return self.attempt(number, lambda w: w.enrolling.enroll(csr, connection), EST_STATUS)

        answers = await asyncio.gather(*(one() for _ in range(times)))
        if any(isinstance(answer, bytes) for answer in answers):
            stands = await self.gates[number].open.journal.onboarding(party.device.key)
            assert stands is not None, "I1: an LDevID without an onboarding"
            assert stands.voucher is not None, "I1: an LDevID without a voucher"
            assert stands.voucher_status, "I1: an LDevID whose voucher was not accepted"
            assert stands.audit_verdict, "I1: an LDevID without a good audit log"
        self._take(party, number, answers, lost=lost)

    async def renew(self, party: Party, place: int, *, lost: bool = False) -> None:
        """simplereenroll over one of the LDevIDs that the party has ever held."""
        if not party.ldevids:
            return
        number, held = party.ldevids[place % len(party.ldevids)]
        key = pki.make_key()
        self.keep_secret(key)
        csr = build_csr(pki.KeySigner(key), held.subject)
        was_active = await self._state(number, held) == "active"
        connection = self.connection(number, (held,))
        answer = await self.attempt(
            number, lambda w: w.renewing.reenroll(csr, connection), EST_STATUS
        )
        assert answer is None or was_active, "I3: an LDevID that is not active was renewed"
        self._take(party, number, [answer], lost=lost)

    def _take(self, party: Party, number: int, answers: list[Any], *, lost: bool) -> None:
        got = {answer for answer in answers if isinstance(answer, bytes)}
        assert len(got) <= 1, "one request, one certificate"
        for answer in got:
            assert party.is_genuine, f"I1: an LDevID for {party.name}"
            assert not self.is_revoked(party), "I1: an LDevID for a revoked device"
            if not lost:
                party.ldevids.append((number, decode_certs_only(answer)[0]))

    async def enrolled(self, party: Party, place: int) -> None:
        """enrollstatus over one of the LDevIDs that the party has ever held."""
        if not party.ldevids:
            return
        number, held = party.ldevids[place % len(party.ldevids)]
        was_active = await self._state(number, held) == "active"
        connection = self.connection(number, (held,))
        done = await self.attempt(number, lambda w: _said(w, connection))
        assert done is None or was_active, "I3: an LDevID that is not active was believed"

    async def _state(self, number: int, held: x509.Certificate) -> str:
        digest = hashlib.sha256(certificate_der(held)).digest()
        found = await self.gates[number].open.journal.certificate_by_digest(digest)
        assert isinstance(found, IssuedCertificate), "I4: a certificate that is not on record"
        return found.state


def _codes(refusal: OnboardingError) -> set[str]:
    """How the journal may name it: as it is told, or by the fault that brought it about."""
    cause = refusal.__cause__
    return {refusal.code, *([cause.code] if isinstance(cause, OnboardingError) else [])}


async def _said(world: World, connection: PledgeConnection) -> bool:
    await world.reports.enroll_status(Status(status=True), connection)
    return True


class _Lines(logging.Handler):
    """Every line of every log, as it would be written."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(FactsFormatter("town"))
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(self.format(record))
