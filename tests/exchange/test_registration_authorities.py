"""Registration authorities and time: what has ended, what was open when the registrar stopped, and
the last look, should a gate before it fail.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from brski.errors import CSRMismatch, NotAuthenticated, WrongOrder
from brski.est.certs_only import decode_certs_only
from brski.est.csr import build_csr, parse_csr
from brski.pki.keys import certificate_der
from brski.pki.names import ldevid_subject
from brski.registry import ID_KP_CLIENT_AUTH, ID_KP_CMC_RA
from registrar_plugin.ca_backend.crl import Reason
from registrar_plugin.ca_backend.port import Pending
from registrar_plugin.clerk import Clerk
from registrar_plugin.connection import PledgeConnection
from registrar_plugin.enrollment.client_names import DeviceNames
from registrar_plugin.enrollment.name_pattern import parse_pattern
from registrar_plugin.enrollment.profile import EnrollmentProfile, GrantedNames
from registrar_plugin.enrollment.registration import RegistrationAuthority
from registrar_plugin.est_clients.registration import RegistrationAuthorities
from registrar_plugin.est_server.desks import Desk, ESTServer, make_desk
from registrar_plugin.est_server.order import Order
from registrar_plugin.identity.clients import CERTIFICATE, RA, client_key
from registrar_plugin.known_devices import KnownDevices
from registrar_plugin.second_use import SecondUse
from registrar_plugin.store.issuances import Issuance
from registrar_plugin.store.revocation import Revocation
from registrar_plugin.store.sqlite_issuances import SQLiteIssuances
from registrar_plugin.store.sqlite_revocation import SQLiteWithdrawals
from registrar_plugin.telemetry.events import EventKind
from tests.kit import pki
from tests.kit.journal import certified
from tests.kit.pending_ca import PendingCA
from tests.kit.world import World, make_world

EAST = RegistrationAuthority(
    name="east",
    client=client_key(CERTIFICATE, "previous:east-ra"),
    labels=frozenset({"lab"}),
    common_names=(parse_pattern("gw-*"),),
)
PROFILE = EnrollmentProfile(label="lab")
CLIENT = client_key(RA, "east:gw-7")


@dataclass(frozen=True)
class Lab:
    """A desk that admits RAs, whose CA takes its time, and what an RA shows there."""

    world: World
    desk: Desk
    ca: PendingCA
    clerk: Clerk
    shown: x509.Certificate

    @property
    def connection(self) -> PledgeConnection:
        return self.world.connection([self.shown])

    async def enroll(self, csr: bytes) -> x509.Certificate | Pending:
        answer = await self.desk.enrolling.enroll(csr, self.connection)
        return answer if isinstance(answer, Pending) else decode_certs_only(answer)[0]

    async def renew(self, csr: bytes) -> x509.Certificate | Pending:
        answer = await self.desk.renewing.reenroll(csr, self.connection)
        return answer if isinstance(answer, Pending) else decode_certs_only(answer)[0]

    async def revoke(self) -> None:
        revocation = Revocation(
            device=EAST.client, at=self.world.clock(), reason=Reason.KEY_COMPROMISE, by="somebody"
        )
        line = self.clerk.event(EventKind.REVOCATION, EAST.client)
        await SQLiteWithdrawals(self.world.journal.writer).revoke(revocation, line)

    async def restart(self) -> list[bool]:
        """What becomes of open intents."""
        server = ESTServer(
            {"": self.desk, "lab": self.desk}, SQLiteIssuances(self.world.journal.writer)
        )
        return [await server.take_up(each) for each in await self.world.journal.open_intents()]


@asynccontextmanager
async def lab(
    folder: Path, *purposes: str, profile: EnrollmentProfile = PROFILE
) -> AsyncIterator[Lab]:
    purposes = purposes or (ID_KP_CLIENT_AUTH, ID_KP_CMC_RA)
    async with make_world(folder) as world:
        clerk = Clerk(world.journal, world.clock)
        second_use = SecondUse(world.journal, clerk)
        ca = PendingCA(world.owner.signer, folder / "ca")
        authority = RegistrationAuthorities(
            [EAST], devices=DeviceNames(), journal=world.journal, clerk=clerk
        )
        desk = make_desk(
            profile,
            ca=ca,
            authorities=[authority],
            devices=KnownDevices(world.journal, second_use),
            second_use=second_use,
            journal=world.journal,
            issuances=SQLiteIssuances(world.journal.writer),
            clerk=clerk,
            signer=world.registrar_entity.signer,
        )
        issuance = Issuance(label="ras", enrollee=CERTIFICATE)
        shown = await certified(world.journal, world.owner, EAST.client, issuance, *purposes)
        yield Lab(world=world, desk=desk, ca=ca, clerk=clerk, shown=shown)


def request(name: str = "gw-7") -> bytes:
    return build_csr(pki.KeySigner(pki.make_key()), pki.common_name(name))


async def enrolled(here: Lab, csr: bytes) -> x509.Certificate:
    """After the CA has taken its time."""
    assert isinstance(await here.enroll(csr), Pending)
    here.ca.approve()
    issued = await here.enroll(csr)
    assert isinstance(issued, x509.Certificate)
    return issued


@pytest.mark.requirement("ESTS-10", "ESTS-21")
async def test_an_ra_polls_for_its_client(tmp_path: Path) -> None:
    """The same request until the CA has decided, at an enrollment and at a renewal."""
    async with lab(tmp_path) as here:
        first = await enrolled(here, request())
        csr = request()
        assert isinstance(await here.renew(csr), Pending)
        here.ca.approve()
        second = await here.renew(csr)
        assert isinstance(second, x509.Certificate)
        assert second != first
        assert await here.renew(csr) == second


async def test_a_lost_answer_is_given_again_while_the_former_certificate_has_not_ended(
    tmp_path: Path,
) -> None:
    """After that the same octets ask for the next one."""
    brief = replace(PROFILE, validity=timedelta(days=30))
    async with lab(tmp_path, profile=brief) as here:
        csr = request()
        await enrolled(here, csr)
        here.world.clock.forward(days=20)
        assert isinstance(await here.renew(csr), Pending)
        here.ca.approve()
        second = await here.renew(csr)
        assert await here.renew(csr) == second
        here.world.clock.forward(days=11)  # what was renewed has ended
        assert isinstance(await here.renew(csr), Pending)


async def test_what_has_ended_is_enrolled_and_not_renewed(tmp_path: Path) -> None:
    """Though the RA's own certificate has not."""
    brief = replace(PROFILE, validity=timedelta(days=30))
    async with lab(tmp_path, profile=brief) as here:
        await enrolled(here, request())
        here.world.clock.forward(days=31)
        with pytest.raises(NotAuthenticated, match="valid"):
            await here.renew(request())
        await enrolled(here, request())


