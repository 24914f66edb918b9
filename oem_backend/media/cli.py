"""``brski-oem media``: what crosses between rooms, from a terminal."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from brski.edge.cli import print_json
from oem_backend.media import medium

app = typer.Typer(
    help="""Media that cross between rooms: a folder of files with a list of them.

    [bold]pack[/bold] before it leaves a room, [bold]check[/bold] before anything of it is used.
    docs/air-gap.md has the ceremony.""",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

Folder = Annotated[Path, typer.Argument(help="The medium, as it is mounted.")]
AsJSON = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


@app.command()
def pack(folder: Folder, as_json: AsJSON = False) -> None:
    """List every file of a medium on it, and tell the list's digest."""
    _tell(medium.pack(folder), None, as_json)


@app.command()
def check(
    folder: Folder,
    digest: Annotated[
        str | None, typer.Option(help="Of the list, in hex, as the other room has told it.")
    ] = None,
    take: Annotated[
        Path | None, typer.Option(help="Copy the files into this folder, once they are checked.")
    ] = None,
    as_json: AsJSON = False,
) -> None:
    """Hold a medium against its list: these files, and nothing else."""
    if digest is not None and not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise typer.BadParameter("64 hex digits", param_hint="--digest")
    found = medium.check(folder, digest=None if digest is None else bytes.fromhex(digest))
    new = None if take is None else medium.take(folder, found, take)
    _tell(found, new, as_json)


def _tell(found: medium.Medium, new: int | None, as_json: bool) -> None:
    if as_json:
        facts = {"digest": found.digest, "files": len(found.files), "octets": found.octets}
        print_json(facts | ({} if new is None else {"new": new}))
        return
    for file in found.files:
        typer.echo(f"{file.sha256.hex()}  {file.size:>15,}  {file.name}")
    typer.echo(f"list {found.digest.hex()}")
