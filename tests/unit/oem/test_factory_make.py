"""The line: what a build list may ask for, what comes of it, and that it does so to the octet."""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from brski.errors import (
    BatchRefused,
    FileUnusable,
    SettingsError,
    SignatureInvalid,
    StateError,
    Unavailable,
)
from brski.idevid.record import Presentation
from brski.pki import cbor, signatures
from brski.pki.chain import TrustAnchors
from brski.pki.keys import encode_spki, load_spki, parse_certificate, spki_of
from brski.seed.profiles import profile
from brski.seed.record import SeedRecord
from oem_backend.factory import work
from oem_backend.factory.ledger.at_work import AtWork
from oem_backend.factory.ledger.lists import BuildLists
from oem_backend.factory.work import DerivedKey, parse_derived, proof_octets
from tests.kit import factory, pki
from tests.kit.factory import CREATED, FactoryKit, InProcess

LATER = CREATED + timedelta(days=1)


@pytest.fixture
def kit(tmp_path: Path) -> FactoryKit:
    return factory.found(tmp_path)


def taken(kit: FactoryKit, count: int) -> list[SeedRecord]:
    """The chips of a batch that the factory has taken in."""
    records = factory.chips(count)
    kit.take(kit.batch(records)[0])
    return records


def two_batches(kit: FactoryKit, count: int) -> tuple[list[SeedRecord], list[SeedRecord]]:
    first, second = factory.chips(count), factory.chips(count, start=500)
    path, minted = kit.batch(first, "first")
    kit.take(path)
    kit.take(kit.batch(second, "second", sequence=2, predecessor=minted.digest)[0])
    return first, second


# -- what comes out


@pytest.mark.requirement("OEM-1", "OEM-2", "OEM-8", "OEM-14")
def test_a_bundle_holds_the_devices_own_keys(kit: FactoryKit) -> None:
    """Certified under the factory's root, ordered, and equal to what a device derives."""
    records = factory.chips(7)
    path, minted = kit.batch(records)
    kit.take(path)
    report = kit.make(kit.build_list(factory.serials(records)))
    assert (report.certified, report.repeated, report.generation) == (7, False, 1)
    made = kit.records()
    assert [record.serial_number for record in made] == sorted(
        s for _, s in factory.serials(records)
    )
    derive = profile("hmac-drbg-p256").derive
    anchors = TrustAnchors([x509.load_pem_x509_certificate((kit.folder / "root.pem").read_bytes())])
    for seed, record in zip(records, made, strict=True):
        assert load_spki(record.spki) == derive(seed.seed, seed.chip_id).public_key()
        idevid = parse_certificate(record.certificate)
        assert spki_of(idevid) == record.spki
        assert idevid.not_valid_before_utc == CREATED
        assert (record.batch_digest, record.generation) == (minted.digest, 1)
        anchors.validate(idevid, [parse_certificate(d) for d in record.intermediates], at=CREATED)
    assert [record.chunk for record in made] == [0, 0, 0, 1, 1, 2, 2]
    assert {record.presentation for record in made} == set(Presentation)
    assert len({parse_certificate(record.certificate).serial_number for record in made}) == 7


def test_the_order_is_that_of_serial_numbers_not_of_chips(kit: FactoryKit) -> None:
    """Chips of every chunk stand between one another in the bundle."""
    records = taken(kit, 9)
    backwards = [(r.chip_id, f"SN-{9 - number}") for number, r in enumerate(records)]
    kit.make(kit.build_list(backwards))
    assert [record.serial_number for record in kit.records()] == [f"SN-{n}" for n in range(1, 10)]


