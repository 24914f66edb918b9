"""Every kind of device that the demo knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from brski_lab.devices.fuse import FuseDevice
from brski_lab.devices.port import DeviceKind

FUSE: Final = "fuse"

KINDS: Final[Mapping[str, DeviceKind]] = {
    FUSE: FuseDevice(),
}
