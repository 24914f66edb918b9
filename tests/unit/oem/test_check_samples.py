"""The factory's self-test: sample devices against what was certified, and why one differs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from brski.errors import Malformed, StateError
from brski.idevid.samples import Cause
from brski.pki import cbor
from brski.pki.keys import encode_spki
from brski.seed.batch_file import open_batch
from brski.seed.profiles import profile
from brski.seed.record import SeedRecord
from brski.seed.secret import Seed
from oem_backend.cli import main
from oem_backend.factory.diagnosis import (
    MOST_NEIGHBOURLY,
    Suspect,
    diagnose_chunk,
    encode_diagnosis,
    parse_diagnoses,
)
from oem_backend.factory.intake import batch_path
from oem_backend.factory.work import SealedChunk
from tests.kit import factory

PROFILE = "hmac-drbg-p256"


def key_of(record: SeedRecord, name: str = PROFILE) -> str:
    """What a device tells: SHA-256 of its SubjectPublicKeyInfo, hex."""
    key = profile(name).derive(record.seed, record.chip_id)
    return hashlib.sha256(encode_spki(key.public_key())).hexdigest()


def with_seed(record: SeedRecord, octets: bytes) -> SeedRecord:
    return SeedRecord(chip_id=record.chip_id, seed=Seed(octets))


class Line:
    """A factory with one batch certified, and its operator."""

    def __init__(self, folder: Path, name: str = PROFILE) -> None:
        self.name = name
        self.kit = factory.found(folder, levels=2)
        self.records = factory.chips(6)
        path, self.minted = self.kit.batch(self.records, derivation_profile=name)
        self.kit.take(path)
        self.kit.make(self.kit.build_list(factory.serials(self.records)))
        self.numbers = [serial for _, serial in factory.serials(self.records)]

    def write(self, **reported: str) -> Path:
        """A file of samples: these, and every other device as it should be."""
        lines = {
            number: key_of(record, self.name)
            for number, record in zip(self.numbers, self.records, strict=True)
        }
        lines |= {number.replace("_", "-"): digest for number, digest in reported.items()}
        path = self.kit.folder / "samples.txt"
        path.write_text("".join(f"{number} {digest}\n" for number, digest in lines.items()))
        return path

    def check(self, capsys: pytest.CaptureFixture[str], **reported: str) -> tuple[int, Any]:
        code = main(
            ["check-samples", str(self.write(**reported)), "-s", str(self.kit.settings), "--json"]
        )
        return code, json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Line:
    return Line(tmp_path_factory.mktemp("line"))


def test_devices_as_they_should_be(line: Line, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = line.check(capsys)
    assert code == 0
    assert (told["samples"], told["matching"], told["unknown"]) == (6, 6, [])
    (batch,) = told["batches"]
    assert batch == {
        "batch": line.minted.digest.hex(),
        "vendor": "vendor",
        "product": "sensor",
        "sequence": 1,
        "profile": PROFILE,
        "samples": 6,
        "matching": 6,
        "cause": "matching",
        "differing": [],
    }


SUSPECT, NEIGHBOUR, STRANGER = 3, 5, 1  # of one chunk the first two, of another the third


def wrong(line: Line, cause: str) -> tuple[str, str]:
    """What the suspect reports when this has happened, and what is told beside the cause."""
    record, neighbour = line.records[SUSPECT], line.records[NEIGHBOUR]
    seed = record.seed.octets
    return {
        "wrong-profile": (key_of(record, "ed25519"), "ed25519"),
        "all-zero-seed": (key_of(with_seed(record, bytes(32))), ""),
        "all-one-seed": (key_of(with_seed(record, b"\xff" * 32)), ""),
        "reversed-seed": (key_of(with_seed(record, seed[::-1])), ""),
        "swapped-identity": (key_of(line.records[STRANGER]), line.numbers[STRANGER]),
        "swapped-seed": (
            key_of(with_seed(record, neighbour.seed.octets)),
            line.numbers[NEIGHBOUR],
        ),
        "swapped-chip-id": (key_of(with_seed(neighbour, seed)), line.numbers[NEIGHBOUR]),
        "unexplained": ("00" * 32, ""),
    }[cause]


CAUSES = [
    *("wrong-profile", "all-zero-seed", "all-one-seed", "reversed-seed"),
    *("swapped-identity", "swapped-seed", "swapped-chip-id", "unexplained"),
]


@pytest.mark.parametrize("cause", CAUSES)
def test_each_cause_is_told(line: Line, capsys: pytest.CaptureFixture[str], cause: str) -> None:
    """One device of six is wrong: the batch is named, and what is wrong with it."""
    digest, detail = wrong(line, cause)
    number = line.numbers[SUSPECT]
    code, told = line.check(capsys, **{number.replace("-", "_"): digest})
    (batch,) = told["batches"]
    assert code == 1
    assert batch["batch"] == line.minted.digest.hex()
    assert (batch["cause"], batch["matching"], told["matching"]) == (cause, 5, 5)
    assert batch["differing"] == [
        {"serial_number": number, "reported": digest, "cause": cause, "detail": detail}
    ]


def test_a_blank_seed_in_another_profile_is_told(
    line: Line, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two faults at once: the fuse is blank, and the firmware speaks another profile."""
    digest = key_of(with_seed(line.records[0], bytes(32)), "tpm2-p384")
    _, told = line.check(capsys, SN_0000=digest)
    (differing,) = told["batches"][0]["differing"]
    assert (differing["cause"], differing["detail"]) == ("all-zero-seed", "tpm2-p384")


