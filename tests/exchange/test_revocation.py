"""A person revokes a device's LDevID: from then on no gate takes it, and the list says so."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from brski.errors import (
    FileUnusable,
    LDevIDRevoked,
    NotAuthenticated,
    Unavailable,
    WrongOrder,
)
from brski.est.csr import parse_csr
from brski.pki.keys import certificate_der
from brski.telemetry.status import Status
from registrar_plugin.ca_backend.crl import Reason
from registrar_plugin.ca_backend.embedded import EmbeddedCA
from registrar_plugin.ca_backend.port import CABackend, Pending
from registrar_plugin.clerk import Clerk
from registrar_plugin.enrollment.profile import EnrollmentProfile
from registrar_plugin.est_server.issuing import Issuer
from registrar_plugin.restart import complete_open_intents
from registrar_plugin.revocation.keeper import CRLPolicy
from registrar_plugin.store.issuances import Issuance
from registrar_plugin.store.port import IntentKind
from registrar_plugin.store.sqlite_crls import SQLiteRevocationLists
from registrar_plugin.store.sqlite_issuances import SQLiteIssuances
from registrar_plugin.store.sqlite_revocation import SQLiteWithdrawals
from registrar_plugin.telemetry.events import EventKind, Outcome
from tests.kit import pki
from tests.kit.crl import DyingCA, Lists, listed, revoke
from tests.kit.programs import require_program
from tests.kit.world import World, make_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with make_world(tmp_path) as opened:
        yield opened


# -- the gates


async def test_a_revoked_ldevid_is_refused_at_once(world: World) -> None:
    """Just issued, and revoked by another process: the very next report over it is refused."""
    device = world.make_device()
    ldevid = await world.onboard(device)
    await world.reports.enroll_status(Status(status=True), world.connection([ldevid]))
    assert await revoke(world, device) == 1
    with pytest.raises(NotAuthenticated, match="revoked"):
        await world.reports.enroll_status(Status(status=True), world.connection([ldevid]))
    last = (await world.journal.events())[-1]
    assert (last.kind, last.outcome) == (EventKind.ENROLL_STATUS, Outcome.REFUSED)


async def test_a_revoked_device_does_not_enroll_again(world: World) -> None:
    """Neither with the same request, nor with a new key over the onboarding that was ended."""
    device = world.make_device()
    csr = world.csr(device)
    await world.voucher(device)
    await world.accept(device)
    await world.enroll(device, csr=csr)
    await revoke(world, device)
    with pytest.raises(WrongOrder, match="revoked"):
        await world.enroll(device, csr=csr)
    with pytest.raises(LDevIDRevoked):
        await world.enroll(device)
    assert await world.journal.active_certificate(device.key) is None
    assert await world.journal.open_intents() == ()


async def test_the_same_voucher_request_does_not_bring_it_back(world: World) -> None:
    """Repeating what was ended is no new onboarding."""
    device = world.make_device()
    await world.onboard(device)
    await revoke(world, device)
    await world.voucher(device)
    with pytest.raises(LDevIDRevoked):
        await world.enroll(device)


async def test_it_is_onboarded_anew(world: World) -> None:
    """The nearest acceptance: another voucher-request begins again, unless somebody denies it."""
    device = world.make_device()
    first = await world.onboard(device)
    await revoke(world, device)
    await world.voucher(device, nonce=bytes(range(16, 32)))
    await world.accept(device)
    second = await world.enroll(device)
    assert isinstance(second, x509.Certificate)
    await world.reports.enroll_status(Status(status=True), world.connection([second]))
    with pytest.raises(NotAuthenticated):
        await world.reports.enroll_status(Status(status=True), world.connection([first]))


async def test_the_namesake_of_another_manufacturer_keeps_its_certificate(world: World) -> None:
    """Revocation is of (issuer, serial number), as everything is."""
    device, other = world.make_device(), world.make_device(issuer=world.other_oem)
    assert device.serial_number == other.serial_number
    await world.onboard(device)
    kept = await world.onboard(other)
    await revoke(world, device)
    await world.reports.enroll_status(Status(status=True), world.connection([kept]))


class FalteringCA:
    """A CA that can fall silent before it signs."""

    def __init__(self, signer: pki.KeySigner) -> None:
        self._ca = EmbeddedCA(signer)
        self.silent = False
        self.ca_certificates = self._ca.ca_certificates
        self.prepare = self._ca.prepare
        self.close = self._ca.close

    async def complete(self, intent: bytes) -> x509.Certificate | Pending:
        if self.silent:
            raise Unavailable("the CA is silent")
        return await self._ca.complete(intent)


async def start_again(world: World, ca: CABackend) -> None:
    """Complete open intents as a registrar that starts does it."""
    clerk = Clerk(world.journal, world.clock)
    issuances = SQLiteIssuances(world.journal.writer)
    issuer = Issuer(
        profile=EnrollmentProfile(),
        ca=ca,
        journal=world.journal,
        issuances=issuances,
        clerk=clerk,
    )
    take_up = partial(issuer.take_up, issuance=Issuance())
    await complete_open_intents(world.journal, clerk, {IntentKind.LDEVID: take_up})


async def test_a_certificate_that_is_being_made_is_born_revoked(tmp_path: Path) -> None:
    """An intent from before the revocation is no way around it; completed at the next start, the
    certificate goes nowhere but into the list.
    """
    signer = pki.make_pki("Example Owner", not_after=pki.NOT_AFTER).signer
    ca = FalteringCA(signer)
    async with make_world(tmp_path, ca=ca) as world:
        device = world.make_device()
        await world.voucher(device)
        await world.accept(device)
        csr = parse_csr(world.csr(device))
        ca.silent = True
        with pytest.raises(Unavailable):
            await world.enroll(device, csr=csr.der)
        await revoke(world, device)
        ca.silent = False
        with pytest.raises(LDevIDRevoked):
            await world.enroll(device, csr=csr.der)

        await start_again(world, ca)
        assert await world.journal.open_intents() == ()
        assert await world.journal.active_certificate(device.key) is None
        made = await world.journal.certificate_for_csr(device.key, csr.digest)
        assert made is not None
        assert made.state == "revoked"
        lists = Lists(world, ca=EmbeddedCA(signer))
        await lists.keeper().refresh()
        serial = x509.load_der_x509_certificate(made.certificate).serial_number
        assert listed(lists.published[-1]) == {serial}


async def test_a_start_after_the_ca_was_exchanged(tmp_path: Path) -> None:
    """An intent that the new CA cannot complete stays open, and the registrar starts."""
    ca = FalteringCA(pki.make_pki("Example Owner", not_after=pki.NOT_AFTER).signer)
    async with make_world(tmp_path, ca=ca) as world:
        device = world.make_device()
        await world.voucher(device)
        await world.accept(device)
        ca.silent = True
        with pytest.raises(Unavailable):
            await world.enroll(device)
        await start_again(world, EmbeddedCA(pki.make_pki("Next Owner").signer))
        assert len(await world.journal.open_intents()) == 1


# -- the list


async def test_the_list_says_who_is_revoked(world: World, tmp_path: Path) -> None:
    """An empty one first, then one with the number after it; OpenSSL refuses by it."""
    lists = Lists(world)
    keeper = lists.keeper()
    device, other = world.make_device("SN-1"), world.make_device("SN-2")
    bad, good = await world.onboard(device), await world.onboard(other)
    first = await keeper.refresh()
    assert (first.number, listed(first.octets)) == (1, set())
    assert (await keeper.refresh()).number == 1
    await revoke(world, device)
    second = await keeper.refresh()
    assert (second.number, listed(second.octets)) == (2, {bad.serial_number})
    assert lists.published == [first.octets, second.octets]

    (tmp_path / "crl.pem").write_bytes(
        x509.load_der_x509_crl(second.octets).public_bytes(Encoding.PEM)
    )
    (tmp_path / "root.pem").write_bytes(world.owner.root.public_bytes(Encoding.PEM))
    (tmp_path / "sub.pem").write_bytes(world.owner.certificate.public_bytes(Encoding.PEM))
    answers = {}
    for name, leaf in (("bad", bad), ("good", good)):
        (tmp_path / name).write_bytes(leaf.public_bytes(Encoding.PEM))
        answers[name] = subprocess.run(
            [
                require_program("openssl", "openssl"),
                *("verify", "-x509_strict", "-crl_check", "-CRLfile", "crl.pem"),
                *("-attime", str(int(pki.NOW.timestamp()) + 60)),
                *("-CAfile", "root.pem", "-untrusted", "sub.pem", name),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
    assert answers["good"].returncode == 0, answers["good"].stderr
    assert answers["bad"].returncode != 0
    assert "certificate revoked" in answers["bad"].stderr


async def test_superseded_certificates_are_listed_where_the_domain_wants_it(world: World) -> None:
    """By policy only, with their reason; a revocation of the device takes its place."""
    device = world.make_device()
    first = await world.onboard(device)
    await world.enroll(device)
    without, with_ = Lists(world), Lists(world, policy=CRLPolicy(superseded=True))
    assert listed((await without.keeper().refresh()).octets) == set()
    crl = x509.load_der_x509_crl((await with_.keeper().refresh(now_anyway=True)).octets)
    (entry,) = crl
    assert entry.serial_number == first.serial_number
    assert reason_of(entry) == "superseded"
    await revoke(world, device)
    crl = x509.load_der_x509_crl((await without.keeper().refresh()).octets)
    assert {reason_of(entry) for entry in crl} == {"keyCompromise"}
    assert len(list(crl)) == 2


def reason_of(entry: x509.RevokedCertificate) -> str:
    return entry.extensions.get_extension_for_class(x509.CRLReason).value.reason.value


async def test_the_list_is_renewed_before_it_ends(world: World) -> None:
    """When half of its time is over, with a larger number, though nothing has changed."""
    keeper = Lists(world, policy=CRLPolicy(validity=timedelta(hours=10))).keeper()
    first = await keeper.refresh()
    world.clock.forward(hours=4, minutes=59)
    assert await keeper.refresh() == first
    world.clock.forward(minutes=1)
    second = await keeper.refresh()
    assert second.number == first.number + 1
    assert second.this_update < first.next_update


async def test_what_has_ended_leaves_the_list_after_one_more(world: World) -> None:
    """RFC 5280 §3.3: an expired certificate stays on one list after its end, and goes then."""
    device = world.make_device()
    bad = await world.onboard(device)
    await revoke(world, device)
    keeper = Lists(world).keeper()
    await keeper.refresh()
    world.clock.forward(days=366)
    assert listed((await keeper.refresh()).octets) == {bad.serial_number}
    world.clock.forward(days=4)
    assert listed((await keeper.refresh()).octets) == set()


async def test_killed_before_the_signature_the_same_list_is_signed(world: World) -> None:
    """The intent is durable first; whoever comes next signs the same octets, and no number is
    given twice.
    """
    dying = Lists(world, ca=DyingCA(world.owner.signer))
    with pytest.raises(Unavailable):
        await dying.keeper().refresh()
    intended = await SQLiteRevocationLists(world.journal.writer).get(1)
    assert intended.result is None
    world.clock.forward(minutes=5)
    crl = x509.load_der_x509_crl((await Lists(world).keeper().refresh()).octets)
    assert crl.tbs_certlist_bytes == intended.octets
    assert (await Lists(world).keeper().refresh(now_anyway=True)).number == 2


async def test_two_processes_never_share_a_number(world: World) -> None:
    """Registrar and command at once: each list has its number, and both are in the journal."""
    keepers = [Lists(world).keeper() for _ in range(4)]
    signed = await asyncio.gather(*(keeper.refresh(now_anyway=True) for keeper in keepers))
    numbers = [crl.number for crl in signed]
    octets = {crl.number: crl.octets for crl in signed}
    assert all(octets[crl.number] == crl.octets for crl in signed)
    assert max(numbers) == 4


async def test_an_exchanged_ca_begins_its_own_list(world: World) -> None:
    """The number goes on; certificates of the CA before are not in it."""
    device = world.make_device()
    await world.onboard(device)
    await revoke(world, device)
    await Lists(world).keeper().refresh()
    other = EmbeddedCA(pki.make_pki("Next Owner").signer)
    crl = await Lists(world, ca=other).keeper().refresh()
    assert (crl.number, listed(crl.octets)) == (2, set())


async def test_a_list_of_the_ca_before_that_was_only_intended_is_passed_over(world: World) -> None:
    """It is not signed by the new CA; its number is used up."""
    dying = Lists(world, ca=DyingCA(world.owner.signer))
    with pytest.raises(Unavailable):
        await dying.keeper().refresh()
    other = EmbeddedCA(pki.make_pki("Next Owner").signer)
    assert (await Lists(world, ca=other).keeper().refresh()).number == 2


async def test_a_failure_to_publish_is_tried_again(world: World) -> None:
    """A full disk where the file should be does not end the keeper, nor is the list forgotten; over
    HTTP it is published all the same.
    """
    lists = Lists(world, failures=[FileUnusable("no such folder")])
    keeper = lists.keeper()
    with pytest.raises(FileUnusable):
        await keeper.refresh()
    assert keeper.current is not None
    lists.failures.append(FileUnusable("no such folder"))
    running = asyncio.create_task(keeper.keep(poll_s=0.0))
    while not lists.published:
        await asyncio.sleep(0.001)
    running.cancel()
    assert keeper.current.number == 1
    assert lists.published == [keeper.current.octets]


async def test_every_list_is_in_the_journal(world: World) -> None:
    """Intended and signed, each an event; revocation says who did it."""
    device = world.make_device()
    ldevid = await world.onboard(device)
    await revoke(world, device)
    await Lists(world).keeper().refresh()
    crls = await world.journal.events(kind=EventKind.CRL)
    assert [event.details["step"] for event in crls] == ["intended", "signed"]
    assert len(await world.journal.events(kind=EventKind.REVOCATION)) == 1
    standing = await SQLiteWithdrawals(world.journal.writer).of(device.key)
    assert standing is not None
    assert (standing.reason, standing.by) == (Reason.KEY_COMPROMISE, "operator")
    digest = hashlib.sha256(certificate_der(ldevid)).digest()
    stored = await world.journal.certificate_by_digest(digest)
    assert stored is not None
    assert stored.state == "revoked"


async def test_whatever_fails_the_list_is_tried_again(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault that nobody foresaw is told, and does not end the keeping."""
    keeper, again = Lists(world).keeper(), asyncio.Event()
    failures = [ValueError("unforeseen")]

    async def refresh() -> None:
        if failures:
            raise failures.pop()
        again.set()

    monkeypatch.setattr(keeper, "refresh", refresh)
    task = asyncio.create_task(keeper.keep(poll_s=0.0))
    async with asyncio.timeout(10):
        await again.wait()
    task.cancel()
    assert "revocation list not renewed" in caplog.text
    assert "Traceback" in caplog.text


