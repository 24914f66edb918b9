"""brski-oem factory as its operator runs it: real workers, a second operator, what is logged."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from brski.edge.cli import DONE, MISUSE, REFUSED, TRY_AGAIN
from brski.edge.signers.public_key import load_public_key
from brski.pki.keys import encode_spki
from brski.seed.profiles import profile
from brski.seed.record import SeedRecord
from oem_backend.database.loader import load_bundle
from oem_backend.database.opening import open_reader
from tests.kit import factory
from tests.kit.factory import CREATED, FactoryKit, private_octets

PROGRAM = "import sys; from oem_backend.cli import main; sys.exit(main())"
# The program, which at one of its functions says so and waits for a line.
WAITING = """
import importlib, sys
place, name = sys.argv[1:3]
holder = importlib.import_module(place)
genuine = getattr(holder, name)
def waiting(*arguments, **named):
    print("at the barrier", flush=True)
    sys.stdin.readline()
    return genuine(*arguments, **named)
setattr(holder, name, waiting)
from oem_backend.cli import main
sys.exit(main(sys.argv[3:]))
"""


@pytest.fixture
def kit(tmp_path: Path) -> FactoryKit:
    return factory.found(tmp_path)


def oem(
    kit: FactoryKit, *arguments: str | Path, debug: bool = False
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-c", PROGRAM, *(["--debug"] if debug else []), "factory"),
            *map(str, arguments),
            *("-s", str(kit.settings)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )


@contextmanager
def stopped_at(
    kit: FactoryKit, place: str, name: str, *arguments: str | Path
) -> Iterator[subprocess.Popen[str]]:
    """The program at a barrier; it goes on when the block has ended."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", WAITING, place, name, "factory"),
            *map(str, arguments),
            *("-s", str(kit.settings)),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "at the barrier\n"
    try:
        yield process
    finally:
        process.communicate("go on\n")


@pytest.mark.requirement("OEM-1", "OEM-9", "OEM-11")
def test_from_a_batch_to_the_database(kit: FactoryKit) -> None:
    """Two chunks, workers of their own, and every device is found with the key that it derives."""
    records = factory.chips(6)
    batch, _ = kit.batch(records)
    built = kit.build_list(factory.serials(records))
    taken = oem(kit, "intake", batch, "--json")
    assert (taken.returncode, json.loads(taken.stdout)["outcome"]) == (DONE, "taken-in")
    made = oem(kit, "make", built, "-o", kit.folder / "bundle", "--json")
    report = json.loads(made.stdout)
    assert (made.returncode, report["records"], report["certified"]) == (DONE, 6, 6)
    assert [each["bundle"] for each in report["bundles"]] == [str(kit.folder / "bundle")]
    database = kit.folder / "devices.db"
    factories = {"factory-1": load_public_key(kit.folder / "bundle.pub")}
    with (kit.folder / "bundle").open("rb") as file:
        load_bundle(database, file, factories, now=CREATED)
    derive = profile("hmac-drbg-p256").derive
    with closing(open_reader(database)) as reader:
        for record, (_, serial) in zip(records, factory.serials(records), strict=True):
            (found,) = reader.find(None, serial)
            key = derive(record.seed, record.chip_id).public_key()
            assert found.spki == encode_spki(key)


