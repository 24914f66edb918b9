"""brski-lab: all of them on one desk."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from brski.edge.atomic_file import read_file
from brski.edge.cli import REFUSED, configure_logging, harden_process, print_json, printable, run
from brski.edge.serve import run_loop
from brski_lab import proxy_cli, vendor_cli, verify_cli
from brski_lab.demo import Demo, run_demo
from brski_lab.inspect_cli import inspect_file
from brski_lab.report import Timeline, as_document, print_closing
from brski_lab.tpm_vendor import wrap_for_tpm
from device_client.identity.from_seed import load_fuse
from device_client.identity.tpm_file import write_device

PROGRAM: Final = "brski-lab"

app = typer.Typer(
    name=PROGRAM,
    help="""All of them on one desk: a silicon vendor, an OEM with factory, database and MASA, an
    owner's registrar, and devices.

    [bold]demo[/bold] shows it all, from a vendor's seed to an enrolled device.""",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

app.command()(vendor_cli.mint)
app.command(name="build-list")(vendor_cli.build_list)
app.command()(vendor_cli.derive)
app.command(name="inspect")(inspect_file)
app.add_typer(verify_cli.app, name="verify")
app.command()(proxy_cli.proxy)


@app.callback()
def _every(
    debug: Annotated[bool, typer.Option("--debug", help="Log more, tracebacks too.")] = False,
) -> None:
    configure_logging(PROGRAM, debug=debug)
    harden_process()


@app.command()
def demo(
    pledges: Annotated[
        int, typer.Option(min=0, max=5000, help="So many more devices, all at once.")
    ] = 0,
    keep: Annotated[
        Path | None,
        typer.Option(help="Leave anchors and each device's artifacts in this folder (empty)."),
    ] = None,
    diagram: Annotated[
        Path | None, typer.Option(help="Write a Mermaid sequence diagram of what happened.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> int | None:
    """From a silicon vendor's seed to enrolled devices; and who is refused, and why."""
    if not logging.getLogger().isEnabledFor(logging.DEBUG):  # the timeline tells it better
        logging.getLogger("device_client").setLevel(logging.ERROR)
    with Timeline(quiet=as_json) as timeline:
        wanted = Demo(pledges=pledges, keep=keep, diagram=diagram)
        told = run_loop(run_demo(wanted, timeline.tell, _warn))
    if as_json:
        print_json(as_document(told, keep))
    else:
        print_closing(told, keep)
    return None if all(story.as_told for story in told) else REFUSED


def _warn(text: str) -> None:
    print(f"{PROGRAM}: note: {printable(text)}", file=sys.stderr)


@app.command()
def wrap(
    fuse: Annotated[Path, typer.Argument(help="A fuse file of profile tpm2-p256 or tpm2-p384.")],
    storage_key: Annotated[
        Path, typer.Option(help="What `brski-pledge tpm-storage-key` wrote on the device.")
    ],
    out: Annotated[Path, typer.Option(help="The device file to write, mode 0600.")],
    with_key: Annotated[
        bool, typer.Option("--with-key", help="Wrap the key, too: for TPMs that do not derive.")
    ] = False,
) -> None:
    """Play the silicon vendor of a TPM: hide a fuse file's seed for that one TPM.

    The fuse file has to be destroyed then. Prints SHA-256 of the device's SubjectPublicKeyInfo.
    """
    octets = read_file(storage_key, max_octets=4096)
    device = wrap_for_tpm(load_fuse(fuse), octets, with_key=with_key)
    write_device(out, device)
    typer.echo(device.spki_sha256.hex())


def main(argv: list[str] | None = None) -> int:
    """Run the program.

    Args:
        argv: arguments without the program's name; the process's own when None.

    Returns:
        0 every device ended as told, 1 one did not, 2 misuse, 3 try again.
    """
    return run(app, argv, PROGRAM)
