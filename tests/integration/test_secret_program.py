"""Secrets for other purposes through both programs: the OEM's and the device's are the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from brski.seed.device_secret import Purpose, derive_secret
from brski.seed.record import SeedRecord
from brski.seed.vault_log import Use
from device_client.identity.from_seed import make_fuse, write_fuse
from tests.kit import factory, pki, vault
from tests.kit.factory import FactoryKit
from tests.kit.vault import oem, opened, quick, told

__all__ = ["quick"]

OEM = "import sys; from oem_backend.cli import main; sys.exit(main())"
PLEDGE = "import sys; from device_client.cli import main; sys.exit(main())"
NAMED = ("--purpose", "firmware-encryption")
OF_ONE = (*NAMED, "--serial", "SN-0001", "--reason", "release 7")


@pytest.fixture
def kit(tmp_path: Path) -> FactoryKit:
    return vault.founded(tmp_path / "oem")


@pytest.fixture
def records(kit: FactoryKit, quick: None) -> list[SeedRecord]:
    return vault.filled(kit)


def program(
    code: str, settings: Path, *arguments: str | Path
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments), "-s", str(settings)],
        capture_output=True,
        check=False,
    )


def device(folder: Path, record: SeedRecord) -> Path:
    """Settings of a device with this seed."""
    fuse = make_fuse(
        record.seed.octets,
        chip_id=record.chip_id,
        serial_number="SN-0001",
        idevid_issuer=bytes(20),
        derivation_profile="hmac-drbg-p256",
        voucher_anchors=(pki.make_root().certificate,),
    )
    write_fuse(folder / "device.fuse", fuse)
    settings = folder / "pledge.toml"
    settings.write_text('[identity]\nkind = "fuse"\nfile = "device.fuse"\n')
    return settings


def test_device_and_manufacturer_come_to_the_same(
    kit: FactoryKit, records: list[SeedRecord], tmp_path: Path
) -> None:
    """In files of mode 0600, and on standard output where that was asked for."""
    settings = device(tmp_path, records[1])
    theirs, ours = tmp_path / "device.key", tmp_path / "oem.key"
    assert program(OEM, kit.settings, "secret", *OF_ONE, "-o", ours).returncode == 0
    assert program(PLEDGE, settings, "secret", *NAMED, "-o", theirs).returncode == 0
    assert ours.read_bytes() == theirs.read_bytes()
    assert len(ours.read_bytes()) == 32
    assert [path.stat().st_mode & 0o777 for path in (ours, theirs)] == [0o600, 0o600]
    long = (*NAMED, "--octets", "48", "--stdout")
    said = program(PLEDGE, settings, "secret", *long)
    told_ = program(
        OEM, kit.settings, "secret", *long, "--chip", records[1].chip_id.hex(), "--reason", "x"
    )
    assert said.stdout == told_.stdout
    assert (len(said.stdout), said.stdout[:32] == ours.read_bytes()) == (48, False)


def test_a_secret_is_sealed_to_whom_it_is_for(
    kit: FactoryKit, records: list[SeedRecord], tmp_path: Path
) -> None:
    """The file holds nothing of it, and is opened with the recipient's key alone."""
    sealed, opened_file = tmp_path / "sealed", tmp_path / "opened"
    recipient = kit.folder / "recipient.pub"
    code, _, err = oem(kit, "secret", *OF_ONE, "--recipient", recipient, "-o", sealed)
    assert code == 0, err
    secret = derive_secret(
        records[1].seed, records[1].chip_id, Purpose(name="firmware-encryption")
    ).octets
    assert secret not in sealed.read_bytes()
    command: list[str | Path] = [
        sys.executable,
        "-c",
        OEM,
        "open-secret",
        sealed,
        "-o",
        opened_file,
        "--key",
    ]
    other = vault.founded(tmp_path / "other")
    refused = subprocess.run(
        [*command, other.folder / "recipient.key"], capture_output=True, check=False
    )
    assert (refused.returncode, opened_file.exists()) == (1, False)
    subprocess.run([*command, kit.folder / "recipient.key"], capture_output=True, check=True)
    assert opened_file.read_bytes() == secret
    assert opened_file.stat().st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("quick")
