"""Fixtures and helpers that every kind of test shares."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kit.programs import require_program

__all__ = ["require_program", "vectors"]

_VECTORS = Path(__file__).resolve().parents[2] / "shared" / "vectors"


@pytest.fixture(scope="session")
def vectors() -> Path:
    """The folder of published test vectors beside the project; skips where it is not there."""
    if not _VECTORS.is_dir():
        pytest.skip("no published vectors in ../shared/vectors (they are not part of the project)")
    return _VECTORS
