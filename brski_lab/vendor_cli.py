"""brski-lab's commands for those who come before the OEM: the silicon vendor and the assembly.

They need nothing of the online roles, and as a program of their own they start in a third of the
time; so the stage runs them.
"""

from __future__ import annotations

import hashlib
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from brski.edge.cli import configure_logging, harden_process, print_json, run
from brski.seed.formats import BatchFormat
from brski_lab.assembly import sign_build_list
from brski_lab.bring_up import Derived, read_seed
from brski_lab.vendor import Order, mint_batch

PROGRAM: Final = "brski-lab"

app = typer.Typer(name=PROGRAM, no_args_is_help=True)


@app.callback()
def _every() -> None:
    configure_logging(PROGRAM)
    harden_process()


@app.command()
def mint(
    count: Annotated[int, typer.Option(min=1, help="How many chips.")],
    key: Annotated[Path, typer.Option(help="The vendor's signing key, PEM.")],
    recipient: Annotated[
        Path, typer.Option(help="The OEM's recipient.pub; for --format cms its PEM.")
    ],
    chips: Annotated[Path, typer.Option(help="Folder for one secret file a chip.")],
    out: Annotated[Path, typer.Option(help="The batch file.")],
    vendor: Annotated[str, typer.Option(help="As the factory knows the vendor.")] = "vendor",
    product: Annotated[str, typer.Option(help="What the chips are for.")] = "product",
    batch_id: Annotated[str, typer.Option(help="The vendor's own name for it.")] = "batch-1",
    sequence: Annotated[int, typer.Option(min=1, help="Of this vendor and product.")] = 1,
    predecessor: Annotated[
        str | None, typer.Option(help="Digest of the batch before, hex; not for sequence 1.")
    ] = None,
    profile: Annotated[str, typer.Option(help="Derivation profile.")] = "hmac-drbg-p256",
    records_a_chunk: Annotated[int, typer.Option(min=1, max=10_000)] = 10_000,
    form: Annotated[
        BatchFormat, typer.Option("--format", help="cms: as OpenSSL alone could make it.")
    ] = BatchFormat.COSE,
) -> None:
    """Play the silicon vendor: make chips, and a seed batch that tells the OEM."""
    order = Order(
        vendor_id=vendor,
        product=product,
        batch_id=batch_id,
        sequence=sequence,
        predecessor=None if predecessor is None else bytes.fromhex(predecessor),
        profile=profile,
        count=count,
        created_at=datetime.now(UTC).replace(microsecond=0),  # noqa: TID251 - the edge
        records_a_chunk=records_a_chunk,
        form=form,
    )
    digest = mint_batch(order, key=key, recipient=recipient, chips=chips, out=out)
    typer.echo(digest.hex())


@app.command(name="build-list")
def build_list(
    table: Annotated[Path, typer.Argument(help="Lines: chip id in hex, serial number, asserted.")],
    key: Annotated[Path, typer.Option(help="The assembly's signing key, PEM.")],
    out: Annotated[Path, typer.Option(help="The build list file.")],
    signer: Annotated[str, typer.Option(help="As the factory knows it.")] = "assembly",
    product: Annotated[str, typer.Option(help="As in the seed batch.")] = "product",
    generation: Annotated[int, typer.Option(min=0, help="Above the list before.")] = 1,
) -> None:
    """Play the assembly: sign which serial number each chip got."""
    digest = sign_build_list(
        table,
        out,
        key=key,
        signer_id=signer,
        product=product,
        generation=generation,
        created_at=datetime.now(UTC).replace(microsecond=0),  # noqa: TID251 - the edge
    )
    typer.echo(digest.hex())


@app.command()
def derive(
    profile: Annotated[str, typer.Option(help="Derivation profile, such as hmac-drbg-p256.")],
    chip_id: Annotated[str, typer.Option(help="Hex, as in the seed batch.")],
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Every intermediate value that the profile's page names. These are secrets.",
        ),
    ] = False,
) -> None:
    """For firmware teams: the public key that a chip must come to.

    The seed is read from standard input: raw octets, all of them to the end, nothing stripped. What
    is printed is the public key as PEM, and nothing else.

    With [bold]--json[/bold] the document holds the private key and every value on the way to it, by
    design: to compare with a chip that is brought up, with seeds that are burnt into nothing.
    docs/derivation.md names the values.
    """
    derived = Derived.of(profile, read_seed(sys.stdin.buffer), chip_id)
    if as_json:
        print_json(
            {
                "profile": derived.profile,
                "chip_id": derived.chip_id,
                "steps": derived.steps,
                "public_key": derived.pem,
                "spki_sha256": hashlib.sha256(derived.spki).hexdigest(),
            }
        )
    else:
        typer.echo(derived.pem, nl=False)


def main(argv: list[str] | None = None) -> int:
    """Run these commands alone; as :func:`brski_lab.cli.main`."""
    return run(app, argv, PROGRAM)
