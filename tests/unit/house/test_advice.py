"""Every error has a sentence for the person who meets it (docs/explain.md)."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from brski import errors
from brski.errors import OnboardingError
from registrar_plugin.clerk import NEWER_REPORT
from registrar_plugin.second_use import CODE
from registrar_plugin.telemetry.advice import ADVICE


def every_error() -> Iterator[type[OnboardingError]]:
    for _, found in inspect.getmembers(errors, inspect.isclass):
        if issubclass(found, OnboardingError) and found is not OnboardingError:
            yield found


def test_there_is_advice_on_every_error_and_on_nothing_else() -> None:
    """A new error wants a sentence for the person who meets it."""
    # a new error gets its sentence in registrar_plugin/telemetry/advice.py
    codes = {found.__new__(found).code for found in every_error()}
    assert codes | {CODE, NEWER_REPORT} == ADVICE.keys()
    assert all(ADVICE.values())
