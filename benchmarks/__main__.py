"""Run measurements: ``python -m benchmarks [--json] [options] [NAME...]``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from typing import Final

from benchmarks import database, est, factory, million, onboarding
from benchmarks.measure import Options

BENCHMARKS: Final[Mapping[str, Callable[[Options], dict[str, float]]]] = {
    "onboarding": onboarding.measure,
    "est": est.measure,
    "factory": factory.measure,
    "million": million.measure,
    "database": database.measure,
}


def main(argv: list[str] | None = None) -> int:
    """Run those named, or all, and print their metrics.

    Args:
        argv: arguments without the program's name; the process's own when None.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--devices", type=_at_least_1, default=Options().devices, metavar="N")
    parser.add_argument("--records", type=_at_least_1, default=Options().records, metavar="N")
    parser.add_argument("--rows", type=_at_least_1, default=Options().rows, metavar="N")
    parser.add_argument("--scale", type=float, default=Options().scale, help="of the factory's")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    asked = parser.parse_args(argv)
    names = asked.names or list(BENCHMARKS)
    for name in names:
        if name not in BENCHMARKS:
            parser.error(f"no benchmark is called {name}; there are: {', '.join(BENCHMARKS)}")
    options = Options(
        devices=asked.devices, records=asked.records, rows=asked.rows, scale=asked.scale
    )
    results = {name: BENCHMARKS[name](options) for name in names}
    print(json.dumps(results) if asked.json else _table(results))
    return 0


def _at_least_1(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _table(results: Mapping[str, Mapping[str, float]]) -> str:
    return "\n".join(
        f"{name:12} {metric:24} {number:10.3f}"
        for name, metrics in results.items()
        for metric, number in metrics.items()
    )


if __name__ == "__main__":
    sys.exit(main())
