"""The factory: what it refuses whole, what it certifies, and that it does so to the octet."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509

from brski.edge.cli import DONE, MISUSE, REFUSED, TRY_AGAIN
from brski.edge.settings import load_settings
from brski.errors import BatchRefused, OnboardingError, SignatureInvalid, Unavailable
from brski.idevid.bundle import open_bundle
from brski.idevid.record import DeviceRecord, Presentation
from brski.pki.chain import TrustAnchors
from brski.pki.keys import load_spki, parse_certificate, spki_of
from brski.seed.profiles import profile
from brski.seed.recipient_key import HybridPrivateKey
from brski.seed.record import SeedRecord
from oem_backend.cli import main
from oem_backend.factory import line
from oem_backend.factory.cli import _line
from oem_backend.factory.intake import Intake, IntakeReport, Keys, take_in
from oem_backend.factory.ledger import Ledger, open_ledger
from oem_backend.factory.settings import FactoryFile
from oem_backend.public_keys import load_public_key
from tests.kit import factory
from tests.kit.factory import FactoryKit, InProcess


@pytest.fixture
def kit(tmp_path: Path) -> FactoryKit:
    return factory.found(tmp_path)


def take(kit: FactoryKit, path: Path, *, accept_gap: bool = False) -> IntakeReport:
    with open_ledger(kit.folder / "store" / "ledger.db") as ledger:
        return take_in(
            path,
            vendors={"vendor": load_public_key(kit.folder / "vendor.pub")},
            keys=Keys(
                recipient_key=kit.folder / "recipient.key",
                recipient_key_id=kit.recipient.key_id,
                intake_key=kit.folder / "intake.key",
            ),
            store=kit.folder / "store",
            ledger=ledger,
            executor=InProcess(),
            accept_gap=accept_gap,
        )


def summary(kit: FactoryKit) -> dict[str, int]:
    with open_ledger(kit.folder / "store" / "ledger.db") as ledger:
        return ledger.summary()


def oem(kit: FactoryKit, *arguments: str | Path) -> int:
    return main(["factory", *map(str, arguments), "-s", str(kit.settings)])


def records_of(kit: FactoryKit, path: Path) -> list[DeviceRecord]:
    with path.open("rb") as file:
        keys = {"factory-1": load_public_key(kit.folder / "bundle.pub")}
        return list(open_bundle(file, keys).records())


# -- intake


def test_a_batch_is_taken_in_once(kit: FactoryKit) -> None:
    """Taken in, it is on record; the same file again changes nothing and is no error."""
    path, minted = kit.batch(factory.chips(7))
    assert take(kit, path).outcome is Intake.TAKEN
    assert summary(kit) == {"batches": 1, "chips": 7, "build_lists": 0, "certified": 0}
    again = take(kit, path)
    assert (again.outcome, again.digest) == (Intake.ALREADY, minted.digest)


def test_the_same_place_with_another_batch_is_equivocation(kit: FactoryKit) -> None:
    """A vendor that signs two batches for one sequence is not believed the second time."""
    first, _ = kit.batch(factory.chips(3))
    second, _ = kit.batch(factory.chips(3, start=10), "other")
    take(kit, first)
    with pytest.raises(BatchRefused, match="another digest"):
        take(kit, second)
    assert summary(kit)["chips"] == 3


def test_a_gap_waits_until_it_is_accepted(kit: FactoryKit) -> None:
    """Out of order is not refused for ever: try again, or say that the gap is known."""
    path, _ = kit.batch(factory.chips(3), sequence=3, predecessor=bytes(32))
    with pytest.raises(Unavailable):
        take(kit, path)
    assert summary(kit)["batches"] == 0
    assert take(kit, path, accept_gap=True).outcome is Intake.TAKEN


def test_the_predecessor_must_be_the_one_taken_in(kit: FactoryKit) -> None:
    """The chain of batches has no second branch."""
    first, minted = kit.batch(factory.chips(3))
    take(kit, first)
    wrong, _ = kit.batch(factory.chips(3, start=10), "wrong", sequence=2, predecessor=bytes(32))
    with pytest.raises(BatchRefused, match="predecessor"):
        take(kit, wrong)
    right, _ = kit.batch(factory.chips(3, start=10), "right", sequence=2, predecessor=minted.digest)
    assert take(kit, right).outcome is Intake.TAKEN


def _same_seed(records: Sequence[SeedRecord], other: SeedRecord) -> list[SeedRecord]:
    return [*records[:-1], replace(records[-1], seed=other.seed)]


@pytest.mark.parametrize("what", ["chip", "seed"])
def test_twice_in_a_batch_is_refused(kit: FactoryKit, what: str) -> None:
    """Across chunks, where the vendor's own writer does not see it."""
    records = factory.chips(6)
    if what == "chip":
        records[-1] = replace(records[-1], chip_id=records[0].chip_id)
    else:
        records = _same_seed(records, records[0])
    path, _ = kit.batch(records)
    with pytest.raises(BatchRefused, match=what):
        take(kit, path)
    assert summary(kit) == {"batches": 0, "chips": 0, "build_lists": 0, "certified": 0}
    assert not list((kit.folder / "store" / "batches").iterdir())


