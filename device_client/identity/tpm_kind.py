"""The kind of identity that a TPM holds; needs the extra [tpm]."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from brski.edge.settings import ExistingFile, Seconds, Settings
from device_client.identity.from_tpm import HANDLE, boot
from device_client.identity.port import Device
from device_client.keystore.tpm_keys import TPMKeys
from device_client.tpm.connection import PATIENCE_S, TPM


class TPMSettings(Settings):
    """``[identity]`` of kind "tpm"."""

    kind: Literal["tpm"]
    file: ExistingFile
    tcti: str = "device:/dev/tpmrm0"
    handle: Annotated[int, Field(ge=0x81000002, le=0x817FFFFF)] = HANDLE
    patience_s: Seconds = PATIENCE_S


class TPMKind:
    """A key that the TPM derived, and LDevID keys that it makes; docs/tpm.md."""

    Settings = TPMSettings

    @classmethod
    def open(cls, settings: TPMSettings) -> Device:
        """Boot the device; raises as :func:`device_client.identity.from_tpm.boot`.

        The lock file stands beside the device file.
        """
        path = settings.file
        lock = path.with_name(f"{path.name}.lock")
        tpm = TPM(settings.tcti, lock, patience_s=settings.patience_s)
        return Device(identity=boot(path, tpm, settings.handle), ldevid_keys=TPMKeys(tpm))
