"""Fuzz one target in this process: ``python -m tests.fuzz.one TARGET [libFuzzer options]``.

New inputs go to ``.fuzz/corpus/TARGET``, crashes to ``.fuzz/crashes/TARGET``; the committed corpus
is read and not written.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import atheris

with atheris.instrument_imports(include=["brski", "registrar_plugin", "json"]):
    from tests.fuzz.harness import Target, attempt
    from tests.fuzz.seeds import CORPUS
    from tests.fuzz.targets import TARGETS

FOUND: Final = Path(".fuzz")


def main(arguments: list[str]) -> int:
    """Fuzz until libFuzzer ends, and the process with it."""
    name, *options = arguments or [""]
    target = TARGETS.get(name)
    if target is None:
        print(f"one of: {', '.join(TARGETS)}", file=sys.stderr)
        return 2
    new, crashes = FOUND / "corpus" / name, FOUND / "crashes" / name
    for folder in (new, crashes):
        folder.mkdir(parents=True, exist_ok=True)
    limits = [f"-max_len={target.octets}", "-timeout=10", "-rss_limit_mb=2048"]
    places = [f"-artifact_prefix={crashes}/", str(new), str(CORPUS / name)]
    atheris.Setup([sys.argv[0], *limits, *options, *places], _once(target))
    atheris.Fuzz()
    return 0


def _once(target: Target) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        attempt(target, data)

    return run


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
