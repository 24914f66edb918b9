"""A missing system program skips, and fails where everything is required."""

from __future__ import annotations

import pytest

from tests.kit.programs import require_library, require_program

MISSING = "no-such-program-here"


def test_program_that_is_there_is_found() -> None:
    assert require_program("sh", "dash").endswith("/sh")


def test_missing_program_skips_and_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BRSKI_REQUIRE_ALL", raising=False)
    with pytest.raises(pytest.skip.Exception, match="some-package"):
        require_program(MISSING, "some-package")


def test_missing_program_fails_where_all_are_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRSKI_REQUIRE_ALL", "1")
    with pytest.raises(pytest.fail.Exception, match="some-package"):
        require_program(MISSING, "some-package")


def test_library_that_is_there_is_no_reason_to_skip() -> None:
    require_library("cryptography", "none")


def test_missing_library_skips_and_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BRSKI_REQUIRE_ALL", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"brski\[some-extra\]"):
        require_library(MISSING, "some-extra")


def test_missing_library_fails_where_all_are_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRSKI_REQUIRE_ALL", "1")
    with pytest.raises(pytest.fail.Exception, match=r"brski\[some-extra\]"):
        require_library(MISSING, "some-extra")
