"""How hypothesis tries examples here: never with a verdict by the clock.

What is bounded by its count of examples may take its time, on a slow machine or a busy one.
"""

from __future__ import annotations

from typing import Final

from hypothesis import HealthCheck, settings

_UNTIMED: Final = (HealthCheck.too_slow,)
SHARED_FIXTURE: Final = (*_UNTIMED, HealthCheck.function_scoped_fixture)  # examples leave it as is


def load_profile() -> None:
    """Before the first test module is read, since ``@settings`` takes what stands then."""
    settings.register_profile("brski", deadline=None, suppress_health_check=_UNTIMED)
    settings.load_profile("brski")
