"""The vault of a factory: what fills it, what it notices, and that destroyed is gone."""

from __future__ import annotations

import fcntl
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from brski.edge.sqlite import connect
from brski.seed.record import SeedRecord
from brski.seed.vault_log import Use
from oem_backend.factory.vault.check import check_log, check_rows, check_vault
from oem_backend.factory.vault.database import VaultDatabase
from oem_backend.factory.vault.keeper import Vault
from tests.kit import factory, vault
from tests.kit.factory import FactoryKit, InProcess
from tests.kit.softhsm import SoftHSM, softhsm
from tests.kit.vault import FILE_KIND, oem, opened, quick, told

__all__ = ["quick", "softhsm"]

pytestmark = pytest.mark.usefixtures("quick")

PASSPHRASE_KIND = '\n[factory.vault]\nkind = "passphrase"\npassphrase_file = "words"\n'


@pytest.fixture
def kit(tmp_path: Path) -> FactoryKit:
    return vault.founded(tmp_path)


@pytest.fixture
def records(kit: FactoryKit) -> list[SeedRecord]:
    """Six chips in two chunks, taken in and certified."""
    return vault.filled(kit)


def uses(kit: FactoryKit) -> list[Use]:
    with opened(kit) as v:
        return [Use.parse(entry)[1] for _, entry, _ in v.database.uses()]


# -- what fills it


def test_without_a_policy_there_is_no_vault(tmp_path: Path) -> None:
    """The default: batches stay as they came, and the commands say that there is nothing."""
    kit = factory.found(tmp_path)
    vault.filled(kit)
    assert len(list((kit.store / "batches").iterdir())) == 1
    assert not (tmp_path / "vault").exists()
    for command in (
        ("vault", "init"),
        ("vault", "status"),
        ("vault", "check"),
        ("vault", "destroy", "--all", "--reason", "x", "-y"),
        ("secret", "--purpose", "x", "--serial", "SN-0001", "--reason", "x", "--stdout"),
    ):
        code, _, err = oem(kit, *command)
        assert (code, "keeps no vault" in err) == (2, True), command


def test_intake_moves_the_seeds(kit: FactoryKit, records: list[SeedRecord]) -> None:
    """Into the vault, and out of the store; both steps of the factory are in the log."""
    assert list((kit.store / "batches").iterdir()) == []
    assert told(kit, "vault", "status")["records"] == len(records)
    assert [(u.action.value, u.records, u.reason) for u in uses(kit)] == [
        ("seal", 6, "intake"),
        ("derive", 6, "make"),
    ]
    assert (kit.folder / "vault" / "vault.db").stat().st_mode & 0o777 == 0o600
    assert (kit.folder / "vault.key").stat().st_mode & 0o777 == 0o600


def test_what_is_certified_is_the_same_with_and_without_it(tmp_path: Path) -> None:
    """To the octet: the vault changes where seeds are, nothing else."""
    kit = factory.found(tmp_path / "oem")
    shutil.copytree(tmp_path / "oem", tmp_path / "without")
    with kit.settings.open("a") as settings:
        settings.write(FILE_KIND)
    assert oem(kit, "vault", "init")[0] == 0
    records = factory.chips(6)
    batch, _ = kit.batch(records)
    built = kit.build_list(factory.serials(records))
    for each in (kit, FactoryKit(folder=tmp_path / "without")):
        told(each, "factory", "intake", batch)
        told(each, "factory", "make", built, "-o", each.folder / "bundle")
    assert (kit.folder / "bundle").read_bytes() == (tmp_path / "without" / "bundle").read_bytes()


def test_a_chip_is_certified_again_out_of_the_vault(
    kit: FactoryKit, records: list[SeedRecord]
) -> None:
    """What the vault is for."""
    again = kit.build_list(
        factory.serials(records[:1]),
        "again",
        generation=2,
        created_at=factory.CREATED.replace(year=2027),
        replace=True,
    )
    assert told(kit, "factory", "make", again, "-o", kit.folder / "second")["certified"] == 1


def test_a_refused_batch_leaves_nothing_in_it(kit: FactoryKit) -> None:
    """A seed that comes twice is found after its chunk was sealed."""
    chips = factory.chips(4)
    twice = [*chips, SeedRecord(chip_id=b"twin", seed=chips[0].seed)]
    code, _, err = oem(kit, "factory", "intake", kit.batch(twice)[0])
    assert (code, "has the seed of" in err) == (1, True)
    assert told(kit, "vault", "status")["records"] == 0
    assert uses(kit) == []


