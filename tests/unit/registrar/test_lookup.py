"""Between identity and the sources: single flight, two caches, two budgets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from brski.errors import SettingsError, Unavailable
from brski.idevid.record import DeviceRecord
from registrar_plugin.oem_source.lookup import CachedLookup, LookupLimits
from tests.kit import identity as kit
from tests.kit import pki

SERIAL = "SN-0001"
SPKI = bytes(32)
OTHER_SPKI = bytes([1]) * 32
RECORD = kit.record_of(pki.make_idevid(pki.make_pki("A"), SERIAL))


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Source:
    """Answers what it is told to, when it is told to."""

    answer: tuple[DeviceRecord, ...] | Exception = (RECORD,)
    asked: list[tuple[bytes | None, str, bytes | None]] = field(default_factory=list)
    gate: asyncio.Event | None = None  # answers wait for it
    answers_by_key: bool = False
    is_local: bool = False
    closed: bool = False

    async def find(
        self, idevid_issuer: bytes | None, serial_number: str, *, spki_sha256: bytes | None
    ) -> tuple[DeviceRecord, ...]:
        self.asked.append((idevid_issuer, serial_number, spki_sha256))
        answer = self.answer
        if self.gate is not None:
            await self.gate.wait()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def close(self) -> None:
        self.closed = True


@dataclass
class Desk:
    """One lookup over one source, with a clock to turn."""

    source: Source = field(default_factory=Source)
    clock: Clock = field(default_factory=Clock)
    limits: LookupLimits = field(default_factory=LookupLimits)

    def __post_init__(self) -> None:
        self.lookup = CachedLookup(
            {"oem": self.source}, clock=self.clock, limits={"oem": self.limits}
        )

    async def find(
        self,
        serial_number: str = SERIAL,
        *,
        issuer: bytes | None = None,
        spki: bytes = SPKI,
        fresh: bool = False,
    ) -> tuple[DeviceRecord, ...]:
        answers = await self.lookup.find(
            ["oem"], issuer, serial_number, spki_sha256=spki, fresh=fresh
        )
        return answers["oem"]


@pytest.fixture
def desk() -> Desk:
    return Desk()


async def settle() -> None:
    """Let everything that can run run."""
    for _ in range(20):
        await asyncio.sleep(0)


# -- caches ----------------------------------------------------------------------------------------


async def test_record_is_kept_sixty_seconds_and_no_longer(desk: Desk) -> None:
    """Counted from the question."""
    assert await desk.find() == (RECORD,)
    desk.clock.now += 59.9
    assert await desk.find() == (RECORD,)
    assert len(desk.source.asked) == 1
    desk.clock.now += 0.1
    await desk.find()
    assert len(desk.source.asked) == 2


async def test_absence_is_kept_ten_seconds_and_no_longer(desk: Desk) -> None:
    """A device that the OEM has just published is let in soon."""
    desk.source.answer = ()
    assert await desk.find() == ()
    desk.source.answer = (RECORD,)
    desk.clock.now += 9.9
    assert await desk.find() == ()
    desk.clock.now += 0.1
    assert await desk.find() == (RECORD,)


async def test_age_counts_from_the_question_not_from_a_slow_answer(desk: Desk) -> None:
    """What came back may be as old as the question."""
    desk.source.gate = asyncio.Event()
    slow = asyncio.create_task(desk.find())
    await settle()
    desk.clock.now += 59
    desk.source.gate.set()
    await slow
    desk.clock.now += 1
    await desk.find()
    assert len(desk.source.asked) == 2


@pytest.mark.parametrize("error", [Unavailable("silent"), RuntimeError("a bug")])
async def test_failure_is_never_kept(desk: Desk, error: Exception) -> None:
    """The next one asks again, and gets what is true then."""
    desk.source.answer = error
    with pytest.raises(type(error)):
        await desk.find()
    desk.source.answer = (RECORD,)
    assert await desk.find() == (RECORD,)


async def test_questions_are_told_apart_by_issuer_and_serial_number(desk: Desk) -> None:
    """What is known of one is not known of another."""
    for serial_number in (SERIAL, "sn-0001", "SN-0002"):
        for issuer in (None, bytes(20), bytes([1]) * 20):
            await desk.find(serial_number, issuer=issuer)
    assert len(desk.source.asked) == 9


async def test_key_is_not_part_of_the_question_unless_the_source_answers_by_it(desk: Desk) -> None:
    """The answer is about the serial number; keys are compared later, for each request."""
    await desk.find(spki=SPKI)
    await desk.find(spki=OTHER_SPKI)
    assert len(desk.source.asked) == 1


@pytest.mark.parametrize("in_flight", [False, True])
async def test_stranger_does_not_make_a_device_unknown_at_a_source_that_answers_by_key(
    in_flight: bool,
) -> None:
    """ "Not found" for a stranger's key says nothing of the device, kept or still in flight."""
    desk = Desk(source=Source(answers_by_key=True, answer=()))
    desk.source.gate = asyncio.Event()
    stranger = asyncio.create_task(desk.find(spki=OTHER_SPKI))
    await settle()
    if not in_flight:
        desk.source.gate.set()
        assert await stranger == ()
    desk.source.answer = (RECORD,)
    device = asyncio.create_task(desk.find(spki=SPKI))
    await settle()
    desk.source.gate.set()
    assert await device == (RECORD,)
    assert await stranger == ()