@pytest.mark.parametrize("what", ["chip", "seed"])
def test_twice_over_batches_is_refused(kit: FactoryKit, what: str) -> None:
    """A chip or a seed of an earlier batch comes back in a later one."""
    earlier = factory.chips(3)
    first, minted = kit.batch(earlier)
    take(kit, first)
    later = factory.chips(3, start=10)
    if what == "chip":
        later[-1] = replace(later[-1], chip_id=earlier[0].chip_id)
    else:
        later = _same_seed(later, earlier[0])
    path, _ = kit.batch(later, "later", sequence=2, predecessor=minted.digest)
    with pytest.raises(BatchRefused, match=what):
        take(kit, path)
    assert summary(kit)["batches"] == 1


def test_an_unknown_vendor_is_refused(kit: FactoryKit) -> None:
    """A vendor id that is not configured, and a configured one with another key."""
    unknown, _ = kit.batch(factory.chips(3), "unknown", vendor_id="somebody")
    with pytest.raises(BatchRefused):
        take(kit, unknown)
    other_key, _ = kit.batch(factory.chips(3), "other", signer="stranger")
    with pytest.raises(BatchRefused):
        take(kit, other_key)


def test_a_batch_for_another_oem_is_refused(kit: FactoryKit) -> None:
    """It is addressed to a key that is not this factory's."""
    other = HybridPrivateKey.parse(bytes(range(96))).public_key
    path, _ = kit.batch(factory.chips(3), recipient=other)
    with pytest.raises(BatchRefused):
        take(kit, path)


def test_an_altered_batch_is_refused(kit: FactoryKit) -> None:
    """One bit of a sealed chunk."""
    path, _ = kit.batch(factory.chips(3))
    octets = bytearray(path.read_bytes())
    octets[-1] ^= 1
    path.write_bytes(octets)
    with pytest.raises(OnboardingError):
        take(kit, path)
    assert summary(kit)["batches"] == 0


# -- the line


def test_a_bundle_holds_the_devices_own_keys(kit: FactoryKit) -> None:
    """Derived by workers of their own, certified, ordered, and equal to what a device derives."""
    records = factory.chips(7)
    path, minted = kit.batch(records)
    assert oem(kit, "intake", path) == DONE
    built = kit.build_list(factory.serials(records))
    out = kit.folder / "bundle"
    assert oem(kit, "make", built, "-o", out) == DONE
    made = records_of(kit, out)
    assert [record.serial_number for record in made] == sorted(
        s for _, s in factory.serials(records)
    )
    derive = profile("hmac-drbg-p256").derive
    anchors = TrustAnchors([x509.load_pem_x509_certificate((kit.folder / "root.pem").read_bytes())])
    for seed, record in zip(records, made, strict=True):
        assert load_spki(record.spki) == derive(seed.seed, seed.chip_id).public_key()
        idevid = parse_certificate(record.certificate)
        assert spki_of(idevid) == record.spki
        assert record.batch_digest == minted.digest
        intermediates = [parse_certificate(der) for der in record.intermediates]
        anchors.validate(idevid, intermediates, at=factory.CREATED)
    assert {record.presentation for record in made} == set(Presentation)