@pytest.mark.parametrize(
    ("levels", "algorithm"), [(3, "P-256"), (2, "P-256"), (2, "P-384"), (3, "Ed25519")]
)
def test_every_kind_of_pki_is_reproducible(tmp_path: Path, levels: int, algorithm: str) -> None:
    """Two factories with the same keys come to the same octets, each by itself."""
    kit = factory.found(tmp_path, levels=levels, algorithm=algorithm)
    records = factory.chips(5)
    path, _ = kit.batch(records)
    built = kit.build_list(factory.serials(records))
    bundles = []
    for name in ("one", "two"):
        kit.take(path)
        kit.make(built, name)
        bundles.append((kit.folder / name).read_bytes())
        kit.store.rename(kit.folder / f"store of {name}")
    assert bundles[0] == bundles[1]
    root = x509.load_pem_x509_certificate((kit.folder / "root.pem").read_bytes())
    for record in kit.records("one"):
        intermediates = [parse_certificate(der) for der in record.intermediates]
        assert len(intermediates) == levels - 2
        TrustAnchors([root]).validate(
            parse_certificate(record.certificate), intermediates, at=CREATED
        )


def test_the_same_list_again_hands_out_the_same_octets(kit: FactoryKit) -> None:
    """No worker is started for it, and it is no error."""
    records = taken(kit, 5)
    built = kit.build_list(factory.serials(records))
    first = kit.make(built, "one")
    workers = InProcess()
    again = kit.make(built, "two", executor=workers)
    assert (again.repeated, again.certified, workers.done) == (True, 0, [])
    assert again.bundles[0].digest == first.bundles[0].digest
    assert (kit.folder / "one").read_bytes() == (kit.folder / "two").read_bytes()


def test_a_finished_list_is_handed_out_whatever_the_settings_have_become(kit: FactoryKit) -> None:
    records = taken(kit, 2)
    built = kit.build_list(factory.serials(records))
    kit.make(built, "one")
    kit.make(built, "two", line=replace(kit.line, masa_url="elsewhere.example.com"))
    assert (kit.folder / "one").read_bytes() == (kit.folder / "two").read_bytes()


def test_a_list_over_several_batches_makes_a_bundle_for_each(kit: FactoryKit) -> None:
    """The assembly knows chips, not batches; the folder gets one bundle for each batch."""
    first, second = two_batches(kit, 4)
    mixed = [pair for two in zip(first, second, strict=True) for pair in two]
    numbered = [(record.chip_id, f"SN-{n}") for n, record in enumerate(mixed)]
    built = kit.build_list(numbered)
    with pytest.raises(FileUnusable, match="2 batches"):
        kit.make(built)
    (kit.folder / "out").mkdir()
    report = kit.make(built, "out")
    assert [bundle.records for bundle in report.bundles] == [4, 4]
    serials = []
    for bundle in report.bundles:
        made = kit.records(f"out/{bundle.path.name}")
        assert {record.batch_digest for record in made} == {bundle.batch_digest}
        serials += [record.serial_number for record in made]
    assert sorted(serials) == [f"SN-{n}" for n in range(8)]


def test_a_folder_takes_one_bundle_too(kit: FactoryKit) -> None:
    records = taken(kit, 2)
    (kit.folder / "out").mkdir()
    report = kit.make(kit.build_list(factory.serials(records)), "out")
    assert list((kit.folder / "out").iterdir()) == [report.bundles[0].path]


def test_chips_left_over_are_certified_by_a_later_list(kit: FactoryKit) -> None:
    """A batch is assembled as it comes; only the chunks that a list needs are opened."""
    records = taken(kit, 9)
    numbers = factory.serials(records)
    workers = InProcess()
    kit.make(kit.build_list(numbers[:4], "a"), "a", executor=workers)
    assert workers.done == ["do_step"] * 2
    kit.make(kit.build_list(numbers[4:], "b", generation=2), "b")
    assert len(kit.records("a")) + len(kit.records("b")) == 9


# -- what a list may not ask for


def refused(kit: FactoryKit, built: Path, match: str) -> None:
    """Refused for this reason, twice; nothing is written, nothing of it stays on record."""
    before = kit.summary()
    workers = InProcess()
    for _ in range(2):
        with pytest.raises(BatchRefused, match=match):
            kit.make(built, "refused", executor=workers)
    assert workers.done == []
    assert kit.summary() == before
    assert not (kit.folder / "refused").exists()


