"""Devices that are certified when somebody has met them: register a list, answer demands.

An answer is made only for an entry that waits, and only if the asker knows the digest of the key
that its seed gives; a worker compares. The steps and what a kill between them leaves are in
docs/on-demand.md.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Container, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from brski.edge.atomic_file import open_input, remove_leftovers
from brski.errors import BatchRefused, PeerError, StateError, Unavailable
from brski.idevid.build_list import open_build_list
from brski.idevid.bundle import BundleOrigin
from brski.idevid.demand import Demand
from brski.pki.keys import certificate_der
from oem_backend.executors.port import Executor
from oem_backend.factory.build_lists import begin_list
from oem_backend.factory.bundles import hand_out, keep_bundle
from oem_backend.factory.certify import Terms
from oem_backend.factory.inbox import Inbox
from oem_backend.factory.ledger.at_work import Made
from oem_backend.factory.ledger.file import Ledger
from oem_backend.factory.ledger.waiting import DemandOutcome, WaitingDevice
from oem_backend.factory.line import Line, check_terms, idevid_issuer_of, terms_digest
from oem_backend.factory.pipeline import check_proof
from oem_backend.factory.work import (
    derive_demanded,
    encode_demanded,
    parse_derived,
)

log = logging.getLogger(__name__)

DAY_S: Final = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """What the operator is told of a build list that waits."""

    build_list_digest: bytes
    generation: int
    records: int
    repeated: bool  # it was on record before


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How many derivations strangers may cause in a day."""

    per_day: int = 1000
    per_device_and_day: int = 10


def register_list(line: Line, build_list: Path, *, ledger: Ledger) -> Registered:
    """Put a build list on record; its devices are certified on demand.

    Raises:
        BatchRefused: the list, whole; see :func:`oem_backend.factory.build_lists.begin_list`; or an
            entry of it says ``replace``.
        SignatureInvalid, Malformed, UnknownFormat, TooLarge: the list.
        SettingsError: settings that no certificate can be made with.
        Unavailable: the disk.
    """
    with open_input(build_list) as file:
        wanted = open_build_list(file, line.assemblers)
        known = ledger.lists.find(wanted.digest)
        repeated = known is not None and known.finished
        if not repeated:
            if any(entry.replace for entry in wanted.entries()):
                raise BatchRefused("an entry with replace cannot wait: what it ends must end now")
            check_terms(line, wanted)
            issuer = idevid_issuer_of(line)
            number = begin_list(
                wanted, terms=terms_digest(line), idevid_issuer=issuer, ledger=ledger
            )
            ledger.waiting.begin(number)
    return Registered(
        build_list_digest=wanted.digest,
        generation=wanted.header.generation,
        records=wanted.header.entry_count,
        repeated=repeated,
    )


class _BudgetUsedUp(Exception):
    """Not today."""


