"""``brski-oem manifest``: public records of one order's devices, signed, for their owner."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final

import typer

from brski.edge.cli import print_json
from brski.edge.settings import load_settings
from brski.edge.signers.file import load_signer
from brski.errors import SettingsError
from brski.idevid.manifest import ManifestTerms
from oem_backend.database.manifests import make_manifest
from oem_backend.database.settings import OEMSettings

_USUAL: Final = Path("oem.toml")
_SECOND: Final = "%Y-%m-%dT%H:%M:%SZ"


def manifest(
    order_file: Annotated[Path, typer.Argument(help="Serial numbers, one a line.")],
    order: Annotated[str, typer.Option(help="The order's name, the same in later manifests.")],
    owner: Annotated[str, typer.Option(help="For whom it is; its registrars take no other.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The manifest file.")],
    settings: Annotated[
        Path, typer.Option("--settings", "-s", help="The settings file, TOML.", show_default=True)
    ] = _USUAL,
    valid_days: Annotated[
        int, typer.Option(min=1, max=3660, help="How long it counts: no later mark is seen.")
    ] = 90,
    generation: Annotated[
        int | None, typer.Option(min=0, help="Above the last; the moment in seconds if not told.")
    ] = None,
    created: Annotated[
        datetime | None, typer.Option(formats=[_SECOND], help="UTC; now if not told.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Sign the records of one order's devices for a registrar that has no line out."""
    configured = load_settings(settings, OEMSettings).database
    if configured.manifest is None:
        raise SettingsError("database.manifest: missing", hint="conf/oem.toml explains it")
    now = datetime.now(UTC).replace(microsecond=0)  # noqa: TID251 - the edge reads the clock
    created_at = now if created is None else created.replace(tzinfo=UTC)
    terms = ManifestTerms(
        signer_id=configured.manifest.name,
        owner=owner,
        order=order,
        created_at=created_at,
        expires_at=created_at + timedelta(days=valid_days),
        generation=int(created_at.timestamp()) if generation is None else generation,
    )
    signer = load_signer(configured.manifest.key, deterministic=True)
    made = make_manifest(configured.place, order_file, out, terms, signer)
    if as_json:
        facts = {"digest": made.digest, "records": made.records, "marked": made.marked}
        print_json(facts | {"generation": terms.generation, "expires": terms.expires_at})
    else:
        typer.echo(
            f"{made.records} record(s), {made.marked} of them marked; generation "
            f"{terms.generation}, until {terms.expires_at:%Y-%m-%d %H:%M:%S} UTC"
        )
