"""What a worker answers about a vault is data, and what the rows say is held against the head."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brski.edge import adapters
from brski.edge.adapters import open_adapter
from brski.errors import Malformed, SettingsError, StateError, TooLarge
from brski.seed.vault import WRAPPED_OCTETS
from brski.seed.vault_log import Head
from oem_backend.executors.port import Task
from oem_backend.factory.seal import parse_sealed
from oem_backend.factory.vault.check import check_log, check_rows, check_vault
from oem_backend.factory.vault.kept import KeptChunk, VaultAccess
from oem_backend.factory.vault.work import (
    derive_device_secret,
    found,
    open_chunks,
    parse_macs,
    sign_head,
)
from tests.kit import vault
from tests.kit.factory import FactoryKit
from tests.kit.vault import FILE_KIND, oem, opened, quick, told

__all__ = ["quick"]

SOUND = [bytes(WRAPPED_OCTETS), [[b"chip", bytes(32), bytes(48)]]]


@pytest.fixture
def kit(tmp_path: Path, quick: None) -> FactoryKit:
    kit = vault.founded(tmp_path)
    vault.filled(kit)
    return kit


# -- answers


def test_an_answer_is_one_chunk() -> None:
    seen = parse_sealed(cbor2.dumps(SOUND), 1)
    assert (seen.chips[0].chip_id, seen.sealed) == (b"chip", (bytes(48),))
    with pytest.raises(StateError, match="1 chips of 2"):
        parse_sealed(cbor2.dumps(SOUND), 2)


@pytest.mark.parametrize(
    "row",
    [
        [],
        [b"chip", bytes(32)],
        [b"chip", bytes(32), bytes(48), b""],
        [b"", bytes(32), bytes(48)],
        [b"x" * 65, bytes(32), bytes(48)],
        ["chip", bytes(32), bytes(48)],
        [b"chip", bytes(31), bytes(48)],
        [b"chip", bytes(32), bytes(16)],
        [b"chip", bytes(32), bytes(529)],
        [b"chip", bytes(32), 7],
    ],
)
def test_a_row_out_of_bounds_is_refused(row: list[object]) -> None:
    with pytest.raises(Malformed):
        parse_sealed(cbor2.dumps([SOUND[0], [row]]), 1)


@pytest.mark.parametrize("wrapped", [bytes(59), bytes(61), "x", None])
def test_a_chunk_key_out_of_bounds_is_refused(wrapped: object) -> None:
    with pytest.raises(Malformed):
        parse_sealed(cbor2.dumps([wrapped, SOUND[1]]), 1)


@given(st.binary(max_size=200))
def test_nonsense_is_refused(octets: bytes) -> None:
    """By every parser of answers and jobs, in our terms."""
    parsers: list[Callable[[bytes], object]] = [
        lambda o: parse_sealed(o, 1),
        lambda o: parse_macs(o, 1),
        *(found, sign_head, open_chunks, derive_device_secret),
    ]
    for parse in parsers:
        with pytest.raises((Malformed, StateError, TooLarge)):
            parse(octets)


def test_macs_are_so_many_of_32_octets() -> None:
    assert parse_macs(cbor2.dumps([bytes(32)]), 1) == [bytes(32)]
    for wrong in ([], [bytes(32)] * 2, [bytes(31)], ["x" * 32], bytes(32)):
        with pytest.raises(Malformed):
            parse_macs(cbor2.dumps(wrong), 1)


def test_a_job_is_what_was_written(kit: FactoryKit) -> None:
    """Each part of it in turn as something else."""
    with opened(kit) as v:
        chunk = v.kept(next(iter(v.database.chunks())))
    items = cbor2.loads(cbor2.dumps(chunk.encode()))
    assert KeptChunk.parse(items) == replace(chunk, records=tuple(chunk.records))
    for position in range(4):
        with pytest.raises(Malformed):
            KeptChunk.parse([*items[:position], 7, *items[position + 1 :]])
    with pytest.raises(Malformed):
        KeptChunk.parse([*items[:3], [[0, b"chip"]]])
    with pytest.raises(Malformed):
        VaultAccess.parse([{}, b"header"])


class Liar:
    """Workers that have opened another number of records than there are."""

    trusted = True

    def map(self, task: Task, jobs: Iterable[bytes]) -> Iterator[bytes]:
        return (cbor2.dumps(2) for _ in jobs)


def test_a_worker_that_opened_less_is_not_believed(kit: FactoryKit) -> None:
    with opened(kit) as v, pytest.raises(StateError, match="4 records of 6 could be opened"):
        check_vault(v, Liar(), at_once=False)  # type: ignore[arg-type]  # an iterator, not a generator


# -- rows against the head, without a key


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("DELETE FROM record WHERE chunk = 1 AND place = 0", "chunk 0 of batch"),
        ("UPDATE chunk SET digest = zeroblob(32) WHERE row = 2", "chunk 1 of batch"),
        (
            "DELETE FROM record WHERE chunk = 1; DELETE FROM chunk WHERE row = 1",
            "3 records in 1 chunks, its head says 6 in 2",
        ),
    ],
)
def test_rows_that_are_not_the_heads(kit: FactoryKit, script: str, why: str) -> None:
    with opened(kit) as v:
        check_rows(v.database, v.head)
    with closing(sqlite3.connect(kit.folder / "vault" / "vault.db")) as db:
        db.executescript(script)
    with opened(kit) as v, pytest.raises(StateError, match=why):
        check_rows(v.database, v.head)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"index_digest": bytes(32)}, "not those of its head"),
        ({"records": 5}, "its head says 5 in 2"),
    ],
)
def test_a_head_that_is_not_the_rows(kit: FactoryKit, change: dict[str, object], why: str) -> None:
    with opened(kit) as v, pytest.raises(StateError, match=why):
        check_rows(v.database, replace(v.head, **change))  # type: ignore[arg-type]  # one field


@pytest.mark.parametrize("change", [{"entries": 1}, {"entries": 3}, {"log_digest": bytes(32)}])
def test_a_head_that_is_not_the_logs(kit: FactoryKit, change: dict[str, object]) -> None:
    with opened(kit) as v:
        check_log(v.database, v.head)
        head: Head = replace(v.head, **change)  # type: ignore[arg-type]  # one field
        with pytest.raises(StateError, match="its head says"):
            check_log(v.database, head)


def test_altered_rows_get_no_new_head(kit: FactoryKit) -> None:
    """Digests that were recomputed over altered rows are not those of the head before."""
    with closing(sqlite3.connect(kit.folder / "vault" / "vault.db")) as db, db:
        db.execute("UPDATE chunk SET digest = zeroblob(32) WHERE row = 1")
    before = told(kit, "vault", "status")["counter"]
    for command in (("check",), ("destroy", "--all", "--reason", "x", "-y")):
        code, _, err = oem(kit, "vault", *command)
        assert (code, "the index of the vault was altered" in err) == (2, True)
    assert told(kit, "vault", "status")["counter"] == before


def test_a_record_that_is_not_there_is_not_destroyed(kit: FactoryKit) -> None:
    """Called past the command, which looks first."""
    with opened(kit) as v:
        chunk = next(iter(v.database.chunks()))
        with pytest.raises(StateError, match="no record of chip 6e6f626f6479"):
            v.destroy_record(None, chunk, b"nobody")  # type: ignore[arg-type]  # it comes to no use


def test_the_settings_name_the_kind_that_the_vault_has(kit: FactoryKit) -> None:
    """A key of another kind is not tried."""
    (kit.folder / "words").write_text("correct horse battery staple")
    (kit.folder / "words").chmod(0o600)
    other = '\n[factory.vault]\nkind = "passphrase"\npassphrase_file = "words"\n'
    kit.settings.write_text(kit.settings.read_text().replace(FILE_KIND, other))
    code, _, err = oem(kit, "vault", "check")
    assert (code, "of kind file, the settings say passphrase" in err) == (2, True)


def test_a_vault_of_another_folder_is_told_by_its_id(kit: FactoryKit, tmp_path: Path) -> None:
    """The same key, the same kind, another vault: its records are not ours."""
    other = vault.founded(tmp_path / "other")
    shutil.copy(kit.folder / "vault.key", other.folder / "vault.key")
    code, _, err = oem(other, "vault", "check")
    assert (code, "not that of this vault" in err) == (2, True)


# -- a plug-in that cannot be loaded


@pytest.mark.parametrize(
    ("value", "hint"),
    [("no.such.module:Kind", "install the extra [pkcs11]"), ("brski.errors:NoSuchKind", "")],
)
def test_a_kind_that_cannot_be_loaded_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, value: str, hint: str
) -> None:
    point = EntryPoint(name="pkcs11", value=value, group="brski.signer")
    monkeypatch.setattr(adapters, "entry_points", lambda **_: [point])
    with pytest.raises(SettingsError, match="cannot be loaded") as refused:
        open_adapter("brski.signer", {"kind": "pkcs11"}, source=Path("x"), where="issuing")
    assert refused.value.hint == hint
