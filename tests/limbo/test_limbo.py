"""x509-limbo's own suite, where somebody has it: ``BRSKI_LIMBO=limbo.json``, or ../shared/vectors.

It is read where it stands and is no part of the project. What of it applies: paths of RFC 5280, and
of RFC 9881. Names of web servers, the Web PKI's own rules and revocation lists are not asked about
here.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from tests.limbo.deviations import DIFFERENCES, expected_of_limbo
from tests.limbo.generate import IDEVID
from tests.limbo.schema import LimboCase, load
from tests.limbo.verdicts import both

_BESIDE = Path(__file__).resolve().parents[3] / "shared" / "vectors" / "limbo.json"
_APPLY = (
    "rfc5280::",
    "rfc9881::",
    "pathlen::",
    "pathological::",
    "cve::",
    "invalid::",
    "brski::",
)
_NOT_ASKED = ("::crl::", "::ca-as-leaf-wrong-san", "::san::underscore-dns")


def applicable(path: Path) -> list[LimboCase]:
    """The cases of the file that path validation of this project has an opinion about."""
    return [
        case
        for case in load(path)
        if case.id.startswith(_APPLY)
        and not any(part in case.id for part in _NOT_ASKED)
        and case.depth is None
    ]


def _found() -> list[ParameterSet]:
    path = Path(os.environ.get("BRSKI_LIMBO", _BESIDE))
    if path.exists():
        return [pytest.param(case, id=case.id) for case in applicable(path)]
    absent = pytest.mark.skip(reason="no limbo.json (BRSKI_LIMBO); it is no part of the project")
    return [pytest.param(None, id="absent", marks=absent)]


@pytest.mark.parametrize("case", _found())
def test_verdict_on_a_case_of_limbo(case: LimboCase, monkeypatch: pytest.MonkeyPatch) -> None:
    """The expected one, or a difference that the manifest has, whoever judges the path."""
    for refusal in both(case, monkeypatch):
        assert (refusal == "") == expected_of_limbo(case), f"{case.description} {refusal}"


def test_the_runner_reads_what_limbo_writes() -> None:
    """Our own cases are in its format, and all of them apply."""
    assert applicable(IDEVID) == list(load(IDEVID))


def test_each_difference_is_listed_once_and_tells_why() -> None:
    """Stricter or looser; whether it is still so, the suite itself shows."""
    listed = [case for difference in DIFFERENCES for case in difference["cases"]]
    assert len(listed) == len(set(listed))
    assert all(case.startswith(_APPLY) for case in listed)
    for difference in DIFFERENCES:
        assert difference["verdict"] in ("stricter", "looser")
        assert difference["reason"]
