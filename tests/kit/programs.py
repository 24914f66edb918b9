"""System programs and optional libraries that some tests need."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest


def require_program(name: str, package: str) -> str:
    """Return the path of the program *name*, or skip and name the Debian package that has it.

    With ``BRSKI_REQUIRE_ALL=1`` its absence fails the test.
    """
    path = shutil.which(name)
    if path is not None:
        return path
    return _do_without(f"needs the program {name} (Debian package {package})")


def require_file(folder: str, pattern: str, package: str) -> Path:
    """Return the last file below *folder* that fits, or skip and name the Debian package.

    With ``BRSKI_REQUIRE_ALL=1`` its absence fails the test.
    """
    found = sorted(Path(folder).glob(pattern))
    return found[-1] if found else _do_without(f"needs {pattern} (Debian package {package})")


def require_library(name: str, extra: str) -> None:
    """Skip the test, or the module that calls this before its other imports, and name the *extra*
    that brings the library *name*.

    With ``BRSKI_REQUIRE_ALL=1`` its absence fails them.
    """
    if importlib.util.find_spec(name) is None:
        _do_without(f"needs {name}: pip install brski[{extra}]")


def _do_without(reason: str) -> NoReturn:
    if os.environ.get("BRSKI_REQUIRE_ALL") == "1":
        pytest.fail(reason)
    pytest.skip(reason, allow_module_level=True)
