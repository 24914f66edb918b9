"""Paths of the shape of IDevIDs, in limbo's format: our verdict and OpenSSL's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kit.programs import require_program
from tests.limbo.deviations import DEVIATIONS, expected
from tests.limbo.generate import IDEVID
from tests.limbo.idevid_cases import cases
from tests.limbo.schema import LimboCase, dump, load
from tests.limbo.verdicts import both, openssl

CASES = load(IDEVID)


def test_generator_comes_to_the_same_octets() -> None:
    """The committed file is what ``python -m tests.limbo.generate`` writes."""
    assert dump(cases()) == IDEVID.read_text("utf-8")
    assert load(IDEVID) == cases()


@pytest.mark.requirement("REG-1")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_our_verdict(case: LimboCase, monkeypatch: pytest.MonkeyPatch) -> None:
    """The expected one, or a known deviation, whoever judges the path."""
    for refusal in both(case, monkeypatch):
        assert (refusal == "") == expected("ours", case), f"{case.description} {refusal}"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_verdict_of_openssl(case: LimboCase, tmp_path: Path) -> None:
    """Another implementation thinks the same of the same file."""
    refusal = openssl(require_program("openssl", "openssl"), case, tmp_path)
    assert (refusal == "") == expected("openssl", case), f"{case.description} {refusal}"


def test_each_deviation_is_of_a_case_that_there_is() -> None:
    """And tells a reason; ids of other suites have their own name space."""
    known = {case.id for case in CASES}
    for reasons in DEVIATIONS.values():
        assert all(reasons.values())
        assert {name for name in reasons if name.startswith("brski::")} <= known
