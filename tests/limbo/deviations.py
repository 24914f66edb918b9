"""The manifests of verdicts that are not the expected ones.

``deviations.toml`` is about our own cases, ours and OpenSSL's verdicts; ``x509_limbo.toml`` about
x509-limbo's, and our verdict alone.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Final

from tests.limbo.schema import LimboCase


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads((Path(__file__).parent / name).read_text("utf-8"))


DEVIATIONS: Final[dict[str, dict[str, str]]] = _read("deviations.toml")
DIFFERENCES: Final[list[dict[str, Any]]] = _read("x509_limbo.toml")["difference"]
_STRICTER: Final = {
    case: difference["verdict"] == "stricter"
    for difference in DIFFERENCES
    for case in difference["cases"]
}


def expected(who: str, case: LimboCase) -> bool:
    """Whether *who*, ``ours`` or ``openssl``, shall take the path of *case*."""
    return case.succeeds != (case.id in DEVIATIONS[who])


def expected_of_limbo(case: LimboCase) -> bool:
    """Whether we shall take the path of *case*, which is x509-limbo's own."""
    if case.id not in _STRICTER:
        return case.succeeds
    assert case.succeeds == _STRICTER[case.id], f"{case.id} is listed the wrong way around"
    return not case.succeeds
