"""What else draws on a vault, and what its file is to a program that knows the page alone."""

from __future__ import annotations

import hashlib
import hmac
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from brski.errors import Unavailable
from brski.idevid.demand import Demand
from brski.pki.keys import encode_spki
from brski.seed.profiles import profile
from brski.seed.record import SeedRecord
from tests.interop import test_openssl_batch as openssl_batch
from tests.kit import factory, vault
from tests.kit.factory import FactoryKit
from tests.kit.softhsm import SoftHSM, softhsm
from tests.kit.vault import FILE_KIND, oem, quick, told

__all__ = ["quick", "softhsm"]

PROGRAM = "import sys; from oem_backend.cli import main; sys.exit(main())"


@pytest.fixture
def kit(tmp_path: Path, quick: None) -> FactoryKit:
    return vault.founded(tmp_path)


def demand_of(record: SeedRecord, serial_number: str) -> Demand:
    key = profile("hmac-drbg-p256").derive(record.seed, record.chip_id).public_key()
    spki_sha256 = hashlib.sha256(encode_spki(key)).digest()
    return Demand(serial_number=serial_number, spki_sha256=spki_sha256)


def test_a_device_that_was_met_is_certified_out_of_it(kit: FactoryKit) -> None:
    """On demand; and one whose seed was destroyed waits, with a line in the log, for ever."""
    with kit.settings.open("a") as settings:
        settings.write("\n[factory.on_demand]\n")
    for name in ("inbox", "outbox"):
        (kit.folder / name).mkdir()
    records = factory.chips(3)
    told(kit, "factory", "intake", kit.batch(records)[0])
    told(kit, "factory", "register", kit.build_list(factory.serials(records)))
    told(kit, "vault", "destroy", "--chip", records[2].chip_id.hex(), "--reason", "x", "-y")
    for number in (1, 2):
        demand = demand_of(records[number], f"SN-{number:04d}")
        (kit.folder / "inbox" / demand.file_name).write_bytes(demand.encode())
    assert told(kit, "factory", "watch", "--once") == {"answered": 1, "waits": 1}
    assert len(list((kit.folder / "outbox").iterdir())) == 1
    assert told(kit, "vault", "check")["log_entries"] == 4  # seal, destroy, derive, check


def test_a_batch_that_openssl_made_goes_into_it(kit: FactoryKit) -> None:
    """The second format is sealed like the first, and derived from."""
    openssl_batch.make_keys(kit.folder)
    records = factory.chips(3)
    openssl_batch.write_records(kit.folder, records)
    openssl_batch.shell(kit.folder, openssl_batch.commands()[openssl_batch.BATCH])
    text = kit.settings.read_text().replace(
        "[factory]\n",
        '[factory]\ncms_recipient_key = "recipient-cms.key"\n'
        'cms_recipient_public = "recipient-cms.pem"\n',
    )
    kit.settings.write_text(
        text + '\n[[factory.vendor]]\nname = "example-silicon"\nkey = "vendor.pub"\n'
    )
    (kit.folder / "recipient-cms.key").chmod(0o600)
    report = told(kit, "factory", "intake", kit.folder / "seeds.batch")
    assert (report["outcome"], report["records"]) == ("taken-in", 3)
    assert list((kit.store / "batches").iterdir()) == []
    assert told(kit, "vault", "check")["records"] == 3
    built = kit.build_list(factory.serials(records), product=report["product"])
    assert told(kit, "factory", "make", built, "-o", kit.folder / "bundle")["certified"] == 3


def hkdf(key: bytes, salt: bytes, info: bytes) -> bytes:
    return hmac.digest(hmac.digest(salt, key, "sha256"), info + b"\x01", "sha256")


