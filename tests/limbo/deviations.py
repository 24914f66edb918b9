"""The manifest of verdicts that are not the expected ones: ``deviations.toml``."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Final

from tests.limbo.schema import LimboCase

DEVIATIONS: Final[dict[str, dict[str, str]]] = tomllib.loads(
    (Path(__file__).parent / "deviations.toml").read_text("utf-8")
)


def expected(who: str, case: LimboCase) -> bool:
    """Whether *who*, ``ours`` or ``openssl``, shall take the path of *case*."""
    return case.succeeds != (case.id in DEVIATIONS[who])
