"""Between identity and the sources of device records: single flight, two caches, two budgets.

Owns what is asked when; judges nothing: what it keeps is what a manufacturer said, never a verdict.
The rules are in docs/identity.md, "Caches and budgets".
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from brski.errors import SettingsError, Unavailable
from brski.idevid.record import DeviceRecord
from brski.rates import Rate, TokenBucket
from registrar_plugin.oem_source.port import DeviceRecordSource, KeyBound, Local

POSITIVE_CAP_S: Final = 60.0  # a record may be this old, and a revocation be missed this long
NEGATIVE_CAP_S: Final = 10.0

_Records: TypeAlias = tuple[DeviceRecord, ...]
_Question: TypeAlias = tuple[
    bytes | None, str, bytes | None
]  # issuer, serial number, key if it counts


@dataclass(frozen=True, slots=True, kw_only=True)
class LookupLimits:
    """What one source may be asked, and what is kept of its answers.

    Raises:
        SettingsError: longer than the caps, or a number that leaves nothing.
    """

    positive_s: float = POSITIVE_CAP_S  # 0 keeps none
    negative_s: float = NEGATIVE_CAP_S
    positive_entries: int = 4096
    negative_entries: int = 4096
    in_flight: int = 32
    per_s: float = 50.0
    timeout_s: float = 10.0  # for one answer, over whatever the source itself allows
    reserve: float = 0.25  # share of both budgets that only fresh look-ups may use

    def __post_init__(self) -> None:
        if not (0 <= self.positive_s <= POSITIVE_CAP_S and 0 <= self.negative_s <= NEGATIVE_CAP_S):
            raise SettingsError(
                f"records are kept {POSITIVE_CAP_S:g} s at most, their absence {NEGATIVE_CAP_S:g} s"
            )
        if min(self.positive_entries, self.negative_entries, self.in_flight) < 1:
            raise SettingsError("a look-up needs room for one entry and one question at least")
        if not (0 < self.per_s < math.inf and 0 < self.timeout_s < math.inf):
            raise SettingsError("a look-up needs a rate and a time-out above 0")
        if not 0 <= self.reserve <= 0.5:
            raise SettingsError("the reserve is between 0 and 0.5 of a budget")


class CachedLookup:
    """Every source of the registrar behind :class:`registrar_plugin.identity.port.RecordLookup`.

    Args:
        sources: by name in the settings; closed with this.
        clock: monotonic seconds.
        limits: by name; a source without has the usual ones. One on this machine needs none: it is
            asked each time, and shows a new bundle at once.
    """

    def __init__(
        self,
        sources: Mapping[str, DeviceRecordSource],
        *,
        clock: Callable[[], float],
        limits: Mapping[str, LookupLimits] | None = None,
    ) -> None:
        own = limits or {}
        self._sources = {
            name: _Asked(name, source, own.get(name, LookupLimits()), clock)
            for name, source in sources.items()
        }

    async def find(
        self,
        sources: Collection[str],
        idevid_issuer: bytes | None,
        serial_number: str,
        *,
        spki_sha256: bytes | None,
        fresh: bool = False,
    ) -> Mapping[str, tuple[DeviceRecord, ...]]:
        """Ask all of *sources* at once; see :class:`registrar_plugin.identity.port.RecordLookup`.

        Raises:
            SettingsError: a source of that name is not configured.
        """
        asked = [self._named(name) for name in dict.fromkeys(sources)]
        if len(asked) == 1:
            (only,) = asked
            return {
                only.name: await only.find(idevid_issuer, serial_number, spki_sha256, fresh=fresh)
            }
        answers = await asyncio.gather(
            *(
                source.find(idevid_issuer, serial_number, spki_sha256, fresh=fresh)
                for source in asked
            ),
            return_exceptions=True,
        )
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return {
            source.name: answer
            for source, answer in zip(asked, answers, strict=True)
            if not isinstance(answer, BaseException)
        }

    def forget_unknown(self, source: str) -> None:
        """Drop what *source* was found not to have; for whoever loads a bundle into a local copy.

        Raises:
            SettingsError: a source of that name is not configured.
        """
        self._named(source).forget_unknown()

    async def close(self) -> None:
        """Close all sources; questions in flight end without an answer."""
        for asked in self._sources.values():
            await asked.close()

    def _named(self, name: str) -> _Asked:
        asked = self._sources.get(name)
        if asked is None:
            raise SettingsError(f"there is no source of device records {name!r}")
        return asked


@dataclass(frozen=True, slots=True)
class _Kept:
    asked_at: float  # when the question was put: what came back may be as old as that
    turn: int  # of the question, among all to this source
    records: _Records


class _Asked:
    """One source, with its caches, its questions in flight and its budgets."""

    def __init__(
        self,
        name: str,
        source: DeviceRecordSource,
        limits: LookupLimits,
        clock: Callable[[], float],
    ) -> None:
        self.name = name
        self._source = source
        self._limits = limits
        self._clock = clock
        self._is_local = isinstance(source, Local) and source.is_local
        self._by_key = isinstance(source, KeyBound) and source.answers_by_key
        self._positive = _Cache(limits.positive_s, limits.positive_entries)
        self._negative = _Cache(limits.negative_s, limits.negative_entries)
        self._flights: dict[_Question, asyncio.Task[_Records]] = {}
        self._tasks: set[asyncio.Task[_Records]] = set()
        self._bucket = TokenBucket(
            Rate(per_s=limits.per_s, burst=max(1.0, limits.per_s)), at=clock()
        )
        self._turns = itertools.count()
        self._loads = 0  # bundles loaded: an absence found before one is not kept after it

    async def find(
        self,
        idevid_issuer: bytes | None,
        serial_number: str,
        spki_sha256: bytes | None,
        *,
        fresh: bool,
    ) -> _Records:
        if self._is_local:
            return await self._source.find(idevid_issuer, serial_number, spki_sha256=spki_sha256)
        question = (idevid_issuer, serial_number, spki_sha256 if self._by_key else None)
        if not fresh:
            kept = self._kept(question)
            if kept is not None:
                return kept
        task = None if fresh else self._flights.get(question)
        if task is None:
            task = self._start(question, spki_sha256, fresh=fresh)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():  # not the asker: the source is being closed
                raise Unavailable(f"look-ups at {self.name} have ended") from None
            raise

    def _kept(self, question: _Question) -> _Records | None:
        at = self._clock()
        for cache in (self._positive, self._negative):
            kept = cache.get(question, at)
            if kept is not None:
                return kept.records
        return None

    def _start(
        self, question: _Question, spki_sha256: bytes | None, *, fresh: bool
    ) -> asyncio.Task[_Records]:
        at = self._clock()
        self._take_budget(at, fresh=fresh)
        task = asyncio.create_task(self._ask(question, spki_sha256, at, next(self._turns)))
        self._tasks.add(task)
        self._flights[question] = task
        task.add_done_callback(lambda done: self._landed(question, done))
        return task

    def _take_budget(self, at: float, *, fresh: bool) -> None:
        limits = self._limits
        free = 1.0 if fresh else 1.0 - limits.reserve
        if len(self._tasks) >= max(1, math.floor(limits.in_flight * free)):
            raise Unavailable(f"too many look-ups in flight at {self.name}", retry_after_s=1)
        reserved = 0.0 if fresh else max(0.0, min(limits.per_s - 1, limits.per_s * limits.reserve))
        wait = self._bucket.take(at, leave=reserved)
        if wait:
            raise Unavailable(f"too many look-ups at {self.name}", retry_after_s=math.ceil(wait))

    async def _ask(
        self, question: _Question, spki_sha256: bytes | None, asked_at: float, turn: int
    ) -> _Records:
        idevid_issuer, serial_number, _ = question
        loads = self._loads
        try:
            async with asyncio.timeout(self._limits.timeout_s):
                records = await self._source.find(
                    idevid_issuer, serial_number, spki_sha256=spki_sha256
                )
        except TimeoutError as err:
            raise Unavailable(
                f"{self.name} gave no answer in {self._limits.timeout_s:g} s"
            ) from err
        self._keep(question, _Kept(asked_at, turn, records), nothing_loaded=loads == self._loads)
        return records

    def _keep(self, question: _Question, kept: _Kept, *, nothing_loaded: bool) -> None:
        """Keep an answer, unless one to a later question is there already."""
        if self._positive.is_newer(question, kept) or self._negative.is_newer(question, kept):
            return
        self._positive.drop(question)
        self._negative.drop(question)
        if kept.records:
            self._positive.put(question, kept)
        elif nothing_loaded:
            self._negative.put(question, kept)

    def _landed(self, question: _Question, done: asyncio.Task[_Records]) -> None:
        self._tasks.discard(done)
        if self._flights.get(question) is done:
            del self._flights[question]
        if not done.cancelled():
            done.exception()  # seen: its askers may all have gone

    def forget_unknown(self) -> None:
        self._loads += 1
        self._negative.clear()

    async def close(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._source.close()


class _Cache:
    """Answers by question, each for a time; the one unused for longest makes room."""

    def __init__(self, keep_s: float, entries: int) -> None:
        self._keep_s = keep_s
        self._limit = entries
        self._kept: OrderedDict[_Question, _Kept] = OrderedDict()

    def get(self, question: _Question, at: float) -> _Kept | None:
        kept = self._kept.get(question)
        if kept is None:
            return None
        if at - kept.asked_at >= self._keep_s:
            del self._kept[question]
            return None
        self._kept.move_to_end(question)
        return kept

    def is_newer(self, question: _Question, than: _Kept) -> bool:
        kept = self._kept.get(question)
        return kept is not None and kept.turn > than.turn

    def put(self, question: _Question, kept: _Kept) -> None:
        if self._keep_s <= 0:
            return
        self._kept[question] = kept
        if len(self._kept) > self._limit:
            self._kept.popitem(last=False)

    def drop(self, question: _Question) -> None:
        self._kept.pop(question, None)

    def clear(self) -> None:
        self._kept.clear()
