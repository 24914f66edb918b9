"""Whatever happens, in whatever order: the invariants I1 to I8 of docs/security.md hold.

Hypothesis plays many devices, clones and strangers at two registrars, with a MASA that answers
wrongly, lost answers, repeated requests, restarts, revocations and a clock that jumps. After each
step the invariants are read from the journals and from what pledges hold. BRSKI_MACHINE=full plays
longer. A test for each planted bug shows that the machine would find it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from brski.errors import Unavailable
from brski.voucher.cms import CMS
from device_client.pledge import judging
from registrar_plugin.ca_backend.embedded import EmbeddedCA
from registrar_plugin.clerk import Clerk
from registrar_plugin.est_server import brski_devices
from registrar_plugin.identity import verify
from registrar_plugin.store import statements
from registrar_plugin.store.sqlite import SQLiteJournal
from tests.kit import invariants, pki
from tests.kit.town import Town
from tests.kit.town_ground import GATES, MAKERS, SERIALS
from tests.kit.townspeople import Party

T = TypeVar("T")

FULL: Final = os.environ.get("BRSKI_MACHINE") == "full"
gates = st.integers(0, GATES - 1)
makers = st.integers(0, MAKERS - 1)
serials = st.sampled_from(SERIALS)
who = st.integers(0, 30)
how_often = st.sampled_from([1, 1, 1, 2])
STRANGERS = ("asserts", "not-on-record", "nobody's")
WRONG_ANSWERS = ("silent", "replayed", "forged", "garbage", "bad-log")


class Onboardings(RuleBasedStateMachine):
    """A town, and its days."""

    @initialize()
    def begin(self) -> None:
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory(prefix="town-", dir=_fast_disk())
        self.town = Town(Path(self.folder.name))
        self.nonces = 0
        self.run(self.town.open())
        for maker in range(MAKERS):
            for serial in SERIALS[: 2 if not maker else 1]:
                self.town.make(maker, serial, asserting=bool(maker))

    def teardown(self) -> None:
        self.run(self.town.close())
        self.runner.close()
        self.folder.cleanup()

    def run(self, work: Awaitable[T]) -> T:
        async def awaited() -> T:
            return await work

        return self.runner.run(awaited())

    def party(self, number: int) -> Party:
        return self.town.parties[number % len(self.town.parties)]

    def one_of(self, number: int, wanted: Callable[[Party], object]) -> Party:
        """One of those who are *wanted*, or anybody where there is none."""
        some = [party for party in self.town.parties if wanted(party)] or self.town.parties
        return some[number % len(some)]

    def nonce(self) -> bytes:
        self.nonces += 1
        return self.nonces.to_bytes(16, "big")

    # -- who comes

    @rule(maker=makers, serial=serials, asserting=st.booleans())
    def a_device_is_made(self, maker: int, serial: str, asserting: bool) -> None:
        if (maker, serial) not in self.town.made:
            self.town.make(maker, serial, asserting=asserting)

    @rule(place=who)
    def a_device_is_cloned(self, place: int) -> None:
        party = self.party(place)
        self.town.meet("clone", party.device, is_genuine=party.is_genuine)

    @rule(maker=makers, serial=serials, kind=st.sampled_from(STRANGERS))
    def a_stranger_comes(self, maker: int, serial: str, kind: str) -> None:
        if (maker, serial) in self.town.made:
            self.town.stranger(maker, serial, kind=kind)

    # -- what they do

    @rule(place=who, gate=gates, again=st.booleans(), times=how_often, lost=st.booleans())
    def asks(self, place: int, gate: int, again: bool, times: int, lost: bool) -> None:
        nonce = None if again else self.nonce()
        self.run(self.town.ask(self.party(place), gate, nonce=nonce, times=times, lost=lost))

    @rule(place=who, other=who, gate=gates)
    def sends_anothers_request(self, place: int, other: int, gate: int) -> None:
        seen = self.party(other).requests.get(gate)
        if seen is not None:
            self.run(self.town.post(self.party(place), gate, seen[1], lost=True))

    @rule(place=who, gate=gates, octets=st.binary(max_size=64), at=st.integers(0, 3000))
    def sends_a_broken_request(self, place: int, gate: int, octets: bytes, at: int) -> None:
        party = self.party(place)
        seen = party.requests.get(gate)
        if seen is not None:
            body = seen[1][:at] + octets + seen[1][at + len(octets) :]
            if body != seen[1]:
                self.run(self.town.post(party, gate, body, lost=True))

    @rule(place=who, gate=gates)
    def judges_its_voucher(self, place: int, gate: int) -> None:
        self.run(self.town.judge(self.one_of(place, lambda p: gate in p.vouchers), gate))

    @rule(place=who, other=who, gate=gates, another=gates)
    def is_given_anothers_voucher(self, place: int, other: int, gate: int, another: int) -> None:
        voucher = self.party(other).vouchers.get(another)
        if voucher is not None:
            self.party(place).vouchers[gate] = voucher
            self.run(self.town.judge(self.party(place), gate))

    @rule(place=who, gate=gates, accepted=st.booleans())
    def reports(self, place: int, gate: int, accepted: bool) -> None:
        party = self.one_of(place, lambda p: gate in p.vouchers)
        self.run(self.town.report(party, gate, accepted=accepted))

    @rule(place=who, gate=gates, again=st.booleans(), times=how_often, lost=st.booleans())
    def enrolls(self, place: int, gate: int, again: bool, times: int, lost: bool) -> None:
        party = self.one_of(place, lambda p: gate in p.pinned)
        self.run(self.town.enroll(party, gate, again=again, times=times, lost=lost))

    @rule(place=who, gate=gates)
    def enrolls_out_of_turn(self, place: int, gate: int) -> None:
        self.run(self.town.enroll(self.party(place), gate, again=False))

    @rule(place=who, gate=gates)
    def comes_to_trust(self, place: int, gate: int) -> None:
        party = self.one_of(place, lambda p: p.is_genuine)
        self.run(self.town.ask(party, gate, nonce=self.nonce()))
        self.run(self.town.judge(party, gate))

    @rule(place=who, gate=gates)
    def goes_the_whole_way(self, place: int, gate: int) -> None:
        self.comes_to_trust(place, gate)
        party = self.one_of(place, lambda p: p.is_genuine)
        self.run(self.town.enroll(party, gate, again=False))

    @rule(place=who, which=who, lost=st.booleans())
    def renews(self, place: int, which: int, lost: bool) -> None:
        party = self.one_of(place, lambda p: p.ldevids)
        self.run(self.town.renew(party, which, lost=lost))

    @rule(place=who, which=who)
    def reports_its_enrollment(self, place: int, which: int) -> None:
        self.run(self.town.enrolled(self.one_of(place, lambda p: p.ldevids), which))

    # -- what goes wrong

    @rule(gate=gates, how=st.sampled_from(WRONG_ANSWERS), place=who, other=who)
    def the_masa_answers_wrongly(self, gate: int, how: str, place: int, other: int) -> None:
        wire = self.town.gates[gate].open.wire
        vouchers = self.town.masa.vouchers
        if how == "silent":
            wire.broken = Unavailable("silence")
        elif how == "bad-log":
            wire.audit_log_instead = b'{"version":"1","events":[{"date":"2026-01-01T00:00:00Z"'
        elif how == "replayed" and vouchers:
            wire.answer_instead = vouchers[other % len(vouchers)]
        elif how == "forged" and vouchers:
            wire.answer_instead = _resigned(vouchers[other % len(vouchers)])
        else:
            wire.answer_instead = b"0\x03\x02\x01\x00"
        self.goes_the_whole_way(place, gate)
        wire.broken = wire.answer_instead = wire.audit_log_instead = None

    @rule(place=who, gate=gates, stays=st.booleans())
    def the_ca_is_away(self, place: int, gate: int, stays: bool) -> None:
        ca = self.town.gates[gate].ca
        ca.is_away = True
        self.goes_the_whole_way(place, gate)
        ca.is_away = stays

    @rule(gate=gates, ca_is_back=st.booleans())
    def a_registrar_restarts(self, gate: int, ca_is_back: bool) -> None:
        self.run(self.town.stop(gate))
        self.town.gates[gate].ca.is_away &= not ca_is_back
        self.run(self.town.start(gate))

    @rule(seconds=st.integers(-7200, 7200))
    def the_clock_steps(self, seconds: int) -> None:
        self.town.clock.forward(seconds=seconds)

    @rule(place=who)
    def a_device_is_revoked(self, place: int) -> None:
        sound = [p for p in self.town.parties if p.is_genuine and not self.town.is_revoked(p)]
        if len(sound) > MAKERS:
            self.town.revoke(sound[place % len(sound)].device)

    @rule(place=who, gate=gates)
    def a_device_is_revoked_on_its_way(self, place: int, gate: int) -> None:
        self.comes_to_trust(place, gate)
        self.a_device_is_revoked(place)
        self.run(self.town.enroll(self.party(place), gate, again=False))

    # -- what holds

    @invariant()
    def the_invariants_hold(self) -> None:
        for number in range(GATES):
            self.run(self.town.collect(number))
        for check in CHECKS:
            check(self.town)


CHECKS: Final[tuple[Callable[[Town], None], ...]] = (
    invariants.check_i1,
    invariants.check_i2,
    invariants.check_i3,
    invariants.check_i4,
    invariants.check_i6,
    invariants.check_i7,
)


def _fast_disk() -> str | None:
    """Where a flush costs nothing, if there is such a place."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - a folder of our own


