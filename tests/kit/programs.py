"""System programs that some tests need."""

from __future__ import annotations

import os
import shutil

import pytest


def require_program(name: str, package: str) -> str:
    """Return the path of the program *name*, or skip and name the Debian package that has it.

    With ``BRSKI_REQUIRE_ALL=1`` its absence fails the test.
    """
    path = shutil.which(name)
    if path is not None:
        return path
    reason = f"needs the program {name} (Debian package {package})"
    if os.environ.get("BRSKI_REQUIRE_ALL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
