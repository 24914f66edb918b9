"""Intake: what is taken in, once, and what is refused whole with nothing left behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from brski.errors import (
    BatchRefused,
    KeyUnusable,
    Malformed,
    OnboardingError,
    SignatureInvalid,
    StateError,
    Unavailable,
    UnknownFormat,
)
from brski.seed.recipient_key import HybridPrivateKey
from brski.seed.record import SeedRecord
from oem_backend.factory import work
from oem_backend.factory.intake import Intake
from tests.kit import chunks, factory
from tests.kit.factory import FactoryKit, InProcess


@pytest.fixture
def kit(tmp_path: Path) -> FactoryKit:
    return factory.found(tmp_path)


def assert_nothing_stays(kit: FactoryKit, *, batches: int = 0) -> None:
    """In the ledger and in the store there is what was taken in before, and no more."""
    taken = kit.summary()["batches"]
    assert isinstance(taken, list)
    assert sum(row["batches"] for row in taken) == batches
    kept = kit.store / "batches"
    assert len(list(kept.iterdir()) if kept.exists() else []) == batches


@pytest.mark.requirement("OEM-8")
def test_a_batch_is_taken_in_once(kit: FactoryKit) -> None:
    """Taken in, it is on record; the same file again changes nothing, and no chunk is opened."""
    path, minted = kit.batch(factory.chips(7))
    workers = InProcess()
    taken = kit.take(path, executor=workers)
    assert (taken.outcome, taken.digest, taken.records) == (Intake.TAKEN, minted.digest, 7)
    assert workers.done == ["check_chunk"] * 3
    assert kit.summary()["chips"] == 7
    again = kit.take(path, executor=workers)
    assert (again.outcome, again.digest) == (Intake.ALREADY, minted.digest)
    assert workers.done == ["check_chunk"] * 3
    assert_nothing_stays(kit, batches=1)


def test_the_sealed_file_is_kept_as_it_came(kit: FactoryKit) -> None:
    path, minted = kit.batch(factory.chips(4))
    kit.take(path)
    kept = kit.store / "batches" / f"{minted.digest.hex()}.batch"
    assert kept.read_bytes() == path.read_bytes()
    assert kept.stat().st_mode & 0o777 == 0o600


# -- places in a vendor's sequence


def test_the_same_place_with_another_batch_is_equivocation(kit: FactoryKit) -> None:
    """A vendor that signs two batches for one sequence is not believed the second time."""
    first, _ = kit.batch(factory.chips(3))
    second, _ = kit.batch(factory.chips(3, start=10), "other")
    kit.take(first)
    with pytest.raises(BatchRefused, match="two batches for one place"):
        kit.take(second)
    assert_nothing_stays(kit, batches=1)


def test_one_place_of_another_product_is_another_place(kit: FactoryKit) -> None:
    """Sequences are counted for each vendor and product: the nearest acceptance."""
    kit.take(kit.batch(factory.chips(3))[0])
    other, _ = kit.batch(factory.chips(3, start=10), "other", product="pump")
    assert kit.take(other).outcome is Intake.TAKEN


def test_a_gap_waits_until_it_is_accepted(kit: FactoryKit) -> None:
    """Out of order is not refused for ever: try again, or say that the gap is known."""
    path, _ = kit.batch(factory.chips(3), sequence=3, predecessor=bytes(32))
    with pytest.raises(Unavailable, match="3 has come, 2 has not"):
        kit.take(path)
    assert_nothing_stays(kit)
    assert kit.take(path, accept_gap=True).outcome is Intake.TAKEN


def test_the_predecessor_must_be_the_one_taken_in(kit: FactoryKit) -> None:
    """The chain of batches has no second branch, and --accept-gap opens none."""
    first, minted = kit.batch(factory.chips(3))
    kit.take(first)
    wrong, _ = kit.batch(factory.chips(3, start=10), "wrong", sequence=2, predecessor=bytes(32))
    with pytest.raises(BatchRefused, match="another predecessor"):
        kit.take(wrong, accept_gap=True)
    right, _ = kit.batch(factory.chips(3, start=10), "right", sequence=2, predecessor=minted.digest)
    assert kit.take(right).outcome is Intake.TAKEN


def test_a_late_batch_must_be_the_one_that_its_successor_names(kit: FactoryKit) -> None:
    """After an accepted gap the missing batch still fits in; one that takes its name does not."""
    genuine, minted = kit.batch(factory.chips(3))
    false, _ = kit.batch(factory.chips(3, start=20), "false")
    second, _ = kit.batch(
        factory.chips(3, start=10), "second", sequence=2, predecessor=minted.digest
    )
    kit.take(second, accept_gap=True)
    with pytest.raises(BatchRefused, match="names another predecessor"):
        kit.take(false)
    assert kit.take(genuine).outcome is Intake.TAKEN


# -- twice


def _with_seed_of(records: Sequence[SeedRecord], other: SeedRecord) -> list[SeedRecord]:
    return [*records[:-1], replace(records[-1], seed=other.seed)]


@pytest.mark.parametrize("what", ["chip", "seed"])
def test_twice_in_a_batch_is_refused(kit: FactoryKit, what: str) -> None:
    """Across chunks, where the vendor's own writer does not see it; both places are named."""
    records = factory.chips(6)
    if what == "chip":
        records[-1] = replace(records[-1], chip_id=records[0].chip_id)
    else:
        records = _with_seed_of(records, records[0])
    path, _ = kit.batch(records)
    with pytest.raises(BatchRefused, match=f"{what}.*chunk 0 of this batch") as refused:
        kit.take(path)
    assert records[0].chip_id.hex() in refused.value.reason
    assert records[0].seed.octets.hex() not in refused.value.reason
    assert kit.summary()["chips"] == 0
    assert_nothing_stays(kit)


