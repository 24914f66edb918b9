"""Fixtures and helpers that every kind of test shares."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kit.examples import load_profile
from tests.kit.programs import require_program
from tests.kit.traceability_plugin import Traceability, add_options

__all__ = ["require_program", "vectors"]

_VECTORS = Path(__file__).resolve().parents[2] / "shared" / "vectors"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of our own."""
    add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Have the requirements told that tests show, and no example judged by the clock."""
    load_profile()
    config.pluginmanager.register(Traceability(config), "traceability")


@pytest.fixture(scope="session")
def vectors() -> Path:
    """The folder of published test vectors beside the project; skips where it is not there."""
    if not _VECTORS.is_dir():
        pytest.skip("no published vectors in ../shared/vectors (they are not part of the project)")
    return _VECTORS