async def test_nothing_is_kept_where_the_settings_say_so() -> None:
    """Zero seconds are none."""
    desk = Desk(limits=LookupLimits(positive_s=0, negative_s=0))
    for answer in ((RECORD,), (), (RECORD,)):
        desk.source.answer = answer
        assert await desk.find() == answer


async def test_flood_of_invented_numbers_does_not_evict_a_record() -> None:
    """Absences have a room of their own."""
    desk = Desk(limits=LookupLimits(positive_entries=2, negative_entries=2, per_s=1e6))
    await desk.find()
    desk.source.answer = ()
    for n in range(100):
        await desk.find(f"X-{n}")
    asked = len(desk.source.asked)
    assert await desk.find() == (RECORD,)
    assert len(desk.source.asked) == asked
    await desk.find("X-99")
    assert len(desk.source.asked) == asked
    await desk.find("X-0")
    assert len(desk.source.asked) == asked + 1


async def test_records_make_room_for_one_another_by_use() -> None:
    """The one unused for longest goes."""
    desk = Desk(limits=LookupLimits(positive_entries=2))
    for serial_number in ("a", "b", "a", "c"):
        await desk.find(serial_number)
    asked = len(desk.source.asked)
    await desk.find("a")
    assert len(desk.source.asked) == asked
    await desk.find("b")
    assert len(desk.source.asked) == asked + 1


async def test_loading_a_bundle_drops_absences_and_keeps_records(desk: Desk) -> None:
    """What was not there may be now; what was there still is."""
    await desk.find()
    desk.source.answer = ()
    await desk.find("SN-0002")
    desk.source.answer = (RECORD,)
    desk.lookup.forget_unknown("oem")
    assert await desk.find("SN-0002") == (RECORD,)
    await desk.find()
    assert len(desk.source.asked) == 3


async def test_absence_found_before_a_load_is_not_kept_after_it(desk: Desk) -> None:
    """A question that was in flight while the bundle came does not count."""
    desk.source.answer, desk.source.gate = (), asyncio.Event()
    before = asyncio.create_task(desk.find())
    await settle()
    desk.lookup.forget_unknown("oem")
    desk.source.answer = (RECORD,)
    desk.source.gate.set()
    assert await before == ()
    assert await desk.find() == (RECORD,)


async def test_local_copy_is_asked_each_time_and_has_no_budget() -> None:
    """Nothing is kept where asking is cheap."""
    desk = Desk(source=Source(is_local=True), limits=LookupLimits(per_s=1))
    await desk.find()
    desk.source.answer = ()
    assert await desk.find() == ()
    desk.source.answer = (RECORD,)
    assert await desk.find() == (RECORD,)


# -- fresh -----------------------------------------------------------------------------------------


async def test_fresh_goes_past_both_caches_and_replaces_what_they_hold(desk: Desk) -> None:
    """A revocation seen right before a signature is seen by the next request too."""
    await desk.find()
    desk.source.answer = ()
    assert await desk.find(fresh=True) == ()
    assert await desk.find() == ()
    desk.source.answer = (RECORD,)
    assert await desk.find(fresh=True) == (RECORD,)
    assert await desk.find() == (RECORD,)
    assert len(desk.source.asked) == 3


async def test_fresh_does_not_join_a_question_asked_earlier(desk: Desk) -> None:
    """Its answer must not be older than its question; and the older answer does not undo it."""
    desk.source.gate = asyncio.Event()
    early = asyncio.create_task(desk.find())
    await settle()
    desk.source.answer, gate, desk.source.gate = (), desk.source.gate, None
    assert await desk.find(fresh=True) == ()
    gate.set()
    assert await early == (RECORD,)
    assert await desk.find() == ()
    assert len(desk.source.asked) == 2


