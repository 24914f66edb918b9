"""``--traceability`` judges the marks of the tests, ``--conformance`` writes what a run showed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import pytest

from tests.kit.traceability import Outcome, explained, faults, load_requirements, page, worst

DOCS: Final = Path(__file__).resolve().parents[2] / "docs"
_PROPERTY: Final = "requirement"


def add_options(parser: pytest.Parser) -> None:
    """The two options."""
    group = parser.getgroup("requirements")
    group.addoption(
        "--traceability",
        action="store_true",
        help="fail unless each requirement in scope has a test or a reason, and each mark exists",
    )
    group.addoption(
        "--conformance", type=Path, metavar="FILE", help="write what this run has shown to FILE"
    )


class Traceability:
    """Collects marks and outcomes; works across pytest-xdist, whose workers send reports only."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._marked: set[str] = set()
        self._ended: defaultdict[str, defaultdict[str, list[Outcome]]] = defaultdict(
            lambda: defaultdict(list)
        )

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Put each test's requirements where its reports carry them."""
        for item in items:
            for mark in item.iter_markers("requirement"):
                self._marked.update(mark.args)
                item.user_properties.extend((_PROPERTY, id_) for id_ in mark.args)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take down how a test with requirements ended; set-up and teardown count if they fail."""
        if report.when != "call" and report.outcome == "passed":
            return
        name = report.nodeid.partition("[")[0].removeprefix("tests/")
        for key, id_ in report.user_properties:
            if key == _PROPERTY:
                self._ended[str(id_)][name].append(Outcome(report.outcome))

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Judge the marks, or write the page; on xdist's controller alone."""
        if hasattr(self._config, "workerinput"):
            return
        requirements = load_requirements(DOCS / "requirements.toml")
        reasons = explained((DOCS / "divergences.md").read_text(encoding="utf-8"))
        if self._config.getoption("--traceability"):
            self._tell(session, faults(requirements, self._marked, reasons))
        target: Path | None = self._config.getoption("--conformance")
        if target is not None:
            shown = {
                id_: {name: worst(ended) for name, ended in tests.items()}
                for id_, tests in self._ended.items()
            }
            target.write_text(page(requirements, shown, reasons), encoding="utf-8")

    def _tell(self, session: pytest.Session, faults: Iterable[str]) -> None:
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        for fault in faults:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
            if reporter is not None:
                reporter.write_line(fault, red=True)
