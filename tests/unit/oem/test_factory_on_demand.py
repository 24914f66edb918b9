"""Devices that are certified when somebody has met them: who is answered, once, whatever is cut."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brski.errors import BatchRefused, Malformed, OnboardingError, TooLarge
from brski.idevid.demand import LABEL, Demand, parse_demand
from brski.pki import cbor
from brski.pki.keys import encode_spki
from brski.seed.profiles import profile
from brski.seed.record import SeedRecord
from oem_backend.factory import on_demand
from oem_backend.factory.inbox import Inbox
from oem_backend.factory.ledger.waiting import DemandOutcome, Waiting
from oem_backend.factory.on_demand import DAY_S, Budget, Desk, Registered, register_list
from oem_backend.factory.work import (
    SealedChunk,
    derive_demanded,
    encode_demanded,
    parse_derived,
)
from tests.kit import factory
from tests.kit.factory import CREATED, FactoryKit, InProcess

NOW_S = 20_000 * DAY_S
ANSWERED, OTHER_KEY = DemandOutcome.ANSWERED, DemandOutcome.OTHER_KEY
UNKNOWN, REPEATED = DemandOutcome.UNKNOWN, DemandOutcome.REPEATED


def spki_sha256(record: SeedRecord) -> bytes:
    key = profile("hmac-drbg-p256").derive(record.seed, record.chip_id)
    return hashlib.sha256(encode_spki(key.public_key())).digest()


class Room:
    """A factory with seven chips; the first six wait under SN-0000 to SN-0005."""

    def __init__(self, folder: Path) -> None:
        self.kit = factory.found(folder)
        self.records = factory.chips(7)
        self.kit.take(self.kit.batch(self.records)[0])
        self.built = self.kit.build_list(factory.serials(self.records[:6]))
        self.inbox, self.outbox = folder / "inbox", folder / "outbox"
        self.inbox.mkdir()
        self.outbox.mkdir()
        self.executor = InProcess()

    def register(self, built: Path | None = None) -> Registered:
        with self.kit.ledger() as ledger:
            return register_list(self.kit.line, built or self.built, ledger=ledger)

    def demand(self, number: int, key_of: int | None = None) -> Demand:
        """Somebody has met device *number*, with the key of *key_of*."""
        record = self.records[number if key_of is None else key_of]
        demand = Demand(serial_number=f"SN-{number:04d}", spki_sha256=spki_sha256(record))
        (self.inbox / demand.file_name).write_bytes(demand.encode())
        return demand

    def look(
        self, *, now_s: int = NOW_S, budget: Budget | None = None
    ) -> list[DemandOutcome | None]:
        with self.kit.ledger() as ledger:
            desk = Desk(
                self.kit.line,
                self.outbox,
                ledger=ledger,
                executor=self.executor,
                budget=budget or Budget(),
                now_s=now_s,
            )
            return [outcome for _, outcome in desk.look(Inbox(self.inbox))]

    def answers(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.outbox.iterdir()}

    def waiting(self) -> object:
        return self.kit.summary()["waiting"]


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


@pytest.mark.requirement("OEM-11")
def test_who_was_met_is_certified(room: Room) -> None:
    """Registered, nothing is derived; demanded, there is a bundle of that one device."""
    registered = room.register()
    assert (registered.generation, registered.records, registered.repeated) == (1, 6, False)
    assert set(room.executor.done) == set()
    assert (room.waiting(), room.answers()) == (6, {})
    demand = room.demand(3)
    assert room.look() == [ANSWERED]
    assert list(room.inbox.iterdir()) == []
    (name,) = room.answers()
    assert name == f"{demand.digest.hex()}.bundle"
    (record,) = room.kit.records(f"outbox/{name}")
    assert record.serial_number == "SN-0003"
    assert hashlib.sha256(record.spki).digest() == demand.spki_sha256
    assert (room.waiting(), room.kit.summary()["certificates"]) == (5, 1)


def test_the_certificate_is_the_one_that_make_would_have_made(tmp_path: Path) -> None:
    """The same list, the same octets, whichever way."""
    room = Room(tmp_path)
    room.register()
    room.demand(3)
    room.look()
    (name,) = room.answers()
    (record,) = room.kit.records(f"outbox/{name}")
    other = FactoryKit(folder=tmp_path)
    (tmp_path / "store").rename(tmp_path / "elsewhere")
    other.take(tmp_path / "batch")
    other.make(room.built)
    made = {each.serial_number: each for each in other.records()}
    assert made["SN-0003"] == record


def test_a_wrong_key_is_told_nothing(room: Room) -> None:
    """Counted, removed, no answer; the right key is answered afterwards."""
    room.register()
    room.demand(3, key_of=4)
    assert room.look() == [OTHER_KEY]
    assert (room.answers(), list(room.inbox.iterdir()), room.waiting()) == ({}, [], 6)
    room.demand(3)
    assert room.look() == [ANSWERED]
    room.demand(3, key_of=4)
    assert room.look() == [OTHER_KEY]
    summary = room.kit.summary()
    assert (summary["other-key"], summary["answered"]) == (2, 1)


def test_only_waiting_entries_are_answered(room: Room) -> None:
    """A chip of a known batch in no list, a number that nobody has: both are unknown alike."""
    room.register()
    room.demand(6)
    stranger = Demand(serial_number="SN-9999", spki_sha256=bytes(32))
    (room.inbox / stranger.file_name).write_bytes(stranger.encode())
    before = list(room.executor.done)
    assert room.look() == [UNKNOWN, UNKNOWN]
    assert room.executor.done == before
    assert (room.answers(), list(room.inbox.iterdir())) == ({}, [])


def test_the_same_demand_gets_the_same_answer(room: Room) -> None:
    """A bundle that was lost on its way is put out again, without a derivation."""
    room.register()
    room.demand(1)
    room.look()
    first = room.answers()
    for path in room.outbox.iterdir():
        path.unlink()
    derived = room.executor.done.count("derive_demanded")
    room.demand(1)
    assert room.look() == [REPEATED]
    assert room.answers() == first
    assert room.executor.done.count("derive_demanded") == derived


def test_what_is_no_demand_is_removed_and_counted(room: Room, tmp_path: Path) -> None:
    """Links are not followed, folders and strange names are passed over, pipes do not block."""
    room.register()
    good = room.demand(1)
    octets = good.encode()
    (room.inbox / good.file_name).unlink()
    (tmp_path / "elsewhere").write_bytes(octets)
    (room.inbox / good.file_name).symlink_to(tmp_path / "elsewhere")
    (room.inbox / f"{'0' * 64}.demand").write_bytes(octets)
    (room.inbox / f"{'1' * 64}.demand").write_bytes(b"x" * 10_000)
    (room.inbox / "a.demand").write_bytes(octets)
    os.mkfifo(room.inbox / f"{'2' * 64}.demand")
    for left in (f".{good.file_name}.0.tmp", "README"):
        (room.inbox / left).touch()
    (room.inbox / f"{'3' * 64}.demand").mkdir()
    assert room.look() == [DemandOutcome.MALFORMED] * 5
    assert len(list(room.inbox.iterdir())) == 3
    assert (tmp_path / "elsewhere").exists()
    assert room.answers() == {}


def test_a_days_budget_is_not_passed(room: Room) -> None:
    """In all and for one serial number; what is over it waits for the next day, restarts or not."""
    room.register()
    for key_of in (1, 2, 3):
        room.demand(0, key_of=key_of)
    room.demand(5)
    tight = Budget(per_day=100, per_device_and_day=2)
    assert sorted(map(str, room.look(budget=tight))) == [
        "None",
        "answered",
        "other-key",
        "other-key",
    ]
    assert len(list(room.inbox.iterdir())) == 1
    assert room.look(budget=tight) == [None]
    assert room.look(budget=tight, now_s=NOW_S + DAY_S) == [OTHER_KEY]
    room.demand(1)
    room.demand(2)
    tomorrow = NOW_S + DAY_S
    assert sorted(map(str, room.look(budget=Budget(per_day=2), now_s=tomorrow))) == [
        "None",
        "answered",
    ]
    assert room.look(now_s=tomorrow + DAY_S) == [ANSWERED]


def test_a_budget_that_is_used_up_is_told_once_a_look(
    room: Room, caplog: pytest.LogCaptureFixture
) -> None:
    room.register()
    for key_of in (1, 2, 3, 4):
        room.demand(0, key_of=key_of)
    with caplog.at_level(logging.WARNING):
        assert room.look(budget=Budget(per_device_and_day=1)) == [OTHER_KEY, None, None, None]
    assert [record.message for record in caplog.records] == [
        "demands wait: the day's budget is used up"
    ]


def test_a_batch_that_is_gone_leaves_the_demand(room: Room) -> None:
    """It is answered once the batch is back."""
    room.register()
    room.demand(1)
    (kept,) = (room.kit.store / "batches").iterdir()
    kept.rename(room.kit.folder / "away")
    assert room.look() == [None]
    assert len(list(room.inbox.iterdir())) == 1
    (room.kit.folder / "away").rename(kept)
    assert room.look() == [ANSWERED]


class Cut(Exception):
    """A kill, for a process that has to go on."""


STEPS = {
    "derived": ("keep_bundle", on_demand),
    "in the store": ("enter", Waiting),
    "on record": ("hand_out", on_demand),
    "in the outbox": ("remove", Inbox),
}


@pytest.mark.parametrize("step", STEPS)
def test_cut_off_at_any_step(room: Room, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """The next look takes it up: one certificate, one answer, the octets of an uncut run."""
    room.register()
    room.demand(2)
    name, owner = STEPS[step]

    def cut(*_: object, **__: object) -> None:
        raise Cut

    with monkeypatch.context() as patched:
        patched.setattr(owner, name, cut)
        with pytest.raises(Cut):
            room.look()
    assert len(list(room.inbox.iterdir())) == 1
    (outcome,) = room.look()
    assert outcome in (ANSWERED, REPEATED)
    assert list(room.inbox.iterdir()) == []
    assert len(room.answers()) == 1
    assert room.kit.summary()["certificates"] == 1
    assert room.look() == []


def test_a_list_that_waits_takes_its_names(room: Room) -> None:
    """A later list may not name them, but with replace, which takes them off record."""
    room.register()
    again = room.kit.build_list(
        [(room.records[6].chip_id, "SN-0002")],
        "again",
        generation=2,
        created_at=CREATED.replace(year=2027),
    )
    with pytest.raises(BatchRefused, match="waits to be certified"):
        room.kit.make(again)
    with pytest.raises(BatchRefused, match="waits to be certified"):
        room.register(again)
    same_chip = room.kit.build_list(
        [(room.records[2].chip_id, "SN-7777")],
        "same-chip",
        generation=2,
        created_at=CREATED.replace(year=2027),
    )
    with pytest.raises(BatchRefused, match="waits to be certified"):
        room.kit.make(same_chip)
    replaced = room.kit.build_list(
        [(room.records[6].chip_id, "SN-0002")],
        "replaced",
        generation=2,
        created_at=CREATED.replace(year=2027),
        replace=True,
    )
    with pytest.raises(BatchRefused, match="cannot wait"):
        room.register(replaced)
    room.kit.make(replaced)
    assert room.waiting() == 5
    room.demand(2)
    assert room.look() == [UNKNOWN]


def test_a_registered_list_is_not_made(room: Room) -> None:
    """And registering it again changes nothing."""
    assert not room.register().repeated
    assert room.register().repeated
    with pytest.raises(BatchRefused, match="on demand"):
        room.kit.make(room.built)


def test_what_was_certified_does_not_wait(room: Room) -> None:
    """A list of certified devices is refused, as make refuses it."""
    room.kit.make(room.built)
    later = room.kit.build_list(
        factory.serials(room.records[:1]),
        "later",
        generation=2,
        created_at=CREATED.replace(year=2027),
    )
    with pytest.raises(BatchRefused, match="was certified"):
        room.register(later)


def test_the_worker_compares(room: Room) -> None:
    """Nothing of the key leaves it where the digest is another."""
    with room.kit.ledger() as ledger:
        taken = ledger.batches.at("vendor", "sensor", 1)
        assert taken is not None
    with room.kit.line.seeds.open_taken(taken.digest) as opened:
        chunk = SealedChunk(
            header=opened.header_octets,
            index=0,
            sealed=opened.sealed_chunk(0),
            recipient_key=room.kit.keys.opening(opened.header_octets),
        )
    record = room.records[0]
    known = spki_sha256(record)
    wrong = bytes([known[0] ^ 1]) + known[1:]
    job = encode_demanded(chunk, taken.digest, record.chip_id, known)
    (key,) = parse_derived(derive_demanded(job))
    assert hashlib.sha256(key.spki).digest() == known
    assert derive_demanded(encode_demanded(chunk, taken.digest, record.chip_id, wrong)) == b"\x80"
    assert derive_demanded(encode_demanded(chunk, taken.digest, b"nobody", known)) == b"\x80"


def test_a_worker_that_answers_for_another_is_not_believed(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answer is data: chip and proof are held against what was asked."""
    room.register()
    room.demand(1)

    class Lying(InProcess):
        def map(self, task: Any, jobs: Any) -> Any:
            for job in jobs:
                answers: Any = cbor.decode(task(job))
                ((_, spki, proof),) = answers
                yield cbor.encode([[b"chip0002", spki, proof]])

    room.executor = Lying()
    assert room.look() == [None]
    assert room.answers() == {}


