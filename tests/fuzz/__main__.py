"""Fuzz every target in turn, each in a process of its own: what ``make fuzz`` calls."""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys

from tests.fuzz.targets import TARGETS


def main(arguments: list[str]) -> int:
    """Return 0 if no target was broken, 1 if one was, 2 if there is nothing to fuzz with."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", nargs="*", metavar="TARGET", help=f"of: {', '.join(TARGETS)}")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (60)")
    asked = parser.parse_args(arguments)
    unknown = [name for name in asked.target if name not in TARGETS]
    if unknown:
        parser.error(f"no such target: {', '.join(unknown)}")
    if importlib.util.find_spec("atheris") is None:
        print("fuzz: atheris is not installed; it has wheels for Python 3.11", file=sys.stderr)
        return 2
    broken = [name for name in asked.target or TARGETS if not _fuzz(name, asked.seconds)]
    print(f"fuzz: {', '.join(broken) + ': see .fuzz/crashes' if broken else 'nothing found'}")
    return 1 if broken else 0


def _fuzz(name: str, seconds: int) -> bool:
    print(f"fuzz: {name} for {seconds} s", flush=True)
    options = [f"-max_total_time={seconds}", "-verbosity=0", "-print_final_stats=1"]
    done = subprocess.run([sys.executable, "-m", "tests.fuzz.one", name, *options], check=False)
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
