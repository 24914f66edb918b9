"""docs/security.md names tests that exist for each abuse case, and each named test its case."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "security.md"
CASES = ROOT / "tests" / "abuse"
ROW = re.compile(r"^\| (\d+) \| [^|]+ \| [^|]+ \| [^|]+ \| ([^|]+) \|$", re.MULTILINE)
LINK = re.compile(r"\]\(\.\./(tests/[a-z0-9_/]+\.py)\)")


def rows() -> dict[int, list[Path]]:
    """The test files of each row."""
    page = PAGE.read_text()
    return {
        int(number): [ROOT / path for path in LINK.findall(shown)]
        for number, shown in ROW.findall(page)
    }


def count_tests(path: Path) -> int:
    """How many tests a file has."""
    tree = ast.parse(path.read_text())
    functions = (n for n in tree.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
    return sum(function.name.startswith("test_") for function in functions)


def test_thirty_cases_in_their_order() -> None:
    """None is left out, none stands twice."""
    assert list(rows()) == list(range(1, 31))
    assert len(ROW.findall(PAGE.read_text())) == 30


@pytest.mark.parametrize("case", range(1, 31))
def test_each_case_is_shown(case: int) -> None:
    """By a file that is there and has tests."""
    shown = rows()[case]
    assert shown
    for path in shown:
        assert path.is_file(), path
        assert count_tests(path) > 0, path


def test_each_named_test_is_in_its_row() -> None:
    """``test_NN_name.py`` says which case it is, and row NN leads to it."""
    named = sorted(CASES.glob("test_*.py"))
    assert named
    for path in named:
        case = int(path.name.split("_")[1])
        told = ast.get_docstring(ast.parse(path.read_text())) or ""
        assert told.startswith(f"Abuse case {case}: "), path.name
        assert path in rows()[case], f"docs/security.md, row {case}, does not lead to {path.name}"
