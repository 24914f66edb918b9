"""The kinds of identity that need nothing installed; each is found by its entry point.

Group ``brski.device_identity``; a kind has a settings table and a way to open a device
(:class:`brski.edge.adapters.Adapter`).
"""

from __future__ import annotations

from typing import Final, Literal

from brski.edge.settings import ExistingFile, Settings
from device_client.identity.from_files import load_identity
from device_client.identity.from_seed import SeedIdentity, load_fuse
from device_client.identity.port import Device
from device_client.keystore.keys import FileKeys

GROUP: Final = "brski.device_identity"


class FuseSettings(Settings):
    """``[identity]`` of kind "fuse": a secret seed, with or without a certificate."""

    kind: Literal["fuse"]
    file: ExistingFile


class FuseKind:
    """A seed in a file, the LDevID's key in another."""

    Settings = FuseSettings

    @classmethod
    def open(cls, settings: FuseSettings) -> Device:
        """Derive the key; raises as :func:`~device_client.identity.from_seed.load_fuse` and
        :class:`~device_client.identity.from_seed.SeedIdentity`.
        """
        return Device(identity=SeedIdentity(load_fuse(settings.file)), ldevid_keys=FileKeys())


class FilesSettings(Settings):
    """``[identity]`` of kind "files": an IDevID key and its certificate."""

    kind: Literal["files"]
    key: ExistingFile
    certificates: ExistingFile
    voucher_anchors: ExistingFile


class FilesKind:
    """An IDevID key in a file, the LDevID's in another."""

    Settings = FilesSettings

    @classmethod
    def open(cls, settings: FilesSettings) -> Device:
        """Read it; raises as :func:`~device_client.identity.from_files.load_identity`."""
        identity = load_identity(settings.key, settings.certificates, settings.voucher_anchors)
        return Device(identity=identity, ldevid_keys=FileKeys())
