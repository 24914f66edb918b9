"""A domain's revocation lists on the journal of :mod:`tests.kit.world`, and who makes them."""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography import x509

from brski.errors import Unavailable
from registrar_plugin.ca_backend.crl import Reason
from registrar_plugin.ca_backend.embedded import EmbeddedCA
from registrar_plugin.clerk import Clerk
from registrar_plugin.revocation.keeper import CRLKeeper, CRLPolicy
from registrar_plugin.store.revocation import Revocation
from registrar_plugin.store.sqlite import SQLiteJournal
from registrar_plugin.store.sqlite_crls import SQLiteRevocationLists
from registrar_plugin.store.sqlite_entries import SQLiteListEntries
from registrar_plugin.store.sqlite_revocation import SQLiteWithdrawals
from registrar_plugin.telemetry.events import Event, EventKind
from tests.kit.world import Device, World


async def revoke(world: World, device: Device, reason: Reason = Reason.KEY_COMPROMISE) -> int:
    """As the command does it: another process, another connection to the same file."""
    now = world.clock.now
    other = SQLiteJournal(world.folder / "registrar.db")
    try:
        return await SQLiteWithdrawals(other.writer).revoke(
            Revocation(device=device.key, at=now, reason=reason, by="operator"),
            Event(at=now, kind=EventKind.REVOCATION, device=device.key),
        )
    finally:
        await other.close()


@dataclass
class Lists:
    """A keeper on the world's journal, and what it has published."""

    world: World
    policy: CRLPolicy = field(default_factory=CRLPolicy)
    ca: EmbeddedCA | None = None
    published: list[bytes] = field(default_factory=list)

    failures: list[Exception] = field(default_factory=list)  # of the next to be put

    async def put(self, octets: bytes) -> None:
        if self.failures:
            raise self.failures.pop()
        self.published.append(octets)

    def stands(self) -> bool:
        return True

    def keeper(self) -> CRLKeeper:
        writer = self.world.journal.writer
        return CRLKeeper(
            ca=self.ca or EmbeddedCA(self.world.owner.signer),
            entries=SQLiteListEntries(writer),
            lists=SQLiteRevocationLists(writer),
            clerk=Clerk(self.world.journal, self.world.clock),
            policy=self.policy,
            place=self,
        )


def listed(octets: bytes) -> set[int]:
    return {entry.serial_number for entry in x509.load_der_x509_crl(octets)}


class DyingCA(EmbeddedCA):
    """Is killed when it should sign a list."""

    async def complete_crl(self, intent: bytes) -> bytes:
        raise Unavailable("killed")
