"""When a silent server is given up, and when it is tried again."""

from __future__ import annotations

import pytest

from brski.edge.http.circuit import (
    FAILURES,
    FORGOTTEN_S,
    IDLE_S,
    PAUSE_LIMIT_S,
    PAUSE_S,
    Circuit,
)
from brski.edge.http.circuits import Circuits
from brski.errors import Unavailable


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def circuit(time: Time) -> Circuit:
    return Circuit("masa.example.com:443", clock=time, draw=lambda: 1.0)


def fail(circuit: Circuit, times: int = FAILURES) -> None:
    for _ in range(times):
        circuit.enter()
        circuit.failed("silence")


def test_it_is_given_up_after_so_many_failures_in_a_row(circuit: Circuit) -> None:
    """One fewer is not enough; an answer between them begins anew."""
    fail(circuit, FAILURES - 1)
    circuit.enter()
    circuit.answered()
    fail(circuit, FAILURES - 1)
    assert not circuit.is_open
    circuit.enter()
    circuit.failed("silence")
    assert circuit.is_open
    with pytest.raises(Unavailable, match=r"masa\.example\.com:443: silence; given up"):
        circuit.enter()


def test_when_to_come_again_is_spread(time: Time) -> None:
    """What is left, and up to half as much more; never nothing."""
    told = []
    for drawn in (0.0, 0.5, 1.0):
        circuit = Circuit("a", clock=time, draw=lambda drawn=drawn: drawn)  # type: ignore[misc]  # bound
        fail(circuit)
        with pytest.raises(Unavailable) as refusal:
            circuit.enter()
        told.append(refusal.value.retry_after_s)
    assert told == [5, 7, 8]
    circuit = Circuit("a", clock=time, draw=lambda: 0.0)
    fail(circuit)
    time.now += PAUSE_S
    circuit.enter()  # the trial, which is under way
    with pytest.raises(Unavailable) as refusal:
        circuit.enter()
    assert refusal.value.retry_after_s == 1


def test_one_trial_after_the_pause(circuit: Circuit, time: Time) -> None:
    """Not two; its answer closes the circuit."""
    fail(circuit)
    time.now += PAUSE_S - 0.1
    assert not circuit.wants_trial
    with pytest.raises(Unavailable):
        circuit.enter()
    time.now += 0.1
    assert circuit.wants_trial
    circuit.enter()
    assert not circuit.wants_trial
    with pytest.raises(Unavailable):
        circuit.enter()
    circuit.answered()
    for _ in range(3):
        circuit.enter()
    assert not circuit.is_open


def test_each_trial_that_fails_doubles_the_pause(circuit: Circuit, time: Time) -> None:
    """Up to a minute; an answer sets it back."""
    fail(circuit)
    for pause_s in (2 * PAUSE_S, 4 * PAUSE_S, 8 * PAUSE_S, PAUSE_LIMIT_S, PAUSE_LIMIT_S):
        time.now += PAUSE_LIMIT_S
        circuit.enter()
        circuit.failed("silence")
        time.now += pause_s - 0.1
        assert not circuit.wants_trial
        time.now += 0.1
        assert circuit.wants_trial
    circuit.enter()
    circuit.answered()
    fail(circuit)
    time.now += PAUSE_S
    assert circuit.wants_trial


def test_a_connection_alone_is_half_a_proof(circuit: Circuit, time: Time) -> None:
    """It closes the circuit, and the next failure opens it again."""
    fail(circuit)
    time.now += PAUSE_S
    circuit.enter()
    circuit.reached()
    assert not circuit.is_open
    fail(circuit, 1)
    assert circuit.is_open


def test_a_trial_that_was_given_up_leaves_room_for_another(circuit: Circuit, time: Time) -> None:
    """Its caller went away: nothing was learnt of the server."""
    fail(circuit)
    time.now += PAUSE_S
    circuit.enter()
    circuit.left()
    assert circuit.is_open
    assert circuit.wants_trial


