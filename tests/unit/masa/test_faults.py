"""Which request meets which fault: by seed and rates, or armed; and by default none."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brski.errors import SettingsError
from masa_stub.cli import fault_plan, main
from masa_stub.faults.kinds import INSTEAD, OF_AUDIT_LOGS, OF_VOUCHERS, ON_THE_WAY, Fault
from masa_stub.faults.plan import Arm, FaultPlan, Rate, parse_rates

CHAOS = parse_rates("retry-after=10%, 503=5%, wrong-nonce=20%, audit-stranger=30%")
DEVICES = [f"SN-{number}" for number in range(40)]


def struck(plan: FaultPlan, asked: list[str]) -> dict[str, list[Fault | None]]:
    """What each device of *asked* meets, in its own order."""
    met: dict[str, list[Fault | None]] = {}
    for serial_number in asked:
        found = plan.strike(serial_number, of_audit_log=False)
        met.setdefault(serial_number, []).append(None if found is None else found.fault)
    return met


@given(seed=st.text(max_size=20), shuffled=st.randoms(use_true_random=False))
def test_the_same_seed_repeats_the_run(seed: str, shuffled: random.Random) -> None:
    """However the devices' requests come among one another."""
    asked = DEVICES * 3
    first = struck(FaultPlan(seed, CHAOS), asked)
    shuffled.shuffle(asked)
    assert struck(FaultPlan(seed, CHAOS), asked) == first


def test_another_seed_is_another_run() -> None:
    """Else the seed would say nothing."""
    runs = [struck(FaultPlan(seed, CHAOS), DEVICES * 3) for seed in ("one", "two")]
    assert runs[0] != runs[1]


def test_rates_are_kept() -> None:
    """About so many of a great number; exact, since the seed is fixed."""
    plan = FaultPlan("a seed", CHAOS)
    met: Counter[Fault | None] = Counter()
    for number in range(20_000):
        found = plan.strike(f"SN-{number}", of_audit_log=False)
        met[None if found is None else found.fault] += 1
    for fault, share in ((Fault.RETRY_AFTER, 0.1), (Fault.UNAVAILABLE, 0.05)):
        assert abs(met[fault] / 20_000 - share) < 0.01
    assert abs(met[None] / 20_000 - 0.65) < 0.01
    assert met[Fault.AUDIT_STRANGER] == 0  # not at this endpoint


def test_a_plan_does_nothing_by_itself() -> None:
    """Neither rates nor arms: the MASA behaves."""
    plan = FaultPlan("seed")
    assert all(plan.strike(sn, of_audit_log=of) is None for sn in DEVICES for of in (True, False))


def test_an_arm_is_for_its_device_and_its_number() -> None:
    """Others pass, and rates do not come in between."""
    plan = FaultPlan("seed")
    plan.arm(Arm(fault=Fault.HTML, left=2, serial_number="SN-1"))
    plan.arm(Arm(fault=Fault.AUDIT_EMPTY))
    assert struck(plan, ["SN-2", "SN-1", "SN-1", "SN-1"]) == {
        "SN-1": [Fault.HTML, Fault.HTML, None],
        "SN-2": [None],
    }
    assert [arm.fault for arm in plan.arms] == [Fault.AUDIT_EMPTY]
    found = plan.strike("SN-9", of_audit_log=True)
    assert found is not None
    assert found.fault is Fault.AUDIT_EMPTY
    assert plan.arms == ()


def test_disarmed_faults_do_not_strike() -> None:
    """What was armed by mistake can be taken back."""
    plan = FaultPlan("seed")
    plan.arm(Arm(fault=Fault.HTML, left=100))
    plan.disarm()
    assert plan.strike("SN-1", of_audit_log=False) is None


def test_arms_are_bounded() -> None:
    """A loop that only arms does not fill the memory."""
    plan = FaultPlan("seed")
    for _ in range(1000):
        plan.arm(Arm(fault=Fault.HTML))
    with pytest.raises(SettingsError):
        plan.arm(Arm(fault=Fault.HTML))


def test_every_fault_is_of_one_kind() -> None:
    """So that none is forgotten where they are told apart."""
    kinds = (INSTEAD, ON_THE_WAY, OF_VOUCHERS, OF_AUDIT_LOGS)
    assert sorted(fault for kind in kinds for fault in kind) == sorted(Fault)


def test_rates_are_read() -> None:
    """As people write them."""
    assert parse_rates("retry-after=10%,503=0.5%") == (
        Rate(fault=Fault.RETRY_AFTER, share=0.1),
        Rate(fault=Fault.UNAVAILABLE, share=0.005),
    )


@pytest.mark.parametrize(
    "text",
    ["", "503", "503=", "503=5", "503=101%", "503=-1%", "503=nan%", "503=5%,503=5%", "504=5%"],
)
def test_rates_that_are_none_are_refused(text: str) -> None:
    """Before the MASA starts."""
    with pytest.raises(SettingsError):
        parse_rates(text)


def test_rates_of_more_than_all_are_refused() -> None:
    """At one endpoint; those of the other do not count."""
    FaultPlan("seed", parse_rates("html=60%,audit-empty=40%,wrong-nonce=40%"))
    with pytest.raises(SettingsError, match="more than 100%"):
        FaultPlan("seed", parse_rates("html=60%,audit-empty=41%"))


def test_faults_are_off_unless_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    """No plan, no fault; a seed alone is a mistake."""
    assert fault_plan(faults=False, chaos=None, seed=None) is None
    plan = fault_plan(faults=True, chaos=None, seed=None)
    assert plan is not None
    assert (plan.rates, len(plan.seed)) == ((), 16)
    given = fault_plan(faults=False, chaos="html=1%", seed="7")
    assert given is not None
    assert given.seed == "7"
    with pytest.raises(SettingsError):
        fault_plan(faults=False, chaos=None, seed="7")
    assert main(["serve", "--chaos", "nonsense=1%", "--settings", "/nonexistent"]) == 2
    assert capsys.readouterr().err
