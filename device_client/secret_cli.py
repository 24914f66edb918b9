"""brski-pledge secret: a secret for another purpose than the identity (docs/secrets.md)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from brski.edge.atomic_file import write_atomically
from brski.edge.settings import load_settings, read_settings
from brski.errors import SettingsError
from brski.seed.device_secret import (
    LEAST_OCTETS,
    MOST_OCTETS,
    USUAL_OCTETS,
    DeviceSecret,
    Purpose,
    derive_secret,
)
from device_client.identity.from_seed import load_fuse
from device_client.identity.kinds import FuseSettings
from device_client.settings import PledgeSettings

_USUAL: Final = Path("pledge.toml")


def secret(
    purpose: Annotated[str, typer.Option(help="Such as firmware-encryption.")],
    octets: Annotated[
        int, typer.Option(min=LEAST_OCTETS, max=MOST_OCTETS, help="How long.")
    ] = USUAL_OCTETS,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A new file, mode 0600.")] = None,
    stdout: Annotated[
        bool, typer.Option("--stdout", help="Raw octets on standard output.")
    ] = False,
    settings: Annotated[
        Path, typer.Option("--settings", "-s", help="The settings file, TOML.")
    ] = _USUAL,
) -> None:
    """Derive a secret for a purpose from the device's seed, as its manufacturer can, too."""
    wanted = Purpose(name=purpose, octets=octets)
    if (out is None) != stdout:
        raise SettingsError("say either --out FILE or --stdout")
    derived = _derive(settings, wanted)
    if out is not None:
        write_atomically(out, derived.octets, mode=0o600, may_replace=False)
        return
    sys.stdout.buffer.write(derived.octets)
    sys.stdout.buffer.flush()


def _derive(settings: Path, purpose: Purpose) -> DeviceSecret:
    table = load_settings(settings, PledgeSettings).identity
    if table.get("kind") != "fuse":
        raise SettingsError(
            f"a device of kind {table.get('kind')!r} does not give its seed to this program"
        )
    fuse = load_fuse(read_settings(table, FuseSettings, source=settings).file)
    return derive_secret(fuse.seed, fuse.chip_id, purpose)
