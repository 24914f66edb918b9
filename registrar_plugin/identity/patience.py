"""How long a device that is not known is told to come again (docs/on-demand.md, section 5).

Owns no clock: the caller gives the time. Strangers cost bounded memory.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

_REMEMBERED: Final = 4096  # ours; of more, those unheard of for longest start anew
_ANEW_S: Final = 3600.0  # after its time has run out, a device's time starts anew


@dataclass(frozen=True, slots=True, kw_only=True)
class PatienceSettings:
    """Who is waited for, and how."""

    wait_s: float = 0.0  # from its first refusal; 0: nobody
    retry_after_s: int = 10


class Patience:
    """Remembers since when a device has been refused.

    Args:
        remembered: how many devices.
    """

    __slots__ = ("_remembered", "_settings", "_since")

    def __init__(self, settings: PatienceSettings, *, remembered: int = _REMEMBERED) -> None:
        self._settings = settings
        self._remembered = remembered
        self._since: OrderedDict[bytes, float] = OrderedDict()

    def retry_after_s(self, device: bytes, at: float) -> int | None:
        """When a refused device should come again; None: not any more.

        Args:
            device: a digest of the serial number and key that it shows.
            at: now, seconds of one clock.
        """
        settings = self._settings
        if settings.wait_s <= 0:
            return None
        since = self._since.get(device)
        if since is None or at - since >= settings.wait_s + _ANEW_S:
            since = self._since[device] = at
        self._since.move_to_end(device)
        if len(self._since) > self._remembered:
            self._since.popitem(last=False)
        return settings.retry_after_s if at - since < settings.wait_s else None