class Desk:
    """Where demands are answered.

    Args:
        outbox: an existing folder for the answers.
        executor: asked for a worker only where a key is to be derived.
        now_s: seconds since 1970; days of the budget are counted in UTC.
    """

    def __init__(
        self,
        line: Line,
        outbox: Path,
        *,
        ledger: Ledger,
        executor: Executor,
        budget: Budget,
        now_s: int,
    ) -> None:
        self._line = line
        self._outbox = outbox
        self._ledger = ledger
        self._waiting = ledger.waiting
        self._executor = executor
        self._budget = budget
        self._day = now_s // DAY_S
        self._budget_told = False

    def look(
        self, inbox: Inbox, *, leaving: Container[str] = frozenset()
    ) -> Iterator[tuple[str, DemandOutcome | None]]:
        """Deal with every demand that lies in *inbox* now.

        Args:
            leaving: names of files that are not looked at this time.

        Yields:
            File name and what became of it; None where it stays for another look.

        Raises:
            FileUnusable, Unavailable: a folder of ours, or the disk.
            SettingsError: no certificate can be made.
        """
        for name in inbox.names():
            if name in leaving:
                continue
            outcome = self._deal_with(inbox, name)
            if outcome is not None:
                inbox.remove(name)
                log.info("demand", extra={"demand": name, "outcome": outcome.value})
            yield name, outcome

    def _deal_with(self, inbox: Inbox, name: str) -> DemandOutcome | None:
        demand = inbox.read(name)
        if demand is None:
            return self._count(DemandOutcome.MALFORMED)
        device = self._waiting.device(demand.serial_number)
        if device is None:
            return self._answered_before(demand)
        try:
            return self._derive_and_answer(demand, device)
        except _BudgetUsedUp:
            self._tell_of_budget(name)
            return None
        except (BatchRefused, PeerError, StateError, Unavailable) as err:
            log.error("demand waits", extra={"demand": name, "reason": err.reason})  # noqa: TRY400 - a line, no traceback
            return None

    def _tell_of_budget(self, name: str) -> None:
        """Once for each look: who floods the inbox does not flood the log."""
        if not self._budget_told:
            self._budget_told = True
            log.warning("demands wait: the day's budget is used up", extra={"demand": name})

    def _answered_before(self, demand: Demand) -> DemandOutcome:
        answered = self._waiting.answer(demand)
        if answered is not None:
            self._hand_out(demand, answered)
            return self._count(DemandOutcome.REPEATED)
        if self._waiting.was_answered(demand.serial_number):
            return self._count(DemandOutcome.OTHER_KEY)
        return self._count(DemandOutcome.UNKNOWN)

    def _derive_and_answer(self, demand: Demand, device: WaitingDevice) -> DemandOutcome:
        spki = self._derived(demand, device)
        if spki is None:
            return self._count(DemandOutcome.OTHER_KEY)
        line = self._line
        terms = Terms(
            issuer=line.issuing.chain[0],
            masa_url=line.masa_url,
            not_before=device.created_at,
            hardware_module_type=line.hardware_module_type,
        )
        certificate = terms.profile().certify(spki, device.serial_number, line.issuing)
        folder = line.store / "bundles"
        folder.mkdir(exist_ok=True)
        remove_leftovers(folder)
        kept = keep_bundle(
            folder,
            _origin(line, device),
            [_made(device, certificate)],
            {},
            line.bundling,
            name=_bundle_name(demand),
        )
        self._waiting.enter(
            demand,
            device,
            idevid_issuer=idevid_issuer_of(line),
            certificate_sha256=hashlib.sha256(certificate).digest(),
            file_sha256=kept.file_sha256,
            day=self._day,
        )
        line.seeds.erase_finished([device.batch_digest], self._ledger)
        self._hand_out(demand, kept.file_sha256)
        return DemandOutcome.ANSWERED

    def _derived(self, demand: Demand, device: WaitingDevice) -> bytes | None:
        """The device's public key, if it is the one that was asked for; a worker has compared."""
        batch_digest = device.batch_digest
        with self._line.seeds.chunks_of(batch_digest) as chunk_of:
            chunk = chunk_of(device.chunk, [device.chip_id])  # still sealed
            self._take_budget(demand)
            self._line.seeds.log_use(f"demand {demand.digest.hex()}", {batch_digest: 1})
            job = encode_demanded(chunk, batch_digest, device.chip_id, demand.spki_sha256)
        with closing(self._executor.map(derive_demanded, [job])) as answers:
            derived = parse_derived(next(answers))
        if not derived:
            return None
        (key,) = derived
        if key.chip_id != device.chip_id:
            raise StateError("a worker came back with another chip than it was asked for")
        check_proof(batch_digest, key)
        return key.spki

    def _take_budget(self, demand: Demand) -> None:
        """Counted before the seed is opened, so that no restart gives it back."""
        if not self._waiting.take_derivation(
            demand.serial_number,
            self._day,
            most=self._budget.per_day,
            most_each=self._budget.per_device_and_day,
        ):
            raise _BudgetUsedUp

    def _hand_out(self, demand: Demand, file_sha256: bytes) -> None:
        name = _bundle_name(demand)
        hand_out(self._line.store / "bundles" / name, file_sha256, self._outbox / name)

    def _count(self, outcome: DemandOutcome) -> DemandOutcome:
        self._waiting.count(outcome, self._day)
        return outcome


def _bundle_name(demand: Demand) -> str:
    return f"{demand.digest.hex()}.bundle"


def _made(device: WaitingDevice, certificate: bytes) -> Made:
    return Made(
        place=0,
        serial_number=device.serial_number,
        presentation=device.presentation,
        chunk=device.chunk,
        certificate=certificate,
    )


def _origin(line: Line, device: WaitingDevice) -> BundleOrigin:
    return BundleOrigin(
        factory_id=line.name,
        batch_digest=device.batch_digest,
        build_list_digest=device.build_list_digest,
        generation=device.generation,
        created_at=device.created_at,
        product=device.product,
        derivation_profile=device.profile,
        issuing_chain=tuple(map(certificate_der, line.issuing.chain)),
    )