def test_the_same_batch_again_changes_nothing(kit: FactoryKit, records: list[SeedRecord]) -> None:
    before = told(kit, "vault", "status")
    assert told(kit, "factory", "intake", kit.folder / "batch")["outcome"] == "already-taken-in"
    assert told(kit, "vault", "status") == before


# -- kinds of keys


def test_a_passphrase_opens_it(tmp_path: Path) -> None:
    """From a file; one newline at its end is not part of it. Another one does not."""
    (tmp_path / "words").write_text("correct horse battery staple\n")
    (tmp_path / "words").chmod(0o600)
    kit = vault.founded(tmp_path, PASSPHRASE_KIND)
    vault.filled(kit, 2)
    (tmp_path / "words").write_text("correct horse battery staple")
    assert told(kit, "vault", "check")["records"] == 2
    (tmp_path / "words").write_text("correct horse battery stapler")
    code, _, err = oem(kit, "vault", "check")
    assert (code, "not that of this vault" in err) == (2, True)


@pytest.mark.parametrize(
    ("words", "mode", "why"),
    [("short words", 0o600, "12 octets or more"), ("correct horse battery", 0o640, "mode 0640")],
)
def test_a_passphrase_file_that_is_none(tmp_path: Path, words: str, mode: int, why: str) -> None:
    (tmp_path / "words").write_text(words)
    (tmp_path / "words").chmod(mode)
    kit = factory.found(tmp_path)
    with kit.settings.open("a") as settings:
        settings.write(PASSPHRASE_KIND)
    code, _, err = oem(kit, "vault", "init")
    assert (code, why in err) == (2, True)
    assert oem(kit, "vault", "status")[0] == 2


def test_a_token_opens_it(softhsm: SoftHSM, tmp_path: Path) -> None:
    """A secret that never leaves it; with another token's the vault stays shut."""
    table = '\n[factory.vault]\nkind = "pkcs11"\nmodule = "{}"\ntoken = "{}"\n' + (
        'label = "vault"\npin_file = "{}"\n'
    )
    address, other = softhsm.make_token("one"), softhsm.make_token("two")
    kit = vault.founded(tmp_path, table.format(address.module, "one", address.pin_file))
    vault.filled(kit, 2)
    assert told(kit, "vault", "check")["records"] == 2
    text = kit.settings.read_text()
    kit.settings.write_text(text.replace('token = "one"', 'token = "two"'))
    code, _, err = oem(kit, "vault", "check")
    assert (code, "no such key" in err) == (2, True)
    assert other.token == "two"
    kit.settings.write_text(text.replace('label = "vault"', 'label = "other"'))
    assert oem(kit, "vault", "check")[0] == 2


def test_the_issuing_keys_token_is_not_the_vaults(tmp_path: Path) -> None:
    """A worker that logs in for the vault could sign with the CA's key there."""
    kit = factory.found(tmp_path)
    for name in ("module", "pin"):
        (tmp_path / name).touch()
    where = 'module = "module"\npin_file = "pin"\nlabel = "x"\n'
    text = kit.settings.read_text().replace('issuing_key = "issuing.key"\n', "")
    for token, code in (("oem", 2), ("vault", 3)):
        kit.settings.write_text(
            f'{text}\n[factory.issuing]\nkind = "pkcs11"\ntoken = "oem"\n{where}'
            f'\n[factory.vault]\nkind = "pkcs11"\ntoken = "{token}"\n{where}'
        )
        done, _, err = oem(kit, "factory", "status")
        assert (done, "a token of its own" in err) == (code, code == 2)


@pytest.mark.parametrize(
    "table",
    [
        'kind = "file"',
        'kind = "file"\nkey = "k"\ntoken = "t"',
        'kind = "none"\nkey = "k"',
        'kind = "passphrase"\nkey = "k"',
        'kind = "pkcs11"\ntoken = "t"',
        'kind = "hsm"',
        'kind = "file"\nkey = "k"\nsecret = "s"',
    ],
)
def test_a_kind_takes_its_own_keys_and_no_others(tmp_path: Path, table: str) -> None:
    kit = factory.found(tmp_path)
    with kit.settings.open("a") as settings:
        settings.write(f"\n[factory.vault]\n{table}\n")
    code, _, err = oem(kit, "vault", "status")
    assert (code, "vault" in err) == (2, True)


