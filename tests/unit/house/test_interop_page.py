"""docs/interop.md names the tests that there are."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
INTEROP = "tests/interop/"


def test_each_foreign_program_is_on_the_page() -> None:
    """No row without its test, no test of another's program without a row."""
    page = (ROOT / "docs" / "interop.md").read_text(encoding="utf-8")
    named = {
        (folder or INTEROP) + name
        for folder, name in re.findall(r"`(tests/\w+/)?(test_\w+\.py)`", page)
    }
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []
    there = {INTEROP + path.name for path in (ROOT / INTEROP).glob("test_*.py")}
    assert there - named == set()