def test_a_list_of_an_unknown_assembler_is_refused(kit: FactoryKit) -> None:
    records = taken(kit, 2)
    refused(kit, kit.build_list(factory.serials(records), signer="stranger"), "configured is")


def test_a_chip_of_no_batch_is_refused(kit: FactoryKit) -> None:
    records = taken(kit, 2)
    stray = [*factory.serials(records), (b"chip9999", "SN-9999")]
    refused(kit, kit.build_list(stray), f"{b'chip9999'.hex()}.*no batch")


def test_a_list_for_another_product_is_refused(kit: FactoryKit) -> None:
    records = taken(kit, 2)
    built = kit.build_list(factory.serials(records), product="pump")
    refused(kit, built, "for 'pump'.*'sensor'")


def test_a_generation_is_used_once_and_rises(kit: FactoryKit) -> None:
    """Zero is the first that there can be."""
    numbers = factory.serials(taken(kit, 5))
    kit.make(kit.build_list(numbers[:1], "a", generation=0), "a")
    refused(kit, kit.build_list(numbers[1:2], "b", generation=0), "not above 0")
    kit.make(kit.build_list(numbers[1:2], "c", generation=7), "c")
    refused(kit, kit.build_list(numbers[2:3], "d", generation=7), "not above 7")
    refused(kit, kit.build_list(numbers[3:4], "e", generation=6), "not above 7")
    kit.make(kit.build_list(numbers[4:], "f", generation=8), "f")


@pytest.mark.parametrize("what", ["chip", "serial number", "both"])
def test_a_second_certificate_needs_a_replace_entry(kit: FactoryKit, what: str) -> None:
    """A chip under another number, a number for another chip, or the same pair; then a re-issue."""
    records = taken(kit, 4)
    numbers = factory.serials(records)
    kit.make(kit.build_list(numbers[:2]), "first")
    again = {
        "chip": [(records[0].chip_id, "SN-NEW")],
        "serial number": [(records[2].chip_id, numbers[0][1])],
        "both": numbers[:1],
    }[what]
    refused(kit, kit.build_list(again, "second", generation=2, created_at=LATER), "before")
    allowed = kit.build_list(again, "third", generation=2, created_at=LATER, replace=True)
    kit.make(allowed, "third")
    (old,) = [r for r in kit.records("first") if r.serial_number == numbers[0][1]]
    (revoked,) = kit.revocations("third")
    assert revoked.serial_number == numbers[0][1]
    assert revoked.certificate_sha256 == hashlib.sha256(old.certificate).digest()
    assert kit.summary()["replaced_certificates"] == 1


def test_two_boards_change_places(kit: FactoryKit) -> None:
    """Each of the two entries names both certificates that are over."""
    records = taken(kit, 2)
    numbers = factory.serials(records)
    kit.make(kit.build_list(numbers), "first")
    swapped = [(numbers[0][0], numbers[1][1]), (numbers[1][0], numbers[0][1])]
    kit.make(
        kit.build_list(swapped, "second", generation=2, created_at=LATER, replace=True), "second"
    )
    assert len(kit.revocations("second")) == 4
    assert len({r.certificate_sha256 for r in kit.revocations("second")}) == 2
    keys = {r.serial_number: r.spki for r in kit.records("first")}
    assert {r.serial_number: r.spki for r in kit.records("second")} == {
        numbers[0][1]: keys[numbers[1][1]],
        numbers[1][1]: keys[numbers[0][1]],
    }