def test_two_boards_that_changed_places(line: Line, capsys: pytest.CaptureFixture[str]) -> None:
    """Both differ, each with the other's serial number."""
    first, second = key_of(line.records[0]), key_of(line.records[4])
    code, told = line.check(capsys, SN_0000=second, SN_0004=first)
    (batch,) = told["batches"]
    assert (code, batch["cause"]) == (1, "swapped-identity")
    assert [d["detail"] for d in batch["differing"]] == ["SN-0004", "SN-0000"]


def test_a_whole_batch_of_another_profile(line: Line, capsys: pytest.CaptureFixture[str]) -> None:
    reported = {
        number.replace("-", "_"): key_of(record, "tpm2-p256")
        for number, record in zip(line.numbers, line.records, strict=True)
    }
    _, told = line.check(capsys, **reported)
    (batch,) = told["batches"]
    assert (batch["cause"], batch["matching"], len(batch["differing"])) == ("wrong-profile", 0, 6)


def test_several_causes_are_mixed(line: Line, capsys: pytest.CaptureFixture[str]) -> None:
    _, told = line.check(capsys, SN_0000="00" * 32, SN_0001=key_of(line.records[1], "ed25519"))
    assert told["batches"][0]["cause"] == "mixed"


def test_an_unknown_device_is_told_and_refused(
    line: Line, capsys: pytest.CaptureFixture[str]
) -> None:
    code, told = line.check(capsys, SN_0BAD="00" * 32)
    assert (code, told["unknown"], told["matching"]) == (1, ["SN-0BAD"], 6)
    assert told["batches"][0]["cause"] == "matching"


def test_what_a_person_reads(line: Line, capsys: pytest.CaptureFixture[str]) -> None:
    digest = key_of(line.records[3], "ed25519")
    path = line.write(SN_0003=digest, SN_0BAD="00" * 32)
    assert main(["check-samples", str(path), "-s", str(line.kit.settings)]) == 1
    told = capsys.readouterr().out.splitlines()
    digest_of_batch = line.minted.digest.hex()
    assert told == [
        f"batch vendor/sensor/1 ({PROFILE}, {digest_of_batch}): 1 of 6 DIFFER: wrong-profile",
        "  SN-0003  wrong profile: this is the key of ed25519",
        "unknown serial number: SN-0BAD",
    ]