# -- the file


DEMAND = Demand(serial_number="SN-1", spki_sha256=bytes(range(32)))


def test_the_file_is_the_pages_to_the_octet() -> None:
    octets = (
        bytes.fromhex("83") + b"\x6fbrski demand v1" + b"\x64SN-1" + b"\x58\x20" + bytes(range(32))
    )
    assert DEMAND.encode() == octets
    assert DEMAND.file_name == f"{hashlib.sha256(octets).hexdigest()}.demand"
    assert parse_demand(octets, DEMAND.file_name) == DEMAND


@pytest.mark.parametrize(
    ("octets", "kind"),
    [
        (DEMAND.encode() + b"\x00", Malformed),
        (DEMAND.encode()[:-1], Malformed),
        (cbor.encode(["brski demand v2", "SN-1", bytes(32)]), Malformed),
        (cbor.encode([LABEL, "SN-1", bytes(31)]), Malformed),
        (cbor.encode([LABEL, "", bytes(32)]), Malformed),
        (cbor.encode([LABEL, "SN 1", bytes(32)]), Malformed),
        (cbor.encode([LABEL, b"SN-1", bytes(32)]), Malformed),
        (cbor.encode([LABEL, "SN-1"]), Malformed),
        (bytes(161), TooLarge),
    ],
)
def test_another_file_is_refused(octets: bytes, kind: type[OnboardingError]) -> None:
    with pytest.raises(kind):
        parse_demand(octets, f"{hashlib.sha256(octets).hexdigest()}.demand")


