"""SIGKILL at each durable step of the factory, before and after it, then the same command again.

The factory is the real program in a process of its own, with real workers, ended at one of its
functions. However often it was killed, the bundle has the octets of a run that was not.
"""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.kit import factory
from tests.kit.factory import FactoryKit
from tests.kit.kill import Step, command, main_of

PROGRAM = main_of("oem_backend.cli")
INTAKE, LINE = "oem_backend.factory.intake", "oem_backend.factory.line"
BATCHES = "oem_backend.factory.ledger.batches:Batches"
LISTS = "oem_backend.factory.ledger.lists:BuildLists"
AT_WORK = "oem_backend.factory.ledger.at_work:AtWork"
INTAKE_STEPS = [
    Step(INTAKE, "_keep", "before"),
    Step(INTAKE, "_keep", "after"),
    Step(BATCHES, "_enter_chips", "after"),  # the first of two chunks, in the transaction
    Step(BATCHES, "take_in", "after"),
]
# In the order in which they come: what is before a step has been done by the runs before.
MAKE_STEPS = [
    Step(LINE, "begin_list", "before"),
    Step(LISTS, "begin", "after"),  # in the middle of the transaction
    Step(LINE, "begin_list", "after"),
    Step(AT_WORK, "keep_chunk", "before"),
    Step(AT_WORK, "keep_chunk", "after"),  # the first of two chunks
    Step(AT_WORK, "keep_chunk", "after"),  # the second
    Step(LINE, "keep_bundle", "before"),
    Step(LINE, "keep_bundle", "after"),
    Step(LISTS, "finish", "before"),
    Step(LISTS, "finish", "after"),
    Step(LINE, "hand_out", "before"),
    Step(LINE, "hand_out", "after"),
]


def run(kit: FactoryKit, *arguments: str | Path) -> dict[str, Any]:
    """The program, undisturbed."""
    done = subprocess.run(
        command(PROGRAM, "factory", *arguments, "-s", kit.settings, "--json"),
        capture_output=True,
        text=True,
        check=True,
    )
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def killed(kit: FactoryKit, step: Step, *arguments: str | Path) -> None:
    """The program, killed at *step*, which it comes to."""
    done = subprocess.run(
        command(PROGRAM, "factory", *arguments, "-s", kit.settings, at=step),
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, (step, done)


@pytest.mark.slow
def test_killed_at_every_step_in_turn_it_ends_with_the_same_octets(tmp_path: Path) -> None:
    """Each run is killed one step later than the one before it; the last one is left alone."""
    kit = factory.found(tmp_path)
    records = factory.chips(6)
    batch, _ = kit.batch(records)
    built = kit.build_list(factory.serials(records))
    kit.take(batch)
    kit.make(built, "whole")
    kit.store.rename(tmp_path / "former store")

    for step in INTAKE_STEPS:
        killed(kit, step, "intake", batch)
    assert run(kit, "intake", batch)["outcome"] == "already-taken-in"
    assert kit.summary()["chips"] == 6
    for step in MAKE_STEPS:
        killed(kit, step, "make", built, "-o", tmp_path / "bundle")
    report = run(kit, "make", built, "-o", tmp_path / "bundle")

    assert report["repeated"]
    assert (tmp_path / "bundle").read_bytes() == (tmp_path / "whole").read_bytes()
    summary = kit.summary()
    assert (summary["certificates"], summary["unfinished"]) == (6, [])


@pytest.mark.slow
@pytest.mark.parametrize("form", ["cose", "cms"])
@pytest.mark.parametrize("step", INTAKE_STEPS[:3])
def test_an_intake_that_was_killed_has_entered_nothing(
    tmp_path: Path, step: Step, form: str
) -> None:
    """The same command then takes the batch in as if it came for the first time."""
    kit = factory.found(tmp_path)
    kit.accept_cms()
    mint = kit.cms_batch if form == "cms" else kit.batch
    batch, _ = mint(factory.chips(6))
    killed(kit, step, "intake", batch)
    assert kit.summary()["batches"] == []
    assert run(kit, "intake", batch)["outcome"] == "taken-in"
    assert len(list((kit.store / "batches").iterdir())) == 1  # no draft is left beside it


@pytest.mark.slow
def test_a_bundle_is_at_its_place_whole_or_not_at_all(tmp_path: Path) -> None:
    """Killed while the octets are on their way: what was there before still is."""
    kit = factory.found(tmp_path)
    records = factory.chips(3)
    kit.take(kit.batch(records)[0])
    built = kit.build_list(factory.serials(records))
    (tmp_path / "bundle").write_bytes(b"an earlier bundle")
    killed(
        kit,
        Step("oem_backend.factory.bundles", "_pieces", "before"),
        *("make", built, "-o", tmp_path / "bundle"),
    )
    assert (tmp_path / "bundle").read_bytes() == b"an earlier bundle"
    assert run(kit, "make", built, "-o", tmp_path / "bundle")["records"] == 3
    assert len(kit.records()) == 3
