"""What the benchmarks share: options, and the mean time of a call."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

LOOPS: Final = 300
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a person asked for."""

    devices: int = 200  # that join a registrar
    records: int = 1_000_000  # from a sealed batch into a database
    rows: int = 10_000_000  # of the large directories
    scale: float = 1.0  # of what a factory makes; under 1 to see that it runs


def mean_cpu_ms(call: Callable[[], object], loops: int = LOOPS) -> float:
    """CPU time of this process for one *call*, milliseconds; the mean of *loops* after a few."""
    for _ in range(10):
        call()
    began_s = time.process_time()
    for _ in range(loops):
        call()
    return (time.process_time() - began_s) * 1000 / loops


def process_cpu_ms(pid: int) -> float:
    """User and system time of all threads of a process so far, milliseconds; see proc_pid_stat(5).

    Raises:
        FileNotFoundError: there is no such process.
    """
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) * 1000 / _TICKS_PER_S


def established_to(ports: frozenset[int]) -> int:
    """How many IPv4 connections of this machine lead to one of *ports*, seen from their client."""
    rows = Path("/proc/net/tcp").read_text().splitlines()[1:]
    columns = [row.split() for row in rows]
    return sum(
        state == "01" and int(remote.rpartition(":")[2], 16) in ports
        for _, _, remote, state, *_ in columns
    )
