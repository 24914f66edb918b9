"""The demo's device with a TPM: what it lacks on this machine, and the vendor's step before it."""

from __future__ import annotations

import importlib.util
import shutil
from typing import Any

import pytest

from brski_lab.cast import CAST
from brski_lab.demo import _who_can_be_shown
from brski_lab.devices.tpm import TPMDevice


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    """What is there, by name."""
    there = {"swtpm": True, "tpm2_pytss": True}
    which, find = shutil.which, importlib.util.find_spec

    def found(name: str, *rest: Any) -> Any:
        return ("/there" if there[name] else None) if name in there else which(name, *rest)

    def spec(name: str, *rest: Any) -> Any:
        return (object() if there[name] else None) if name in there else find(name, *rest)

    monkeypatch.setattr(shutil, "which", found)
    monkeypatch.setattr(importlib.util, "find_spec", spec)
    return there


def test_nothing_is_missing(machine: dict[str, bool]) -> None:
    assert TPMDevice().missing() == ""


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("swtpm", "the program swtpm (Debian package swtpm) is missing"),
        ("tpm2_pytss", "tpm2-pytss (the extra [tpm], which needs libtss2-dev) is missing"),
    ],
)
def test_what_is_missing_is_named(machine: dict[str, bool], name: str, said: str) -> None:
    machine[name] = False
    assert TPMDevice().missing() == said


def test_the_demo_goes_on_without_and_says_so(machine: dict[str, bool]) -> None:
    """Both lacking things in one line; the other devices are shown."""
    machine.update(swtpm=False, tpm2_pytss=False)
    warnings: list[str] = []
    shown = _who_can_be_shown(warnings.append)
    (said,) = [each for each in warnings if each.startswith("no tpm device")]
    assert "swtpm" in said
    assert "tpm2-pytss" in said
    assert [part for part in CAST if part.device == "fuse"] == [
        part for part in shown if part.device == "fuse"
    ]
    assert not [part for part in shown if part.device == "tpm"]