def test_the_same_list_gives_the_same_octets(kit: FactoryKit) -> None:
    """Made again, and made by a second factory with the same keys."""
    records = factory.chips(5)
    path, _ = kit.batch(records)
    built = kit.build_list(factory.serials(records))
    assert oem(kit, "intake", path) == DONE
    bundles = []
    for name in ("one", "two"):
        assert oem(kit, "make", built, "-o", kit.folder / name) == DONE
        bundles.append((kit.folder / name).read_bytes())
    ledger = kit.folder / "store"
    ledger.rename(kit.folder / "former-store")
    assert oem(kit, "intake", path) == DONE
    assert oem(kit, "make", built, "-o", kit.folder / "three") == DONE
    bundles.append((kit.folder / "three").read_bytes())
    assert len(set(bundles)) == 1


@pytest.mark.parametrize("algorithm", ["P-384", "Ed25519"])
def test_other_cas_are_reproducible_too(tmp_path: Path, algorithm: str) -> None:
    kit = factory.found(tmp_path, levels=2, algorithm=algorithm)
    records = factory.chips(2)
    path, _ = kit.batch(records)
    built = kit.build_list(factory.serials(records))
    assert oem(kit, "intake", path) == DONE
    assert oem(kit, "make", built, "-o", kit.folder / "one") == DONE
    assert oem(kit, "make", built, "-o", kit.folder / "two") == DONE
    assert (kit.folder / "one").read_bytes() == (kit.folder / "two").read_bytes()


def test_a_list_of_an_unknown_assembler_is_refused(kit: FactoryKit) -> None:
    records = factory.chips(2)
    path, _ = kit.batch(records)
    take(kit, path)
    built = kit.build_list(factory.serials(records), signer="stranger")
    assert oem(kit, "make", built, "-o", kit.folder / "bundle") == REFUSED
    assert not (kit.folder / "bundle").exists()


def test_a_chip_of_no_batch_is_refused(kit: FactoryKit) -> None:
    records = factory.chips(2)
    path, _ = kit.batch(records)
    take(kit, path)
    built = kit.build_list([*factory.serials(records), (b"chip9999", "SN-9999")])
    assert oem(kit, "make", built, "-o", kit.folder / "bundle") == REFUSED


@pytest.mark.parametrize("what", ["chip", "serial number"])
def test_what_is_in_use_needs_a_replace_entry(kit: FactoryKit, what: str) -> None:
    """A chip under another serial number, a serial number for another chip; then a re-issue."""
    records = factory.chips(4)
    path, _ = kit.batch(records)
    take(kit, path)
    first = kit.build_list(factory.serials(records[:2]))
    assert oem(kit, "make", first, "-o", kit.folder / "first") == DONE
    again = (
        [(records[0].chip_id, "SN-NEW")]
        if what == "chip"
        else [(records[2].chip_id, factory.serials(records)[0][1])]
    )
    refused = kit.build_list(again, "second", generation=2)
    assert oem(kit, "make", refused, "-o", kit.folder / "second") == REFUSED
    allowed = kit.build_list(again, "third", generation=3, replace=True)
    assert oem(kit, "make", allowed, "-o", kit.folder / "third") == DONE
    with (kit.folder / "third").open("rb") as file:
        keys = {"factory-1": load_public_key(kit.folder / "bundle.pub")}
        revoked = list(open_bundle(file, keys).revocations())
    assert [r.serial_number for r in revoked] == [factory.serials(records)[0][1]]


