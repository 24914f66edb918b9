"""The committed corpus, and simple alterations of it, through every target: no atheris needed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from brski.errors import Malformed
from tests.fuzz import harness, seeds
from tests.fuzz.harness import Target, TooSlow, attempt
from tests.fuzz.targets import TARGETS

FILES = sorted(path for path in seeds.CORPUS.glob("*/*") if path.is_file())
SEEDS = [
    (target, name, octets)
    for generate in (seeds._messages, seeds._enrollment, seeds._files, seeds._tools)
    for target, name, octets in generate()
]


def _id(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def test_every_target_has_a_corpus() -> None:
    """And there is no folder without a target."""
    assert {path.parent.name for path in FILES} == set(TARGETS)


def test_the_seeds_are_committed() -> None:
    """Every input that the script makes has its file."""
    assert {f"{target}/{name}" for target, name, _ in SEEDS} <= set(map(_id, FILES))


@pytest.mark.requirement("SEC-10", "PL-4")
@pytest.mark.parametrize("path", FILES, ids=_id)
def test_corpus(path: Path) -> None:
    """Each file is taken, or refused with an error of ours, in bounded time."""
    attempt(TARGETS[path.parent.name], path.read_bytes())


@pytest.mark.requirement("SEC-10")
@pytest.mark.parametrize("path", FILES, ids=_id)
def test_altered_corpus(path: Path) -> None:
    """So are its truncations, and each file with a few octets changed, put in or taken out."""
    octets = path.read_bytes()
    target = TARGETS[path.parent.name]
    chance = random.Random(f"{path.parent.name}/{path.name}")
    for _ in range(60):
        attempt(target, octets[: chance.randrange(len(octets) + 1)])
        attempt(target, _altered(octets, chance))


def _altered(octets: bytes, chance: random.Random) -> bytes:
    altered = bytearray(octets)
    for _ in range(chance.randint(1, 3)):
        place = chance.randrange(len(altered) + 1)
        end = place + chance.choice((0, 1, 1, 1, 4))
        altered[place:end] = chance.randbytes(chance.choice((0, 1, 1, 1, 4)))
    return bytes(altered)


def test_a_target_that_takes_too_long_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The harness itself: time is watched."""
    monkeypatch.setattr(harness, "SECONDS_LIMIT", -1.0)
    with pytest.raises(TooSlow):
        attempt(TARGETS["json"], b"{}")


def test_an_error_that_is_not_ours_is_seen() -> None:
    """Nor is a reason that would break a line of the log."""

    def breaks(_: bytes) -> None:
        raise IndexError

    def writes_lines(_: bytes) -> None:
        raise Malformed("one\ntwo")

    with pytest.raises(IndexError):
        attempt(Target(name="x", run=breaks), b"")
    with pytest.raises(AssertionError, match="control"):
        attempt(Target(name="x", run=writes_lines), b"")
