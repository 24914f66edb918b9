"""A server's garbage collector looks rarely, and still finds what only it can."""

from __future__ import annotations

import gc
import weakref

import pytest

from brski.edge.collector import YOUNG, rare_collections


class _Knot:
    """An object in a cycle, which no reference count frees."""

    def __init__(self) -> None:
        self.myself = self


def test_what_is_there_at_the_start_is_left_alone() -> None:
    """The program itself is not gone through at each look."""
    with rare_collections():
        assert gc.get_freeze_count() > 0
        assert gc.get_threshold()[0] == YOUNG


def test_cycles_made_meanwhile_are_still_freed() -> None:
    """Rarely is not never: memory does not grow with the number of requests."""
    with rare_collections():
        tied = weakref.ref(_Knot())
        kept = [[] for _ in range(2 * YOUNG)]  # type: list[list[object]]
    assert tied() is None
    assert len(kept) == 2 * YOUNG


def test_everything_is_as_before_at_the_end() -> None:
    """Another part of the process finds the collector as it was, even after a failure."""
    before = gc.get_threshold()
    with pytest.raises(RuntimeError), rare_collections():
        raise RuntimeError
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0