def test_what_lost_its_certificate_needs_a_replace_entry_still(kit: FactoryKit) -> None:
    """For ever: a chip whose number went to another chip was certified before."""
    records = taken(kit, 2)
    kit.make(kit.build_list([(records[0].chip_id, "SN-1")]), "a")
    kit.make(
        kit.build_list(
            [(records[1].chip_id, "SN-1")], "b", generation=2, created_at=LATER, replace=True
        ),
        "b",
    )
    third = [(records[0].chip_id, "SN-2")]
    built = kit.build_list(third, "c", generation=3, created_at=LATER)
    refused(kit, built, "certified as SN-1 before")
    kit.make(kit.build_list(third, "d", generation=3, created_at=LATER, replace=True), "d")
    assert kit.revocations("d") == []  # it was over already


def test_a_re_issue_of_the_same_date_is_refused(kit: FactoryKit) -> None:
    """It would be the very certificate that it revokes."""
    numbers = factory.serials(taken(kit, 2))
    kit.make(kit.build_list(numbers), "first")
    same_date = kit.build_list(numbers, "second", generation=2, replace=True)
    refused(kit, same_date, "the list's date or a later one")
    earlier = CREATED - timedelta(seconds=1)
    before = kit.build_list(numbers, "third", generation=2, created_at=earlier, replace=True)
    refused(kit, before, "the list's date or a later one")
    a_second_later = CREATED + timedelta(seconds=1)
    kit.make(
        kit.build_list(numbers, "fourth", generation=2, created_at=a_second_later, replace=True)
    )


def test_a_serial_number_is_free_under_another_issuer(kit: FactoryKit, tmp_path: Path) -> None:
    """Numbers are counted for each issuer; a chip has one certificate, whoever issued it."""
    records = taken(kit, 2)
    numbers = factory.serials(records)
    kit.make(kit.build_list(numbers[:1]), "first")
    other = factory.found(tmp_path / "other").line.issuing
    elsewhere = replace(kit.line, issuing=other)
    free = kit.build_list([(numbers[1][0], numbers[0][1])], "second", generation=2)
    kit.make(free, "second", line=elsewhere)
    chip_again = kit.build_list(numbers[:1], "third", generation=3, created_at=LATER)
    with pytest.raises(BatchRefused, match="chip"):
        kit.make(chip_again, "third", line=elsewhere)


# -- settings and files


def test_settings_that_no_certificate_can_be_made_with_are_told_first(kit: FactoryKit) -> None:
    """Nothing is on record, so that the mended settings go through."""
    records = taken(kit, 2)
    built = kit.build_list(factory.serials(records))
    for wrong in (
        {"masa_url": "ftp://masa.example.com"},
        {"hardware_module_type": "not dotted"},
        {"issuing": replace_chain(kit, ())},
    ):
        with pytest.raises(SettingsError):
            kit.make(built, line=replace(kit.line, **wrong))
    assert kit.summary()["unfinished"] == []
    kit.make(built)


def replace_chain(kit: FactoryKit, chain: tuple[x509.Certificate, ...]) -> pki.KeySigner:
    return pki.KeySigner(kit.line.issuing.private_key, chain)  # type: ignore[attr-defined]


def test_settings_do_not_change_under_a_list_at_work(kit: FactoryKit) -> None:
    """Half a bundle by one MASA URL and half by another is none."""
    records = taken(kit, 7)
    built = kit.build_list(factory.serials(records))
    elsewhere = replace(kit.line, masa_url="elsewhere.example.com")
    with pytest.raises(Unavailable):
        kit.make(built, executor=Failing(after=0))
    with pytest.raises(Unavailable):
        kit.make(built, line=elsewhere, executor=Failing(after=1))  # nothing was certified yet
    with pytest.raises(SettingsError, match="other settings"):
        kit.make(built)
    kit.make(built, line=elsewhere)


class Failing(InProcess):
    """A worker is killed after so many chunks."""

    def __init__(self, *, after: int) -> None:
        super().__init__()
        self._after = after

    def map(self, task, jobs):
        for number, answer in enumerate(super().map(task, jobs)):
            if number == self._after:
                raise Unavailable("a worker ended by signal 9, without an answer")
            yield answer