def test_a_generation_is_used_once_and_rises(kit: FactoryKit) -> None:
    records = factory.chips(4)
    path, _ = kit.batch(records)
    take(kit, path)
    lists = [
        kit.build_list(factory.serials(records[:1]), "a", generation=5),
        kit.build_list(factory.serials(records[1:2]), "b", generation=5),
        kit.build_list(factory.serials(records[2:3]), "c", generation=4),
        kit.build_list(factory.serials(records[3:4]), "d", generation=6),
    ]
    ends = [oem(kit, "make", built, "-o", kit.folder / "bundle") for built in lists]
    assert ends == [DONE, REFUSED, REFUSED, DONE]


def test_a_batch_that_the_store_has_lost_is_told(kit: FactoryKit) -> None:
    records = factory.chips(2)
    path, _ = kit.batch(records)
    take(kit, path)
    built = kit.build_list(factory.serials(records))
    for kept in (kit.folder / "store" / "batches").iterdir():
        kept.unlink()
    assert oem(kit, "make", built, "-o", kit.folder / "bundle") == MISUSE


def test_two_operators_do_not_work_at_once(kit: FactoryKit) -> None:
    """The second is told to try again; the lock ends with the process that has it."""
    path, _ = kit.batch(factory.chips(2))
    (kit.folder / "store").mkdir()
    script = (
        "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX);"
        "print('locked', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(kit.folder / "store" / ".lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert oem(kit, "intake", path) == TRY_AGAIN
    finally:
        holder.communicate(b"")
    assert oem(kit, "intake", path) == DONE


class CutOff(Exception):
    """The power went."""


@pytest.mark.parametrize("before", ["keep_chunk", "certify", "write"])
def test_a_run_that_was_cut_off_ends_with_the_same_octets(
    kit: FactoryKit, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    """Stopped right before a durable step, it is taken up there and gives what it would have."""
    records = factory.chips(7)
    path, _ = kit.batch(records)
    take(kit, path)
    built = kit.build_list(factory.serials(records))
    calls = []

    def cut_off(*arguments: object, **_: object) -> None:
        calls.append(arguments)
        if before != "keep_chunk" or len(calls) == 2:
            raise CutOff
        genuine(*arguments)

    genuine = Ledger.keep_chunk
    with monkeypatch.context() as patch:
        if before == "write":
            patch.setattr("oem_backend.factory.line._write_bundle", cut_off)
        else:
            patch.setattr(Ledger, before, cut_off)
        assert oem(kit, "make", built, "-o", kit.folder / "bundle") == MISUSE
    assert not (kit.folder / "bundle").exists()
    assert oem(kit, "make", built, "-o", kit.folder / "bundle") == DONE
    taken_up = (kit.folder / "bundle").read_bytes()
    (kit.folder / "store").rename(kit.folder / "former-store")
    take(kit, path)
    assert oem(kit, "make", built, "-o", kit.folder / "whole") == DONE
    assert (kit.folder / "whole").read_bytes() == taken_up


def test_a_workers_false_proof_is_not_certified(kit: FactoryKit) -> None:
    """A public key whose private half was not there gets no certificate."""
    records = factory.chips(2)
    path, _ = kit.batch(records)
    take(kit, path)
    built = kit.build_list(factory.serials(records))

    class Lying(InProcess):
        def map(self, task, jobs):  # type: ignore[no-untyped-def]  # the port's
            for derived in map(task, jobs):
                yield tuple(replace(key, proof=derived[0].proof) for key in derived)

    with (
        open_ledger(kit.folder / "store" / "ledger.db") as ledger,
        pytest.raises(SignatureInvalid),
    ):
        line.make_bundle(
            _line(load_settings(kit.settings, FactoryFile).factory),
            built,
            kit.folder / "bundle",
            ledger=ledger,
            executor=Lying(),
        )
