"""Abuse case 21: a renewal by whoever is not that LDevID.

Revoked, expired, superseded, self-signed with the same names, another domain's, or for another
subject: refused. The whole certificate is compared, octet for octet, with the one on record.
"""

from __future__ import annotations

from pathlib import Path

from brski.est.csr import build_csr
from brski.pki.names import ldevid_subject
from registrar_plugin.ca_backend.crl import Reason
from registrar_plugin.store.revocation import Revocation
from registrar_plugin.store.sqlite import SQLiteJournal
from registrar_plugin.store.sqlite_revocation import SQLiteWithdrawals
from registrar_plugin.telemetry.events import Event, EventKind
from tests.kit import pki
from tests.kit.wired import Wired, issued_in, wired
from tests.kit.world import Device

REFUSED = (400, 401, 403)


async def revoke(wire: Wired, device: Device) -> None:
    """As the command does it, in another process than the registrar's."""
    now = wire.world.clock.now
    journal = SQLiteJournal(wire.journal)
    withdrawn = Revocation(device=device.key, at=now, reason=Reason.KEY_COMPROMISE, by="operator")
    try:
        await SQLiteWithdrawals(journal.writer).revoke(
            withdrawn, Event(at=now, kind=EventKind.REVOCATION, device=device.key)
        )
    finally:
        await journal.close()


def csr_for(device: Device) -> bytes:
    return build_csr(
        pki.KeySigner(pki.make_key()), ldevid_subject(device.serial_number, device.issuer)
    )


async def renewed(wire: Wired, shown: pki.Entity) -> pki.Entity:
    """The next LDevID of whoever holds *shown*, which is to succeed."""
    key = pki.make_key()
    reply = await wire.renew(shown, build_csr(pki.KeySigner(key), shown.certificate.subject))
    assert reply.status == 200
    return pki.Entity(certificate=issued_in(reply), private_key=key)


async def test_revoked(tmp_path: Path) -> None:
    """By another process, while the registrar runs: read from the file, not from memory."""
    async with wired(tmp_path) as wire, wire.serving():
        device, other = wire.world.make_device("SN-1"), wire.world.make_device("SN-2")
        ldevid = await renewed(wire, await wire.onboard(device))
        others = await wire.onboard(other)
        await revoke(wire, device)
        wire.world.clock.forward(seconds=10)
        assert (await wire.renew(ldevid, csr_for(device))).status in REFUSED
        await renewed(wire, others)


async def test_expired(tmp_path: Path) -> None:
    """The second after its last one; in the last it is renewed."""
    async with wired(tmp_path) as wire, wire.serving():
        in_time, late = wire.world.make_device("SN-1"), wire.world.make_device("SN-2")
        first, second = await wire.onboard(in_time), await wire.onboard(late)
        end = second.certificate.not_valid_after_utc
        assert end == first.certificate.not_valid_after_utc
        wire.world.clock.forward(seconds=(end - wire.world.clock.now).total_seconds())
        await renewed(wire, first)
        wire.world.clock.forward(seconds=1)
        assert (await wire.renew(second, csr_for(late))).status in REFUSED


async def test_superseded(tmp_path: Path) -> None:
    """The one that was renewed renews no more, for another key; its successor does."""
    async with wired(tmp_path) as wire, wire.serving():
        device = wire.world.make_device()
        first = await wire.onboard(device)
        second = await renewed(wire, first)
        assert (await wire.renew(first, csr_for(device))).status in REFUSED
        await renewed(wire, second)


async def test_self_signed_with_the_same_names(tmp_path: Path) -> None:
    """Subject, issuer and serial number are public; none of them identifies anybody."""
    async with wired(tmp_path) as wire, wire.serving():
        device = wire.world.make_device()
        ldevid = await wire.onboard(device)
        names = ldevid.certificate
        forged = pki.certify(names.subject, issuer_name=names.issuer)
        assert (await wire.renew(forged, csr_for(device))).status in REFUSED
        assert (await wire.renew(ldevid, csr_for(device))).status == 200


async def test_of_another_domain(tmp_path: Path) -> None:
    """A CA of the same name in another domain is another CA."""
    async with wired(tmp_path) as wire, wire.serving():
        device = wire.world.make_device()
        ldevid = await wire.onboard(device)
        elsewhere = pki.make_pki("Example Owner", not_after=pki.NOT_AFTER)
        foreign = pki.certify(ldevid.certificate.subject, issuer=elsewhere)
        assert (await wire.renew(foreign, csr_for(device))).status in REFUSED
        await renewed(wire, ldevid)


async def test_for_another_subject(tmp_path: Path) -> None:
    """What a renewal may not change (Dogtag's bug of 2025): refused, the honest one is not."""
    async with wired(tmp_path) as wire, wire.serving():
        device, other = wire.world.make_device("SN-1"), wire.world.make_device("SN-2")
        ldevid = await wire.onboard(device)
        assert (await wire.renew(ldevid, csr_for(other))).status in REFUSED
        assert (await wire.renew(ldevid, csr_for(device))).status == 200
