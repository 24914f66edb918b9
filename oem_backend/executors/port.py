"""The port through which the factory has secrets handled: elsewhere, for one chunk, then gone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

J = TypeVar("J")
R = TypeVar("R")


class Executor(Protocol):
    """Spreads jobs over workers that each live for one job."""

    def map(self, task: Callable[[J], R], jobs: Iterable[J]) -> Iterator[R]:
        """Do *task* on each of *jobs*; results come in the jobs' order.

        Args:
            task: a module-level function, found again by its name in the worker.
            jobs: picklable, without secrets; taken as workers become free.

        Raises:
            OnboardingError: what a task raised, by type and reason alone.
            Unavailable: a worker ended without a result.
        """