@given(st.binary(max_size=170))
def test_whatever_lies_there_is_read_or_refused(octets: bytes) -> None:
    with pytest.raises(OnboardingError):
        parse_demand(octets, DEMAND.file_name)


def test_a_seed_that_is_not_there_costs_no_budget(room: Room) -> None:
    """However often it is tried; once the batch is back, the day's one derivation is left."""
    room.register()
    room.demand(1)
    (kept,) = (room.kit.store / "batches").iterdir()
    kept.rename(room.kit.folder / "away")
    one = Budget(per_day=1, per_device_and_day=1)
    assert [room.look(budget=one) for _ in range(3)] == [[None]] * 3
    (room.kit.folder / "away").rename(kept)
    assert room.look(budget=one) == [ANSWERED]


def test_a_demand_can_be_left_alone(room: Room) -> None:
    """The watcher does so for a minute with what it could not answer."""
    room.register()
    left, taken = room.demand(1), room.demand(2)
    with room.kit.ledger() as ledger:
        desk = Desk(
            room.kit.line,
            room.outbox,
            ledger=ledger,
            executor=room.executor,
            budget=Budget(),
            now_s=NOW_S,
        )
        looked = dict(desk.look(Inbox(room.inbox), leaving={left.file_name}))
    assert looked == {taken.file_name: ANSWERED}
    assert (room.inbox / left.file_name).exists()