def test_chunks_that_are_done_are_not_opened_again(kit: FactoryKit) -> None:
    records = taken(kit, 9)
    built = kit.build_list(factory.serials(records))
    with pytest.raises(Unavailable):
        kit.make(built, executor=Failing(after=2))
    unfinished = kit.summary()["unfinished"]
    assert isinstance(unfinished, list)
    assert [row["generation"] for row in unfinished] == [1]
    workers = InProcess()
    report = kit.make(built, executor=workers)
    assert workers.done == ["do_step"]
    assert (report.certified, report.bundles[0].records, report.repeated) == (3, 9, False)


def test_a_list_that_another_has_overtaken_is_refused_when_taken_up(kit: FactoryKit) -> None:
    """What had been made for it was never given out, and goes."""
    records = taken(kit, 7)
    numbers = factory.serials(records)
    slow = kit.build_list(numbers, "slow", generation=2)
    with pytest.raises(Unavailable):
        kit.make(slow, executor=Failing(after=1))
    kit.make(kit.build_list([(records[0].chip_id, "SN-X")], "quick", generation=1), "quick")
    with pytest.raises(BatchRefused, match="certified as SN-X"):
        kit.make(slow)
    assert kit.summary()["unfinished"] == []


def test_a_batch_that_the_store_has_lost_or_mixed_up_is_told(kit: FactoryKit) -> None:
    first, second = two_batches(kit, 2)
    built = kit.build_list(factory.serials(first))
    a, b = (kit.store / "batches").iterdir()
    (a_octets, b_octets) = (a.read_bytes(), b.read_bytes())
    a.write_bytes(b_octets)
    b.write_bytes(a_octets)
    with pytest.raises(StateError, match="another batch"):
        kit.make(built)
    a.unlink()
    b.unlink()
    with pytest.raises(StateError, match="lost"):
        kit.make(built)
    assert len(second) == 2


def test_a_bundle_that_the_store_has_lost_or_altered_is_not_handed_out(kit: FactoryKit) -> None:
    records = taken(kit, 2)
    built = kit.build_list(factory.serials(records))
    kit.make(built, "one")
    (kept,) = (kit.store / "bundles").iterdir()
    octets = kept.read_bytes()
    kept.write_bytes(octets[:-1] + bytes((octets[-1] ^ 1,)))
    with pytest.raises(StateError, match="not the bundle"):
        kit.make(built, "two")
    kept.unlink()
    with pytest.raises(StateError, match="lost"):
        kit.make(built, "two")
    assert not (kit.folder / "two").exists()
    kept.write_bytes(octets)
    kit.make(built, "two")


def test_a_ledger_that_is_something_else_is_told(kit: FactoryKit) -> None:
    """At once where it is no database, later where it is another program's."""
    records = taken(kit, 2)
    built = kit.build_list(factory.serials(records))
    ledger = kit.store / "ledger.db"
    ledger.write_bytes(b"something else, and long enough to be seen as such" * 100)
    with pytest.raises(StateError, match="not a sound SQLite database"):
        kit.make(built)
    ledger.unlink()
    with closing(sqlite3.connect(ledger)) as other:
        other.execute("CREATE TABLE batch (of_something_else TEXT)")
        other.execute("PRAGMA user_version = 1")
    with pytest.raises(StateError, match=re.escape(str(ledger))):
        kit.make(built)


# -- workers are not believed


class Lying(InProcess):
    """A worker whose answers are changed on their way."""

    def __init__(self, change: object) -> None:
        super().__init__(trusted=False)
        self._change = change

    def map(self, task, jobs):
        for answer in super().map(task, jobs):
            changed: Iterable[DerivedKey] = self._change(parse_derived(answer))  # type: ignore[operator]
            yield cbor.encode([[key.chip_id, key.spki, key.proof] for key in changed])


def _other_key(keys: tuple[DerivedKey, ...]) -> Iterator[DerivedKey]:
    """A stranger's public key, whose private half did not sign."""
    spki = encode_spki(ec.generate_private_key(ec.SECP256R1()).public_key())
    yield replace(keys[0], spki=spki)
    yield from keys[1:]