@pytest.mark.parametrize("what", ["chip", "seed"])
def test_twice_over_batches_is_refused(kit: FactoryKit, what: str) -> None:
    """A chip or a seed of an earlier batch comes back in a later one."""
    earlier = factory.chips(3)
    first, minted = kit.batch(earlier)
    kit.take(first)
    later = factory.chips(3, start=10)
    if what == "chip":
        later[-1] = replace(later[-1], chip_id=earlier[0].chip_id)
    else:
        later = _with_seed_of(later, earlier[0])
    path, _ = kit.batch(later, "later", sequence=2, predecessor=minted.digest)
    with pytest.raises(BatchRefused, match="batch vendor/sensor/1"):
        kit.take(path)
    assert kit.summary()["chips"] == 3
    assert_nothing_stays(kit, batches=1)


# -- who signed it, to whom, and is it whole


def test_an_unknown_vendor_is_refused(kit: FactoryKit) -> None:
    """A vendor id that is not configured, and a configured one with another key."""
    unknown, _ = kit.batch(factory.chips(3), "unknown", vendor_id="somebody")
    other_key, _ = kit.batch(factory.chips(3), "other", signer="stranger")
    for path in (unknown, other_key):
        with pytest.raises(BatchRefused):
            kit.take(path)
    assert_nothing_stays(kit)


def test_a_batch_for_another_oem_is_refused(kit: FactoryKit) -> None:
    """It is addressed to a key that is not this factory's."""
    other = HybridPrivateKey.parse(bytes(range(96))).public_key
    path, _ = kit.batch(factory.chips(3), recipient=other)
    with pytest.raises(BatchRefused, match="sealed to recipient key"):
        kit.take(path)
    assert_nothing_stays(kit)


def test_a_batch_that_another_vendor_has_signed_anew_is_refused(kit: FactoryKit) -> None:
    """Taken over whole, under the first vendor's name, with the second one's signature."""
    genuine, _ = kit.batch(factory.chips(3))
    stranger, _ = kit.batch(factory.chips(3), "stranger", signer="stranger")
    label, _, *sealed = chunks.cut(genuine.read_bytes())
    manifest = chunks.cut(stranger.read_bytes())[1]
    path = kit.folder / "mixed"
    path.write_bytes(chunks.join([label, manifest, *sealed]))
    with pytest.raises(BatchRefused):
        kit.take(path)


def _mangled(kit: FactoryKit, how: str) -> Path:
    path, _ = kit.batch(factory.chips(9))
    items = chunks.cut(path.read_bytes())
    other = chunks.cut(kit.batch(factory.chips(9, start=20), "other")[0].read_bytes())
    altered = {
        "swapped": chunks.swap(items, 2, 3),
        "twice": [*items[:3], items[2], *items[4:]],
        "left out": items[:-1],
        "one too many": [*items, items[-1]],
        "of another batch": [*items[:2], other[2], *items[3:]],
        "one bit": [*items[:-1], items[-1][:-1] + bytes((items[-1][-1] ^ 1,))],
    }[how]
    mangled = kit.folder / "mangled"
    mangled.write_bytes(chunks.join(altered))
    return mangled


