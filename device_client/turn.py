"""One registrar after the other, round after round, until one enrolls the device.

RFC 8995 §4.1: each with a back-off of its own, some seconds between two, all anew when the link has
changed; and when all have failed the device listens again.
"""

from __future__ import annotations

import logging
import secrets
from typing import Final

from brski.errors import LocalError, Unavailable
from device_client.attempt import Attempt
from device_client.candidates import Candidates, Next
from device_client.discovery.port import Discovery
from device_client.journey import Journey
from device_client.outcome import verdict_of
from device_client.pledge.attempt import Onboarding
from device_client.pledge.states import Phase, Result, Started

log = logging.getLogger(__name__)

LISTEN_S: Final = 60.0  # ours: no back-off is sat out for longer without listening anew
NOBODY_S: Final = 10.0  # ours: between two looks where nobody offers anything
_LINK_S: Final = 5.0  # ours: how soon a change of the link is seen


class Turn:
    """Args:
    journey: what all attempts share.
    candidates: those that were told.
    discovery: what finds others; None: nothing does.
    """

    def __init__(
        self, journey: Journey, candidates: Candidates, discovery: Discovery | None
    ) -> None:
        self._journey = journey
        self._outside = journey.outside
        self._candidates = candidates
        self._discovery = discovery
        self._link = None if self._outside.link is None else self._outside.link()
        self._best: Onboarding | None = None

    async def until_enrolled(self, rounds: int) -> Onboarding:
        """Try each candidate once a round; 0 rounds are no end of them.

        Returns:
            The attempt that enrolled the device or ended all others; of failures the last, silence
            before refusal.

        Raises:
            Unavailable: nobody was there to be tried.
        """
        left = rounds
        while left or not rounds:
            left -= 1
            await self._listen()
            for _ in range(len(self._candidates)):
                ended = await self._try_next()
                if ended is None:
                    break
                if _is_the_end(ended):
                    return ended
            if not self._candidates and left:
                await self._pause(NOBODY_S)
        if self._best is None:
            raise Unavailable("nobody announces a registrar here", section="RFC 8995 §4.1")
        return self._best

    async def _listen(self) -> None:
        if self._discovery is None:
            return
        try:
            found = await self._discovery.look()
        except Unavailable as error:
            log.warning("nothing heard", extra={"reason": error.reason})
            found = ()
        log.info("registrars found", extra={"registrars": [str(origin) for origin in found]})
        self._candidates.find(found)

    async def _try_next(self) -> Onboarding | None:
        """One attempt; None where it is better to listen anew than to wait so long."""
        choice = await self._due()
        if choice is None:
            return None
        ended = await Attempt(self._journey, choice.origin).run(Started(phase=Phase.FACTORY))
        if not _is_the_end(ended):
            verdict = verdict_of(ended)
            self._candidates.failed(
                choice.origin,
                now_s=self._outside.monotonic_s(),
                retry_after_s=verdict.retry_after_s,
            )
            silent = verdict.result is Result.RETRY
            if silent or self._best is None or not _may_pass(self._best):
                self._best = ended
        return ended

    async def _due(self) -> Next | None:
        """Wait until somebody is due; None where that is too long to go without listening."""
        while True:
            choice = self._candidates.next(
                now_s=self._outside.monotonic_s(), spread=secrets.randbelow(1001) / 1000
            )
            if self._discovery is not None and choice.wait_s > LISTEN_S:
                await self._pause(LISTEN_S)
                return None
            if choice.wait_s <= 0 or not await self._pause(choice.wait_s):
                return choice

    async def _pause(self, seconds: float) -> bool:
        """Let the time pass; say whether the link has changed, and everything begins anew."""
        log.info("waiting", extra={"seconds": round(seconds, 1)})
        if self._outside.link is None:
            await self._outside.sleep(seconds)
            return False
        while seconds > 0:
            await self._outside.sleep(min(seconds, _LINK_S))
            seconds -= _LINK_S
            now = self._outside.link()
            if now != self._link:
                self._link = now
                self._candidates.begin_anew()
                log.info("the link has changed")
                return True
        return False


def _is_the_end(ended: Onboarding) -> bool:
    verdict = verdict_of(ended)
    return verdict.result is Result.ENROLLED or isinstance(verdict.error, LocalError)


def _may_pass(ended: Onboarding) -> bool:
    return verdict_of(ended).result is Result.RETRY
