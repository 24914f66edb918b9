"""Reads the storage key of a TPM, for the vendor that wraps a seed to it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from device_client.tpm.connection import TPM


def read_storage_key(tcti: str) -> bytes:
    """The public half of the storage key: a TPM2B_PUBLIC.

    Args:
        tcti: as :class:`device_client.tpm.connection.TPM` takes it.

    Raises:
        Unavailable, KeyUnusable, SettingsError: as opening it.
    """
    with (
        tempfile.TemporaryDirectory() as name,  # no device is there yet, so no lock file either
        TPM(tcti, Path(name) / "lock").open() as chip,
    ):
        return chip.storage_key_public()