def test_the_file_is_what_the_page_says(kit: FactoryKit) -> None:
    """Read with sqlite3, cbor2 and hmac: header, head, log and every seed, and the witness."""
    records = vault.filled(kit, 5, records_a_chunk=2)
    told(kit, "vault", "destroy", "--serial", "SN-0002", "--reason", "x", "-y")
    key = (kit.folder / "vault.key").read_bytes()
    with closing(sqlite3.connect(kit.folder / "vault" / "vault.db")) as db:
        ((header, header_mac, purge),) = db.execute("SELECT header, mac, purge FROM vault")
        ((head, head_mac, previous),) = db.execute("SELECT head, mac, previous FROM head")
        chunks = db.execute(
            "SELECT row, batch, number, profile, wrapped, digest FROM chunk ORDER BY batch, number"
        ).fetchall()
        rows = {
            row: db.execute(
                "SELECT place, chip_id, sealed FROM record WHERE chunk = ? ORDER BY place", (row,)
            ).fetchall()
            for row, *_ in chunks
        }
        log = db.execute("SELECT number, entry, digest FROM use ORDER BY number").fetchall()
    label, vault_id, kind, stretching = cbor2.loads(header)
    assert (label, kind, stretching, purge) == ("brski vault v1", "file", None, 0)
    index_key = hkdf(key, vault_id, b"brski vault index v1")
    wrapping = AESGCM(hkdf(key, vault_id, b"brski vault wrap v1"))
    assert hmac.digest(index_key, header, "sha256") == header_mac
    assert hmac.digest(index_key, head, "sha256") == head_mac

    seeds: dict[bytes, bytes] = {}
    digests = []
    for row, batch, number, name, wrapped, digest in chunks:
        context = [batch, number, name]
        listed = [[p, c, hashlib.sha256(s).digest()] for p, c, s in rows[row]]
        assert digest == sha256(["brski vault chunk v1", *context, wrapped, listed])
        digests.append(digest)
        data = cbor2.dumps(["brski vault chunk v1", vault_id, *context], canonical=True)
        chunk_key = AESGCM(wrapping.decrypt(wrapped[:12], wrapped[12:], data))
        for place, chip_id, sealed in rows[row]:
            bound = ["brski vault record v1", vault_id, *context, place, chip_id]
            nonce = place.to_bytes(12, "big")
            seeds[chip_id] = chunk_key.decrypt(nonce, sealed, cbor2.dumps(bound, canonical=True))
    assert seeds == {r.chip_id: r.seed.octets for n, r in enumerate(records) if n != 2}

    before = bytes(32)
    for expected, (number, entry, digest) in enumerate(log, start=1):
        before = hashlib.sha256(before + entry).digest()
        assert (number, digest, cbor2.loads(entry)[:2]) == (
            *(expected, before),
            ["brski vault use v1", expected],
        )
    assert cbor2.loads(head) == [
        *("brski vault head v1", vault_id, 3, previous, 4, 3),
        *(hashlib.sha256(b"".join(digests)).digest(), 3, before),
    ]
    witness = f"brski vault witness v1 {vault_id.hex()} 3 {head_mac.hex()}\n"
    assert (kit.folder / "vault.witness").read_text() == witness


def sha256(item: Any) -> bytes:
    return hashlib.sha256(cbor2.dumps(item, canonical=True)).digest()


