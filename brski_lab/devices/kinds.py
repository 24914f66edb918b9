"""Every kind of device that the demo knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from brski_lab.devices.fuse import FuseDevice
from brski_lab.devices.port import DeviceKind
from brski_lab.devices.tee import TEEDevice
from brski_lab.devices.tpm import TPMDevice

FUSE: Final = "fuse"
TEE: Final = "tee"
TPM: Final = "tpm"

KINDS: Final[Mapping[str, DeviceKind]] = {
    FUSE: FuseDevice(),
    TEE: TEEDevice(),
    TPM: TPMDevice(),
}
