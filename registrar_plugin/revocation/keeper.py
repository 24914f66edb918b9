"""Keeps the domain's revocation list true: a new one at each revocation, and in time.

Nothing is signed that is not in the journal, and nothing published before it is there. Numbers only
grow, whoever takes them: the registrar that runs, and a command beside it, work on one journal. A
list may have a hundred thousand entries: what takes long with them is done beside the requests.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol

from brski.errors import OnboardingError, StateError, Unavailable
from registrar_plugin.ca_backend.crl import PublishedCRL, parse_crl
from registrar_plugin.ca_backend.port import CRLSigner
from registrar_plugin.clerk import Clerk
from registrar_plugin.store.revocation import ListEntries, RevocationList, RevocationLists
from registrar_plugin.telemetry.events import Event, EventKind

log = logging.getLogger(__name__)

POLL_S: Final = 2.0  # ours: so long a revocation of another process may go unpublished
LONG_OCTETS: Final = 1 << 20  # ours: a longer list, which stays in the journal as every one does,
LONG_PAUSE: Final = timedelta(minutes=1)  # comes no more often than caches ask for it
_PAUSE_LIMIT_S: Final = 60.0  # ours: between tries while the disk is full or the CA away
_SKEW: Final = timedelta(minutes=5)  # ours: a clock that was set right by less is no matter


@dataclass(frozen=True, slots=True, kw_only=True)
class CRLPolicy:
    """What the domain's lists say, and for how long."""

    validity: timedelta = timedelta(days=7)  # a new one comes when half of it is over
    superseded: bool = False  # list certificates that a renewal has replaced, too


class ListPlace(Protocol):
    """Where a list is put besides."""

    async def put(self, octets: bytes) -> None:
        """Put a signed list, DER, in place of the one before.

        Raises:
            OnboardingError: why not; the one before is still there.
        """

    def stands(self) -> bool:
        """Whether the last one that was put is there."""