async def test_others_may_join_a_fresh_question(desk: Desk) -> None:
    """It is newer than anything they would get."""
    desk.source.gate = asyncio.Event()
    tasks = [asyncio.create_task(desk.find(fresh=True))]
    await settle()
    tasks += [asyncio.create_task(desk.find()) for _ in range(5)]
    await settle()
    desk.source.gate.set()
    assert await asyncio.gather(*tasks) == [(RECORD,)] * 6
    assert len(desk.source.asked) == 1


# -- single flight ---------------------------------------------------------------------------------


async def test_concurrent_questions_are_one(desk: Desk) -> None:
    """A thousand connections of one device ask the OEM once, the failing ones too."""
    desk.source.gate = asyncio.Event()
    tasks = [asyncio.create_task(desk.find()) for _ in range(1000)]
    await settle()
    desk.source.gate.set()
    assert set(await asyncio.gather(*tasks)) == {(RECORD,)}
    assert len(desk.source.asked) == 1
    desk.clock.now += 60
    desk.source.answer, desk.source.gate = Unavailable("silent"), asyncio.Event()
    tasks = [asyncio.create_task(desk.find()) for _ in range(10)]
    await settle()
    desk.source.gate.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(answer, Unavailable) for answer in answers)
    assert len(desk.source.asked) == 2


async def test_asker_that_goes_away_does_not_take_the_answer_with_it(desk: Desk) -> None:
    """The first to ask may be a stranger that hangs up."""
    desk.source.gate = asyncio.Event()
    first, second = (asyncio.create_task(desk.find()) for _ in range(2))
    await settle()
    first.cancel()
    await settle()
    desk.source.gate.set()
    assert await second == (RECORD,)
    with pytest.raises(asyncio.CancelledError):
        await first
    assert len(desk.source.asked) == 1


async def test_failure_that_nobody_waits_for_any_more_is_quiet(desk: Desk) -> None:
    """No "exception was never retrieved" in the log."""
    desk.source.answer, desk.source.gate = Unavailable("silent"), asyncio.Event()
    only = asyncio.create_task(desk.find())
    await settle()
    only.cancel()
    await settle()
    desk.source.gate.set()
    await settle()
    desk.source.answer, desk.source.gate = (RECORD,), None
    assert await desk.find() == (RECORD,)


# -- budgets ---------------------------------------------------------------------------------------


async def test_questions_in_flight_are_bounded_and_none_waits() -> None:
    """Over the budget the answer is "come again", at once; one that lands makes room."""
    desk = Desk(limits=LookupLimits(in_flight=3, reserve=0))
    desk.source.gate = asyncio.Event()
    tasks = [asyncio.create_task(desk.find(f"SN-{n}")) for n in range(3)]
    await settle()
    with pytest.raises(Unavailable) as refusal:
        await desk.find("SN-3")
    assert refusal.value.retry_after_s >= 1
    joined = asyncio.create_task(desk.find("SN-0"))
    await settle()
    desk.source.gate.set()
    await asyncio.gather(*tasks, joined)
    assert await desk.find("SN-3") == (RECORD,)


async def test_questions_a_second_are_bounded() -> None:
    """What is answered from a cache costs nothing."""
    desk = Desk(limits=LookupLimits(per_s=5, reserve=0))
    for n in range(5):
        await desk.find(f"SN-{n}")
    with pytest.raises(Unavailable) as refusal:
        await desk.find("SN-5")
    assert refusal.value.retry_after_s == 1
    assert await desk.find("SN-0") == (RECORD,)
    desk.clock.now += 0.2
    assert await desk.find("SN-5") == (RECORD,)
    assert len(desk.source.asked) == 6


async def test_strangers_cannot_use_up_what_begun_onboardings_need() -> None:
    """A quarter of both budgets is for questions right before a signature."""
    desk = Desk(limits=LookupLimits(per_s=8))
    for n in range(6):
        await desk.find(f"X-{n}")
    with pytest.raises(Unavailable):
        await desk.find("X-6")
    for _ in range(2):
        await desk.find(fresh=True)
    with pytest.raises(Unavailable):
        await desk.find(fresh=True)


