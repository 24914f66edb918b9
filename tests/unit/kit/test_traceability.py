"""Requirements, marks and reasons are held against each other, and a run is told as it was."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.kit.traceability import (
    Outcome,
    Requirement,
    explained,
    faults,
    load_requirements,
    page,
    worst,
)
from tests.kit.traceability_plugin import DOCS

NOW = Requirement(id="PL-1", level="MUST", section="§1", text="It does.", later=False)
LATER = replace(NOW, id="DIS-1", later=True)
BOTH = (NOW, LATER)


def test_the_catalogue_is_read_whole() -> None:
    requirements = load_requirements(DOCS / "requirements.toml")
    assert len({each.id for each in requirements}) == len(requirements) > 200
    assert {each.id for each in requirements if each.later} == {
        *("TLS-2", "TLS-7", "TLS-9", "TLS-10", "TLS-11", "TLS-12", "TLS-13"),
        *("TEL-6", "DIS-1", "DIS-2", "DIS-4", "DIS-5", "DIS-6", "E2E-8"),
    }


@pytest.mark.parametrize("line", ['levels = "MUST"', 'scope = "never"'])
def test_a_table_that_lacks_or_has_something_is_refused(line: str, tmp_path: Path) -> None:
    path = tmp_path / "requirements.toml"
    path.write_text(f'[PL-1]\nsection = "§1"\ntext = "It does."\n{line}\n')
    with pytest.raises(ValueError, match="PL-1"):
        load_requirements(path)


def test_a_mark_or_a_reason_satisfies_and_later_needs_neither() -> None:
    assert faults(BOTH, ["PL-1"], frozenset()) == []
    assert faults(BOTH, [], explained("* **§1** (PL-1): not done, since ...")) == []


def test_a_requirement_with_neither_is_a_fault() -> None:
    (fault,) = faults(BOTH, [], explained("* PL-11, XPL-1"))
    assert fault.startswith("PL-1: neither a test nor a line")


def test_a_mark_without_requirement_is_a_fault() -> None:
    (fault,) = faults(BOTH, ["PL-1", "PL-99"], frozenset())
    assert fault.startswith("PL-99: a test is marked")


@pytest.mark.parametrize(
    ("ended", "told"),
    [
        ([Outcome.PASSED, Outcome.SKIPPED], Outcome.PASSED),
        ([Outcome.PASSED, Outcome.FAILED], Outcome.FAILED),
        ([Outcome.SKIPPED], Outcome.SKIPPED),
    ],
)
def test_the_worst_of_a_tests_parameters_counts(ended: list[Outcome], told: Outcome) -> None:
    assert worst(ended) is told


@pytest.mark.parametrize(
    ("tests", "reasons", "result"),
    [
        ({"t.py::a": Outcome.PASSED, "t.py::b": Outcome.SKIPPED}, "", "shown"),
        ({"t.py::a": Outcome.PASSED, "t.py::b": Outcome.FAILED}, "PL-1", "failed"),
        ({"t.py::a": Outcome.SKIPPED}, "", "skipped"),
        ({}, "PL-1", "diverges"),
        ({}, "", "not shown"),
    ],
)
def test_the_page_tells_each_result(tests: dict[str, Outcome], reasons: str, result: str) -> None:
    lines = page(BOTH, {"PL-1": tests}, explained(reasons)).splitlines()
    assert lines[-2].startswith("| PL-1 | MUST | §1 | It does. |")
    assert lines[-2].endswith(f"| {result} |")
    assert lines[-1].endswith("| later |")


_SUITE = """
import pytest
from tests.kit.traceability_plugin import Traceability, add_options as pytest_addoption

def pytest_configure(config):
    config.addinivalue_line("markers", "requirement(*ids): shown")
    config.pluginmanager.register(Traceability(config), "traceability")
"""
_TESTS = """
import pytest

@pytest.mark.requirement("PL-1")
@pytest.mark.parametrize("n", [1, 2])
def test_half(n): assert n == 1

@pytest.mark.requirement("PL-2", "PL-3")
def test_good(): pass

@pytest.mark.requirement("{id}")
def test_other(): pass
"""


def _run(folder: Path, id_: str, *args: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text(_SUITE)
    (folder / "test_it.py").write_text(_TESTS.replace("{id}", id_))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *args, str(folder)]
    return subprocess.run(
        [*command, f"--rootdir={folder}", "-c", "/dev/null"],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(DOCS.parent), "PATH": "/usr/bin:/bin"},
    )


@pytest.mark.parametrize("jobs", ["0", "2"])
def test_a_run_tells_what_it_has_shown(jobs: str, tmp_path: Path) -> None:
    """With and without xdist, whose workers send reports alone."""
    target = tmp_path / "page.md"
    _run(tmp_path, "PL-4", "-n", jobs, "--conformance", str(target))
    results = {
        line.split("|")[1].strip(): line.split("|")[-2].strip()
        for line in target.read_text().splitlines()
        if line.startswith("| PL-")
    }
    assert [results[f"PL-{n}"] for n in (1, 2, 3, 4)] == ["failed", "shown", "shown", "shown"]


def test_marks_are_judged_by_collection_alone(tmp_path: Path) -> None:
    """A mark that exists nowhere fails the run that only collects."""
    run = _run(tmp_path, "PL-999", "--collect-only", "--traceability")
    assert run.returncode == 1
    assert "PL-999: a test is marked" in run.stdout


@pytest.mark.parametrize(("id_", "code"), [("PL-4", 1), ("PL-999", 1)])
def test_the_gate_tells_faults_alone(id_: str, code: int, tmp_path: Path) -> None:
    """A handful of tests shows next to nothing: whoever lacks a test is told, and only that."""
    (tmp_path / "conftest.py").write_text(_SUITE)
    (tmp_path / "test_it.py").write_text(_TESTS.replace("{id}", id_))
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.kit.check_traceability",
            str(tmp_path),
            f"--rootdir={tmp_path}",
            "-c",
            "/dev/null",
            "-p",
            "no:cacheprovider",
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=DOCS.parent,
    )
    assert done.returncode == code
    assert done.stdout == ""
    assert "PL-5: neither a test nor a line" in done.stderr
    assert ("PL-999: a test is marked" in done.stderr) is (id_ == "PL-999")
    assert "::" not in done.stderr