class CRLKeeper:
    """One CA's lists.

    Args:
        place: where else it shall be; tried until it has succeeded, and again when it is not there
            any more.

    Raises:
        KeyUnusable: *ca* may not sign lists; better said now than at the first revocation.
    """

    def __init__(
        self,
        *,
        ca: CRLSigner,
        entries: ListEntries,
        lists: RevocationLists,
        clerk: Clerk,
        policy: CRLPolicy,
        place: ListPlace | None = None,
    ) -> None:
        self.scope = ca.crl_issuer.scope
        self._ca = ca
        self._entries = entries
        self._lists = lists
        self._clerk = clerk
        self._policy = policy
        self._place = place
        self._current: PublishedCRL | None = None
        self._put: PublishedCRL | None = None  # in that place
        self._is_begun = False
        self._number = self._mark = 0
        self._last: PublishedCRL | None = None  # of this CA, in the journal
        self._failure = ""
        self._lock = asyncio.Lock()

    @property
    def current(self) -> PublishedCRL | None:
        """The list that stands; None before the first :meth:`refresh`."""
        return self._current

    async def refresh(self, *, now_anyway: bool = False) -> PublishedCRL:
        """Complete what was begun; sign a new list if one is due, or *now_anyway*.

        Raises:
            OnboardingError: CA, journal or disk; what stood stays published.
        """
        async with self._lock:
            standing = await self._standing()
            if now_anyway or standing is None or await self._is_due(standing):
                current = await self._issue()
            else:
                current = standing
            self._current = current  # whatever becomes of the other place
            place = self._place
            if place is not None and not (self._put == current and place.stands()):
                await place.put(current.octets)
                self._put = current
            return current

    async def check(self) -> str | None:
        """See :class:`registrar_plugin.health.port.Checkable`: a list that has ended is as bad for
        who relies on it as none; one that cannot be renewed is still good.

        Raises:
            Unavailable: there is no list, or it is out of its time.
        """
        crl, now, why = self._current, self._clerk.now(), self._failure
        because = f": {why}" if why else ""
        if crl is None:
            raise Unavailable(f"there is no revocation list yet{because}")
        if now >= crl.next_update:
            raise Unavailable(
                f"revocation list {crl.number} has ended at {crl.next_update:%FT%TZ}{because}",
                section="RFC 5280 §5.1.2.5",
            )
        if now < crl.this_update - _SKEW:
            raise Unavailable(
                f"revocation list {crl.number} begins at {crl.this_update:%FT%TZ} only{because}",
                section="RFC 5280 §5.1.2.4",
            )
        return f"revocation list {crl.number} is not renewed{because}" if why else None

    async def keep(self, *, poll_s: float = POLL_S) -> None:
        """Refresh until cancelled; what fails, foreseen or not, is told and tried again, less often
        the longer it fails.
        """
        pause_s = poll_s
        while True:
            try:
                await self.refresh()
            except Exception as err:  # else the list would grow old unseen
                self._failed(err)
                pause_s = min(2 * pause_s, max(poll_s, _PAUSE_LIMIT_S))
            else:
                self._failure, pause_s = "", poll_s
            await asyncio.sleep(pause_s)

    def _failed(self, err: Exception) -> None:
        """A line for each new reason, not for each try."""
        was, self._failure = self._failure, str(err) or type(err).__name__
        if self._failure == was:
            return
        foreseen = isinstance(err, OnboardingError)
        log.error(
            "revocation list not renewed",
            extra={"reason": self._failure},
            exc_info=None if foreseen else err,
        )

    async def _standing(self) -> PublishedCRL | None:
        """The last list of this CA, with one that was only intended completed."""
        if not self._is_begun:
            await self._begin()
        newest = await self._lists.newest(self.scope)
        if newest.number > newest.signed:
            await self._complete(await self._lists.get(newest.number))
            newest = await self._lists.newest(self.scope)
        if newest.signed and newest.signed != self._number:
            await self._take(newest.signed)
        return self._last if newest.signed else None

    async def _begin(self) -> None:
        """What an earlier program has left undone."""
        await self._lists.name_scopes()
        if self._policy.superseded:
            await self._entries.adopt_superseded()
        self._is_begun = True

    async def _take(self, number: int) -> PublishedCRL:
        """Remember the list of that number as the last."""
        signed = await self._lists.get(number)
        if signed.result is None:
            raise StateError(f"revocation list {number} was signed, and is not in the journal")
        last = await asyncio.to_thread(parse_crl, signed.result)
        self._number, self._mark, self._last = number, signed.mark, last
        return last

    async def _is_due(self, published: PublishedCRL) -> bool:
        half = (published.next_update - published.this_update) / 2
        now = self._clerk.now()
        if now >= published.this_update + half or now < published.this_update - _SKEW:
            return True  # it ends soon; or the clock was set back, and the list begins too late
        if len(published.octets) > LONG_OCTETS and now < published.this_update + LONG_PAUSE:
            return False
        await self._entries.catch_up()
        return self._mark != await self._entries.mark(self._ca.crl_issuer.name)

    async def _issue(self) -> PublishedCRL:
        await self._entries.catch_up()
        while True:
            intended = await self._lay_out(await self._lists.next_number())
            if await self._lists.intend(intended, self._event(intended, "intended")):
                break  # else another process has taken the number
        await self._complete(intended)
        return await self._take(intended.number)

    async def _lay_out(self, number: int) -> RevocationList:
        """Of the certificates that had not ended when the list before came (RFC 5280 §3.3)."""
        now, issuer = self._clerk.now(), self._ca.crl_issuer
        found = await self._entries.of(
            issuer.name,
            since=now if self._last is None else min(self._last.this_update, now),
            superseded=self._policy.superseded,
        )
        octets = await asyncio.to_thread(
            self._ca.prepare_crl,
            found.octets,
            number=number,
            this_update=now,
            next_update=now + self._policy.validity,
        )
        return RevocationList(
            number=number, scope=issuer.scope, octets=octets, mark=found.mark, result=None
        )

    async def _complete(self, intended: RevocationList) -> None:
        signed = await self._ca.complete_crl(intended.octets)
        await self._lists.complete(intended.number, signed, self._event(intended, "signed"))
        log.info("revocation list signed", extra={"number": intended.number})

    def _event(self, crl: RevocationList, what: str) -> Event:
        details = {"number": str(crl.number), "step": what}
        return self._clerk.event(EventKind.CRL, None, details=details)