def test_another_key_opens_nothing(kit: FactoryKit, records: list[SeedRecord]) -> None:
    (kit.folder / "vault.key").write_bytes(bytes(32))
    for command in (
        ("vault", "check"),
        ("vault", "destroy", "--all", "--reason", "x", "-y"),
        ("secret", "--purpose", "x", "--serial", "SN-0001", "--reason", "x", "--stdout"),
    ):
        code, out, err = oem(kit, *command)
        assert (code, out, "not that of this vault" in err) == (2, "", True)
    assert told(kit, "vault", "status")["records"] == 6


def test_a_vault_is_made_once(kit: FactoryKit) -> None:
    """And its key is used where there is one."""
    key = (kit.folder / "vault.key").read_bytes()
    code, _, err = oem(kit, "vault", "init")
    assert (code, "already" in err) == (2, True)
    assert (kit.folder / "vault.key").read_bytes() == key


def test_a_vault_that_was_lost_is_not_made_anew_in_silence(
    kit: FactoryKit, records: list[SeedRecord]
) -> None:
    """The witness knows that there was one."""
    shutil.rmtree(kit.folder / "vault")
    for command in (("vault", "init"), ("vault", "status"), ("factory", "intake", "batch")):
        code, _, err = oem(kit, *command)
        assert code == 2, err


# -- what it notices


def tamper(kit: FactoryKit, script: str) -> None:
    with closing(sqlite3.connect(kit.folder / "vault" / "vault.db")) as db:
        db.executescript(script)


TAMPERED = {
    "a record removed": "DELETE FROM record WHERE chunk = 1 AND place = 0",
    "a chunk removed": "DELETE FROM record WHERE chunk = 1; DELETE FROM chunk WHERE row = 1",
    "a record twice": "INSERT INTO record SELECT chunk, 9, chip_id, sealed FROM record LIMIT 1",
    "two records swapped": "UPDATE record SET chip_id = (SELECT chip_id FROM record r WHERE "
    "r.chunk = record.chunk AND r.place = 1 - record.place) WHERE chunk = 1 AND place < 2",
    "a record of another chunk": "UPDATE record SET sealed = (SELECT sealed FROM record r WHERE "
    "r.chunk = 2 AND r.place = record.place) WHERE chunk = 1",
    "a record altered": "UPDATE record SET sealed = zeroblob(48) WHERE chunk = 1 AND place = 0",
    "a chunk key altered": "UPDATE chunk SET wrapped = zeroblob(60) WHERE row = 1",
    "a profile altered": "UPDATE chunk SET profile = 'hmac-drbg-p384' WHERE row = 1",
    "a batch altered": "UPDATE chunk SET batch = zeroblob(32) WHERE row = 1",
    "chunks renumbered": "UPDATE chunk SET number = 7 WHERE row = 1",
    "a digest altered": "UPDATE chunk SET digest = zeroblob(32) WHERE row = 1",
    "an entry removed": "DELETE FROM use WHERE number = 1",
    "the last entry removed": "DELETE FROM use WHERE number = 2",
    "entries swapped": "UPDATE use SET entry = (SELECT entry FROM use u WHERE u.number = "
    "3 - use.number)",
    "an entry altered": "UPDATE use SET entry = zeroblob(9) WHERE number = 1",
    "an entry added": "INSERT INTO use SELECT 3, entry, digest FROM use WHERE number = 2",
}


@pytest.mark.parametrize("script", TAMPERED.values(), ids=TAMPERED)
def test_what_was_altered_is_noticed(
    kit: FactoryKit, records: list[SeedRecord], script: str
) -> None:
    """By check, whatever it is; and a destroy in between does not make it good."""
    tamper(kit, script)
    code, _, err = oem(kit, "vault", "check")
    assert code == 2, err
    assert "vault" in err
    oem(kit, "vault", "destroy", "--chip", records[5].chip_id.hex(), "--reason", "x", "-y")
    assert oem(kit, "vault", "check")[0] == 2


def test_a_whole_vault_is_what_it_is(kit: FactoryKit, records: list[SeedRecord]) -> None:
    """The nearest acceptance: nothing altered, nothing noticed."""
    assert told(kit, "vault", "check") == {
        "records": 6,
        "chunks": 2,
        "log_entries": 3,
        "counter": 3,
        "unknown_batches": [],
    }


