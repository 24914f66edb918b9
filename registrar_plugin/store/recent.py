"""What this process has just written or read of a device, so that it is not read back.

A device comes back within a second or two, and after each commit a reading connection finds its
pages anew: a look-up costs ten times what it finds. Kept is only what is durable, for a few
seconds; what another process changes is seen when they are over. Two threads call: changes arrive
from the one that commits, in the order of the commits.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from registrar_plugin.identity.model import DeviceKey
from registrar_plugin.store.port import Onboarding

KEEP_S: Final = 5.0  # ours: so long may a change of another process go unseen
_LIMIT: Final = 512  # ours: some 20 kB each


@dataclass(frozen=True, slots=True)
class _Kept:
    onboarding: Onboarding
    since_s: float


class RecentOnboardings:
    """By device and by IDevID key; the one untouched for longest makes room.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._changes = 0
        self._kept: OrderedDict[DeviceKey, _Kept] = OrderedDict()
        self._devices: dict[bytes, DeviceKey] = {}  # by IDevID key, of those kept

    @property
    def changes(self) -> int:
        """How many changes there were; to be taken before a database is read for :meth:`keep`."""
        return self._changes

    def get(self, device: DeviceKey) -> Onboarding | None:
        """Where *device* stands, if that is known."""
        with self._lock:
            kept = self._kept.get(device)
            if kept is None or self._clock() - kept.since_s > KEEP_S:
                return None
            return kept.onboarding

    def get_by_key(self, idevid_spki_sha256: bytes) -> Onboarding | None:
        """The onboarding of the device with this IDevID key, if that is known."""
        device = self._devices.get(idevid_spki_sha256)
        return None if device is None else self.get(device)

    def keep(self, onboarding: Onboarding, *, changes: int) -> None:
        """Keep what was read from the database, unless it has been changed since.

        Args:
            changes: :attr:`changes` before it was read.
        """
        with self._lock:
            if changes == self._changes:
                self._put(onboarding)

    def begun(self, onboarding: Onboarding) -> None:
        """*onboarding* has become durable, in place of the device's former one."""
        with self._lock:
            self._changes += 1
            self._put(onboarding)

    def changed(self, device: DeviceKey, request_digest: bytes, **fields: Any) -> None:
        """These *fields* of the onboarding that this request began have become durable."""
        with self._lock:
            self._changes += 1
            kept = self._kept.get(device)
            if kept is None:
                return
            if kept.onboarding.request_digest == request_digest:
                self._put(replace(kept.onboarding, **fields))
            else:
                self._drop(device)

    def _put(self, onboarding: Onboarding) -> None:
        self._drop(onboarding.device)
        self._kept[onboarding.device] = _Kept(onboarding, self._clock())
        self._devices[onboarding.idevid_spki_sha256] = onboarding.device
        if len(self._kept) > _LIMIT:
            self._drop(next(iter(self._kept)))

    def _drop(self, device: DeviceKey) -> None:
        former = self._kept.pop(device, None)
        if former is not None:
            self._devices.pop(former.onboarding.idevid_spki_sha256, None)
