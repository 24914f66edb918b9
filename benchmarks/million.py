"""A whole batch by the programs themselves: sealed file in, loaded SQLite database out."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.desk import Desk, lay_out
from benchmarks.measure import Options

_RECORDS_A_CHUNK = 10_000
_PROGRAM = "import sys; from oem_backend.cli import main; sys.exit(main())"


def measure(options: Options) -> dict[str, float]:
    """Run intake, make and load; see docs/benchmarks.md for what each number is."""
    with tempfile.TemporaryDirectory(prefix="brski-bench-") as name:
        desk = lay_out(Path(name))
        batch = desk.batch(options.records, records_a_chunk=_RECORDS_A_CHUNK)
        built = desk.build_list(options.records)
        bundle = desk.folder / "bundle"
        steps = {
            "intake": ["factory", "intake", batch, "-s", desk.factory_settings],
            "make": ["factory", "make", built, "-o", bundle, "-s", desk.factory_settings],
            "load": ["database", "load", bundle, "-s", desk.oem_settings],
        }
        took = {step: _run(desk, step, [*map(str, words)]) for step, words in steps.items()}
    return {
        "records": options.records,
        "seconds": sum(seconds for seconds, _ in took.values()),
        "peak_rss_mb": max(peak for _, peak in took.values()),
        **{f"{step}_s": seconds for step, (seconds, _) in took.items()},
    }


def _run(desk: Desk, step: str, words: list[str]) -> tuple[float, float]:
    """Wall seconds, and the largest resident set of the program and its workers, in MB."""
    with (desk.folder / f"{step}.log").open("wb") as log:
        began_s = time.monotonic()
        process = subprocess.Popen([sys.executable, "-c", _PROGRAM, *words], stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        took_s = time.monotonic() - began_s
    if process.returncode:
        sys.exit((desk.folder / f"{step}.log").read_text())
    return took_s, usage.ru_maxrss / 1000
