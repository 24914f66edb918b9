"""The benchmarks run, and give the numbers that they promise."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import main

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_onboarding_gives_its_metrics() -> None:
    command = [sys.executable, "-W", "error", "-m", "benchmarks"]
    done = subprocess.run(
        [*command, "--json", "--devices", "4", "onboarding"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    metrics = json.loads(done.stdout)["onboarding"]
    for name in ("per_s", "registrar_cpu_ms", "floor_ms", "ratio_to_floor"):
        assert metrics[name] > 0
    assert metrics["ratio_to_floor"] == pytest.approx(
        metrics["registrar_cpu_ms"] / metrics["floor_ms"]
    )


@pytest.mark.parametrize("arguments", [["nothing"], ["--devices", "0"]])
def test_misuse(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "error" in capsys.readouterr().err