def _proof_of_another_chip(keys: tuple[DerivedKey, ...]) -> Iterator[DerivedKey]:
    """Two devices' keys in each other's place, proofs and all."""
    yield replace(keys[0], spki=keys[1].spki, proof=keys[1].proof)
    yield replace(keys[1], spki=keys[0].spki, proof=keys[0].proof)
    yield from keys[2:]


def _proof_of_another_batch(keys: tuple[DerivedKey, ...]) -> Iterator[DerivedKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    spki = encode_spki(key.public_key())
    proof = signatures.sign(key, proof_octets(bytes(32), keys[0].chip_id, spki))
    yield replace(keys[0], spki=spki, proof=proof)
    yield from keys[1:]


@pytest.mark.parametrize("change", [_other_key, _proof_of_another_chip, _proof_of_another_batch])
def test_a_false_proof_is_not_certified(kit: FactoryKit, change: object) -> None:
    """From another machine: a key whose private half was not there, for this chip and batch."""
    records = taken(kit, 3)
    with pytest.raises(SignatureInvalid):
        kit.make(kit.build_list(factory.serials(records)), executor=Lying(change))
    assert kit.summary()["certificates"] == 0
    assert not (kit.folder / "bundle").exists()


@pytest.mark.parametrize(
    "change", [lambda keys: keys[1:], lambda keys: [*keys[:-1], replace(keys[-1], chip_id=b"x")]]
)
def test_a_worker_answers_for_its_chips_and_no_others(kit: FactoryKit, change: object) -> None:
    records = taken(kit, 3)
    with pytest.raises(StateError, match="other chips"):
        kit.make(kit.build_list(factory.serials(records)), executor=Lying(change))
    assert kit.summary()["certificates"] == 0


def test_a_worker_derives_for_whom_it_is_asked_alone(kit: FactoryKit) -> None:
    """The others' seeds are opened with the chunk, and nothing is made of them."""
    records = taken(kit, 3)
    seen: list[bytes] = []

    class Watching(InProcess):
        def map(self, task, jobs):
            for answer in super().map(task, jobs):
                seen.extend(key.chip_id for key in parse_derived(answer))
                yield answer

    kit.make(kit.build_list(factory.serials(records[1:2])), executor=Watching())
    assert seen == [records[1].chip_id]


# -- cut off, seen from inside; tests/integration kills the program itself


class CutOff(BaseException):
    """The power went."""


@pytest.mark.parametrize(
    ("room", "step"),
    [
        (BuildLists, "begin"),
        (AtWork, "keep_chunk"),
        (BuildLists, "finish"),
        (BuildLists, "bundles_of"),
    ],
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_run_that_was_cut_off_ends_with_the_same_octets(
    kit: FactoryKit, monkeypatch: pytest.MonkeyPatch, room: type, step: str, when: str
) -> None:
    """Stopped around a step of the ledger, it is taken up there and gives what it would have."""
    records = factory.chips(7)
    path, _ = kit.batch(records)
    built = kit.build_list(factory.serials(records))
    kit.take(path)
    kit.make(built, "whole")
    kit.store.rename(kit.folder / "former store")
    kit.take(path)
    genuine = getattr(room, step)

    def cut_off(*arguments: object) -> None:
        if when == "after":
            genuine(*arguments)
        raise CutOff

    with monkeypatch.context() as patch:
        patch.setattr(room, step, cut_off)
        with pytest.raises(CutOff):
            kit.make(built)
    assert not (kit.folder / "bundle").exists()
    kit.make(built)
    assert (kit.folder / "whole").read_bytes() == (kit.folder / "bundle").read_bytes()
    assert kit.summary()["certificates"] == 7


def test_the_tasks_are_found_by_name() -> None:
    """A worker knows a task by its module and name."""
    assert work.check_chunk.__module__ == work.derive_chunk.__module__ == work.__name__
