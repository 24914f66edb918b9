"""What happened to one device, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from brski.idevid.record import Presentation
from brski_lab.vendor import MAIN, Batch
from device_client.outcome import Artifacts, Step

ENROLLED: Final = "enrolled"
REFUSED: Final = "refused"
_IDENTITY_CODES: Final = ("device-unknown", "device-revoked", "key-mismatch")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Somebody who will try to join, and how it should end."""

    serial_number: str
    presentation: Presentation
    who: str  # one line for a person
    device: str = "fuse"  # a kind of device, see brski_lab.devices.kinds
    batch: Batch = MAIN  # which the chip comes from
    expected: str = ENROLLED
    expected_code: str = ""  # of the journal's refusal
    on_demand: bool = False  # certified when somebody has met it
    genuine: bool = True  # False: the seed is not the one that the vendor made

    @property
    def is_kept_waiting(self) -> bool:
        """Whether the registrar tells it to come again before it knows."""
        return self.on_demand or self.expected_code in _IDENTITY_CODES


@dataclass(slots=True, kw_only=True)
class Story:
    """How it went."""

    part: Part
    steps: list[Step] = field(default_factory=list)
    outcome: str = ""
    reason: str = ""  # the journal's, for the operator; the device's own where it has none
    code: str = ""
    told_pledge: str = ""  # what the pledge knows of it
    artifacts: Artifacts = field(default_factory=Artifacts)
    registrar_request: bytes | None = None
    idevid_chain: tuple[bytes, ...] = ()  # DER, leaf first, anchor last

    @property
    def as_told(self) -> bool:
        """Whether it ended as it should."""
        return self.outcome == self.part.expected and self.code == self.part.expected_code
