"""brski-pledge's command for the vendor's step of a device with a TPM (docs/tpm.md)."""

from __future__ import annotations

import hashlib
import importlib
from pathlib import Path
from typing import Annotated

import typer

from brski.edge.atomic_file import write_atomically
from brski.errors import SettingsError


def tpm_storage_key(
    path: Annotated[Path, typer.Argument(help="The file to write: a TPM2B_PUBLIC.")],
    tcti: Annotated[str, typer.Option(help="How the TSS reaches the TPM.")] = "device:/dev/tpmrm0",
) -> None:
    """Read the storage key of this machine's TPM, for a vendor that wraps a seed to it.

    The file is public. What makes it worth trusting is the way that it goes to the vendor
    (docs/tpm.md).
    """
    try:
        room = importlib.import_module("device_client.tpm.storage_key")
    except ImportError as err:
        raise SettingsError(
            f"no TPM without its library: {err}", hint="install the extra [tpm]"
        ) from err
    octets: bytes = room.read_storage_key(tcti)
    write_atomically(path, octets, mode=0o644)
    typer.echo(f"{path}: {len(octets)} octets, SHA-256 {hashlib.sha256(octets).hexdigest()}")
