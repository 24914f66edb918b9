"""The life of a device with a TPM in the demo; needs the TSS."""

from __future__ import annotations

import asyncio
from pathlib import Path

from brski_lab.devices.fuse import join_here
from brski_lab.devices.port import Ended, Joining
from brski_lab.software_tpm import software_tpm
from brski_lab.tpm_vendor import wrap_for_tpm
from device_client.identity.from_seed import load_fuse
from device_client.identity.from_tpm import TPMIdentity, boot
from device_client.identity.tpm_file import write_device
from device_client.keystore.files import FileKeystore
from device_client.keystore.tpm_keys import TPMKeys
from device_client.tpm.connection import TPM


async def join_with_tpm(joining: Joining) -> Ended:
    """At the vendor's tester the seed is wrapped to a fresh TPM; then first boot, and onboarding.

    Raises:
        LocalError: swtpm or the TPM fails.
    """
    device = joining.fuse.with_suffix(".tpm")
    state = await asyncio.to_thread(_make_folder, joining.fuse.with_suffix(".tpm-state"))
    async with software_tpm(state) as tcti:
        tpm = TPM(tcti, device.with_name(f"{device.name}.lock"))
        identity = await asyncio.to_thread(_wrap_and_boot, joining.fuse, device, tpm)
        return await join_here(joining, identity, FileKeystore(joining.keystore, TPMKeys(tpm)))


def _make_folder(path: Path) -> Path:
    path.mkdir(mode=0o700)
    return path


def _wrap_and_boot(fuse: Path, device: Path, tpm: TPM) -> TPMIdentity:
    with tpm.open() as chip:
        storage_key = chip.storage_key_public()
    write_device(device, wrap_for_tpm(load_fuse(fuse), storage_key))
    fuse.unlink()  # the seed in clear has no place on this device
    return boot(device, tpm)