@pytest.mark.parametrize(
    "script",
    [
        "UPDATE head SET mac = zeroblob(32)",
        "UPDATE head SET head = zeroblob(9)",
        "UPDATE vault SET header = zeroblob(9)",
        "UPDATE vault SET mac = zeroblob(32)",
        "DELETE FROM head",
        "DELETE FROM vault",
    ],
)
def test_an_altered_head_or_header_shuts_the_vault(
    kit: FactoryKit, records: list[SeedRecord], script: str
) -> None:
    tamper(kit, script)
    code, out, err = oem(kit, "vault", "check")
    assert (code, out, "internal error" in err) == (2, "", False)


def test_a_head_of_another_content_is_not_signed_on(
    kit: FactoryKit, records: list[SeedRecord]
) -> None:
    """Octets that are a head, but not the one that the MAC is of."""
    with opened(kit) as v:
        forged = v.head.encode().replace(b"\x06\x02", b"\x05\x02", 1)  # 6 records in 2 chunks
    with closing(sqlite3.connect(kit.folder / "vault" / "vault.db")) as db, db:
        db.execute("DELETE FROM record WHERE chunk = 1 AND place = 0")
        db.execute("UPDATE head SET head = ?", (forged,))
    code, _, err = oem(kit, "vault", "check")
    assert (code, "the head of the vault was altered" in err) == (2, True)


def copy_of(kit: FactoryKit, name: str) -> Path:
    return Path(shutil.copytree(kit.folder / "vault", kit.folder / name))


def put_back(kit: FactoryKit, copy: Path) -> None:
    shutil.rmtree(kit.folder / "vault")
    shutil.copytree(copy, kit.folder / "vault")


def test_an_older_vault_is_noticed(kit: FactoryKit, records: list[SeedRecord]) -> None:
    """What was destroyed would be back. The one before the last change is a run cut off."""
    older = copy_of(kit, "older")
    told(kit, "vault", "destroy", "--serial", "SN-0001", "--reason", "x", "-y")
    told(kit, "vault", "check")
    current = copy_of(kit, "current")
    put_back(kit, older)
    for command in (("vault", "status"), ("vault", "check")):
        code, _, err = oem(kit, *command)
        assert (code, "has seen last" in err) == (2, True)
    put_back(kit, current)
    told(kit, "vault", "check")


def test_a_record_that_was_put_back_is_noticed(kit: FactoryKit, records: list[SeedRecord]) -> None:
    """Only the row of a destroyed record, out of a backup, in the current vault."""
    with opened(kit) as v:
        chunk = next(iter(v.database.chunks()))
        (row, *_) = v.database.records(chunk)
    told(kit, "vault", "destroy", "--chip", row.chip_id.hex(), "--reason", "x", "-y")
    with closing(sqlite3.connect(kit.folder / "vault" / "vault.db")) as db, db:
        db.execute(
            "INSERT INTO record VALUES (?, ?, ?, ?)",
            (chunk.row, row.place, row.chip_id, row.sealed),
        )
        db.execute("UPDATE chunk SET digest = ? WHERE row = ?", (chunk.digest, chunk.row))
    code, _, err = oem(kit, "vault", "check")
    assert (code, "altered" in err) == (2, True)


@pytest.mark.parametrize("content", [None, b"", b"no witness\n", b"\xff" * 9])
def test_a_witness_that_is_none(
    kit: FactoryKit, records: list[SeedRecord], content: bytes | None
) -> None:
    witness = kit.folder / "vault.witness"
    if content is None:
        witness.unlink()
    else:
        witness.write_bytes(content)
    code, _, err = oem(kit, "vault", "check")
    assert (code, "witness" in err) == (2, True)


def test_the_witness_of_another_vault(kit: FactoryKit, tmp_path: Path) -> None:
    other = vault.founded(tmp_path / "other")
    shutil.copy(other.folder / "vault.witness", kit.folder / "vault.witness")
    code, _, err = oem(kit, "vault", "check")
    assert (code, "has seen last" in err) == (2, True)


def test_a_run_cut_off_before_the_witness_is_taken_up(
    kit: FactoryKit, records: list[SeedRecord]
) -> None:
    """The vault is one head ahead, and says which one was before."""
    before = (kit.folder / "vault.witness").read_bytes()
    told(kit, "vault", "check")
    (kit.folder / "vault.witness").write_bytes(before)
    assert told(kit, "vault", "check")["counter"] == 4


def test_a_batch_that_the_ledger_does_not_know_is_named(
    kit: FactoryKit, records: list[SeedRecord]
) -> None:
    """Left by an intake that was cut off and never done again."""
    (kit.store / "ledger.db").rename(kit.folder / "former.db")
    assert len(told(kit, "vault", "check")["unknown_batches"]) == 1