def test_bundles_of_one_list_are_loaded_one_after_the_other(kit: FactoryKit) -> None:
    """Also where two boards of two batches have changed places, in whichever order."""
    first, second = factory.chips(1), factory.chips(1, start=50)
    path, minted = kit.batch(first, "first")
    kit.take(path)
    kit.take(kit.batch(second, "second", sequence=2, predecessor=minted.digest)[0])
    chip_ids = [first[0].chip_id, second[0].chip_id]
    serials = ["SN-1", "SN-2"]
    (kit.folder / "out").mkdir()
    kit.make(kit.build_list(zip(chip_ids, serials, strict=True), "a"), "out")
    kit.make(
        kit.build_list(
            zip(chip_ids, reversed(serials), strict=True),
            *("b",),
            generation=2,
            created_at=CREATED.replace(year=2027),
            replace=True,
        ),
        "out",
    )
    factories = {"factory-1": load_public_key(kit.folder / "bundle.pub")}
    bundles = sorted((kit.folder / "out").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    assert len(bundles) == 4
    for number, order in enumerate([bundles, [*bundles[:2], bundles[3], bundles[2]]]):
        database = kit.folder / f"devices-{number}.db"
        for each in order:
            with each.open("rb") as file:
                load_bundle(database, file, factories, now=CREATED)
        derive = profile("hmac-drbg-p256").derive
        with closing(open_reader(database)) as reader:
            for record, serial in ((first[0], "SN-2"), (second[0], "SN-1")):
                (found,) = reader.find(None, serial)
                key = derive(record.seed, record.chip_id).public_key()
                assert (found.spki, found.status) == (encode_spki(key), "active")


def test_a_second_operator_is_told_to_try_again(kit: FactoryKit) -> None:
    """Whatever either of them does; the first one is not disturbed."""
    records = factory.chips(3)
    batch, _ = kit.batch(records)
    kit.take(batch)
    built = kit.build_list(factory.serials(records))
    out = kit.folder / "bundle"
    with stopped_at(
        kit, "oem_backend.factory.line", "keep_bundle", "make", built, "-o", out
    ) as first:
        second = oem(kit, "make", built, "-o", kit.folder / "second")
        third = oem(kit, "intake", batch)
    assert (second.returncode, third.returncode) == (TRY_AGAIN, TRY_AGAIN)
    assert "another program works in" in second.stderr
    assert not (kit.folder / "second").exists()
    assert first.returncode == DONE
    assert len(kit.records()) == 3
    assert oem(kit, "make", built, "-o", kit.folder / "second").returncode == DONE


def test_status_is_told_while_a_batch_is_taken_in(kit: FactoryKit) -> None:
    """What is not committed is not on record; nobody waits for anybody."""
    before = oem(kit, "status")
    assert before.returncode == TRY_AGAIN
    assert not kit.store.exists()
    batch, _ = kit.batch(factory.chips(3))
    with stopped_at(kit, "oem_backend.factory.intake", "parse_seen", "intake", batch):
        during = oem(kit, "status", "--json")
    assert (during.returncode, json.loads(during.stdout)["chips"]) == (DONE, 0)
    after = json.loads(oem(kit, "status", "--json").stdout)
    assert after["batches"] == [
        {"vendor": "vendor", "product": "sensor", "batches": 1, "last_sequence": 1}
    ]
    assert "  last_sequence        1\n" in oem(kit, "status").stdout


def test_exit_codes_tell_whose_doing_it_was(kit: FactoryKit) -> None:
    """1 refused, 2 ours, 3 try again; one line and a hint, never a traceback."""
    gap, _ = kit.batch(factory.chips(3), "gap", sequence=2, predecessor=bytes(32))
    stranger, _ = kit.batch(factory.chips(3), "stranger", signer="stranger")
    ends = [
        (oem(kit, "intake", gap), TRY_AGAIN, "--accept-gap"),
        (oem(kit, "intake", stranger), REFUSED, "configured is"),
        (oem(kit, "intake", kit.folder / "nowhere"), MISUSE, "No such file"),
        (oem(kit, "make", gap), MISUSE, "--out"),
    ]
    for done, code, said in ends:
        assert done.returncode == code
        assert said in done.stderr
        assert "Traceback" not in done.stderr
        assert done.stdout == ""
    (kit.folder / "intake.key").chmod(0o644)
    batch, _ = kit.batch(factory.chips(3))
    assert oem(kit, "intake", batch).returncode == MISUSE


def test_init_makes_what_intake_and_make_need(tmp_path: Path) -> None:
    """A date given makes it the CAs' notBefore; a second time it is refused."""
    command = [
        *(sys.executable, "-c", PROGRAM, "init", str(tmp_path / "oem")),
        *("--name", "factory-1", "--title", "Example OEM", "--masa-url", "masa.example.com"),
        *("--created", "2026-02-03T04:05:06Z", "--levels", "2", "--algorithm", "P-384", "--json"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    assert set(told) == {
        *("recipient_key_id", "root_sha256", "issuing_sha256", "bundle_key_sha256"),
    }
    assert told["root_sha256"] == told["issuing_sha256"]  # the root issues
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == MISUSE
    assert "exists" in again.stderr
    status = subprocess.run(
        [*command[:3], "factory", "status", "-s", str(tmp_path / "oem" / "factory.toml")],
        capture_output=True,
        check=False,
    )
    assert status.returncode == TRY_AGAIN  # nothing has come yet


def spellings(secret: bytes) -> Iterator[str]:
    """How a log could have it."""
    yield secret.hex()
    yield secret.hex().upper()
    yield repr(secret)[2:-1]
    yield base64.b64encode(secret).decode().rstrip("=")
    yield base64.urlsafe_b64encode(secret).decode().rstrip("=")
    yield str(int.from_bytes(secret, "big"))


@pytest.mark.requirement("OEM-9")
def test_nothing_that_is_logged_or_written_tells_a_secret(kit: FactoryKit) -> None:
    """With --debug, through acceptance and refusals; in the store and in what goes out."""
    records = factory.chips(6)
    twin = SeedRecord(chip_id=b"twin", seed=records[0].seed)
    good, minted = kit.batch(records)
    bad, _ = kit.batch([twin], "bad", sequence=2, predecessor=minted.digest)
    built = kit.build_list(factory.serials(records))
    runs = [
        oem(kit, "intake", good, debug=True),
        oem(kit, "intake", bad, debug=True),
        oem(kit, "make", built, "-o", kit.folder / "bundle", debug=True),
        oem(kit, "status", debug=True),
    ]
    assert [each.returncode for each in runs] == [DONE, REFUSED, DONE, DONE]
    said = "".join(each.stdout + each.stderr for each in runs)
    assert records[0].chip_id.hex() in said  # chips are named, and what is looked for is found
    kept = b"".join(path.read_bytes() for path in kit.store.rglob("*") if path.is_file())
    kept += (kit.folder / "bundle").read_bytes()
    assert records[0].chip_id in kept
    derive = profile("hmac-drbg-p256").derive
    for record in records:
        for secret in (record.seed.octets, private_octets(derive(record.seed, record.chip_id))):
            assert not [spelt for spelt in spellings(secret) if spelt in said]
            assert secret not in kept
            assert secret[::-1] not in kept
            assert secret.hex().encode() not in kept