async def test_an_ra_has_rights_while_its_certificate_lasts(tmp_path: Path) -> None:
    """Neither for a new client nor for one that it has."""
    async with lab(tmp_path) as here:
        await enrolled(here, request())
        here.world.clock.forward(days=366)
        for ask in (here.enroll, here.renew):
            with pytest.raises(NotAuthenticated, match="valid"):
                await ask(request())


async def test_ours_without_the_purpose_is_no_ra(tmp_path: Path) -> None:
    """Whoever is listed."""
    async with lab(tmp_path, ID_KP_CLIENT_AUTH) as here:
        for ask in (here.enroll, here.renew):
            with pytest.raises(NotAuthenticated, match="cmcRA"):
                await ask(request())


async def test_what_an_ra_asked_for_waits_for_it_over_a_restart(tmp_path: Path) -> None:
    """Nothing is signed in its absence; the same octets are when it asks again."""
    async with lab(tmp_path) as here:
        csr = request()
        assert isinstance(await here.enroll(csr), Pending)
        here.ca.approve()
        (open_,) = await here.world.journal.open_intents()
        assert await here.restart() == [False]
        assert await here.world.journal.active_certificate(CLIENT) is None
        issued = await here.enroll(csr)
        assert isinstance(issued, x509.Certificate)
        assert issued.tbs_certificate_bytes == open_.octets


async def test_an_ra_that_has_renewed_meanwhile_still_gets_it(tmp_path: Path) -> None:
    """By its new certificate; the one with which it asked is superseded."""
    async with lab(tmp_path) as here:
        csr = request()
        assert isinstance(await here.enroll(csr), Pending)
        here.ca.approve()
        renewed = await certified(
            here.world.journal,
            here.world.owner,
            EAST.client,
            Issuance(label="ras", enrollee=CERTIFICATE),
            *(ID_KP_CLIENT_AUTH, ID_KP_CMC_RA),
            request=b"another",
        )
        assert await here.restart() == [False]
        with pytest.raises(NotAuthenticated, match="superseded"):
            await here.enroll(csr)
        assert isinstance(await replace(here, shown=renewed).enroll(csr), x509.Certificate)


async def test_what_a_revoked_ra_asked_for_is_given_up(tmp_path: Path) -> None:
    """At the next start, for good."""
    async with lab(tmp_path) as here:
        assert isinstance(await here.enroll(request()), Pending)
        here.ca.approve()
        await here.revoke()
        assert await here.restart() == [False]
        assert await here.world.journal.open_intents() == ()
        assert await here.world.journal.active_certificate(CLIENT) is None


async def test_the_last_look_does_not_rely_on_the_first(tmp_path: Path) -> None:
    """Orders that no gate would have let pass: a device's name, another's, one out of bounds."""
    async with lab(tmp_path) as here:
        csr = parse_csr(request())
        asked_by = hashlib.sha256(certificate_der(here.shown)).digest()
        good = Order(
            device=CLIENT,
            names=GrantedNames(subject=pki.common_name("gw-7"), alternative_name=None),
            csr=csr,
            request_digest=csr.digest,
            issuance=Issuance(label="lab", enrollee=RA, asked_by=asked_by),
        )
        device = here.world.make_device()
        named = GrantedNames(
            subject=ldevid_subject(device.serial_number, device.issuer), alternative_name=None
        )
        dns = x509.SubjectAlternativeName([x509.DNSName("www.example.com")])
        for wrong in (
            replace(good, names=named),
            replace(good, names=named, device=EAST.client),
            replace(good, names=replace(good.names, subject=pki.common_name("printer-7"))),
            replace(good, names=replace(good.names, alternative_name=dns)),
            replace(good, device=client_key(RA, "east:gw-8")),
            replace(good, device=client_key(RA, "west:gw-7")),
        ):
            with pytest.raises(CSRMismatch):
                await here.desk.issuer.issue(wrong, here.connection)
        nobody = replace(good.issuance, asked_by=None)
        with pytest.raises(WrongOrder):
            await here.desk.issuer.issue(replace(good, issuance=nobody), here.connection)
        devices_alone = here.world.est.desk("")
        assert devices_alone is not None
        with pytest.raises(WrongOrder):
            await devices_alone.issuer.issue(good, here.connection)
        assert here.ca.asked() == []
        assert isinstance(await here.desk.issuer.issue(good, here.connection), Pending)