# -- destroyed is gone


def octets_of_the_vault(kit: FactoryKit) -> bytes:
    """All files of it: pages, free pages, write-ahead log and whatever lies beside."""
    return b"".join(path.read_bytes() for path in sorted((kit.folder / "vault").iterdir()))


def sealed_of(v: Vault, chip_ids: Sequence[bytes]) -> list[bytes]:
    return [
        record.sealed
        for chunk in v.database.chunks()
        for record in v.database.records(chunk)
        if record.chip_id in chip_ids
    ]


DESTROYED: list[tuple[list[str], Callable[[int], bool]]] = [
    (["--serial", "SN-0001"], lambda number: number == 1),
    (["--chip", b"chip0004".hex()], lambda number: number == 4),
    (["--batch", "BATCH", "--chunk", "1"], lambda number: number >= 40),
    (["--batch", "BATCH"], lambda _: True),
    (["--all"], lambda _: True),
]


@pytest.mark.parametrize(("what", "gone"), DESTROYED, ids=[" ".join(w) for w, _ in DESTROYED])
def test_what_is_destroyed_is_nowhere_in_the_files(
    kit: FactoryKit, what: list[str], gone: Callable[[int], bool]
) -> None:
    """The sealed octets of each record are looked for; neighbours open as before."""
    records = vault.filled(kit, 80, records_a_chunk=40)
    digest = told(kit, "vault", "status")["batches"][0]["batch"]
    lost = [r.chip_id for n, r in enumerate(records) if gone(n)]
    with opened(kit) as v:
        sealed = sealed_of(v, lost)
    before = octets_of_the_vault(kit)
    assert all(octets in before for octets in sealed), "what is looked for can be found"
    command = [digest if word == "BATCH" else word for word in what]
    facts = told(kit, "vault", "destroy", *command, "--reason", "end of life", "-y")
    assert (facts["records"], facts["left"]) == (len(lost), len(records) - len(lost))
    after = octets_of_the_vault(kit)
    assert not [octets for octets in sealed if octets in after or octets[:12] in after]
    with opened(kit) as v:
        assert len(sealed_of(v, [r.chip_id for r in records])) == len(records) - len(lost)
    assert told(kit, "vault", "check")["records"] == len(records) - len(lost)
    assert (uses(kit)[-2].action.value, uses(kit)[-2].reason) == ("destroy", "end of life")


def test_a_plain_delete_would_be_found(kit: FactoryKit, records: list[SeedRecord]) -> None:
    """The search above finds what it is for."""
    with opened(kit) as v:
        (sealed,) = sealed_of(v, [records[1].chip_id])
    with closing(sqlite3.connect(kit.folder / "vault" / "vault.db")) as db, db:
        db.execute("PRAGMA secure_delete = OFF")
        db.execute("DELETE FROM record WHERE chip_id = ?", (records[1].chip_id,))
    assert sealed in octets_of_the_vault(kit)


