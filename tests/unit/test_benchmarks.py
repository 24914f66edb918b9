"""The benchmarks run, and give the numbers that they promise."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from brski_lab.postgresql import PROGRAMS
from tests.kit.programs import require_file, require_library, require_program

ROOT = Path(__file__).parents[2]


def run(name: str, *options: str) -> dict[str, float]:
    """The metrics of one benchmark, run as a person would."""
    command = [sys.executable, "-W", "error", "-m", "benchmarks", "--json", *options, name]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    metrics: dict[str, float] = json.loads(done.stdout)[name]
    return metrics


@pytest.mark.slow
@pytest.mark.parametrize("name", ["onboarding", "est"])
def test_what_a_registrar_costs(name: str) -> None:
    metrics = run(name, "--devices", "4")
    for metric in ("per_s", "registrar_cpu_ms", "floor_ms", "ratio_to_floor"):
        assert metrics[metric] > 0
    assert metrics["ratio_to_floor"] == pytest.approx(
        metrics["registrar_cpu_ms"] / metrics["floor_ms"]
    )
    if name == "est":
        assert metrics["enrolled_per_s"] > 0
        assert metrics["enrolling_cpu_ms"] >= 0  # in ticks of 10 ms for all four


@pytest.mark.slow
def test_factory_gives_its_metrics() -> None:
    require_program("openssl", package="openssl")
    metrics = run("factory", "--scale", "0.02")
    for name in ("certificates_per_core_s", "openssl_sign_per_s", "two_process_speedup"):
        assert metrics[name] > 0
    assert metrics["ratio"] == pytest.approx(
        metrics["certificates_per_core_s"] / metrics["openssl_sign_per_s"]
    )


@pytest.mark.slow
def test_million_gives_its_metrics() -> None:
    metrics = run("million", "--records", "300")
    assert metrics["records"] == 300
    steps = metrics["intake_s"] + metrics["make_s"] + metrics["load_s"]
    assert metrics["seconds"] == pytest.approx(steps)
    assert metrics["peak_rss_mb"] > 10


@pytest.mark.slow
def test_database_gives_its_metrics() -> None:
    require_library("asyncpg", extra="postgresql")
    require_file(str(PROGRAMS), "*/bin/initdb", package="postgresql")
    metrics = run("database", "--rows", "20000")
    for engine in ("sqlite", "postgresql"):
        for what in ("lookups_per_s_10k", "lookups_per_s_10m", "load_rows_per_s_10m"):
            assert metrics[f"{engine}_{what}"] > 0


@pytest.mark.parametrize("arguments", [["nothing"], ["--devices", "0"]])
def test_misuse(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "error" in capsys.readouterr().err