def test_a_broken_file_is_refused_whole(line: Line, capsys: pytest.CaptureFixture[str]) -> None:
    path = line.write(SN_0003="00" * 31)
    assert main(["check-samples", str(path), "-s", str(line.kit.settings)]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert f"{path}: line 4: is not a serial number" in told.err


# -- without the sealed batch, and without the factory


def test_what_is_left_when_the_seeds_are_gone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sealed batch was destroyed: what public records tell is told, the rest is unexplained."""
    line = Line(tmp_path)
    batch_path(line.kit.store, line.minted.digest).unlink()
    _, told = line.check(
        capsys, SN_0001=key_of(line.records[1], "ed25519"), SN_0002=key_of(line.records[5])
    )
    causes = [each["cause"] for each in told["batches"][0]["differing"]]
    assert causes == ["unexplained", "swapped-identity"]


def test_a_lost_bundle_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = Line(tmp_path)
    (bundle,) = (line.kit.store / "bundles").iterdir()
    bundle.unlink()
    assert main(["check-samples", str(line.write()), "-s", str(line.kit.settings)]) == 2
    assert "has lost the bundle" in capsys.readouterr().err


def test_the_database_alone(tmp_path: Path, line: Line, capsys: pytest.CaptureFixture[str]) -> None:
    """No settings, no seeds: public records."""
    settings, database = tmp_path / "oem.toml", tmp_path / "devices.db"
    settings.write_text(
        f"""[database]
path = "{database}"
[[database.factory]]
name = "factory-1"
key = "{line.kit.folder / "bundle.pub"}"
"""
    )
    bundle = str(line.kit.folder / "bundle")
    assert main(["database", "load", bundle, "-s", str(settings)]) == 0
    capsys.readouterr()
    path = line.write(
        SN_0001=key_of(line.records[1], "ed25519"),
        SN_0002=key_of(line.records[5]),
        SN_0BAD="00" * 32,
    )
    assert main(["check-samples", str(path), "--database", str(database), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    (batch,) = told["batches"]
    assert "vendor" not in batch
    assert (batch["batch"], batch["profile"]) == (line.minted.digest.hex(), PROFILE)
    assert (told["matching"], told["unknown"], batch["cause"]) == (4, ["SN-0BAD"], "mixed")
    assert [(d["cause"], d["detail"]) for d in batch["differing"]] == [
        ("unexplained", ""),
        ("swapped-identity", "SN-0005"),
    ]


def test_without_a_ledger_there_is_nothing_to_compare_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kit = factory.found(tmp_path, levels=2)
    samples = tmp_path / "samples.txt"
    samples.write_text("SN-1 " + "00" * 32 + "\n")
    assert main(["check-samples", str(samples), "-s", str(kit.settings)]) == 3
    assert "there is no ledger at" in capsys.readouterr().err


def test_a_sealed_batch_in_anothers_place_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is opened that is not the batch of the ledger."""
    line = Line(tmp_path)
    other, _ = line.kit.batch(
        factory.chips(6, start=10), "other", sequence=2, predecessor=line.minted.digest
    )
    batch_path(line.kit.store, line.minted.digest).write_bytes(other.read_bytes())
    path = line.write(SN_0000="00" * 32)
    assert main(["check-samples", str(path), "-s", str(line.kit.settings)]) == 2
    assert "holds another batch" in capsys.readouterr().err


# -- the worker


def sealed(line: Line, chunk: int = 1) -> SealedChunk:
    with batch_path(line.kit.store, line.minted.digest).open("rb") as stream:
        batch = open_batch(stream, line.kit.line.vendors, line.kit.keys.recipient_key_id)
        return SealedChunk(
            header=batch.header_octets,
            index=chunk,
            sealed=batch.sealed_chunk(chunk),
            recipient_key=line.kit.keys.recipient_key,
        )


def test_a_certificate_for_another_key_is_told(line: Line) -> None:
    """The device is right: then it is the certificate that is not."""
    record = line.records[SUSPECT]
    suspect = Suspect(chip_id=record.chip_id, spki_sha256=bytes.fromhex(key_of(record)))
    answer = diagnose_chunk(encode_diagnosis(sealed(line), [suspect]))
    (told,) = parse_diagnoses(answer, 1)
    assert told.cause is Cause.RIGHT_KEY


def test_no_seed_and_no_key_leaves_the_worker(line: Line) -> None:
    """Its answer is causes and names; a control shows that the search would find a seed."""
    record, in_this_chunk = line.records[SUSPECT], key_of(line.records[NEIGHBOUR])
    digests = [wrong(line, cause)[0] for cause in CAUSES]
    digests[CAUSES.index("swapped-identity")] = in_this_chunk
    suspects = [
        Suspect(chip_id=record.chip_id, spki_sha256=bytes.fromhex(digest)) for digest in digests
    ]
    answer = diagnose_chunk(encode_diagnosis(sealed(line), suspects))
    for each in line.records:
        seed = each.seed.octets
        control = cbor.encode([seed])
        assert seed in control
        assert seed not in answer
        assert seed.hex().encode() not in answer
    assert [each.cause for each in parse_diagnoses(answer, len(suspects))] == CAUSES


@pytest.mark.parametrize(
    "answer",
    [[["a-secret", ""]], [["matching", b""]], [["matching"]], [], [["matching", ""]] * 2],
)
def test_a_workers_answer_is_parsed_like_a_strangers(answer: cbor.Encodable) -> None:
    assert parse_diagnoses(cbor.encode([["matching", "x"]]), 1)[0].cause is Cause.MATCHING
    with pytest.raises(Malformed):
        parse_diagnoses(cbor.encode(answer), 1)


def test_neighbours_are_tried_for_a_bounded_number_of_suspects(line: Line) -> None:
    """Each costs a derivation for every chip of the chunk."""
    record, neighbour = line.records[SUSPECT], line.records[NEIGHBOUR]
    mixed = bytes.fromhex(key_of(with_seed(record, neighbour.seed.octets)))
    suspects = [Suspect(chip_id=record.chip_id, spki_sha256=mixed)] * (MOST_NEIGHBOURLY + 1)
    answer = diagnose_chunk(encode_diagnosis(sealed(line), suspects))
    *tried, last = parse_diagnoses(answer, len(suspects))
    assert {each.cause for each in tried} == {Cause.SWAPPED_SEED}
    assert last.cause is Cause.UNEXPLAINED


def test_a_chip_of_another_chunk_is_not_asked_about(line: Line) -> None:
    record = line.records[STRANGER]
    suspect = Suspect(chip_id=record.chip_id, spki_sha256=bytes(32))
    with pytest.raises(StateError, match="is not in this chunk"):
        diagnose_chunk(encode_diagnosis(sealed(line), [suspect]))


@pytest.mark.parametrize("name", ["open-dice-p256", "ml-dsa-44", "tpm2-p256"])
def test_other_profiles_have_their_causes_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    line = Line(tmp_path, name)
    _, told = line.check(
        capsys,
        SN_0000=key_of(with_seed(line.records[0], bytes(32)), name),
        SN_0001=key_of(line.records[1], PROFILE),
    )
    causes = [(d["cause"], d["detail"]) for d in told["batches"][0]["differing"]]
    assert causes == [("all-zero-seed", ""), ("wrong-profile", PROFILE)]
