"""The port to one kind of device; a new kind is one adapter and one line in :mod:`.kinds`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

from brski_lab.children import Children
from brski_lab.stage import Stage
from device_client.outcome import Artifacts, Step
from device_client.pledge.states import Result

Observer: TypeAlias = Callable[[Step], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Joining:
    """One device at the registrar's door."""

    stage: Stage
    children: Children  # for programs that are part of the device; they end with the demo
    serial_number: str
    fuse: Path  # what the assembly burnt in; a kind may put it elsewhere before it begins
    keystore: Path  # not there yet
    observe: Observer  # called at the end of each step
    rounds: int = 1  # how often it tries, where the factory may take its time


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What the device knows of its end."""

    result: Result
    reason: str  # one line for a person
    artifacts: Artifacts


class DeviceKind(Protocol):
    """A kind of device: ``"fuse"``, ``"tee"``, ``"tpm"``."""

    def missing(self) -> str:
        """What this machine lacks to show it, for a person; empty when nothing is missing. The
        demo leaves the kind's devices out then and says so on standard error.
        """

    def remark(self) -> str:
        """What is not as it would be on real hardware, for standard error; empty for nothing."""

    async def join(self, joining: Joining) -> Ended:
        """Let the device try to join.

        Raises:
            LocalError: its own parts fail.
        """