def test_a_cleaning_that_was_cut_off_is_done_by_the_next_command(
    kit: FactoryKit, records: list[SeedRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader holds the log open: the deletion is durable, the files are not clean yet."""
    with opened(kit) as v:
        (sealed,) = sealed_of(v, [records[1].chip_id])
    with closing(sqlite3.connect(kit.folder / "vault" / "vault.db")) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM record").fetchone()
        defaults = connect.__kwdefaults__
        assert defaults is not None
        monkeypatch.setitem(defaults, "busy_timeout_s", 0.0)
        code, _, err = oem(kit, "vault", "destroy", "--serial", "SN-0001", "--reason", "x", "-y")
        assert (code, "cannot be cleaned now" in err) == (3, True)
        assert sealed in octets_of_the_vault(kit)
    assert told(kit, "vault", "status")["records"] == 5
    assert told(kit, "vault", "check")["records"] == 5
    assert sealed not in octets_of_the_vault(kit)


def test_a_batch_of_before_the_vault_goes_whole(tmp_path: Path) -> None:
    """Its seeds are in the sealed batch, from which no single one can be taken."""
    kit = factory.found(tmp_path)
    vault.filled(kit)
    with kit.settings.open("a") as settings:
        settings.write(FILE_KIND)
    assert oem(kit, "vault", "init")[0] == 0
    code, _, err = oem(kit, "vault", "destroy", "--serial", "SN-0001", "--reason", "x", "-y")
    assert (code, "before there was a vault" in err) == (1, True)
    (batch,) = (kit.store / "batches").iterdir()
    facts = told(kit, "vault", "destroy", "--batch", batch.stem, "--reason", "x", "-y")
    assert (facts["sealed_batches_erased"], list((kit.store / "batches").iterdir())) == (1, [])


def test_a_chip_whose_seed_is_gone_is_not_certified(
    kit: FactoryKit, records: list[SeedRecord]
) -> None:
    """The list is refused with the chip's name; its neighbour's is not."""
    told(kit, "vault", "destroy", "--serial", "SN-0001", "--reason", "x", "-y")
    later = factory.CREATED.replace(year=2027)
    for number, code in ((1, 1), (2, 0)):
        again = kit.build_list(
            factory.serials(records[number : number + 1]),
            f"again{number}",
            generation=2,
            created_at=later,
            replace=True,
        )
        done, _, err = oem(kit, "factory", "make", again, "-o", kit.folder / f"second{number}")
        assert done == code, err
        assert ("was destroyed" in err) == (code == 1)


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        ([], 2, "name one of"),
        (["--all", "--serial", "SN-0001"], 2, "name one of"),
        (["--chip", "00", "--serial", "SN-0001"], 2, "name one of"),
        (["--chunk", "0"], 2, "name one of"),
        (["--chunk", "0", "--all"], 2, "--chunk is of a --batch"),
        (["--chip", "xy"], 2, "not hex"),
        (["--batch", "aa"], 2, "64 hex digits"),
        (["--batch", "aa" * 32], 1, "no seed of batch"),
        (["--chip", "aa"], 1, "came in no batch"),
        (["--serial", "SN-9999"], 1, "no certificate stands"),
    ],
)
def test_what_is_named_wrongly_destroys_nothing(
    kit: FactoryKit, records: list[SeedRecord], arguments: list[str], code: int, why: str
) -> None:
    done, _, err = oem(kit, "vault", "destroy", *arguments, "--reason", "x", "-y")
    assert (done, why in err) == (code, True), err
    assert told(kit, "vault", "status")["records"] == 6


def test_destroy_wants_a_reason(kit: FactoryKit, records: list[SeedRecord]) -> None:
    code, _, err = oem(kit, "vault", "destroy", "--all", "-y")
    assert (code, "--reason" in err) == (2, True)
    code, _, err = oem(kit, "vault", "destroy", "--all", "-y", "--reason", "two\nlines")
    assert (code, "reason has not" in err) == (2, True)
    assert told(kit, "vault", "status")["records"] == 6


# -- a full disk


def test_a_full_disk_changes_nothing(
    kit: FactoryKit, records: list[SeedRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite's own limit on pages stands for the medium's: nothing lost, nothing half."""
    before = told(kit, "vault", "status")
    genuine = VaultDatabase.writing

    def full(self: VaultDatabase) -> Any:
        self._db.execute("PRAGMA max_page_count = 1")
        return genuine(self)

    more = kit.batch(factory.chips(60, start=100), "more", sequence=2, predecessor=_digest(kit))[0]
    with monkeypatch.context() as patch:
        patch.setattr(VaultDatabase, "writing", full)
        code, _, err = oem(kit, "factory", "intake", more)
    assert (code, "full" in err) == (3, True)
    assert told(kit, "vault", "status") == before
    assert told(kit, "factory", "intake", more)["outcome"] == "taken-in"
    assert told(kit, "vault", "check")["records"] == 66


def _digest(kit: FactoryKit) -> bytes:
    return bytes.fromhex(told(kit, "vault", "status")["batches"][0]["batch"])


def test_two_operators_at_once(kit: FactoryKit, records: list[SeedRecord]) -> None:
    """The second one is told to try again."""
    with (kit.store / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for command in (
            ("vault", "check"),
            ("vault", "destroy", "--all", "--reason", "x", "-y"),
            ("secret", "--purpose", "x", "--serial", "SN-0001", "--reason", "x", "--stdout"),
        ):
            code, _, err = oem(kit, *command)
            assert (code, "another program" in err) == (3, True)
        assert told(kit, "vault", "status")["records"] == 6  # reading goes on


def test_check_needs_no_key_for_rows_and_log(kit: FactoryKit, records: list[SeedRecord]) -> None:
    """Anybody who has the file can hold it against its head."""
    with opened(kit) as v:
        check_rows(v.database, v.head)
        check_log(v.database, v.head)
        report = check_vault(v, InProcess(), at_once=True)
    assert (report.records, report.chunks) == (6, 2)