async def test_reserve_of_the_flights() -> None:
    """The same for those in flight."""
    desk = Desk(limits=LookupLimits(in_flight=4))
    desk.source.gate = asyncio.Event()
    tasks = [asyncio.create_task(desk.find(f"X-{n}")) for n in range(3)]
    await settle()
    with pytest.raises(Unavailable):
        await desk.find("X-3")
    tasks.append(asyncio.create_task(desk.find(fresh=True)))
    await settle()
    with pytest.raises(Unavailable):
        await desk.find(fresh=True)
    desk.source.gate.set()
    await asyncio.gather(*tasks)


@pytest.mark.parametrize("limits", [LookupLimits(per_s=0.5), LookupLimits(in_flight=1)])
async def test_small_budgets_still_let_someone_through(limits: LookupLimits) -> None:
    """A reserve does not eat the whole of a small budget."""
    desk = Desk(limits=limits)
    assert await desk.find() == (RECORD,)


async def test_source_that_never_answers_is_given_up() -> None:
    """Whatever the source's own time-outs are."""
    desk = Desk(limits=LookupLimits(timeout_s=0.01))
    desk.source.gate = asyncio.Event()
    with pytest.raises(Unavailable, match="no answer in"):
        await desk.find()
    desk.source.gate = None
    assert await desk.find() == (RECORD,)


# -- several sources -------------------------------------------------------------------------------


def two(clock: Callable[[], float] | None = None) -> tuple[CachedLookup, Source, Source]:
    first, second = Source(), Source(answer=())
    return CachedLookup({"a": first, "b": second}, clock=clock or Clock()), first, second


async def find_both(lookup: CachedLookup) -> Any:
    return await lookup.find(["a", "b"], None, SERIAL, spki_sha256=SPKI)


async def test_all_sources_are_asked_at_once() -> None:
    """Their answers come by name, the empty one too."""
    lookup, first, second = two()
    first.gate = second.gate = asyncio.Event()
    both = asyncio.create_task(find_both(lookup))
    await settle()
    assert len(first.asked) == len(second.asked) == 1
    first.gate.set()
    assert await both == {"a": (RECORD,), "b": ()}


@pytest.mark.parametrize("silent", ["a", "b"])
async def test_one_silent_source_makes_the_whole_answer_unavailable(silent: str) -> None:
    """Never "the other one matched"; what the other one said is kept for the next time."""
    lookup, first, second = two()
    source, other = (first, second) if silent == "a" else (second, first)
    source.answer = Unavailable("silent")
    with pytest.raises(Unavailable):
        await find_both(lookup)
    source.answer = (RECORD,)
    await find_both(lookup)
    assert (len(source.asked), len(other.asked)) == (2, 1)


async def test_budgets_are_each_sources_own() -> None:
    """A flood at one manufacturer does not close the other's door."""
    first, second = Source(), Source()
    lookup = CachedLookup(
        {"a": first, "b": second}, clock=Clock(), limits={"a": LookupLimits(per_s=1, reserve=0)}
    )
    for n in range(3):
        await lookup.find(["b"], None, f"SN-{n}", spki_sha256=SPKI)
    await lookup.find(["a"], None, SERIAL, spki_sha256=SPKI)
    with pytest.raises(Unavailable):
        await lookup.find(["a"], None, "SN-2", spki_sha256=SPKI)


async def test_source_that_is_not_configured_is_a_fault_of_ours() -> None:
    """Not an answer of "unknown"."""
    lookup, *_ = two()
    with pytest.raises(SettingsError):
        await lookup.find(["a", "c"], None, SERIAL, spki_sha256=SPKI)
    with pytest.raises(SettingsError):
        lookup.forget_unknown("c")


async def test_close_ends_what_is_in_flight_and_closes_the_sources() -> None:
    """Those who wait learn that there is no answer."""
    lookup, first, second = two()
    first.gate = asyncio.Event()
    waiting = asyncio.create_task(find_both(lookup))
    await settle()
    await lookup.close()
    with pytest.raises(Unavailable, match="have ended"):
        await waiting
    assert first.closed
    assert second.closed


@pytest.mark.parametrize(
    "limits",
    [
        {"positive_s": 61},
        {"negative_s": 10.1},
        {"positive_s": -1},
        {"positive_entries": 0},
        {"negative_entries": 0},
        {"in_flight": 0},
        {"per_s": 0},
        {"timeout_s": 0},
        {"reserve": 0.6},
        {"reserve": -0.1},
        {"positive_s": float("nan")},
    ],
    ids=str,
)
def test_limits_that_break_the_rules_are_refused(limits: dict[str, Any]) -> None:
    """60 s and 10 s are the most there is."""
    assert LookupLimits(positive_s=60, negative_s=10)
    with pytest.raises(SettingsError):
        LookupLimits(**limits)
