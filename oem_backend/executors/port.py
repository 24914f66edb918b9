"""The port through which the factory has secrets handled: elsewhere, for one chunk, then gone."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Protocol, TypeAlias

Task: TypeAlias = Callable[[bytes], bytes]


class Executor(Protocol):
    """Spreads jobs over workers that each live for one job.

    Octets go in and octets come back: sealed chunks and public values, so that nothing that a
    worker answers can be more than data to the process that holds the issuing key.
    """

    @property
    def trusted(self) -> bool:
        """Whether workers are this very program on this very machine.

        What others answer has to prove itself, and no key but the recipient's is within their
        reach.
        """

    def map(self, task: Task, jobs: Iterable[bytes]) -> Generator[bytes, None, None]:
        """Do *task* on each of *jobs*; answers come in the jobs' order.

        Args:
            task: a function at the top of a module, found again by its name in the worker.
            jobs: without secrets; the next one is taken when a worker is free for it.

        Returns:
            To be closed by a caller that may stop before the last answer: the workers end then.

        Raises:
            OnboardingError: what a task raised, by type, reason and hint alone.
            Unavailable: a worker ended without an answer, or by an error that nobody foresaw.
        """