# -- what the registrar says of it


async def test_a_list_that_has_ended_is_told(world: World) -> None:
    """Before the first, in its time, after its end; and one that begins only later."""
    keeper = Lists(world, policy=CRLPolicy(validity=timedelta(hours=10))).keeper()
    with pytest.raises(Unavailable, match="no revocation list yet"):
        await keeper.check()
    await keeper.refresh()
    assert await keeper.check() is None
    world.clock.forward(hours=9, minutes=59)
    assert await keeper.check() is None
    world.clock.forward(minutes=1)
    with pytest.raises(Unavailable, match="list 1 has ended at 2025-06-01T22:00:00Z"):
        await keeper.check()
    world.clock.forward(hours=-10, minutes=-6)
    with pytest.raises(Unavailable, match="begins at 2025-06-01T12:00:00Z only"):
        await keeper.check()


async def test_a_list_that_cannot_be_renewed_is_told(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """A warning while it is good, with the reason; red with the same reason once it has ended; the
    log has a line for a reason, not for each try.
    """
    lists = Lists(world, policy=CRLPolicy(validity=timedelta(hours=10)))
    await lists.keeper().refresh()
    dying = Lists(world, policy=lists.policy, ca=DyingCA(world.owner.signer)).keeper()
    await dying.refresh()
    world.clock.forward(hours=5)
    running = asyncio.create_task(dying.keep(poll_s=0.0))
    while (told := await dying.check()) is None:
        await asyncio.sleep(0.001)
    assert told == "revocation list 1 is not renewed: killed"
    for _ in range(50):
        await asyncio.sleep(0)
    running.cancel()
    world.clock.forward(hours=5)
    with pytest.raises(Unavailable, match=r"has ended at .*: killed"):
        await dying.check()
    assert caplog.text.count("revocation list not renewed") == 1
    assert "Traceback" not in caplog.text


async def test_a_clock_that_is_set_back_makes_a_new_list(world: World) -> None:
    """One that was signed while the clock was ahead is good for nobody now; numbers grow on."""
    keeper = Lists(world).keeper()
    world.clock.forward(days=400)
    first = await keeper.refresh()
    world.clock.forward(days=-400)
    second = await keeper.refresh()
    assert (second.number, second.this_update) == (first.number + 1, world.clock.now)
    world.clock.forward(minutes=-4)  # as clocks are set right every day
    assert await keeper.refresh() == second