def test_what_nobody_needs_is_forgotten(circuit: Circuit, time: Time) -> None:
    """Probes of ours keep it in nobody's mind; a device that asks does."""
    fail(circuit)
    time.now += FORGOTTEN_S
    circuit.enter(is_probe=True)
    circuit.failed("silence")
    assert not circuit.is_forgotten
    time.now += 0.1
    assert circuit.is_forgotten
    with pytest.raises(Unavailable):
        circuit.enter()
    assert not circuit.is_forgotten


def test_a_clients_circuits(monkeypatch: pytest.MonkeyPatch, time: Time) -> None:
    """Silence counts for each server by itself, what else goes wrong does not; few are kept."""
    monkeypatch.setattr("time.monotonic", time)
    known = Circuits()
    for _ in range(FAILURES):
        with pytest.raises(Unavailable), known.request("a", 1):
            raise Unavailable("silence")
        with pytest.raises(KeyError), known.request("b", 1):
            raise KeyError
    assert [circuit.reason for circuit in known.given_up()] == ["a:1: silence"]
    with known.request("c", 1) as circuit:
        circuit.answered()
    time.now += FORGOTTEN_S + 1
    assert known.given_up() == []
    for number in range(1000):
        with known.request("d", number) as circuit:
            circuit.answered()
    assert len(known._known) == 256


def test_a_watched_server_is_looked_at_when_it_is_idle(time: Time) -> None:
    """At once, and a minute after its last answer; another server never, unless it was given up."""
    watched = Circuit("a", clock=time, draw=lambda: 1.0, watched=True)
    usual = Circuit("b", clock=time, draw=lambda: 1.0)
    assert (watched.wants_trial, usual.wants_trial) == (True, False)
    watched.enter(is_probe=True)
    assert not watched.wants_trial
    watched.enter()  # a device's request waits for no probe
    watched.answered()
    for circuit in (watched, usual):
        circuit.enter()
        circuit.answered()
    time.now += IDLE_S - 0.1
    assert not watched.wants_trial
    time.now += 0.1
    assert (watched.wants_trial, usual.wants_trial) == (True, False)


def test_probes_alone_give_a_watched_server_up(time: Time) -> None:
    """Three in a row, five seconds apart; a connection takes it back, and it is never forgotten."""
    circuit = Circuit("a", clock=time, draw=lambda: 1.0, watched=True)
    for _ in range(FAILURES):
        assert not circuit.is_open
        assert circuit.wants_trial
        circuit.enter(is_probe=True)
        circuit.failed("no connection", is_probe=True)
        assert not circuit.wants_trial
        time.now += PAUSE_S
    assert circuit.is_open
    time.now += 2 * FORGOTTEN_S
    assert circuit.is_open
    assert not circuit.is_forgotten
    circuit.enter(is_probe=True)
    circuit.reached()
    assert not circuit.is_open


def test_a_connection_between_requests_hides_no_silence(time: Time) -> None:
    """A server that takes connections and answers nothing is given up all the same."""
    circuit = Circuit("a", clock=time, draw=lambda: 1.0, watched=True)
    for _ in range(FAILURES):
        circuit.enter()
        circuit.failed("silence")
        time.now += PAUSE_S
        if not circuit.is_open:
            circuit.enter(is_probe=True)
            circuit.reached()
    assert circuit.is_open


def test_crowds_do_not_push_out_what_is_watched(
    monkeypatch: pytest.MonkeyPatch, time: Time
) -> None:
    """Strangers' IDevIDs may name as many MASAs as they like."""
    monkeypatch.setattr("time.monotonic", time)
    known = Circuits([("a", 1)])
    for _ in range(FAILURES):
        with pytest.raises(Unavailable), known.request("a", 1, is_probe=True):
            raise Unavailable("silence")
    for number in range(1000):
        with known.request("d", number) as circuit:
            circuit.answered()
    time.now += FORGOTTEN_S + 1
    assert [circuit.reason for circuit in known.given_up()] == ["a:1: silence"]
    assert known.wanting_trial() == [("a", 1)]
