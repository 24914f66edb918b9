"""Asks every part of the registrar whether it could do its work, and remembers it for a second."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from brski.errors import OnboardingError, StateError, Unavailable

log = logging.getLogger(__name__)

KEPT_S: Final = 1.0  # ours: who asks often gets the same answer
DEADLINE_S: Final = 1.0  # ours: probes of operators wait for little longer

Check: TypeAlias = Callable[[], Awaitable[str | None]]
"""Raises an OnboardingError unless its part could do its work, and returns what a person should
know though it could; see :class:`registrar_plugin.health.port.Checkable`.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check found."""

    name: str
    code: str = ""  # of the error; empty: it is ready
    reason: str = ""
    warning: str = ""  # of a part that is ready, and will not be if nobody looks

    @property
    def is_ready(self) -> bool:
        """Whether that part could do its work."""
        return not self.code


class Readiness:
    """All parts of one registrar.

    Args:
        checks: by the name that operators read.
        clock: monotonic seconds.
    """

    def __init__(self, checks: Mapping[str, Check], *, clock: Callable[[], float]) -> None:
        self._checks = dict(checks)
        self._clock = clock
        self._asking: asyncio.Task[tuple[Finding, ...]] | None = None
        self._found: tuple[Finding, ...] = ()
        self._found_at = float("-inf")

    async def findings(self, *, exclude: Collection[str] = ()) -> tuple[Finding, ...]:
        """One for each part but those of *exclude*, at most a second old."""
        if self._clock() - self._found_at >= KEPT_S:
            if self._asking is None or self._asking.done():
                self._asking = asyncio.create_task(self._ask())
            self._found = await asyncio.shield(self._asking)
        return tuple(finding for finding in self._found if finding.name not in exclude)

    async def close(self) -> None:
        """Stop what is under way."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    async def _ask(self) -> tuple[Finding, ...]:
        found = tuple(await asyncio.gather(*(_find(*each) for each in self._checks.items())))
        _tell_changes(self._found, found)
        self._found, self._found_at = found, self._clock()
        return found


async def _find(name: str, check: Check) -> Finding:
    try:
        async with asyncio.timeout(DEADLINE_S):
            warning = await check()
    except TimeoutError:
        error: OnboardingError = Unavailable(f"no answer within {DEADLINE_S:g} s")
    except OnboardingError as err:
        error = err
    except Exception:  # the others' answers are worth having all the same
        log.exception("a check failed in an unforeseen way", extra={"check": name})
        error = StateError("an unforeseen fault, which the log has")
    else:
        return Finding(name=name, warning=warning or "")
    return Finding(name=name, code=error.code, reason=error.reason)


def _tell_changes(before: Collection[Finding], now: Collection[Finding]) -> None:
    known = {finding.name: finding for finding in before}
    for finding in now:
        was = known.get(finding.name, Finding(name=finding.name))
        _tell_readiness(was, finding)
        if finding.warning and not was.warning:
            facts = {"check": finding.name, "reason": finding.warning}
            log.warning("needs attention", extra=facts)


def _tell_readiness(was: Finding, finding: Finding) -> None:
    if finding.is_ready == was.is_ready:
        return
    if finding.is_ready:
        log.info("ready again", extra={"check": finding.name})
    else:
        facts = {"check": finding.name, "code": finding.code, "reason": finding.reason}
        log.warning("not ready", extra=facts)