def _resigned(voucher: bytes) -> bytes:
    """The same contents, signed by somebody else."""
    signer = pki.make_masa_signer(pki.make_root("Somebody")).signer
    return CMS.sign(CMS.open(voucher).payload, signer, certificates=signer.chain)


PLAY: Final = settings(
    max_examples=500 if FULL else 60,
    stateful_step_count=80 if FULL else 40,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)


@pytest.mark.slow
@pytest.mark.requirement("REG-29", "SEC-3", "SEC-9")
def test_the_invariants_hold_whatever_happens() -> None:
    """I1 to I8 (docs/security.md)."""
    run_state_machine_as_test(Onboardings, settings=PLAY)


# -- the machine finds what it is for


def _nothing(*_: object, **__: object) -> None:
    """A gate that stands open."""


async def _no_line(*_: object, **__: object) -> None:
    """A line that is not written."""


async def _tell_key(self: EmbeddedCA, intent: bytes) -> Any:
    key = self._signer.private_key.private_numbers().private_value  # type: ignore[attr-defined]
    logging.getLogger("registrar_plugin").info("signing", extra={"key": f"{key:064x}"})
    return await _COMPLETE(self, intent)


_COMPLETE: Final = EmbeddedCA.complete
_KEEP: Final = "UPDATE certificates SET state = state WHERE idevid_issuer = :issuer AND :serial"
BUGS: Final[dict[str, tuple[object, str, object, str]]] = {
    "revoked-devices-enroll": (verify, "check_status", _nothing, "I1"),
    "nobody-waits-for-acceptance": (brski_devices, "check_standing", _nothing, "I1"),
    "pledges-believe-anything": (judging, "check_voucher", _nothing, "I2"),
    "signed-and-not-written": (SQLiteJournal, "complete_registrar_request", _no_line, "I4"),
    "two-active-ldevids": (statements, "SUPERSEDE", _KEEP, "UNIQUE"),
    "a-key-in-the-log": (EmbeddedCA, "complete", _tell_key, "I7"),
    "refusals-are-not-written": (Clerk, "write_refusal", _no_line, "I8"),
}
HUNT: Final = settings(
    PLAY,
    max_examples=100,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    report_multiple_bugs=False,
)


@pytest.mark.slow
@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One gate stands open, one line is left out: an invariant breaks."""
    where, name, instead, broken = BUGS[bug]
    monkeypatch.setattr(where, name, instead)
    with pytest.raises(Exception, match=broken):
        run_state_machine_as_test(Onboardings, settings=HUNT)
