"""What goes wrong on a TCP connection, as values; :mod:`brski_lab.fault_proxy` does it.

Everything random comes from one seed and the connection's number, so that a run can be repeated
whatever the order in which pieces arrive (docs/fault-proxy.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Final


class End(Enum):
    """What becomes of a direction when its octets are used up."""

    CUT = "cut"  # both sides are closed
    RESET = "reset"  # both sides are closed by RST
    STALL = "stall"  # nothing more is read, nothing is closed: half-open
    LOSE = "lose"  # the rest is read and thrown away


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """One direction's.

    Raises:
        ValueError: a time, rate or number is negative, or a rate is nothing.
    """

    delay_s: float = 0.0  # each piece waits so long
    jitter_s: float = 0.0  # and up to so much more
    octets_per_s: float | None = None  # None: as fast as it goes
    after: int | None = None  # octets that are passed on before the end; None: no end
    end: End = End.CUT

    def __post_init__(self) -> None:
        least = min(self.delay_s, self.jitter_s, self.after or 0)
        if least < 0 or (self.octets_per_s is not None and self.octets_per_s <= 0):
            raise ValueError("times and numbers of octets are not negative, a rate is above 0")


NO_FAULTS: Final = Faults()


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """What the connections of a proxy meet.

    Raises:
        ValueError: a share is not from 0 to 1.
    """

    up: Faults = NO_FAULTS  # client to server
    down: Faults = NO_FAULTS  # server to client
    refuse: float = 0.0  # share of connections that are reset when they are accepted
    share: float = 1.0  # of the others, how many meet the faults

    def __post_init__(self) -> None:
        if not (0 <= self.refuse <= 1 and 0 <= self.share <= 1):
            raise ValueError("a share is from 0 to 1")

    def of_connection(self, dice: Random) -> tuple[Faults, Faults] | None:
        """The faults up and down of one connection, or None where it is refused."""
        refused, met = dice.random(), dice.random()
        if refused < self.refuse:
            return None
        return (self.up, self.down) if met < self.share else (NO_FAULTS, NO_FAULTS)


FAIR: Final = Weather()


def dice_of(seed: int, connection: int, direction: str = "") -> Random:
    """The dice of one connection: by its number alone, whatever else goes on."""
    return Random(f"{seed} {connection} {direction}")  # noqa: S311 - faults, no keys
