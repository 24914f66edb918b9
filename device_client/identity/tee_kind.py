"""The kind of identity that another process holds; docs/tee.md."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from brski.edge.settings import Settings
from device_client.identity.from_tee import load_tee_identity
from device_client.identity.port import Device
from device_client.keystore.keys import FileKeys


class TEESettings(Settings):
    """``[identity]`` of kind "tee"."""

    kind: Literal["tee"]
    socket: Path


class TEEKind:
    """The IDevID key in the signer's process, the LDevID's in a file."""

    Settings = TEESettings

    @classmethod
    def open(cls, settings: TEESettings) -> Device:
        """Ask the signer; raises as :func:`~device_client.identity.from_tee.load_tee_identity`."""
        return Device(identity=load_tee_identity(settings.socket), ldevid_keys=FileKeys())
