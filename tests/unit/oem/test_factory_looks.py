"""Serial numbers that a person could take for one another: in a list, and against others."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brski.edge.signers.public_key import load_public_key
from brski.edge.sqlite import connect, migrate
from brski.errors import BatchRefused
from brski.seed.record import SeedRecord
from oem_backend.factory.intake import Intake
from oem_backend.factory.ledger.contradictions import _ALIKE_IN_USE
from oem_backend.factory.ledger.file import open_ledger
from oem_backend.factory.ledger.schema import SCHEMA
from oem_backend.factory.line import Line
from oem_backend.factory.looks import look_of
from oem_backend.factory.on_demand import register_list
from tests.kit import factory, pki
from tests.kit.factory import FactoryKit

CHIPS = factory.chips(6)
ALIKE = [
    ("SN-A1", "SN-a1"),
    ("SN-A0", "SN-AO"),
    ("SN-A0", "sn-ao"),
    ("SN-A1", "SN-AI"),
    ("SN-A1", "SN-Al"),
    ("SN-AI", "SN-AL"),
    ("SN-O1l", "sN-0Il"),
]
APART = [("SN-8", "SN-B"), ("SN-5", "SN-S"), ("SN-2", "SN-Z"), ("SN-1", "SN.1"), ("SN-1", "SN-11")]


@pytest.fixture
def kit(tmp_path: Path) -> FactoryKit:
    kit = factory.found(tmp_path)
    path, _ = kit.batch(CHIPS)
    kit.take(path)
    return kit


def build(kit: FactoryKit, numbers: dict[int, str], generation: int, **leaves: object) -> Path:
    chips = [(CHIPS[index].chip_id, number) for index, number in numbers.items()]
    created = factory.CREATED + timedelta(days=generation)
    name = f"list-{generation}"
    return kit.build_list(chips, name, generation=generation, created_at=created, **leaves)  # type: ignore[arg-type]  # its leaves


@pytest.mark.parametrize("alike", ALIKE)
def test_two_in_one_list_are_refused(kit: FactoryKit, alike: tuple[str, str]) -> None:
    with pytest.raises(BatchRefused, match="look alike") as caught:
        kit.make(build(kit, {0: alike[0], 1: alike[1]}, 1))
    assert all(number in str(caught.value) for number in alike)
    assert kit.summary()["unfinished"] == []
    kit.make(build(kit, {0: alike[0], 1: "SN-QQ"}, 1))  # nothing else was wrong


@pytest.mark.parametrize("alike", ALIKE)
def test_one_that_looks_like_one_in_use_is_refused(kit: FactoryKit, alike: tuple[str, str]) -> None:
    kit.make(build(kit, {0: alike[0]}, 1))
    with pytest.raises(BatchRefused, match=f"{alike[1]} looks like {alike[0]}, which is in use"):
        kit.make(build(kit, {1: alike[1]}, 2))
    assert kit.summary()["unfinished"] == []
    kit.make(build(kit, {1: "SN-QQ"}, 2))


@pytest.mark.parametrize("apart", APART)
def test_what_hexadecimal_numbers_have_stays_apart(kit: FactoryKit, apart: tuple[str, str]) -> None:
    kit.make(build(kit, {0: apart[0], 1: apart[1]}, 1))
    kit.make(build(kit, {2: f"{apart[0]}-2"}, 2))
    kit.make(build(kit, {3: f"{apart[1]}-2"}, 3))


def test_a_wrong_label_is_mended_by_replacing_it(kit: FactoryKit) -> None:
    """The case that the rule is about: SN-O1 should have been SN-01, on the same chip."""
    kit.make(build(kit, {0: "SN-O1"}, 1))
    with pytest.raises(BatchRefused, match="was certified as SN-O1 before"):
        kit.make(build(kit, {0: "SN-01"}, 2))
    kit.make(build(kit, {0: "SN-01"}, 2, replace=True))
    assert [each.serial_number for each in kit.revocations()] == ["SN-O1"]
    with pytest.raises(BatchRefused, match="SN-0I looks like SN-01, which is in use"):
        kit.make(build(kit, {1: "SN-0I"}, 3))


def test_a_replacement_of_another_device_does_not_help(kit: FactoryKit) -> None:
    """Only what this list ends is out of use."""
    kit.make(build(kit, {0: "SN-O1", 1: "SN-2"}, 1))
    with pytest.raises(BatchRefused, match="SN-01 looks like SN-O1"):
        kit.make(build(kit, {1: "SN-01"}, 2, replace=True))


def test_one_that_looks_like_one_that_waits_is_refused(kit: FactoryKit) -> None:
    """It will be certified when its device is met."""
    with kit.ledger() as ledger:
        register_list(kit.line, build(kit, {0: "SN-O1"}, 1), ledger=ledger)
    with pytest.raises(BatchRefused, match="SN-01 looks like SN-O1, which waits for a demand"):
        kit.make(build(kit, {1: "SN-01"}, 2))
    kit.make(build(kit, {0: "SN-01"}, 3, replace=True))


def test_another_issuer_may_have_numbered_alike(tmp_path: Path) -> None:
    """A device is the pair; under another issuing CA the number is another."""
    first = factory.found(tmp_path / "first")
    path, _ = first.batch(CHIPS)
    first.take(path)
    first.make(build(first, {0: "SN-O1"}, 1))
    other = pki.make_pki("Another")
    first.make(build(first, {1: "SN-01"}, 2), line=_issued_by(first, other))


def _issued_by(kit: FactoryKit, issuer: pki.Entity) -> Line:
    return replace(kit.line, issuing=issuer.signer, issuing_key=None)


def test_the_index_is_used(kit: FactoryKit) -> None:
    """A scan for each entry would make a million entries take for ever."""
    connection = connect(kit.store / "ledger.db")
    plan = connection.execute(
        f"EXPLAIN QUERY PLAN {_ALIKE_IN_USE}", {"list": 1, "issuer": bytes(20)}
    ).fetchall()
    connection.close()
    assert any("certificate_by_look" in row[3] for row in plan)


def test_an_older_ledger_gets_the_index(tmp_path: Path) -> None:
    connection = connect(tmp_path / "ledger.db")
    migrate(connection, SCHEMA[:1])
    connection.close()
    with open_ledger(tmp_path / "ledger.db") as ledger:
        assert ledger.contradictions.alike_in_use(1, bytes(20)) is None


@given(st.text(alphabet="0oO1iIlLaA-", max_size=8))
def test_the_expression_is_the_rule(text: str) -> None:
    """As the page says it, in other words."""
    with closing(sqlite3.connect(":memory:")) as connection:
        (found,) = connection.execute(f"SELECT {look_of('?')}", (text,)).fetchone()
    assert found == text.casefold().translate(str.maketrans("oil", "011"))


# -- seeds, over vendors


def test_a_seed_of_another_vendor_is_refused(kit: FactoryKit) -> None:
    """Two vendors cannot have drawn the same seed; somebody has copied it."""
    vendors = {**kit.line.vendors, "stranger": load_public_key(kit.folder / "stranger.pub")}
    theirs = {"signer": "stranger", "vendor_id": "stranger"}
    theirs["vendor_key"] = vendors["stranger"]  # type: ignore[assignment]  # a leaf of its own type
    fresh = factory.chips(2, start=50)
    copied = [fresh[0], SeedRecord(chip_id=b"another chip", seed=CHIPS[4].seed)]
    path, _ = kit.batch(copied, "copied", **theirs)  # type: ignore[arg-type]  # leaves
    with pytest.raises(BatchRefused, match="has the seed of chip 6368697030303034") as caught:
        kit.take(path, vendors=vendors)
    assert "chunk 1 of batch vendor/sensor/1" in str(caught.value)
    assert kit.summary()["chips"] == 6
    path, _ = kit.batch(fresh, "sound", **theirs)  # type: ignore[arg-type]  # leaves
    assert kit.take(path, vendors=vendors).outcome is Intake.TAKEN
