"""x509-limbo's own suite, where somebody has it: ``BRSKI_LIMBO=limbo.json``, or ../shared/vectors.

It is read where it stands and is no part of the project. What of it applies: paths of RFC 5280.
Names of web servers, the Web PKI's own rules and revocation lists are not asked about here.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from tests.limbo.deviations import expected
from tests.limbo.generate import IDEVID
from tests.limbo.schema import LimboCase, load
from tests.limbo.verdicts import ours

_BESIDE = Path(__file__).resolve().parents[3] / "shared" / "vectors" / "limbo.json"
_APPLY = ("rfc5280::", "pathlen::", "pathological::", "cve::", "invalid::", "brski::")
_NAMES = ("::nc::", "::san::", "::ip-", "::dns-", "::ca-as-leaf")  # and who it is that has them


def applicable(path: Path) -> list[LimboCase]:
    """The cases of the file that path validation of this project has an opinion about."""
    return [
        case
        for case in load(path)
        if case.id.startswith(_APPLY)
        and not any(part in case.id for part in _NAMES)
        and case.depth is None
        and not any(feature.startswith("pedantic") for feature in case.features)
    ]


def _found() -> list[ParameterSet]:
    path = Path(os.environ.get("BRSKI_LIMBO", _BESIDE))
    if path.exists():
        return [pytest.param(case, id=case.id) for case in applicable(path)]
    absent = pytest.mark.skip(reason="no limbo.json (BRSKI_LIMBO); it is no part of the project")
    return [pytest.param(None, id="absent", marks=absent)]


@pytest.mark.parametrize("case", _found())
def test_verdict_on_a_case_of_limbo(case: LimboCase) -> None:
    """The expected one, or a deviation of the manifest."""
    refusal = ours(case)
    assert (refusal == "") == expected("ours", case), f"{case.description} {refusal}"


def test_the_runner_reads_what_limbo_writes() -> None:
    """Our own cases are in its format, and all of them apply."""
    assert applicable(IDEVID) == list(load(IDEVID))