@pytest.mark.parametrize(
    "how", ["swapped", "twice", "left out", "one too many", "of another batch", "one bit"]
)
def test_chunks_that_are_not_as_signed_are_refused_sealed(kit: FactoryKit, how: str) -> None:
    """Before the first of them is opened."""
    workers = InProcess()
    with pytest.raises((BatchRefused, Malformed)):
        kit.take(_mangled(kit, how), executor=workers)
    assert workers.done == []
    assert_nothing_stays(kit)


def test_a_batch_cut_short_is_refused_at_any_length(kit: FactoryKit) -> None:
    path, _ = kit.batch(factory.chips(1))
    octets = path.read_bytes()
    cut = kit.folder / "cut"
    for length in range(0, len(octets), 97):
        cut.write_bytes(octets[:length])
        with pytest.raises((Malformed, UnknownFormat)):
            kit.take(cut)
    assert_nothing_stays(kit)


def test_a_short_seed_is_refused_by_the_worker(
    kit: FactoryKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What only shows once a chunk is open refuses the batch whole, too."""
    path, _ = kit.batch(factory.chips(7))

    def third_is_short(job: bytes) -> bytes:
        if workers.done == ["check_chunk"] * 3:
            raise BatchRefused("the seed of chip 00 has 31 octets")
        return genuine(job)

    genuine = work.check_chunk
    third_is_short.__name__ = "check_chunk"
    monkeypatch.setattr("oem_backend.factory.intake.check_chunk", third_is_short)
    workers = InProcess()
    with pytest.raises(BatchRefused, match="31 octets"):
        kit.take(path, executor=workers)
    assert kit.summary()["chips"] == 0
    assert_nothing_stays(kit)


# -- our own files


@pytest.mark.parametrize("name", ["recipient.key", "intake.key"])
def test_a_key_that_others_can_read_is_not_used(kit: FactoryKit, name: str) -> None:
    path, _ = kit.batch(factory.chips(3))
    (kit.folder / name).chmod(0o640)
    with pytest.raises(KeyUnusable, match="others can read"):
        kit.take(path)
    assert_nothing_stays(kit)
    (kit.folder / name).chmod(0o600)
    assert kit.take(path).outcome is Intake.TAKEN


def test_an_intake_key_of_another_length_is_not_used(kit: FactoryKit) -> None:
    path, _ = kit.batch(factory.chips(3))
    (kit.folder / "intake.key").write_bytes(bytes(31))
    with pytest.raises(KeyUnusable):
        kit.take(path)
    assert_nothing_stays(kit)


@pytest.mark.parametrize("answer", [b"\x80", b"\xa0", b"\x81\x82\x41a\x41b", b""])
def test_a_worker_that_answers_something_else_is_not_believed(
    kit: FactoryKit, answer: bytes
) -> None:
    """Fewer records than the header says, or no records at all."""
    path, _ = kit.batch(factory.chips(1))

    class Odd(InProcess):
        def map(self, task, jobs):
            yield from (answer for _ in jobs)

    with pytest.raises((StateError, Malformed)):
        kit.take(path, executor=Odd())
    assert_nothing_stays(kit)


def test_a_worker_that_answers_too_little_is_not_believed(kit: FactoryKit) -> None:
    """A chunk whose answer does not come is no chunk without chips."""
    path, _ = kit.batch(factory.chips(7))

    class Lazy(InProcess):
        def map(self, task, jobs):
            yield task(next(iter(jobs)))

    with pytest.raises(ValueError, match="shorter"):
        kit.take(path, executor=Lazy())
    assert_nothing_stays(kit)


def test_an_interrupted_intake_leaves_nothing(kit: FactoryKit) -> None:
    """Control-C between two chunks."""
    path, _ = kit.batch(factory.chips(7))

    class Interrupted(InProcess):
        def map(self, task, jobs):
            yield task(next(iter(jobs)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kit.take(path, executor=Interrupted())
    assert_nothing_stays(kit)
    assert kit.take(path).outcome is Intake.TAKEN


def test_no_file_is_taken_for_a_batch(kit: FactoryKit) -> None:
    """A build list in its place, and a manifest signed as something else."""
    built = kit.build_list(factory.serials(factory.chips(2)))
    with pytest.raises((OnboardingError, SignatureInvalid)):
        kit.take(built)
    assert_nothing_stays(kit)
