"""``python -m tests.kit.check_traceability``: the tests' marks against docs/requirements.toml.

Collects and runs nothing. Says nothing unless something is wrong.
"""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stdout

import pytest


def main(arguments: list[str]) -> int:
    """Collect, judge, and tell of faults alone: not of the thousands of tests."""
    said = io.StringIO()
    with redirect_stdout(said):
        code = pytest.main(["--collect-only", "-q", "--traceability", *arguments])
    if code:
        lines = said.getvalue().splitlines()
        sys.stderr.write("\n".join(line for line in lines if "::" not in line) + "\n")
    return int(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
