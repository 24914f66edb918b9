"""Who is told to come again, and until when."""

from __future__ import annotations

from registrar_plugin.identity.patience import Patience, PatienceSettings

A, B = b"a", b"b"


def patience(**changes: float) -> Patience:
    settings = PatienceSettings(wait_s=60, retry_after_s=7)
    return Patience(settings, **changes)  # type: ignore[arg-type]  # remembered


def test_it_ends() -> None:
    """Counted from the first refusal of this very device; another has a time of its own."""
    room = patience()
    assert room.retry_after_s(A, 1000) == 7
    assert room.retry_after_s(B, 1050) == 7
    assert room.retry_after_s(A, 1059) == 7
    assert room.retry_after_s(A, 1060) is None
    assert room.retry_after_s(A, 1061) is None
    assert room.retry_after_s(B, 1109) == 7


def test_it_begins_anew_after_an_hour() -> None:
    """Not before, however often it comes."""
    room = patience()
    room.retry_after_s(A, 0)
    for at in range(60, 3660, 60):
        assert room.retry_after_s(A, at) is None
    assert room.retry_after_s(A, 3660) == 7


def test_without_a_time_nobody_is_waited_for() -> None:
    assert Patience(PatienceSettings()).retry_after_s(A, 0) is None


def test_strangers_cost_bounded_memory() -> None:
    """Of more, the one unheard of for longest starts anew; who keeps coming does not."""
    room = patience(remembered=2)
    room.retry_after_s(A, 0)
    for number in range(100):
        assert room.retry_after_s(b"stranger %d" % number, 30) == 7
        assert room.retry_after_s(A, 59) == 7
    assert room.retry_after_s(A, 60) is None
    assert room.retry_after_s(b"stranger 0", 95) == 7