@pytest.mark.slow
def test_workers_log_in_to_the_token_by_themselves(softhsm: SoftHSM, tmp_path: Path) -> None:
    """The real program: intake, make, check and a secret, with the key in SoftHSM."""
    address = softhsm.make_token("vault")
    kit = factory.found(tmp_path / "oem")
    with kit.settings.open("a") as settings:
        settings.write(
            f'\n[factory.vault]\nkind = "pkcs11"\nmodule = "{address.module}"\n'
            f'token = "vault"\nlabel = "seeds"\npin_file = "{address.pin_file}"\n'
        )
    records = factory.chips(6)
    batch, built = kit.batch(records)[0], kit.build_list(factory.serials(records))
    for command in (
        ("vault", "init"),
        ("factory", "intake", batch),
        ("factory", "make", built, "-o", tmp_path / "bundle"),
        ("vault", "check"),
        ("secret", "--purpose", "x", "--serial", "SN-0001", "--reason", "x", "-o", tmp_path / "s"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *map(str, command), "-s", str(kit.settings)],
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    assert len((tmp_path / "s").read_bytes()) == 32
    softhsm.remove_tokens()
    code, _, err = oem(kit, "vault", "check")
    assert (code, "is not there" in err) == (3, True)


def test_a_factory_gets_a_vault_later(tmp_path: Path, quick: None) -> None:
    """What came before stays in the store and is derived from there; what comes after does not."""
    kit = factory.found(tmp_path)
    early, late = factory.chips(3), factory.chips(3, start=100)
    batch, minted = kit.batch(early, "early")
    told(kit, "factory", "intake", batch)
    with kit.settings.open("a") as settings:
        settings.write(FILE_KIND)
    code, _, err = oem(kit, "factory", "make", batch, "-o", tmp_path / "x")
    assert (code, "brski-oem vault init" in err) == (2, True)
    told(kit, "vault", "init")
    told(kit, "factory", "intake", batch)
    second, _ = kit.batch(late, "late", sequence=2, predecessor=minted.digest)
    told(kit, "factory", "intake", second)
    assert len(list((kit.store / "batches").iterdir())) == 1
    (tmp_path / "bundles").mkdir()
    built = kit.build_list(factory.serials([*early, *late]))
    report = told(kit, "factory", "make", built, "-o", tmp_path / "bundles")
    assert (report["certified"], len(report["bundles"])) == (6, 2)


# -- batches that are not to be kept


def keeping_none(kit: FactoryKit) -> FactoryKit:
    text = kit.settings.read_text()
    kit.settings.write_text(text.replace("[factory]\n", "[factory]\nkeep_batches = false\n"))
    return kit


def test_a_batch_goes_with_its_last_chip(tmp_path: Path, quick: None) -> None:
    """Not before; and then its seeds are nowhere, so that no chip of it is certified again."""
    kit = keeping_none(factory.found(tmp_path))
    records = factory.chips(4)
    told(kit, "factory", "intake", kit.batch(records)[0])
    (path,) = (kit.store / "batches").iterdir()
    for generation, (part, there) in enumerate(((records[:3], True), (records[3:], False)), 1):
        name = f"list{generation}"
        built = kit.build_list(factory.serials(part), name, generation=generation)
        told(kit, "factory", "make", built, "-o", tmp_path / "bundle")
        assert path.exists() == there
        told(kit, "factory", "make", built, "-o", tmp_path / "bundle")  # handed out again
    assert told(kit, "factory", "intake", tmp_path / "batch")["outcome"] == "already-taken-in"
    assert not path.exists()
    again = kit.build_list(
        factory.serials(records[:1]),
        "again",
        generation=3,
        created_at=factory.CREATED.replace(year=2027),
        replace=True,
    )
    code, _, err = oem(kit, "factory", "make", again, "-o", tmp_path / "second")
    assert (code, "has lost batch" in err, "were destroyed" in err) == (2, True, True)


def test_a_batch_that_waits_for_a_demand_stays(tmp_path: Path, quick: None) -> None:
    """Until the last of its devices was met."""
    kit = keeping_none(factory.found(tmp_path))
    with kit.settings.open("a") as settings:
        settings.write("\n[factory.on_demand]\n")
    for name in ("inbox", "outbox"):
        (tmp_path / name).mkdir()
    records = factory.chips(2)
    told(kit, "factory", "intake", kit.batch(records)[0])
    told(kit, "factory", "register", kit.build_list(factory.serials(records)))
    (path,) = (kit.store / "batches").iterdir()
    for number in (0, 1):
        demand = demand_of(records[number], f"SN-{number:04d}")
        (tmp_path / "inbox" / demand.file_name).write_bytes(demand.encode())
        assert path.exists()
        assert told(kit, "factory", "watch", "--once") == {"answered": 1}
    assert not path.exists()


def test_a_run_cut_off_before_the_batch_went_is_taken_up(
    tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list is finished, and the same command erases what it did not come to."""
    kit = keeping_none(factory.found(tmp_path))
    records = factory.chips(2)
    told(kit, "factory", "intake", kit.batch(records)[0])
    built = kit.build_list(factory.serials(records))

    def cut(path: Path) -> None:
        path.write_bytes(bytes(path.stat().st_size // 2))  # half of it zeros, and no more
        raise Unavailable("cut off")

    with monkeypatch.context() as patch:
        patch.setattr("oem_backend.factory.seeds.erase_file", cut)
        assert oem(kit, "factory", "make", built, "-o", tmp_path / "bundle")[0] == 3
    assert told(kit, "factory", "make", built, "-o", tmp_path / "bundle")["repeated"]
    assert list((kit.store / "batches").iterdir()) == []


# -- the log, read


def test_the_log_is_read_without_a_key(kit: FactoryKit) -> None:
    """As rows, as lines; altered it is not told at all."""
    vault.filled(kit, 2)
    told(kit, "vault", "check", "--operator", "ada", "--reason", "audit 7")
    (kit.folder / "vault.key").unlink()
    rows = told(kit, "vault", "log")["uses"]
    assert [row["action"] for row in rows] == ["seal", "derive", "check"]
    assert (rows[2]["operator"], rows[2]["reason"], rows[2]["records"]) == ("ada", "audit 7", 2)
    _, out, _ = oem(kit, "vault", "log")
    assert len(out.splitlines()) == 3
    assert "audit 7" in out
    with closing(sqlite3.connect(kit.folder / "vault" / "vault.db")) as db, db:
        db.execute("UPDATE use SET entry = ? WHERE number = 2", (b"\x80",))
    code, out, err = oem(kit, "vault", "log")
    assert (code, out, "entry 2" in err) == (2, "", True)