def test_its_use_is_in_the_log_before_it_comes_out(
    kit: FactoryKit, records: list[SeedRecord], tmp_path: Path
) -> None:
    """Who, what, why; also where it then could not be written."""
    (tmp_path / "full").mkdir()
    code, out, _ = oem(kit, "secret", *OF_ONE, "--operator", "ada", "-o", tmp_path / "no" / "where")
    assert (code, out) == (2, "")
    with opened(kit) as v:
        *_, last = (Use.parse(entry)[1] for _, entry, _ in v.database.uses())
    assert (last.operator, last.action.value, last.reason) == ("ada", "secret", "release 7")
    assert "firmware-encryption" in last.subject
    assert records[1].chip_id.hex() in last.subject


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        ([*OF_ONE], 2, "either --out FILE or --stdout"),
        ([*OF_ONE, "--stdout", "-o", "x"], 2, "either --out FILE or --stdout"),
        ([*OF_ONE, "-o", "there"], 2, "exists and is not replaced"),
        ([*OF_ONE, "--stdout", "--octets", "15"], 2, "--octets"),
        ([*OF_ONE, "--stdout", "--chip", "aa"], 2, "one of --serial and --chip"),
        ([*NAMED, "--reason", "x", "--stdout"], 2, "one of --serial and --chip"),
        ([*NAMED, "--serial", "SN-0001", "--stdout"], 2, "--reason"),
        ([*NAMED, "--serial", "SN-9", "--reason", "x", "--stdout"], 1, "no certificate stands"),
        ([*NAMED, "--chip", "aa", "--reason", "x", "--stdout"], 1, "came in no batch"),
        (["--purpose", "idevid", *OF_ONE[2:], "--stdout"], 2, "is an identity's"),
        (["--purpose", "hmac-drbg-p256", *OF_ONE[2:], "--stdout"], 2, "is an identity's"),
        (["--purpose", "No Such", *OF_ONE[2:], "--stdout"], 2, "a purpose has"),
        ([*OF_ONE, "--stdout", "--recipient", "there"], 1, "recipient key"),
    ],
)
def test_what_is_asked_for_wrongly_derives_nothing(
    kit: FactoryKit,
    records: list[SeedRecord],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    why: str,
) -> None:
    """Nothing comes out, and nothing was used: the log is as long as before."""
    (tmp_path / "there").write_bytes(b"precious")
    monkeypatch.chdir(tmp_path)
    before = told(kit, "vault", "status")["log_entries"]
    done, out, err = oem(kit, "secret", *arguments)
    assert (done, out, why in err) == (code, "", True), err
    assert told(kit, "vault", "status")["log_entries"] == before
    assert (tmp_path / "there").read_bytes() == b"precious"


@pytest.mark.usefixtures("quick")
def test_a_number_under_two_issuers_is_not_guessed(
    kit: FactoryKit, records: list[SeedRecord]
) -> None:
    """The chips are named, so that one of them can be."""
    with kit.ledger() as ledger, ledger.writing():
        ledger._db.execute(
            "INSERT INTO certificate (sha256, idevid_issuer, serial_number, chip_id, build_list) "
            "SELECT zeroblob(32), zeroblob(20), serial_number, x'aabb', build_list "
            "FROM certificate WHERE serial_number = 'SN-0001'"
        )
    code, _, err = oem(kit, "secret", *OF_ONE, "--stdout")
    assert (code, "aabb" in err, records[1].chip_id.hex() in err) == (2, True, True)


def test_only_a_fuse_file_gives_its_seed(tmp_path: Path) -> None:
    """A device whose chip keeps the seed to itself says so."""
    settings = device(tmp_path, factory.chips(1)[0])
    settings.write_text('[identity]\nkind = "tpm"\nfile = "device.fuse"\n')
    done = program(PLEDGE, settings, "secret", *NAMED, "--stdout")
    assert (done.returncode, done.stdout, b"kind 'tpm'" in done.stderr) == (2, b"", True)
